"""Every command of the native dialect, in both encodings, and the names of the wire protocol."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect
from support.dialects import JSON, MSGPACK, REGISTRY
from support.strategies import COMMAND_IDS, JSON_OBJECTS, messages

from tidings.protocol.dialects.base import Command, Dialect
from tidings.protocol.dialects.native import NativeDialect
from tidings.protocol.errors import ErrorCode, Refusal
from tidings.protocol.messages.builtin import builtin_registry
from tidings.protocol.messages.registry import MessageType, Registry

CODECS: dict[str, Any] = {"json": msgspec.json, "msgpack": msgspec.msgpack}
DIALECTS: dict[str, Dialect] = {
    "json": JSON.dialect,
    "msgpack": MSGPACK.dialect,
}

encodings = pytest.mark.parametrize("encoding", CODECS)
# For tests that run once a message type: what they all share has been tried hundreds of times then.
few = settings(max_examples=25)


def from_client(encoding: str, message: object) -> str | bytes:
    """A message as it comes out of a frame."""
    encoded: bytes = CODECS[encoding].encode(message)
    return encoded.decode() if encoding == "json" else encoded


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
