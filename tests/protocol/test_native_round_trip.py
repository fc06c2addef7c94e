"""Every message of the native dialect, there and back again, in both encodings."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect
from support.strategies import COMMAND_IDS, JSON_OBJECTS, TEXT, messages

from tidings.protocol.dialects.base import Command, Dialect
from tidings.protocol.dialects.native import NativeDialect, server_message_union
from tidings.protocol.errors import ErrorCode, Refusal
from tidings.protocol.messages.builtin import builtin_registry
from tidings.protocol.messages.registry import MessageType, Registry
from tidings.protocol.payloads import check_payload
from tidings.protocol.publications import Publication, iso_milliseconds

REGISTRY = builtin_registry()
# What the dialect builds from its registry includes the messages of apps, so one stands in here: a
# command with no required field that hands on all that it is given, and an event.
REGISTRY.command(
    "shout", msgspec.defstruct("Shout", [("loud", bool, True)]), owner="test", open_fields=True
)
REGISTRY.event("shouted", msgspec.defstruct("Shouted", [("volume", float)]), owner="test")

UNION: Any = server_message_union(REGISTRY)
CODECS: dict[str, Any] = {"json": msgspec.json, "msgpack": msgspec.msgpack}
DIALECTS: dict[str, Dialect] = {
    "json": NativeDialect(REGISTRY),
    "msgpack": NativeDialect(REGISTRY, binary=True),
}

encodings = pytest.mark.parametrize("encoding", CODECS)
# For tests that run once a message type: what they all share has been tried hundreds of times then.
few = settings(max_examples=25)
TIMES = st.integers(0, 7_258_118_400_000)


def from_client(encoding: str, message: object) -> str | bytes:
    """A message as it comes out of a frame."""
    encoded: bytes = CODECS[encoding].encode(message)
    return encoded.decode() if encoding == "json" else encoded


def raw(encoding: str, message: bytes | None) -> dict[str, Any]:
    """A server's message as a plain object; JSON is read by another library than the one that wrote it."""
    assert message is not None
    decoded: dict[str, Any] = json.loads(message) if encoding == "json" else msgspec.msgpack.decode(message)
    return decoded


@pytest.mark.parametrize("name", REGISTRY.commands)
@few
@given(data=st.data())
def test_a_command_arrives_as_it_was_sent(name: str, data: st.DataObject) -> None:
    """Whatever valid command a client encodes, the dialect decodes to the equal Struct and the same id."""
    command = REGISTRY.commands[name]
    payload = data.draw(messages(command.payload))
    command_id = data.draw(st.none() | COMMAND_IDS)
    further = data.draw(JSON_OBJECTS.map(lambda fields: unknown_to(command.payload, fields)))
    message = {"type": name, "data": msgspec.to_builtins(payload) | further, "unknown": further}
    if command_id is not None:
        message["id"] = command_id
    # The envelope's fields come in any order: a client's language may keep none.
    shuffled = dict(data.draw(st.permutations(list(message.items()))))
    expected = Command(name, payload, command_id, further if command.open_fields else {})
    for encoding, dialect in DIALECTS.items():
        # repr tells 1 from 1.0 and from True, which == does not.
        assert repr(dialect.decode(from_client(encoding, shuffled))) == repr(expected)


def unknown_to(struct: type[msgspec.Struct], fields: dict[str, Any]) -> dict[str, Any]:
    """The fields that the Struct does not name."""
    return {name: value for name, value in fields.items() if name not in struct.__struct_encode_fields__}


@encodings
@pytest.mark.parametrize(
    "command",
    [
        one
        for one in REGISTRY.commands.values()
        if not any(f.required for f in msgspec.structs.fields(one.payload))
    ],
    ids=lambda command: command.name,
)
def test_data_may_be_absent_where_nothing_is_needed(command: MessageType, encoding: str) -> None:
    """A command whose fields all have defaults may come without `data`."""
    decoded = DIALECTS[encoding].decode(from_client(encoding, {"type": command.name}))
    assert decoded == Command(command.name, command.payload())


@pytest.mark.parametrize("name", REGISTRY.answers)
@few
@given(data=st.data(), time_ms=TIMES, command_id=st.none() | COMMAND_IDS)
def test_an_answer_arrives_as_it_was_meant(
    name: str, data: st.DataObject, time_ms: int, command_id: str | None
) -> None:
    """Whatever the server answers, a client's tagged union decodes to type, data, timestamp and id."""
    payload = data.draw(messages(REGISTRY.answers[name].payload))
    # Absent, not null: a client may ask whether there is a channel.
    fields = {"type", "data", "timestamp"} | ({"id"} if command_id is not None else set())
    for encoding, dialect in DIALECTS.items():
        encoded = dialect.encode_answer(name, payload, time_ms, command_id)
        message = CODECS[encoding].decode(encoded, type=UNION)
        assert message.__struct_config__.tag == name
        assert repr(message.data) == repr(payload)
        assert (message.timestamp, message.id) == (iso_milliseconds(time_ms), command_id)
        assert raw(encoding, encoded).keys() == fields


