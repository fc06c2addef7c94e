"""The rows of `threats.md`, "Messages", one by one: what each is refused with, or why it does no harm."""

import re
from typing import Any

import msgspec
import pytest

from tidings.protocol.dialects.base import Command
from tidings.protocol.dialects.native import NativeDialect
from tidings.protocol.errors import ErrorCode, Refusal
from tidings.protocol.messages.builtin import builtin_registry
from tidings.protocol.messages.commands import Authenticate, JoinRoom, Ping, Publish, Stats

JSON = NativeDialect(builtin_registry())
MSGPACK = NativeDialect(builtin_registry(), binary=True)

BAD_REQUEST = ErrorCode.BAD_REQUEST
INVALID_DATA = ErrorCode.INVALID_DATA
UNKNOWN_TYPE = ErrorCode.UNKNOWN_TYPE

DIGITS = "9" * 5_000
DEEP = 100_000
DEEP_LISTS = "[" * DEEP + "]" * DEEP
DEEP_OBJECTS = '{"a":' * DEEP + "1" + "}" * DEEP


def publish(value: str) -> str:
    """A publication that holds a JSON value."""
    return (
        f'{{"type":"publish","id":"c1","data":{{"channel":"all","event":"e","payload":{{"x":{value}}}}}}}'
    )


def skipped(value: str) -> str:
    """A ping with a JSON value in a field that nobody asks for."""
    return f'{{"type":"ping","id":"c1","x":{value}}}'


def pack(message: object) -> bytes:
    return msgspec.msgpack.encode(message)


def pack_with(kind: str, data: dict[str, Any], value: bytes) -> bytes:
    """A command in MessagePack whose last field, `x`, is these bytes as they are."""
    fields = {"type": kind, "id": "c1", "data": data}
    if kind == "publish":
        # Of `data`, `payload` comes last, and `x` is all that it holds.
        data |= {"payload": {"x": 0}}
        return pack(fields)[:-1] + value
    return pack(fields | {"x": 0})[:-1] + value


def pack_publish(value: bytes) -> bytes:
    """A publication that holds these bytes as a value."""
    return pack_with("publish", {"channel": "all", "event": "e"}, value)


def pack_skipped(value: bytes) -> bytes:
    """A ping with these bytes in a field that nobody asks for."""
    return pack_with("ping", {}, value)


def check_refused(result: object, code: ErrorCode, command_id: str | None, path: str | None) -> None:
    """That it is this refusal, naming this path."""
    assert isinstance(result, Refusal), result
    assert (result.code, result.id) == (code, command_id), result
    assert path is None or result.message.endswith(f" - at `$.{path}`"), result


