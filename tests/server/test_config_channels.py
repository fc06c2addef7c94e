"""Policies of channels in the configuration: what each source may say, and what is refused with which words."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidings.server.config import ChannelRule, Config, ConfigError, describe, load, load_with_sources
from tidings.server.config.channels import DEFAULT_RULES, RULE_MEANINGS
from tidings.server.config.rules import policy_at
from tidings.server.policies import Policies


def from_set(*overrides: str) -> dict[str, ChannelRule]:
    return load(environ={}, dotenv=None, overrides=overrides).channels


def from_env(text: str) -> dict[str, ChannelRule]:
    return load(environ={"TIDINGS_CHANNELS": text}, dotenv=None).channels


def from_file(tmp_path: Path, text: str) -> dict[str, ChannelRule]:
    path = tmp_path / "tidings.toml"
    path.write_text(text, encoding="utf-8")
    return load(path, environ={}, dotenv=None).channels


def test_nothing_is_said_by_default() -> None:
    """The built-in rules are below the configuration, not in it."""
    assert Config().channels == from_set() == {}


def test_a_file_has_a_table_for_each_pattern(tmp_path: Path) -> None:
    """As tables, or in one line; an integer does for a float, and an empty table says nothing."""
    text = (
        '[channels."room:*"]\nhistory_size = 50\nhistory_age = 60\n[channels."user:a@b.c"]\ndurable = false\n'
        '[channels]\n"room:team.a*" = {join_leave = true, publish = "anyone"}\nall = {}\n'
    )
    assert from_file(tmp_path, text) == {
        "room:*": ChannelRule(history_size=50, history_age=60.0),
        "user:a@b.c": ChannelRule(durable=False),
        "room:team.a*": ChannelRule(join_leave=True, publish="anyone"),
        "all": ChannelRule(),
    }


def test_set_takes_a_field_or_a_table() -> None:
    """Names may have dots: only what stands behind the last one is the field."""
    assert from_set("channels.room:*.history_size=50") == {"room:*": ChannelRule(history_size=50)}
    assert from_set("channels.room:a.b.publish= nobody ", "channels.room:a.b.presence=true") == {
        "room:a.b": ChannelRule(publish="nobody", presence=True)
    }
    assert from_set('channels.room:x.presence={"history_size": 50, "durable": false}') == {
        "room:x.presence": ChannelRule(history_size=50, durable=False)
    }
    assert from_set("channels.*.history_age=1.5") == {"*": ChannelRule(history_age=1.5)}


def test_the_environment_has_them_all_in_one() -> None:
    """A JSON object of objects, as TIDINGS_ENDPOINTS."""
    assert from_env('{"room:*": {"history_size": 50}, "all": {"publish": "nobody"}}') == {
        "room:*": ChannelRule(history_size=50),
        "all": ChannelRule(publish="nobody"),
    }


def test_sources_are_put_over_each_other_field_by_field(tmp_path: Path) -> None:
    """A stronger source replaces what it says, and no more; each field tells where it is from."""
    path = tmp_path / "tidings.toml"
    path.write_text('[channels."room:*"]\nhistory_size = 1\nhistory_age = 1\npublish = "anyone"\n')
    config, sources = load_with_sources(
        path,
        environ={"TIDINGS_CHANNELS": '{"room:*": {"history_age": 2, "publish": "nobody"}}'},
        dotenv=None,
        overrides=['channels.room:*={"publish": "subscribers"}', "channels.room:b.history_size=4"],
    )
    assert config.channels == {
        "room:*": ChannelRule(history_size=1, history_age=2.0, publish="subscribers"),
        "room:b": ChannelRule(history_size=4),
    }
    assert sources == {
        "channels.room:*.history_size": str(path),
        "channels.room:*.history_age": "TIDINGS_CHANNELS",
        "channels.room:*.publish": "--set",
        "channels.room:b.history_size": "--set",
    }


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("channels.rooms:*.history_size=5", "--set: channels.rooms:*: not a pattern: expected a channel"),
        ("channels.rooms:*.history_size=5", "did you mean room:*?"),
        ("channels.room*.history_size=5", "did you mean room:*?"),
        ("channels.lobby.history_size=5", "did you mean room:lobby?"),
        ("channels.room:a*b.history_size=5", "--set: channels.room:a*b: not a pattern"),
        ("channels..history_size=5", "--set: channels.: not a pattern"),
        ("channels.room:*.histry_size=5", "channels.room:*.histry_size: no such key; did you mean history_size?"),
        ("channels.room:*.x=5", "channels.room:*.x: no such key; there are history_size, history_age, durable"),
        ("channels.room:*=5", "--set: channels.room:*: no key; write channels.room:*.history_size=50"),
        ("channels.history_size=5", "--set: channels.history_size: no key; write channels.room:*."),
        ("channels.room:*.history_size=-1", "--set: channels.room:*.history_size: expected `int` >= 0"),
        ("channels.room:*.history_size=many", "channels.room:*.history_size: expected `int`"),
        ("channels.room:*.history_age=0", "channels.room:*.history_age: expected `float` > 0"),
        ("channels.room:*.history_age=nan", "channels.room:*.history_age: expected"),
        ("channels.room:*.history_age=1e11", "channels.room:*.history_age: expected `float` <= "),
        ("channels.room:*.durable=perhaps", "channels.room:*.durable: expected `bool`"),
        ("channels.room:*.publish=anyon", "granted, subscribers, anyone, nobody; did you mean anyone?"),
        ("channels.room:*={nothing", 'channels.room:*: expected a JSON object, such as {"history_size": 50}'),
        ('channels.room:*={"durable": 1}', "channels.room:*.durable: expected `bool`, got `int`"),
        ("channels=5", "--set: channels: expected section.key=value, found no key"),
        ("channel.room:*.durable=true", "--set: channel: no such section; did you mean channels?"),
    ],
)  # fmt: skip
def test_what_set_is_refused_for(override: str, words: str) -> None:
    """The refusal names the source, the pattern, the field, and the cure."""
    with pytest.raises(ConfigError) as caught:
        from_set(override)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("channels = 5", "tidings.toml: channels: a section is a table, written [channels]"),
        ("[channels]\nhistory_size = 5", 'channels.history_size: that is a key of a pattern, as "*"'),
        ('[channels]\n"room:*" = 5', 'channels.room:*: expected a table, written [channels."room:*"]'),
        ('[channels.room]\n"*" = 5', "tidings.toml: channels.room: not a pattern"),
        ('[channels."room:*"]\nhistory_size = true', "channels.room:*.history_size: expected `int`, got `bool`"),
        ('[channels."room:*"]\nhistory_size = "5"', "channels.room:*.history_size: expected `int`, got `str`"),
        ('[channels."room:*"]\nsize = 5', "channels.room:*.size: no such key; did you mean history_size?"),
        ('[[channels."room:*"]]\nhistory_size = 5', "channels.room:*: expected a table"),
    ],
)  # fmt: skip
def test_what_a_file_with_policies_is_refused_for(tmp_path: Path, text: str, words: str) -> None:
    """With the file, the pattern, the field, and the cure."""
    with pytest.raises(ConfigError) as caught:
        from_file(tmp_path, text)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("room:*", 'TIDINGS_CHANNELS: expected a JSON object, such as {"room:*": {"history_size": 50}}'),
        ('{"room:*": 5}', "TIDINGS_CHANNELS: channels.room:*: expected a table"),
        ('{"room:*": {"size": 5}}', "TIDINGS_CHANNELS: channels.room:*.size: no such key"),
    ],
)
def test_what_the_variable_with_policies_is_refused_for(text: str, words: str) -> None:
    """With the variable, the pattern, the field, and the cure."""
    with pytest.raises(ConfigError) as caught:
        from_env(text)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ["channels.user:*.history_size=0"],
            "what is durable has to be kept, and history_size 0 keeps nothing: set channels.user:*.durable = false",
        ),
        (
            ["channels.*.join_leave=true"],
            "--set: channels.*.join_leave and channels.*.presence, which hold for *: who comes and goes",
        ),
        (["channels.*.join_leave=true"], "set channels.*.presence = true, or join_leave = false"),
        (
            ["channels.user:*.history_size=0"],
            "--set: channels.user:*.history_size and channels.user:*.durable, which hold for user:*: what is",
        ),
        (["channels.room:a*.durable=true", "channels.room:*.history_size=0"], "which hold for room:a*"),
        (["channels.room:*.presence=false", "channels.room:b.join_leave=true"], "which hold for room:b:"),
        (
            ["channels.user:bob.history_size=0"],
            "channels.user:bob.history_size and channels.user:*.durable",
        ),
    ],
)
def test_policies_that_contradict_themselves(overrides: list[str], words: str) -> None:
    """Wherever the parts come from, the built-in rules too: both are named, with the way out."""
    with pytest.raises(ConfigError) as caught:
        from_set(*overrides)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "overrides",
    [
        ["channels.user:*.history_size=0", "channels.user:*.durable=false"],
        ["channels.*.history_size=0"],
        ["channels.room:*.join_leave=true"],
        ["channels.*.join_leave=true", "channels.*.presence=true"],
        ["channels.*.durable=true", "channels.*.history_age=86400"],
    ],
)
def test_policies_that_do_not(overrides: list[str]) -> None:
    """The ways out are ways out."""
    assert from_set(*overrides)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ["channels.room:a*.durable=true"],
            "--set: channels.room:a*.durable and channels.room:a*.history_age: no rule sets the age",
        ),
        (
            ["channels.room:a*.durable=true"],
            "after the 300 seconds built in for all channels: set channels.room:a*.history_age, as 2592000",
        ),
        (["channels.room:a*.durable=true"], "for 30 days, or durable = false"),
        (["channels.*.durable=true"], "channels.*.durable and channels.*.history_age: no rule"),
        (["channels.all.durable=true"], "channels.all.durable and channels.all.history_age"),
        (
            ["channels.*.durable=true", "channels.room:*.history_age=60", "channels.user:*.history_age=60"],
            "channels.*.durable and channels.*.history_age: no rule",
        ),
        (
            ["channels.room:a*.durable=true", "channels.room:ab.history_age=60"],
            "channels.room:a*.durable and channels.room:a*.history_age: no rule",
        ),
        (
            [
                "channels.room:a*.durable=true",
                "channels.room:b*.history_age=60",
                "channels.*.history_size=9",
            ],
            "channels.room:a*.durable and channels.room:a*.history_age: no rule",
        ),
        (
            ["channels.room:ab.history_size=5", "channels.room:a*.durable=true"],
            "set channels.room:a*.history_age",
        ),
    ],
)
def test_durable_channels_without_an_age(overrides: list[str], words: str) -> None:
    """Whoever makes a channel durable says for how long: both keys are named, with the way out."""
    with pytest.raises(ConfigError) as caught:
        from_set(*overrides)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "overrides",
    [
        ["channels.room:a*.durable=true", "channels.room:a*.history_age=300"],
        ["channels.room:a*.durable=true", "channels.room:*.history_age=86400"],
        ["channels.room:a*.durable=true", "channels.*.history_age=86400"],
        ["channels.room:a*.durable=true", "channels.room:a*.durable=false"],
        ["channels.user:*.durable=true", "channels.user:bob.durable=true"],
        ["channels.user:*.history_size=5"],
    ],
)
def test_durable_channels_with_an_age(overrides: list[str]) -> None:
    """It may be another rule's, or, for inboxes, the built-in one."""
    assert from_set(*overrides)


