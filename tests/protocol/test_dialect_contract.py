"""What every dialect promises: any input is a command or a refusal; what it encodes, its own Structs decode.

Those that take arrays make of each as many; what is said of all registered messages goes for the line board's, too,
in the dialects of its clients.
"""

import json
import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.dialects import BOARD, REGISTRY, SPOKEN, Spoken, about_a_room
from support.strategies import (
    COMMAND_IDS,
    JSON_OBJECTS,
    JSON_VALUES,
    LONE_SURROGATES,
    MSGPACK_VALUES,
    TEXT,
    messages,
)

from tidings.protocol.dialects.base import Batch, Command
from tidings.protocol.errors import ErrorCode, Refusal
from tidings.protocol.messages.answers import Error
from tidings.protocol.payloads import check_payload
from tidings.protocol.publications import Publication

every_dialect = pytest.mark.parametrize("spoken", SPOKEN.values(), ids=SPOKEN)
# For tests that run once a message type, or a dialect: what they all share has been tried hundreds of times then.
few = settings(max_examples=20)
some = settings(max_examples=30)
TIMES = st.integers(0, 7_258_118_400_000)


# --- from the client ---------------------------------------------------------------------------------


def decoded_any(spoken: Spoken, message: str | bytes) -> Command | Refusal | Batch:
    """What a message decodes to, be it several, with all that holds for every message."""
    result = spoken.dialect.decode(message)
    if isinstance(result, Batch):
        assert spoken.batches
        assert len(result.commands) > 0
        for one in result.commands:
            check(spoken, one)
    else:
        check(spoken, result)
    return result


def decoded(spoken: Spoken, message: str | bytes) -> Command | Refusal:
    """What a message decodes to that is no array."""
    result = decoded_any(spoken, message)
    assert not isinstance(result, Batch)
    return result


def check(spoken: Spoken, result: Command | Refusal) -> None:
    """All that holds for every command and every refusal."""
    if isinstance(result, Command):
        assert result.type in {spoken.command(name).name for name in spoken.commands}
        assert type(result.data) is spoken.registry.commands[result.type].payload
        assert result.id is None or (spoken.ids and len(result.id) <= 64)
        assert result.credential is None or (spoken.credential and 0 < len(result.credential) <= 64)
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
        assert result.id is None or spoken.ids
        # The refusal has to travel to clients of any kind.
        for other in SPOKEN.values():
            answer = Error(result.code, result.message)
            told = other.dialect.encode_answer("error", answer, 0, result.id)
            assert (told is not None) is ("error" in other.answers)


any_text = st.text(st.characters() | LONE_SURROGATES)


@every_dialect
@some
@given(any_text | st.binary())
@example("")
@example(b"")
@example("ping")
@example('{"type":"ping","id":"\ud800"}')
@example('[{"type":"heartbeat"},{"id":"\ud800"}]')
@example(b"\xdf\xff\xff\xff\xff")
@example(b"\x81\xdd\xff\xff\xff\xff")
def test_any_message_is_a_command_or_a_refusal(spoken: Spoken, message: str | bytes) -> None:
    """No text makes a dialect raise, not even what UTF-8 cannot express; nor do bytes, whatever they declare."""
    result = decoded_any(spoken, message)
    if isinstance(message, bytes) is not spoken.dialect.binary:
        assert isinstance(result, Refusal)
        assert result.code is ErrorCode.BAD_REQUEST


@every_dialect
@some
@given(st.data())
def test_any_value_that_is_no_object_is_refused(spoken: Spoken, data: st.DataObject) -> None:
    """A well-formed value that is no object, or one without a type, is refused as no message at all."""
    value = data.draw(MSGPACK_VALUES if spoken.dialect.binary else JSON_VALUES)
    result = decoded_any(spoken, spoken.encode(value))
    assert isinstance(result, Batch) is (spoken.batches and isinstance(value, list) and value != [])
    for one in result.commands if isinstance(result, Batch) else [result]:
        assert isinstance(one, Refusal)
        assert one.code is ErrorCode.BAD_REQUEST