@st.composite
def publications(draw: st.DrawFn, event: str, payload: bytes) -> Publication:
    """A publication of this payload, with any position."""
    return Publication(
        channel=draw(TEXT),
        event=event,
        payload=payload,
        offset=draw(st.integers(1, 2**63 - 1)),
        epoch=draw(TEXT),
        time_ms=draw(TIMES),
        user_id=draw(st.none() | TEXT),
    )


@pytest.mark.parametrize("name", REGISTRY.events)
@few
@given(data=st.data())
def test_a_registered_event_arrives_as_it_was_published(name: str, data: st.DataObject) -> None:
    """A registered event, once checked, decodes to the equal Struct with channel, offset, time and user."""
    event = REGISTRY.events[name]
    payload = data.draw(messages(event.payload))
    checked = check_payload(msgspec.to_builtins(payload), event)
    assert isinstance(checked, bytes), checked
    publication = data.draw(publications(name, checked))
    for encoding, dialect in DIALECTS.items():
        message = CODECS[encoding].decode(dialect.encode_publication(publication), type=UNION)
        assert message.__struct_config__.tag == name
        assert repr(message.data) == repr(payload)
        assert message.timestamp == iso_milliseconds(publication.time_ms)
        assert (message.channel, message.offset) == (publication.channel, publication.offset)
        assert (message.user_id, message.id) == (publication.user_id, None)


@given(data=st.data(), payload=JSON_OBJECTS, name=TEXT.filter(lambda name: name not in REGISTRY.events))
def test_an_unregistered_event_is_carried_as_given(
    data: st.DataObject, payload: dict[str, Any], name: str
) -> None:
    """An event that nobody registered arrives with the payload it was given, field for field."""
    checked = check_payload(payload, None)
    assert isinstance(checked, bytes), checked
    publication = data.draw(publications(name, checked))
    expected: dict[str, Any] = {
        "type": name,
        "data": payload,
        "timestamp": iso_milliseconds(publication.time_ms),
    }
    expected |= {"channel": publication.channel, "offset": publication.offset}
    if publication.user_id is not None:
        expected["user_id"] = publication.user_id
    for encoding, dialect in DIALECTS.items():
        assert repr(raw(encoding, dialect.encode_publication(publication))) == repr(expected)


NAMED = {
    "commands": """
        authenticate ping subscribe unsubscribe join_room leave_room room_subscribe room_unsubscribe
        room_message publish refresh stats
    """,
    "answers": """
        connected pong subscribed unsubscribed published refreshed stats token_expiring error disconnect
    """,
    "events": """
        user:updated user:deleted user:password-changed force_logout notification sync_update
        system_message data_update user_message room_message
    """,
}


@pytest.mark.parametrize("table", NAMED)
def test_the_wire_protocols_names_are_registered(table: str) -> None:
    """What `wire.md` names, and needs neither history nor inbox nor presence, has a Struct."""
    assert set(NAMED[table].split()) <= getattr(builtin_registry(), table).keys()


@pytest.mark.parametrize("table", NAMED)
def test_every_message_explains_itself(table: str) -> None:
    """Each registered message Struct, and each Struct inside one, has a docstring."""
    structs = {message.payload for message in getattr(builtin_registry(), table).values()}
    assert structs
    for struct in structs:
        kinds = [inspect.type_info(struct)]
        for kind in kinds:
            if isinstance(kind, inspect.StructType):
                assert (kind.cls.__dict__.get("__doc__") or "").strip(), f"{kind.cls} has no docstring"
                kinds += [field.type for field in kind.fields]
            elif isinstance(kind, inspect.UnionType):
                kinds += kind.types


def test_each_encoding_has_its_name_and_its_kind_of_frame() -> None:
    """The subprotocols are the documented ones; a message in the other kind of frame is refused, not guessed."""
    text, binary = DIALECTS["json"], DIALECTS["msgpack"]
    assert (text.subprotocol, text.binary) == ("tidings.v1.json", False)
    assert (binary.subprotocol, binary.binary) == ("tidings.v1.msgpack", True)
    for dialect, other in ((text, b'{"type":"ping","id":"a"}'), (binary, '{"type":"ping","id":"a"}')):
        refusal = dialect.decode(other)
        assert isinstance(refusal, Refusal)
        assert refusal.code is ErrorCode.BAD_REQUEST
        assert str(dialect.subprotocol) in refusal.message


def test_a_dialect_knows_only_what_its_registry_holds() -> None:
    """A server without apps refuses their commands."""
    alone = Registry()
    alone.command("ping", REGISTRY.commands["ping"].payload, owner="test")
    dialect = NativeDialect(alone)
    assert isinstance(dialect.decode('{"type":"ping"}'), Command)
    assert not isinstance(dialect.decode('{"type":"stats"}'), Command)