def test_the_documents_policies_load(tmp_path: Path) -> None:
    """What the page on delivery shows is a configuration, and says what the page says of it."""
    page = (Path(__file__).parents[2] / "docs" / "delivery.md").read_text(encoding="utf-8")
    [block] = [
        block
        for block in re.findall(r"^```toml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
        if "[channels." in block
    ]
    rules = from_file(tmp_path, block)
    policies = Policies(rules)
    for channel in ("user:bob", "room:lobby"):
        assert policies.of(channel) == Policies().of(channel), "the defaults, says the page"
    assert policies.of("room:orders-7").durable


@given(
    st.dictionaries(
        st.sampled_from(["*", "room:*", "room:a*", "room:ab", "user:*", "user:b"]),
        st.builds(
            ChannelRule,
            history_size=st.just(msgspec.UNSET) | st.sampled_from([0, 5]),
            history_age=st.just(msgspec.UNSET) | st.just(86400.0),
            durable=st.just(msgspec.UNSET) | st.booleans(),
            presence=st.just(msgspec.UNSET) | st.booleans(),
            join_leave=st.just(msgspec.UNSET) | st.booleans(),
        ),
        max_size=5,
    )
)
def test_no_channel_has_a_policy_that_contradicts_itself(rules: dict[str, ChannelRule]) -> None:
    """What loads holds for every channel; what does not, holds for some."""
    policies = Policies(rules)
    channels = ["all", "room:c", "room:a", "room:ab", "room:abc", "user:a", "user:b", "group:x"]
    wrong = [
        channel
        for channel in channels
        if (policy := policies.of(channel)).durable > (policy.history_size > 0)
        or policy.join_leave > policy.presence
        # Of the built-in ages only that of all channels is so short.
        or policy.durable > (policy.history_age > 300)
    ]
    overrides = [f"channels.{name}={msgspec.json.encode(rule).decode()}" for name, rule in rules.items()]
    try:
        loaded = from_set(*overrides)
    except ConfigError:
        assert wrong
    else:
        assert not wrong
        assert loaded == rules


# The description


def test_a_description_of_policies_is_toml(tmp_path: Path) -> None:
    """It reads back as what was described, and tells what set each field."""
    config, sources = load_with_sources(
        environ={"TIDINGS_CHANNELS": '{"room:*": {"history_size": 50}, "all": {}}'},
        dotenv=None,
        overrides=["channels.user:a@b.c.publish=nobody", "channels.room:*.history_age=1e9"],
    )
    text = describe(config, sources=sources)
    assert msgspec.convert(tomllib.loads(text), Config) == config
    assert from_file(tmp_path, text) == config.channels
    lines = text.splitlines()
    at = lines.index('[channels."room:*"]')
    assert lines[at + 1 : at + 3] == [
        "history_size = 50  # from TIDINGS_CHANNELS",
        "history_age = 1000000000.0  # from --set",
    ]
    assert max(map(len, lines)) <= 100


def test_a_description_shows_what_is_built_in() -> None:
    """As comments that are TOML themselves, with what each field means; nothing of it is set by reading it back."""
    text = describe(Config())
    assert msgspec.convert(tomllib.loads(text), Config).channels == {}
    begin = text.index("# Built in")
    block = text[begin : text.index("# What each key means")].splitlines()[1:]
    document = tomllib.loads("\n".join(line.removeprefix("# ") for line in block))
    assert msgspec.convert(document["channels"], dict[str, ChannelRule]) == DEFAULT_RULES
    assert [*RULE_MEANINGS] == [*ChannelRule.__struct_fields__]
    for name, meaning in RULE_MEANINGS.items():
        assert f"#   {name}: {meaning.split()[0]}" in text
        assert meaning.endswith(".")


def test_each_built_in_rule_stands_alone() -> None:
    """No built-in policy is one that a file would be refused for."""
    for pattern in DEFAULT_RULES:
        policy = policy_at(pattern, DEFAULT_RULES)
        assert from_set(f"channels.{pattern}={msgspec.json.encode(policy).decode()}")


# Any text

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=40) | st.sampled_from(
    [
        "room:*",
        "history_size",
        "room:*.history_size",
        "{",
        "{}",
        "[]",
        "[" * 5000,
        "nan",
        "1e999",
        "9" * 5000,
        ".",
    ]
)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["room:*", "history_size", "x", "é\n"]), inner, max_size=3)
    ),
    max_leaves=8,
)


