"""What may be published: checked once, and from then on carried by every encoding alike."""

import json
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.strategies import JSON_OBJECTS, JSON_VALUES, MSGPACK_VALUES, TEXT, messages

from tidings.protocol.dialects.native import NativeDialect, server_message_union
from tidings.protocol.errors import ErrorCode, Refusal
from tidings.protocol.messages.builtin import builtin_registry
from tidings.protocol.messages.registry import Registry
from tidings.protocol.payloads import check_payload
from tidings.protocol.publications import Publication

REGISTRY = builtin_registry()
JSON = NativeDialect(REGISTRY)
MSGPACK = NativeDialect(REGISTRY, binary=True)

# For tests that run once an event.
few = settings(max_examples=15)

NAN = float("nan")
INFINITY = float("inf")


def published(payload: bytes, event: str = "e") -> Publication:
    return Publication(channel="all", event=event, payload=payload, offset=1, epoch="e", time_ms=0)


def carried(payload: bytes) -> Any:
    """The payload as subscribers of either encoding get it, after seeing that it is the same."""
    text, packed = (
        JSON.encode_publication(published(payload)),
        MSGPACK.encode_publication(published(payload)),
    )
    assert text is not None
    assert packed is not None
    # Two JSON decoders that have nothing in common, and the MessagePack one. repr tells 1 from 1.0.
    arrived = json.loads(text, parse_constant=pytest.fail)["data"]
    assert repr(msgspec.json.decode(text)["data"]) == repr(arrived)
    assert repr(msgspec.msgpack.decode(packed)["data"]) == repr(arrived)
    return arrived


@given(JSON_OBJECTS)
@example({"a": 2**64 - 1, "b": -(2**63), "c": -0.0, "d": 5e-324, "e": 1.7976931348623157e308, "f": 1e22})
@example({"": "\0\n\x7f\u2028\ufeff\uffff\U0010ffff"})
def test_any_json_object_is_carried_as_it_is(payload: dict[str, Any]) -> None:
    """What a JSON client can publish arrives unchanged in both encodings."""
    checked = check_payload(payload, None)
    assert isinstance(checked, bytes), checked
    assert repr(carried(checked)) == repr(payload)


@given(st.dictionaries(TEXT, MSGPACK_VALUES, max_size=5))
@example({"a": {1: "x", "1": "y"}})
@example({"a": {b"a": 1, "YQ==": 2}})
@example({"a": {NAN: 1, INFINITY: 2, -0.0: 3}})
@example({"a": [msgspec.msgpack.Ext(5, b"")]})
def test_what_is_accepted_is_carried(payload: dict[str, Any]) -> None:
    """Whatever MessagePack can hold is refused at once, or arrives as the same value in both encodings."""
    checked = check_payload(payload, None)
    if isinstance(checked, Refusal):
        assert checked.code is ErrorCode.INVALID_DATA
    else:
        assert isinstance(carried(checked), dict)


@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        (2**64 - 1, 2**64 - 1),
        (-(2**63), -(2**63)),
        (NAN, None),
        (-INFINITY, None),
        (b"\xff\x00", "/wA="),
        (datetime.fromisoformat("2026-11-21T20:10:00.123+00:00"), "2026-11-21T20:10:00.123000Z"),
        (datetime.fromisoformat("2026-11-21T20:10:00"), "2026-11-21T20:10:00"),
        ({1: {2: 3}}, {"1": {"2": 3}}),
        ({2**70: 1}, {str(2**70): 1}),
        ({b"\xff": 1}, {"/w==": 1}),
    ],
    ids=repr,
)
def test_what_json_cannot_say_has_one_form(value: object, arrives: object) -> None:
    """A value that only MessagePack has is turned into JSON's nearest, the same for subscribers of both."""
    checked = check_payload({"a": value}, None)
    assert isinstance(checked, bytes), checked
    assert carried(checked) == {"a": arrives}


