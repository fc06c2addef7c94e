"""The grammar of channel names: what passes, what does not, and that no two things share a name."""

from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tidings.protocol import channels
from tidings.protocol.channels import ALL, is_channel, is_name, is_user_id, kind_of
from tidings.protocol.messages.fields import ChannelName, RoomName

PLAIN = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:-"
names = st.text(PLAIN, min_size=1, max_size=128)
user_ids = st.text(PLAIN + "@+", min_size=1, max_size=128)

MAKERS = {
    "user": channels.user_channel,
    "group": channels.group_channel,
    "role": channels.role_channel,
    "room": channels.room_channel,
}

# Each is wrong in any name: empty, a control character at either end, a space, another script's letter or
# digit that looks or counts like ASCII's, a combining mark, a wildcard, a separator of other systems.
WRONG = [
    "",
    "a\n",
    "\na",
    "a\r",
    "a\0",
    "\0",
    "a b",
    " a",
    "é",
    "e\u0301",
    "а",
    "٣",
    "１",
    "ａ",
    "ſ",
    "\u212a",
]
WRONG += [
    "*",
    "a*",
    "a.*.>",
    "#",
    "a/b",
    "a\\b",
    "a,b",
    "$a",
    "{a}",
    "?",
    "[a]",
    "a\u200b",
    "\ufeffa",
    "a" * 129,
]


@pytest.mark.parametrize("name", WRONG, ids=ascii)
def test_nothing_outside_the_grammar_is_a_name(name: str) -> None:
    """No name holds more than plain ASCII, of 1 to 128 characters, to its very last one."""
    assert not is_name(name)
    assert not is_user_id(name)
    for kind in MAKERS:
        assert not is_channel(f"{kind}:{name}")
        assert not is_channel(f"{kind}:a\n{name}")


@pytest.mark.parametrize(
    "channel",
    ["", ":", "a", "ALL", "all:", "all:a", "al", "alll", "all\n", " all", "user", "user:", "room", "rooms:a",
     "Room:a", ":room:a", "room;a", "room :a", "line:1", "roomxa", "user:a\n", "аll", "group:a@b", "room:a+b"],
    ids=ascii,
)  # fmt: skip
def test_nothing_else_is_a_channel(channel: str) -> None:
    """A channel is `all`, or one of four kinds with a name behind its first colon."""
    assert not is_channel(channel)


@pytest.mark.parametrize("name", ["a", ":", "-", ".", "a:b", "user:a", "all", "room:", "0", "a" * 128])
def test_plain_names_pass(name: str) -> None:
    """Whatever the grammar allows may name a user, a group, a role and a room, at its longest too."""
    assert is_name(name)
    assert is_user_id(name)
    assert all(is_channel(make(name)) for make in MAKERS.values())


@given(user_ids)
@example("ada@example.org")
@example("+49123")
@example("@" * 128)
def test_user_ids_may_be_addresses(user_id: str) -> None:
    """A user id may hold `@` and `+` too; a room's, group's or role's name may not."""
    assert is_user_id(user_id)
    assert is_channel(channels.user_channel(user_id))
    assert is_name(user_id) == (not set(user_id) & {"@", "+"})


@given(st.sampled_from(sorted(MAKERS)), names)
def test_a_channel_is_taken_apart_as_it_was_put_together(kind: str, name: str) -> None:
    """Only the first colon separates, so every channel has one kind and one name, and no other has both."""
    channel = MAKERS[kind](name)
    assert is_channel(channel)
    assert (kind_of(channel), channel.removeprefix(f"{kind}:")) == (kind, name)
    if kind == "room":
        assert channel.partition(":")[2] == name


def test_names_with_colons_do_not_collide() -> None:
    """`a:b` with `c` and `a` with `b:c` are three channels of three kinds, and none is another's."""
    parts = ["a", "b", "a:b", "b:c", "c", "a:b:c", "room:a", "user:a", "room", "all", ":", "::"]
    made = [make(part) for make in MAKERS.values() for part in parts]
    assert all(is_channel(channel) for channel in made)
    assert len({ALL, *made}) == len(made) + 1


def test_the_channel_of_everybody() -> None:
    """`all` is a channel, of a kind of its own."""
    assert is_channel(ALL)
    assert kind_of(ALL) == "all"


# Strings near the grammar: pieces of channel names in any order, with what must not get in between.
near = st.lists(
    st.sampled_from(["all", "user", "group", "role", "room", ":", "@", "+", "a", "Z", "0", "x" * 126])
    | st.sampled_from(WRONG),
    max_size=6,
).map("".join)


@given(near | st.text())
@example("room:a\n")
@example("all\n")
@example("\nall")
@example("x" * 129)
def test_a_command_takes_a_channel_exactly_if_it_is_one(text: str) -> None:
    """What a decoder accepts as a channel or a room is what the functions say is one."""
    assert fits(ChannelName, text) == is_channel(text)
    assert fits(RoomName, text) == is_name(text)


def fits(kind: Any, text: str) -> bool:
    # Encoded and decoded, as it will be: not all text survives that.
    try:
        msgspec.json.decode(msgspec.json.encode(text), type=kind)
    except (msgspec.ValidationError, UnicodeEncodeError):
        return False
    return True