def near_messages(spoken: Spoken) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with a command's fields, each holding what it should or anything at all."""
    values = MSGPACK_VALUES if spoken.dialect.binary else JSON_VALUES
    kinds = st.sampled_from(sorted(spoken.commands))
    further = {spoken.credential: COMMAND_IDS | values} if spoken.credential else {}

    def fields(kind: str) -> st.SearchStrategy[dict[str, Any]]:
        right = spoken.payloads(kind)
        names = spoken.command(kind).payload.__struct_encode_fields__
        wrong = st.fixed_dictionaries({}, optional=dict.fromkeys(names, values))
        partly = st.builds(lambda one, other: one | other if isinstance(one, dict) else other, right, wrong)
        return st.fixed_dictionaries(
            {},
            optional={
                "type": st.just(kind) | values,
                spoken.place_of(kind): partly | wrong | right | values,
            },
        ).map(lambda message: {"type": kind} | message)

    return st.builds(
        lambda message, rest: message | rest,
        kinds.flatmap(fields) | st.fixed_dictionaries({}, optional={"type": TEXT | values}),
        st.fixed_dictionaries({}, optional={"id": COMMAND_IDS | values, "unknown": values} | further),
    )


NEAR = {name: near_messages(spoken) for name, spoken in SPOKEN.items()}


@every_dialect
@settings(max_examples=45)
@given(st.data())
def test_an_object_is_judged_by_its_fields(spoken: Spoken, data: st.DataObject) -> None:
    """An object decodes to its command, or is refused for what is wrong, and keeps its id; by other means."""
    encoded = spoken.encode(data.draw(NEAR[spoken.dialect.name]))
    result = decoded(spoken, encoded)
    # As it arrives: infinity, for one, is `null` in JSON.
    sent = spoken.codec.decode(encoded)
    kind, command_id = sent.get("type"), sent.get("id") if spoken.ids else None
    if command_id is not None and (not isinstance(command_id, str) or len(command_id) > 64):
        assert isinstance(result, Refusal)
        assert result.id is None
        return
    assert result.id == command_id
    if not isinstance(kind, str):
        assert isinstance(result, Refusal)
        assert result.code is ErrorCode.BAD_REQUEST
    elif kind not in spoken.commands:
        assert isinstance(result, Refusal)
        assert result.code is ErrorCode.UNKNOWN_TYPE
    else:
        expected = spoken.expected(kind, sent)
        if expected is None:
            assert isinstance(result, Refusal)
            assert result.code is ErrorCode.INVALID_DATA
        else:
            assert isinstance(result, Command)
            said = sent.get(spoken.credential) if spoken.credential else None
            assert result.credential == (said or None)
            # repr tells 1 from 1.0 and from True, which == does not.
            assert repr(result.data) == repr(expected)


@pytest.mark.parametrize(
    "spoken", [one for one in SPOKEN.values() if one.credential], ids=lambda one: one.dialect.name
)
@some
@given(st.data())
def test_any_command_may_say_who_has_sent_it(spoken: Spoken, data: st.DataObject) -> None:
    """Whatever the command, a credential beside it changes nothing else in it; an empty one says nothing."""
    kind = data.draw(st.sampled_from(sorted(spoken.commands)))
    credential = data.draw(COMMAND_IDS)
    sent = {"type": kind, spoken.place_of(kind): data.draw(spoken.payloads(kind))}
    sent |= {spoken.credential: credential}
    result = decoded(spoken, spoken.encode(sent))
    assert isinstance(result, Command)
    assert result.credential == (credential or None)
    assert repr(result.data) == repr(spoken.expected(kind, sent))
    del sent[spoken.credential]
    bare = decoded(spoken, spoken.encode(sent))
    assert isinstance(bare, Command)
    assert (bare.credential, repr(bare.extra)) == (None, repr(result.extra))