@pytest.mark.parametrize(
    ("message", "code", "command_id", "path"),
    [
        pytest.param("", BAD_REQUEST, None, None, id="empty"),
        pytest.param("hello", BAD_REQUEST, None, None, id="not JSON"),
        pytest.param('{"type":"ping"', BAD_REQUEST, None, None, id="cut off"),
        pytest.param("{'type':'ping'}", BAD_REQUEST, None, None, id="single quotes"),
        pytest.param("[]", BAD_REQUEST, None, None, id="an array"),
        pytest.param('["ping"]', BAD_REQUEST, None, None, id="an array with a type"),
        pytest.param('"ping"', BAD_REQUEST, None, None, id="a string"),
        pytest.param("null", BAD_REQUEST, None, None, id="null"),
        pytest.param("{}", BAD_REQUEST, None, None, id="no type"),
        pytest.param('{"id":"c1"}', BAD_REQUEST, "c1", None, id="no type but an id"),
        pytest.param('{"type":1,"id":"c1"}', BAD_REQUEST, "c1", None, id="type of another type"),
        pytest.param('{"type":"ping","id":1}', BAD_REQUEST, None, None, id="id of another type"),
        pytest.param(f'{{"type":"ping","id":"{65 * "i"}"}}', BAD_REQUEST, None, None, id="id too long"),
        pytest.param('{"type":"no_such","id":"c1"}', UNKNOWN_TYPE, "c1", None, id="unknown type"),
        pytest.param('{"type":"PING","id":"c1"}', UNKNOWN_TYPE, "c1", None, id="another case"),
        pytest.param('{"type":"connected","id":"c1"}', UNKNOWN_TYPE, "c1", None, id="an answer"),
        pytest.param('{"type":"notification","id":"c1"}', UNKNOWN_TYPE, "c1", None, id="an event"),
        pytest.param('{"type":"join_room","id":"c1","data":{}}', INVALID_DATA, "c1", "data", id="no field"),
        pytest.param('{"type":"room_message","id":"c1","data":{"room":"a"}}', INVALID_DATA, "c1", "data",
                     id="no field, of a command with open fields"),
        pytest.param('{"type":"join_room","id":"c1","data":[]}', INVALID_DATA, "c1", "data", id="array as data"),
        pytest.param('{"type":"ping","id":"c1","data":null}', INVALID_DATA, "c1", "data", id="null as data"),
        pytest.param('{"type":"join_room","id":"c1","data":{"room":5}}', INVALID_DATA, "c1", "data.room",
                     id="wrong type"),
        pytest.param('{"type":"room_message","id":"c1","data":{"room":"a","text":[]}}', INVALID_DATA, "c1",
                     "data.text", id="wrong type, of a command with open fields"),
        pytest.param('{"type":"room_message","id":"c1","data":{"room":"a","text":""}}', INVALID_DATA, "c1",
                     "data.text", id="too short, of a command with open fields"),
        pytest.param(f'{{"type":"authenticate","data":{{"token":"{8193 * "t"}"}}}}', INVALID_DATA, None,
                     "data.token", id="token too long"),
        pytest.param(publish("1").replace('{"x":1}', "[]"), INVALID_DATA, "c1", "data.payload",
                     id="array as payload"),
        pytest.param(publish("NaN"), BAD_REQUEST, None, None, id="NaN"),
        pytest.param(skipped("NaN"), BAD_REQUEST, None, None, id="NaN, skipped"),
        pytest.param(publish("-Infinity"), BAD_REQUEST, None, None, id="Infinity"),
        pytest.param(publish("1e999"), INVALID_DATA, "c1", "data.payload[...]", id="1e999"),
        pytest.param(publish(DIGITS), INVALID_DATA, "c1", "data.payload[...]", id="5,000 digits"),
        pytest.param(f'{{"type":"ping","id":{DIGITS}}}', BAD_REQUEST, None, None, id="5,000 digits as id"),
        pytest.param(f'{{"type":{DIGITS}}}', BAD_REQUEST, None, None, id="5,000 digits as type"),
        pytest.param(publish('"\\ud800"'), BAD_REQUEST, None, None, id="escaped lone surrogate"),
        pytest.param(publish('"\\udc00\\ud800"'), BAD_REQUEST, None, None, id="escaped surrogates, reversed"),
        pytest.param(skipped('"\\ud800"'), BAD_REQUEST, None, None, id="escaped lone surrogate, skipped"),
        pytest.param('{"type":"ping","id":"\\ud800"}', BAD_REQUEST, None, None, id="escaped lone surrogate, id"),
        pytest.param(publish('"\ud800"'), BAD_REQUEST, None, None, id="lone surrogate"),
        pytest.param(skipped('"\ud800"'), BAD_REQUEST, None, None, id="lone surrogate, skipped"),
        pytest.param('\ufeff{"type":"ping"}', BAD_REQUEST, None, None, id="BOM"),
        pytest.param('{"type":"ping"} {"type":"ping"}', BAD_REQUEST, None, None, id="trailing message"),
        pytest.param('{"type":"ping"}\0', BAD_REQUEST, None, None, id="trailing NUL"),
        pytest.param(DEEP_LISTS, BAD_REQUEST, None, None, id="deep, no object"),
        pytest.param(DEEP_OBJECTS, BAD_REQUEST, None, None, id="deep, objects"),
        pytest.param(skipped(DEEP_LISTS), BAD_REQUEST, None, None, id="deep, skipped"),
        pytest.param(skipped(DEEP_OBJECTS), BAD_REQUEST, None, None, id="deep objects, skipped"),
        pytest.param(publish(DEEP_LISTS), BAD_REQUEST, None, None, id="deep in a payload"),
        pytest.param(publish(DEEP_OBJECTS), BAD_REQUEST, None, None, id="deep objects in a payload"),
        pytest.param('{"type":' + "[" * DEEP, BAD_REQUEST, None, None, id="deep and without an end"),
        pytest.param('{"type":"\0"}', BAD_REQUEST, None, None, id="unescaped control character"),
    ],
)  # fmt: skip
def test_a_wrong_json_message_is_refused(
    message: str, code: ErrorCode, command_id: str | None, path: str | None
) -> None:
    """What is wrong gets its error code, the id where it can be read, and the path of the field."""
    check_refused(JSON.decode(message), code, command_id, path)