@pytest.mark.parametrize(
    "value",
    [
        2**64,
        -(2**63) - 1,
        10**5000,
        "\ud800",
        {"\udfff": 1},
        msgspec.msgpack.Ext(5, b""),
        {None: 1},
        {True: 1},
        {("a",): 1},
        object(),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("wrap", [lambda v: {"a": v}, lambda v: {"a": [{"b": v}]}], ids=["top", "nested"])
def test_what_an_encoding_cannot_carry_is_refused(
    wrap: Callable[[object], dict[str, Any]], value: object
) -> None:
    """What would fail in the middle of a fan-out is refused before it has an offset."""
    refusal = check_payload(wrap(value), None)
    assert isinstance(refusal, Refusal)
    assert refusal.code is ErrorCode.INVALID_DATA
    assert refusal.message.startswith("payload cannot be carried")


def deeper(calls: int, function: Callable[[], object]) -> object:
    """Call the function from further down the stack."""
    return deeper(calls - 1, function) if calls else function()


@pytest.mark.parametrize("wrap", [lambda v: [v], lambda v: {"a": v}], ids=["lists", "objects"])
@pytest.mark.parametrize("calls", [0, 50])
def test_no_nesting_is_accepted_and_then_not_carried(calls: int, wrap: Callable[[object], object]) -> None:
    """What was accepted is carried, however much of the stack is in use when it is encoded."""
    accepted = 0
    value: object = 0
    for depth in range(1, 1200):
        value = wrap(value)
        checked = check_payload({"a": value}, None)
        if isinstance(checked, bytes):
            accepted = depth
            publication = published(checked)
            deeper(calls, partial(MSGPACK.encode_publication, publication))
            deeper(calls, partial(JSON.encode_publication, publication))
    assert accepted >= 16, "what people publish must pass"


@pytest.mark.parametrize(
    ("event", "payload", "path"),
    [
        ("notification", {"title": "t"}, "$.data.payload"),
        ("notification", {"title": "t", "message": 5}, "$.data.payload.message"),
        ("notification", {"title": None, "message": "m"}, "$.data.payload.title"),
        ("user:updated", {"id": "u", "roles": ["a", 5]}, "$.data.payload.roles[1]"),
        ("user_message", {"sender": "a", "to": "b", "text": "c"}, "$.data.payload"),
        ("sync_update", {"changes": 3.0}, "$.data.payload.changes"),
        ("data_update", {"entity": "e", "action": "a", "id": "i", "data": []}, "$.data.payload.data"),
    ],
)
def test_a_registered_events_payload_must_fit(event: str, payload: dict[str, Any], path: str) -> None:
    """A registered event's payload is checked against its Struct, and the refusal names the field."""
    refusal = check_payload(payload, REGISTRY.events[event])
    assert isinstance(refusal, Refusal)
    assert refusal.code is ErrorCode.INVALID_DATA
    assert refusal.message.endswith(f" - at `{path}`")


@pytest.mark.parametrize("name", REGISTRY.events)
@few
@given(data=st.data())
def test_further_fields_of_a_registered_event_stay(name: str, data: st.DataObject) -> None:
    """A payload that fits is carried as it was given, with the fields that its Struct does not name."""
    event = REGISTRY.events[name]
    known = msgspec.to_builtins(data.draw(messages(event.payload)))
    # Hypothesis draws names from the sources, too: those that the Struct has may be absent here, and wrong there.
    own = set(event.payload.__struct_encode_fields__)
    further = {key: value for key, value in data.draw(JSON_OBJECTS).items() if key not in own}
    payload = further | known
    checked = check_payload(payload, event)
    assert isinstance(checked, bytes), checked
    assert repr(carried(checked)) == repr(payload)


@pytest.mark.parametrize("name", REGISTRY.events)
@few
@given(data=st.data())
def test_an_accepted_event_is_one_that_clients_decode(name: str, data: st.DataObject) -> None:
    """Whatever is accepted for a registered event, a client's tagged union decodes, in both encodings."""
    event = REGISTRY.events[name]
    fitting = data.draw(messages(event.payload).map(msgspec.to_builtins))
    fields = event.payload.__struct_encode_fields__
    wrong = data.draw(
        st.fixed_dictionaries({}, optional=dict.fromkeys(fields, JSON_VALUES | MSGPACK_VALUES))
    )
    checked = check_payload(fitting | wrong, event)
    if isinstance(checked, bytes):
        decode_as_client(REGISTRY, published(checked, name))


def decode_as_client(registry: Registry, publication: Publication) -> None:
    union: Any = server_message_union(registry)
    text = NativeDialect(registry).encode_publication(publication)
    packed = NativeDialect(registry, binary=True).encode_publication(publication)
    assert text is not None
    assert packed is not None
    msgspec.json.decode(text, type=union)
    msgspec.msgpack.decode(packed, type=union)


class Reading(msgspec.Struct):
    """An app's event with the kind of field that no built-in event has."""

    value: float


@pytest.mark.parametrize("value", [1.5, 1, NAN, INFINITY])
def test_what_fits_is_what_will_arrive(value: float) -> None:
    """NaN becomes `null` on its way, so it does not fit a Struct that asks for a number."""
    registry = builtin_registry()
    registry.event("reading", Reading, owner="test")
    event = registry.events["reading"]
    checked = check_payload({"value": value}, event)
    if isinstance(checked, bytes):
        decode_as_client(registry, published(checked, "reading"))
    else:
        assert checked.message.endswith(" - at `$.data.payload.value`")