@pytest.mark.parametrize(
    "spoken", [one for one in SPOKEN.values() if one.batches], ids=lambda one: one.dialect.name
)
@some
@given(st.data())
def test_each_entry_of_an_array_is_judged_alone(spoken: Spoken, data: st.DataObject) -> None:
    """An array is as many messages, each what it would be by itself; an array within it is none."""
    entries = data.draw(st.lists(NEAR[spoken.dialect.name] | JSON_VALUES, min_size=1, max_size=4))
    result = decoded_any(spoken, " \n" + str(spoken.encode(entries)))
    assert isinstance(result, Batch)
    for entry, one in zip(entries, result.commands, strict=True):
        if isinstance(entry, list):
            assert isinstance(one, Refusal)
            assert one.code is ErrorCode.BAD_REQUEST
        else:
            alone = decoded(spoken, spoken.encode(entry))
            if isinstance(alone, Refusal) and alone.code is ErrorCode.UNKNOWN_TYPE:
                # What was meant is looked for in single messages only.
                alone = msgspec.structs.replace(alone, message=alone.message.partition("; did you mean")[0])
            assert repr(one) == repr(alone)


@st.composite
def damaged(draw: st.DrawFn, spoken: Spoken, pieces: st.SearchStrategy[Any]) -> Any:
    """An encoded command in which some pieces are cut out, doubled or replaced."""
    kind = draw(st.sampled_from(sorted(spoken.commands)))
    fields = {"type": kind, spoken.place_of(kind): draw(spoken.payloads(kind)), "id": draw(COMMAND_IDS)}
    message: Any = spoken.encode([fields, fields] if spoken.batches and draw(st.booleans()) else fields)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(message)))
        end = draw(st.integers(start, min(len(message), start + 8)))
        message = message[:start] + draw(pieces | st.just(message[start:end] * 2)) + message[end:]
    return message


# What a mutation puts in place of a piece: anything, with a preference for what the grammar is made of.
JSON_PIECES = (
    st.text(st.sampled_from('{}[]",:\\u0dtrue-+.eE \n\x00\ufeff'), max_size=4)
    | any_text.map(lambda text: text[:4])
    | LONE_SURROGATES
)


@every_dialect
@some
@given(st.data())
def test_a_damaged_command_is_a_command_or_a_refusal(spoken: Spoken, data: st.DataObject) -> None:
    """No damage to a valid command makes a dialect raise, or take what another reader of JSON would not."""
    pieces = st.binary(max_size=4) if spoken.dialect.binary else JSON_PIECES
    message = data.draw(damaged(spoken, pieces))
    result = decoded_any(spoken, message)
    if isinstance(result, Command) and isinstance(message, str) and message != "ping":
        assert spoken.command(json.loads(message)["type"]).name == result.type
    elif isinstance(result, Batch):
        try:
            entries = json.loads(message)
        except ValueError:
            # Then at least one of the entries is no JSON; the others were found whole in what was sent.
            assert any(isinstance(one, Refusal) for one in result.commands)
            return
        assert len(entries) == len(result.commands)
        for entry, one in zip(entries, result.commands, strict=True):
            assert isinstance(one, Refusal) or spoken.command(entry["type"]).name == one.type


DEEP = 100_000
#: By command and field of the payload.
SURVIVED: dict[str, Callable[[str, str], str]] = {
    "deep lists": lambda kind, field: f'{{"type":"{kind}","{field}":{"[" * DEEP + "]" * DEEP}}}',
    "deep, not closed": lambda kind, field: f'{{"type":"{kind}","x":{"[" * DEEP},"{field}":1}}',
    "deep from the start": lambda _kind, _field: "[" * DEEP,
    "5,000 digits as type": lambda _kind, _field: f'{{"type":{"9" * 5_000}}}',
    "lone surrogate": lambda kind, field: f'{{"type":"{kind}","{field}":"\ud800"}}',
    "escaped lone surrogate": lambda kind, field: f'{{"type":"{kind}","{field}":"\\ud800"}}',
    "two in one": lambda kind, _: f'{{"type":"{kind}"}} {{"type":"{kind}"}}',
    "cut off": lambda kind, _: f'{{"type":"{kind}"',
    "NaN": lambda kind, field: f'{{"type":"{kind}","{field}":NaN}}',
    "BOM": lambda kind, _: f'\ufeff{{"type":"{kind}"}}',
    "null as type": lambda _, field: f'{{"type":null,"{field}":{{}}}}',
    "an empty array": lambda _kind, _field: "[]",
}