@pytest.mark.parametrize("value", ["1e999", DIGITS, '"\\u0000"', '{"":[{}]}'], ids=lambda value: value[:8])
def test_json_that_nobody_asked_for_does_no_harm(value: str) -> None:
    """A field that is unknown is skipped, though its value could not have been decoded."""
    assert JSON.decode(skipped(value)) == Command("ping", Ping(), "c1")


@pytest.mark.parametrize(
    ("message", "code", "command_id", "path"),
    [
        pytest.param(b"", BAD_REQUEST, None, None, id="empty"),
        pytest.param(b'{"type":"ping"}', BAD_REQUEST, None, None, id="JSON"),
        pytest.param(b"\xc1", BAD_REQUEST, None, None, id="not MessagePack"),
        pytest.param(pack({"type": "ping"})[:-1], BAD_REQUEST, None, None, id="cut off"),
        pytest.param(pack(["ping"]), BAD_REQUEST, None, None, id="an array"),
        pytest.param(pack({1: "type"}), BAD_REQUEST, None, None, id="a map of integers"),
        pytest.param(pack({"type": b"ping", "id": "c1"}), BAD_REQUEST, "c1", None, id="type as bytes"),
        pytest.param(pack({"type": "ping", "id": b"c1"}), BAD_REQUEST, None, None, id="id as bytes"),
        pytest.param(pack({"type": "no_such", "id": "c1"}), UNKNOWN_TYPE, "c1", None, id="unknown type"),
        pytest.param(pack({"type": "join_room", "id": "c1", "data": {}}), INVALID_DATA, "c1", "data",
                     id="no field"),
        pytest.param(pack({"type": "join_room", "id": "c1", "data": {"room": b"a"}}), INVALID_DATA, "c1",
                     "data.room", id="wrong type"),
        pytest.param(pack({"type": "join_room", "id": "c1", "data": {"room": float("nan")}}), INVALID_DATA, "c1",
                     "data.room", id="NaN"),
        pytest.param(pack({"type": "ping"}) + b"\0", BAD_REQUEST, None, None, id="trailing byte"),
        pytest.param(b"\xef\xbb\xbf" + pack({"type": "ping"}), BAD_REQUEST, None, None, id="BOM"),
        pytest.param(pack_publish(b"\xa2\xff\xff"), BAD_REQUEST, None, None, id="bad UTF-8"),
        pytest.param(pack_publish(b"\xa3\xed\xa0\x80"), BAD_REQUEST, None, None, id="lone surrogate"),
        pytest.param(pack_publish(b"\x91" * DEEP + b"\xc0"), BAD_REQUEST, None, None, id="deep in a payload"),
        pytest.param(pack_skipped(b"\x91" * DEEP + b"\xc0"), BAD_REQUEST, None, None, id="deep, skipped"),
        pytest.param(b"\x81\xa1a" * DEEP + b"\xc0", BAD_REQUEST, None, None, id="deep, maps"),
        pytest.param(b"\xdf\xff\xff\xff\xff", BAD_REQUEST, None, None, id="4 billion entries declared"),
        pytest.param(pack_publish(b"\xdd\xff\xff\xff\xff"), BAD_REQUEST, None, None, id="4 billion items declared"),
        pytest.param(pack_publish(b"\xc6\xff\xff\xff\xff"), BAD_REQUEST, None, None, id="4 GiB declared"),
        pytest.param(pack_publish(b"\x81\x80\x01"), BAD_REQUEST, None, None, id="a map as a key"),
        pytest.param(pack_publish(b"\x81\xd6\x05abcd\x01"), BAD_REQUEST, None, None, id="an extension as a key"),
        pytest.param(pack_publish(b"\xd7\xff" + b"\xff" * 8), INVALID_DATA, "c1", "data.payload[...]",
                     id="timestamp out of range"),
    ],
)  # fmt: skip
def test_a_wrong_messagepack_message_is_refused(
    message: bytes, code: ErrorCode, command_id: str | None, path: str | None
) -> None:
    """What is wrong gets its error code, the id where it can be read, and the path of the field."""
    check_refused(MSGPACK.decode(message), code, command_id, path)


@pytest.mark.parametrize(
    "value", [b"\xa2\xff\xff", b"\xc4\x02\xff\xff", b"\xc7\x01\x05\xff", b"\xcb\x7f\xf8" + bytes(6)]
)
def test_messagepack_that_nobody_asked_for_does_no_harm(value: bytes) -> None:
    """A field that is unknown is skipped: bad UTF-8, bytes, an extension or NaN in it goes nowhere."""
    assert MSGPACK.decode(pack_skipped(value)) == Command("ping", Ping(), "c1")


