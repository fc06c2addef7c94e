"""Whatever a client sends, the native dialect answers with a command or a typed refusal."""

import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.strategies import COMMAND_IDS, JSON_VALUES, LONE_SURROGATES, MSGPACK_VALUES, TEXT, messages

from tidings.protocol.dialects.base import Command
from tidings.protocol.dialects.native import NativeDialect
from tidings.protocol.errors import ErrorCode, Refusal
from tidings.protocol.messages.answers import Error
from tidings.protocol.messages.builtin import builtin_registry

REGISTRY = builtin_registry()
JSON = NativeDialect(REGISTRY)
MSGPACK = NativeDialect(REGISTRY, binary=True)


def decoded(dialect: NativeDialect, message: str | bytes) -> Command | Refusal:
    """What a message decodes to, with all that holds for every message."""
    result = dialect.decode(message)
    if isinstance(result, Command):
        assert type(result.data) is REGISTRY.commands[result.type].payload
        assert result.id is None or len(result.id) <= 64
    else:
        assert type(result) is Refusal
        assert result.code in {ErrorCode.BAD_REQUEST, ErrorCode.UNKNOWN_TYPE, ErrorCode.INVALID_DATA}
        # The path of the field that is wrong.
        assert result.code is not ErrorCode.INVALID_DATA or re.search(
            r" - at (`key` in )?`\$", result.message
        )
        # A wrong message may be large; what is said of it is not, nor does it hand out our expressions.
        assert len(result.message) < 1000
        assert r"\A" not in result.message
        # The refusal has to travel to clients of either kind.
        answer = Error(result.code, result.message)
        assert JSON.encode_answer("error", answer, 0, result.id)
        assert MSGPACK.encode_answer("error", answer, 0, result.id)
    return result


any_text = st.text(st.characters() | LONE_SURROGATES)


@given(any_text)
@example("")
@example('{"type":"ping","id":"\ud800"}')
def test_any_text_is_a_command_or_a_refusal(message: str) -> None:
    """No text makes the JSON dialect raise, not even one that UTF-8 cannot express."""
    decoded(JSON, message)


@given(st.binary())
@example(b"")
@example(b"\xdf\xff\xff\xff\xff")
@example(b"\x81\xdd\xff\xff\xff\xff")
def test_any_bytes_are_a_command_or_a_refusal(message: bytes) -> None:
    """No bytes make the MessagePack dialect raise, nor reserve memory for lengths that are only declared."""
    decoded(MSGPACK, message)


@given(JSON_VALUES)
def test_any_json_value_is_a_command_or_a_refusal(value: Any) -> None:
    """Well-formed JSON that is no object is refused as such."""
    result = decoded(JSON, msgspec.json.encode(value).decode())
    assert isinstance(result, Refusal)
    assert result.code is ErrorCode.BAD_REQUEST


@given(MSGPACK_VALUES)
def test_any_messagepack_value_is_a_command_or_a_refusal(value: Any) -> None:
    """Well-formed MessagePack that is no map is refused as such."""
    result = decoded(MSGPACK, msgspec.msgpack.encode(value))
    assert isinstance(result, Refusal)
    assert result.code is ErrorCode.BAD_REQUEST