@pytest.mark.parametrize("message", SURVIVED.values(), ids=SURVIVED)
@pytest.mark.parametrize(
    "spoken", [one for one in SPOKEN.values() if not one.dialect.binary], ids=lambda one: one.dialect.name
)
def test_what_breaks_parsers_is_refused(spoken: Spoken, message: Callable[[str, str], str]) -> None:
    """Deep nesting, endless numbers, text that is none, two messages in one: no message at all."""
    for field in (spoken.place, spoken.place_of(spoken.harmless)):
        broken = message(spoken.harmless, field)
        # Within an array such an entry makes of all no array, or is refused alone where JSON has words for it.
        for text in (broken, f'[{{"type":"{spoken.harmless}"}},{broken}]'):
            result = decoded_any(spoken, text)
            if isinstance(result, Batch):
                assert text is not broken
                first, result = result.commands
                assert isinstance(first, Command)
            assert isinstance(result, Refusal)
            assert result.code is ErrorCode.BAD_REQUEST


@every_dialect
def test_an_unknown_type_is_told_the_nearest_one(spoken: Spoken) -> None:
    """A misspelt command is refused with the name that was probably meant, and with its id."""
    if len(spoken.commands) == 1:
        return  # there is nothing to choose from: its refusals name the only one
    for name in spoken.commands:
        for misspelt in (name[:-1], name.upper()[:1] + name[1:], name + "s", name.replace("_", "-")):
            if misspelt in spoken.commands:
                continue
            refusal = decoded(spoken, spoken.encode({"type": misspelt, "id": "c1"}))
            assert isinstance(refusal, Refusal)
            assert (refusal.code, refusal.id) == (ErrorCode.UNKNOWN_TYPE, "c1" if spoken.ids else None)
            assert refusal.message == f"type: no command {misspelt!r}; did you mean {name!r}?"


@every_dialect
def test_an_unknown_type_like_nothing_is_told_no_other(spoken: Spoken) -> None:
    """A type that is like no command gets no suggestion, and one of any length is not echoed whole."""
    for kind in ("", "xyzzy", "\x00", "x" * 60_000):
        refusal = decoded(spoken, spoken.encode({"type": kind}))
        assert isinstance(refusal, Refusal)
        assert refusal.code is ErrorCode.UNKNOWN_TYPE
        assert "did you mean" not in refusal.message


# --- to the client -----------------------------------------------------------------------------------


def _read(spoken: Spoken, encoded: bytes) -> Any:
    """A server's message as a plain object; JSON is read by another library than the one that wrote it."""
    return json.loads(encoded) if spoken.codec is msgspec.json else spoken.codec.decode(encoded)


def checked(spoken: Spoken, name: str, payload: Any, encoded: bytes, rest: dict[str, Any]) -> None:
    """That the dialect's own Structs decode a message to what was meant, and that nothing else is in it."""
    message = spoken.codec.decode(encoded, type=spoken.union)
    assert message.__struct_config__.tag == spoken.types.get(name, name)
    raw = _read(spoken, encoded)
    if name not in spoken.differing:
        assert repr(getattr(message, spoken.place)) == repr(payload)
        # Absent, not null: a client may ask whether there is a channel.
        assert raw == {"type": raw["type"], spoken.place: raw[spoken.place]} | rest


def speaking(name: str) -> list[Spoken]:
    """The dialects of whose clients a message may be: the line board's are its alone."""
    board = name in BOARD.answers or name in BOARD.events
    return [spoken for spoken in SPOKEN.values() if not board or spoken.registry is BOARD]