ROOM_COMMANDS = ("join_room", "leave_room", "room_subscribe", "room_unsubscribe", "room_message")
BAD_ROOMS = (
    "",
    "a\0",
    "\0",
    "a\n",
    "\n",
    "a\nb",
    "é",
    "a\u0301",
    "а",
    "a b",
    "a/b",
    "*",
    "a*",
    "x" * 129,
    "٣",
    "a@b",
)


@pytest.mark.parametrize("room", BAD_ROOMS, ids=ascii)
@pytest.mark.parametrize("kind", [*ROOM_COMMANDS, "subscribe", "unsubscribe", "publish"])
@pytest.mark.parametrize("dialect", [JSON, MSGPACK], ids=lambda dialect: dialect.name)
def test_no_command_takes_a_bad_room_name(dialect: NativeDialect, kind: str, room: str) -> None:
    """A room name outside the grammar is refused wherever it may stand, in words and not as an expression."""
    field, name = ("room", room) if kind in ROOM_COMMANDS else ("channel", f"room:{room}")
    data = {field: name, "text": "hello", "event": "e", "payload": {}}
    message = {"type": kind, "id": "c1", "data": data}
    encoded = pack(message) if dialect.binary else msgspec.json.encode(message).decode()
    result = dialect.decode(encoded)
    check_refused(result, INVALID_DATA, "c1", f"data.{field}")
    assert isinstance(result, Refusal)
    assert re.match(r"Expected a (room|channel) name: ", result.message)


@pytest.mark.parametrize("event", ["", "a\n", "\0", "é", "x" * 65, "a b"], ids=ascii)
def test_an_event_name_is_short_and_plain(event: str) -> None:
    """An event's name becomes a message type for everybody, so what a client may choose is narrow."""
    data = {"channel": "all", "event": event, "payload": {}}
    message = msgspec.json.encode({"type": "publish", "data": data}).decode()
    check_refused(JSON.decode(message), INVALID_DATA, None, "data.event")


@pytest.mark.parametrize(
    ("message", "command"),
    [
        ('{"type":"ping","id":"a","id":"b"}', Command("ping", Ping(), "b")),
        ('{"type":"join_room","data":{"room":"a","room":"b"}}', Command("join_room", JoinRoom("b"))),
        (
            '{"type":"join_room","data":{"room":"a"},"data":{"room":"b"}}',
            Command("join_room", JoinRoom("b")),
        ),
        ('{"type":"ping","type":"stats","id":"c1"}', Command("stats", Stats(), "c1")),
    ],
    ids=["id", "field", "data", "type"],
)
def test_the_last_of_duplicate_keys_wins(message: str, command: Command) -> None:
    """Of a key that comes twice the last counts, as JavaScript reads it too."""
    assert JSON.decode(message) == command


@pytest.mark.parametrize(
    "data", ["5", '{"x":1e999}', '{"x":"\\ud800"}', DEEP_LISTS], ids=lambda data: data[:12]
)
def test_a_refusal_does_not_repeat_a_long_type(data: str) -> None:
    """Nothing a client makes long comes back at length, not even a type that another one follows."""
    for further in (f'"data":{data}', f'"x":{data},"data":5'):
        refusal = JSON.decode(f'{{"type":"{60_000 * "x"}","type":"ping",{further}}}')
        assert isinstance(refusal, Refusal)
        assert len(refusal.message) < 1000


def test_the_longest_of_everything_passes() -> None:
    """The limits themselves are allowed: 64 characters of id and device, 8,192 of token, 128 of a room."""
    device, token, room = "d" * 64, "t" * 8192, "r" * 128
    sent = {"type": "authenticate", "data": {"token": token, "device": device}, "id": "é" * 64}
    expected = Command("authenticate", Authenticate(token, device), "é" * 64)
    assert JSON.decode(msgspec.json.encode(sent).decode()) == MSGPACK.decode(pack(sent)) == expected
    publication = {"channel": f"room:{room}", "event": "e" * 64, "payload": {}}
    sent = {"type": "publish", "data": publication}
    expected = Command("publish", Publish(f"room:{room}", "e" * 64, {}))
    assert JSON.decode(msgspec.json.encode(sent).decode()) == MSGPACK.decode(pack(sent)) == expected