def near_messages(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with a command's fields, each holding what it should or anything at all."""
    kinds = st.sampled_from(sorted(REGISTRY.commands))

    def fields(kind: str) -> st.SearchStrategy[dict[str, Any]]:
        struct = REGISTRY.commands[kind].payload
        right = messages(struct).map(msgspec.to_builtins)
        names = struct.__struct_encode_fields__
        wrong = st.fixed_dictionaries({}, optional=dict.fromkeys(names, values))
        partly = st.builds(lambda one, other: one | other, right, wrong)
        return st.fixed_dictionaries(
            {}, optional={"type": st.just(kind) | values, "data": partly | wrong | right | values}
        ).map(lambda message: {"type": kind} | message)

    ids = COMMAND_IDS | values
    return st.builds(
        lambda message, rest: message | rest,
        kinds.flatmap(fields) | st.fixed_dictionaries({}, optional={"type": TEXT | values}),
        st.fixed_dictionaries({}, optional={"id": ids, "unknown": values}),
    )


def check_near_message(dialect: NativeDialect, codec: Any, message: dict[str, Any]) -> None:
    """Independently of the dialect: which kind of refusal a well-formed object deserves, and its id."""
    encoded = codec.encode(message)
    result = decoded(dialect, encoded if dialect.binary else encoded.decode())
    # As it arrives: infinity, for one, is `null` in JSON.
    sent = codec.decode(encoded)
    kind, command_id = sent.get("type"), sent.get("id")
    if command_id is not None and (not isinstance(command_id, str) or len(command_id) > 64):
        assert result.id is None
        assert isinstance(result, Refusal)
        return
    assert result.id == command_id
    if not isinstance(kind, str):
        assert isinstance(result, Refusal)
        assert result.code is ErrorCode.BAD_REQUEST
    elif kind not in REGISTRY.commands:
        assert isinstance(result, Refusal)
        assert result.code is ErrorCode.UNKNOWN_TYPE
    else:
        assert isinstance(result, Command) or result.code is ErrorCode.INVALID_DATA
        payload = REGISTRY.commands[kind].payload
        try:
            expected = msgspec.convert(sent.get("data", {}), payload)
        except msgspec.ValidationError:
            assert isinstance(result, Refusal)
        else:
            assert isinstance(result, Command)
            assert repr(result.data) == repr(expected)


@given(near_messages(JSON_VALUES))
def test_a_json_object_is_judged_by_its_fields(message: dict[str, Any]) -> None:
    """An object decodes to its command, or to the refusal that names what is wrong, and keeps its id."""
    check_near_message(JSON, msgspec.json, message)


@given(near_messages(MSGPACK_VALUES))
def test_a_messagepack_map_is_judged_by_its_fields(message: dict[str, Any]) -> None:
    """A map decodes to its command, or to the refusal that names what is wrong, and keeps its id."""
    check_near_message(MSGPACK, msgspec.msgpack, message)


@st.composite
def mutated(draw: st.DrawFn, encode: Callable[[object], Any], pieces: st.SearchStrategy[Any]) -> Any:
    """An encoded command in which some pieces are cut out, doubled or replaced."""
    command = draw(st.sampled_from(list(REGISTRY.commands.values())))
    data = draw(messages(command.payload))
    message = encode({"type": command.name, "data": data, "id": draw(COMMAND_IDS)})
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(message)))
        end = draw(st.integers(start, min(len(message), start + 8)))
        message = message[:start] + draw(pieces | st.just(message[start:end] * 2)) + message[end:]
    return message


def as_text(value: object) -> str:
    """As JSON text."""
    return msgspec.json.encode(value).decode()


# What a mutation puts in place of a piece: anything, with a preference for what the grammar is made of.
JSON_PIECES = (
    st.text(st.sampled_from('{}[]",:\\u0dtrue-+.eE \n\x00\ufeff'), max_size=4)
    | any_text.map(lambda text: text[:4])
    | LONE_SURROGATES
)


@given(mutated(as_text, JSON_PIECES))
def test_damaged_json_is_a_command_or_a_refusal(message: str) -> None:
    """No damage to a valid JSON command makes the dialect raise."""
    decoded(JSON, message)


@given(mutated(msgspec.msgpack.encode, st.binary(max_size=4)))
def test_damaged_messagepack_is_a_command_or_a_refusal(message: bytes) -> None:
    """No damage to a valid MessagePack command makes the dialect raise."""
    decoded(MSGPACK, message)


@pytest.mark.parametrize("name", REGISTRY.commands)
@pytest.mark.parametrize("dialect", [JSON, MSGPACK], ids=lambda dialect: dialect.name)
def test_an_unknown_type_is_told_the_nearest_one(name: str, dialect: NativeDialect) -> None:
    """A misspelt command is refused with the name that was probably meant, and with its id."""
    for misspelt in (name[:-1], name.upper()[:1] + name[1:], name + "s", name.replace("_", "-")):
        if misspelt in REGISTRY.commands:
            continue
        encoded = as_text({"type": misspelt, "id": "c1"})
        message = msgspec.msgpack.encode(msgspec.json.decode(encoded)) if dialect.binary else encoded
        refusal = decoded(dialect, message)
        assert isinstance(refusal, Refusal)
        assert (refusal.code, refusal.id) == (ErrorCode.UNKNOWN_TYPE, "c1")
        assert refusal.message == f"type: no command {misspelt!r}; did you mean {name!r}?"


def test_an_unknown_type_like_nothing_is_told_no_other() -> None:
    """A type that is like no command gets no suggestion, and one of any length is not echoed whole."""
    for kind in ("", "xyzzy", "\x00", "x" * 60_000):
        refusal = decoded(JSON, as_text({"type": kind}))
        assert isinstance(refusal, Refusal)
        assert refusal.code is ErrorCode.UNKNOWN_TYPE
        assert "did you mean" not in refusal.message
