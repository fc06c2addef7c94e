"""Which rules hold for a channel."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET
from msgspec.structs import asdict

from tidings.protocol.channels import is_channel
from tidings.server.config.channels import DEFAULT_RULES, WEEK, ChannelPolicy, ChannelRule, is_pattern
from tidings.server.policies import Policies


def test_the_built_in_policies() -> None:
    """Without rules: rooms keep a little and know who is there, inboxes are durable, the rest keeps a little."""
    of = Policies().of
    little = ChannelPolicy(history_size=100, history_age=300.0)
    assert of("room:lobby") == ChannelPolicy(presence=True)
    assert of("user:bob") == ChannelPolicy(history_size=1000, history_age=WEEK, durable=True)
    for channel in ("all", "group:1", "role:admin"):
        assert of(channel) == little


def test_the_built_in_rules_decide_everything() -> None:
    """Whatever an owner leaves out has something to fall back on."""
    assert all(value is not UNSET for value in asdict(DEFAULT_RULES["*"]).values())
    assert Policies().of("all") == ChannelPolicy()


def test_the_most_specific_decides_field_by_field() -> None:
    """A whole name beats beginnings, a longer beginning a shorter one; what each leaves out, the next decides."""
    of = Policies(
        {
            "room:team-a": ChannelRule(publish="anyone"),
            "room:*": ChannelRule(history_size=7, join_leave=True),
            "room:team-*": ChannelRule(history_size=8, durable=True),
            "*": ChannelRule(history_age=60.0),
        }
    ).of
    team = ChannelPolicy(
        history_size=8, history_age=60.0, durable=True, presence=True, join_leave=True, publish="anyone"
    )
    assert of("room:team-a") == team
    assert (
        of("room:team-ab")
        == of("room:team-")
        == ChannelPolicy(history_size=8, history_age=60.0, durable=True, presence=True, join_leave=True)
    )
    assert of("room:other") == ChannelPolicy(
        history_size=7, history_age=60.0, presence=True, join_leave=True
    )
    assert of("all").history_age == 60.0
    assert of("user:bob").history_age == WEEK, "built in for users, which is more specific than *"


def test_the_order_in_which_they_are_written_decides_nothing() -> None:
    """Whatever comes first in the file: the longest pattern that fits decides."""
    said = {
        pattern: ChannelRule(history_size=size)
        for size, pattern in enumerate(("*", "room:*", "room:a*", "room:ab*", "room:abc"), 1)
    }
    for rules in (said, dict(reversed(said.items()))):
        of = Policies(rules | {"room:abd": ChannelRule(publish="anyone")}).of
        assert [of(f"room:{name}").history_size for name in ("b", "a", "ab", "abd", "abc")] == [
            2,
            3,
            4,
            4,
            5,
        ]
        assert of("all").history_size == 1


def test_a_rule_for_a_built_in_pattern_replaces_only_what_it_says() -> None:
    """`user:*` with another size is still durable."""
    policy = Policies({"user:*": ChannelRule(history_size=5)}).of("user:bob")
    assert (policy.history_size, policy.durable, policy.history_age) == (5, True, WEEK)


def test_a_name_and_a_beginning_alike() -> None:
    """`room:a` is one room, `room:a*` all that begin so; a dot or a star is nothing special within."""
    of = Policies(
        {
            "room:a": ChannelRule(history_size=1),
            "room:a*": ChannelRule(history_size=2),
            "room:a.c": ChannelRule(history_size=3),
        }
    ).of
    assert [of(f"room:{name}").history_size for name in ("a", "ab", "a.c", "abc", "A", "b")] == [
        1, 2, 3, 2, 100, 100,
    ]  # fmt: skip


def test_the_same_rules_give_the_same_object() -> None:
    """A million rooms do not have a million policies."""
    policies = Policies()
    assert policies.of("room:a") is policies.of("room:b")


def test_what_an_inbox_is() -> None:
    """A user's channel that keeps something."""
    policies = Policies({"user:guest-*": ChannelRule(history_size=0, durable=False)})
    assert policies.is_inbox("user:bob")
    assert not policies.is_inbox("user:guest-7")
    assert not policies.is_inbox("room:user")
    assert not policies.is_inbox("all")


NAMES = st.text("ab.", min_size=1, max_size=3)
PATTERNS = st.one_of(
    st.just("*"), st.just("all"), NAMES.map("room:{}".format), st.text("ab.", max_size=3).map("room:{}*".format),
    NAMES.map("user:{}*".format),
)  # fmt: skip
RULES = st.builds(
    ChannelRule,
    history_size=st.just(UNSET) | st.integers(0, 9),
    history_age=st.just(UNSET) | st.floats(1, 9),
    durable=st.just(UNSET) | st.booleans(),
    publish=st.sampled_from((UNSET, "anyone", "nobody")),
)


@given(st.dictionaries(PATTERNS, RULES, max_size=6), st.sampled_from(("room:", "user:")), NAMES)
def test_every_field_is_that_of_the_longest_pattern_that_decides_it(
    rules: dict[str, ChannelRule], kind: str, name: str
) -> None:
    """Field by field, by trying all patterns: the longest that fits and says something, a whole name first."""
    channel = kind + name

    def fits(pattern: str) -> bool:
        return channel.startswith(pattern[:-1]) if pattern.endswith("*") else channel == pattern

    fitting = {each for each in {*rules, *DEFAULT_RULES} if fits(each)}
    ranked = sorted(fitting, key=lambda each: (not each.endswith("*"), len(each)), reverse=True)
    policy = Policies(rules).of(channel)
    for field, value in asdict(policy).items():
        said = [
            getattr(source[each], field)
            for each in ranked
            for source in (rules, DEFAULT_RULES)
            if each in source and getattr(source[each], field) is not UNSET
        ]
        assert value == said[0], field


@pytest.mark.parametrize(
    "text",
    ["*", "all", "room:*", "room:lobby", "room:team-*", "user:a@b.c", "user:a@*", "group:1", "role:*", "room:a:b*",
     "room:" + "x" * 128],
)  # fmt: skip
def test_patterns(text: str) -> None:
    """A channel, or the beginning of one and a star."""
    assert is_pattern(text)


@pytest.mark.parametrize(
    "text",
    ["", "**", "all*", "room", "room:", "room*", "rooms:*", "room:a*b", "room:**", "room:a@*", "room:é", "room:a\n",
     "lobby", ":*", "ROOM:*", "room:" + "x" * 129],
)  # fmt: skip
def test_what_names_no_channel(text: str) -> None:
    """It would never match, so it was meant otherwise."""
    assert not is_pattern(text)


@given(st.from_regex(r"[a-z]{1,5}:[ab@+.:*-]{0,4}", fullmatch=True))
def test_a_pattern_without_a_star_is_a_channel(text: str) -> None:
    """What is configured by its whole name can be there."""
    if not text.endswith("*"):
        assert is_pattern(text) == is_channel(text)