def loads_or_refuses(*arguments: Any, **keywords: Any) -> None:
    refusal = ""
    config = Config()
    try:
        config = load(*arguments, **keywords)
    except ConfigError as error:
        refusal = str(error)
    assert "\n" not in refusal
    assert len(refusal) < 1200
    assert msgspec.convert(tomllib.loads(describe(config)), Config) == config


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ANY_TEXT, ANY_TEXT, ANY_JSON)
def test_any_text_as_policies(tmp_path: Path, name: str, text: str, value: Any) -> None:
    """Any text and any JSON, in any place, loads or is refused, in one short line."""
    said = json.dumps(value)
    for override in (f"channels.{name}={text}", f"channels.room:*.{name}={text}", f"channels.{name}={said}",
                     f"channels.room:*={said}", f"channels.room:*.history_age={text}"):  # fmt: skip
        loads_or_refuses(environ={}, dotenv=None, overrides=[override])
    for variable in (text, said, json.dumps({name: value}), json.dumps({"room:*": {name: value}})):
        loads_or_refuses(environ={"TIDINGS_CHANNELS": variable}, dotenv=None)
    path = tmp_path / "any.toml"
    path.write_text(f"[channels]\n{json.dumps('room:*')} = {json.dumps(name)}", encoding="utf-8")
    loads_or_refuses(path, environ={}, dotenv=None)