@pytest.mark.parametrize("name", [*REGISTRY.answers, *BOARD.answers])
@few
@given(data=st.data(), time_ms=TIMES, command_id=st.none() | COMMAND_IDS)
def test_an_answer_arrives_as_it_was_meant(
    name: str, data: st.DataObject, time_ms: int, command_id: str | None
) -> None:
    """Whatever the server answers arrives in every dialect that has a word for it, and in no other."""
    answer = (REGISTRY.answers | BOARD.answers)[name]
    payload = about_a_room(data.draw(messages(answer.payload)))
    for spoken in speaking(name):
        encoded = spoken.dialect.encode_answer(name, payload, time_ms, command_id)
        assert (encoded is not None) is (name in spoken.answers)
        if encoded is not None:
            rest = spoken.rest(Publication("", "", b"", 0, "", time_ms))
            rest = {key: value for key, value in rest.items() if key == "timestamp"}
            if spoken.ids and command_id is not None:
                rest["id"] = command_id
            checked(spoken, name, payload, encoded, rest)


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


@pytest.mark.parametrize("name", [*REGISTRY.events, *BOARD.events])
@few
@given(data=st.data())
def test_a_registered_event_arrives_as_it_was_published(name: str, data: st.DataObject) -> None:
    """A registered event, once checked, decodes to the equal Struct, with all that stands beside it."""
    event = (REGISTRY.events | BOARD.events)[name]
    payload = data.draw(messages(event.payload))
    fields = check_payload(msgspec.to_builtins(payload), event)
    assert isinstance(fields, bytes), fields
    publication = data.draw(publications(name, fields))
    for spoken in speaking(name):
        encoded = spoken.dialect.encode_publication(publication)
        assert (encoded is not None) is (name in spoken.events)
        if encoded is not None:
            checked(spoken, name, payload, encoded, spoken.rest(publication))


# Of S2's, those that a client takes for the server's word.
UNSAID = {"room_subscribe", "room_unsubscribe"}


@some
@given(
    data=st.data(),
    payload=JSON_OBJECTS,
    name=TEXT.filter(lambda name: name not in REGISTRY.events and name not in UNSAID),
)
def test_an_unregistered_event_is_carried_as_given(
    data: st.DataObject, payload: dict[str, Any], name: str
) -> None:
    """An event that nobody registered arrives with the payload it was given, field for field."""
    fields = check_payload(payload, None)
    assert isinstance(fields, bytes), fields
    publication = data.draw(publications(name, fields))
    for spoken in SPOKEN.values():
        encoded = spoken.dialect.encode_publication(publication)
        assert (encoded is not None) is spoken.others
        if encoded is not None:
            raw = _read(spoken, encoded)
            assert repr(raw) == repr({"type": name, spoken.place: payload} | spoken.rest(publication))


@some
@given(data=st.data(), name=st.sampled_from(sorted(REGISTRY.events)), further=JSON_OBJECTS)
def test_further_fields_of_a_registered_event_arrive(
    data: st.DataObject, name: str, further: dict[str, Any]
) -> None:
    """Whatever else a publisher gives is carried along, and what it does not name so stays what it was."""
    event = REGISTRY.events[name]
    known = msgspec.to_builtins(data.draw(messages(event.payload)))
    # `body` is S4's name of a native field; a publisher may give one all the same.
    payload = {**further, "body": "the publisher's", **known}
    fields = check_payload(payload, event)
    assert isinstance(fields, bytes), fields
    for spoken in SPOKEN.values():
        encoded = spoken.dialect.encode_publication(data.draw(publications(name, fields)))
        if encoded is None or not spoken.others:
            continue
        message = spoken.codec.decode(encoded, type=spoken.union)
        assert message.__struct_config__.tag == spoken.types.get(name, name)
        arrived = _read(spoken, encoded)[spoken.place]
        renamed = spoken.dialect.name == "ginforge" and name == "notification"
        assert arrived["body"] == (payload["message"] if renamed else "the publisher's")
        # ginforge has no words for the first two.
        expected = {
            key: payload[key] for key in further.keys() - known.keys() - {"type", "username", "body"}
        }
        assert {key: arrived.get(key) for key in expected} == expected
