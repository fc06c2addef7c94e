"""What a client may send: single frames with everything wrong that one asks for, streams of them."""

import itertools
from collections.abc import Iterable
from typing import NamedTuple

from hypothesis import strategies as st

from support.frames import client_frame
from tidings.protocol.close_codes import CloseCode
from tidings.protocol.frames import Opcode, Violation
from tidings.protocol.parser import Event, MessageParser

#: As good as no limit, for comparing with parsers that have none.
NO_LIMIT = 2**63


def chopped(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """The bytes, cut at these places; empty pieces where two are the same."""
    places = sorted(min(cut, len(data)) for cut in cuts)
    return [data[start:end] for start, end in itertools.pairwise([0, *places, len(data)])]


class Reading(NamedTuple):
    """What a parser made of what it was fed."""

    events: list[Event]
    code: CloseCode | None
    """Of the violation that ended it."""


def read(parser: MessageParser, pieces: Iterable[bytes]) -> Reading:
    """Feed the pieces, and take all events after each."""
    events: list[Event] = []
    for piece in pieces:
        parser.feed(piece)
        try:
            while (event := parser.next_event()) is not None:
                events.append(event)
        except Violation as violation:
            return Reading(events, violation.code)
    return Reading(events, None)


def new_parser() -> MessageParser:
    """One that knows the rules of the RFC, and no limits."""
    return MessageParser(max_message=NO_LIMIT, max_fragments=NO_LIMIT)


masks = st.binary(min_size=4, max_size=4)

#: Places to cut at, and every place.
cuttings = st.lists(st.integers(0, 600), max_size=8) | st.just(list(range(2000)))

#: Text with characters of one to four bytes.
texts = st.text(
    st.sampled_from("aé€\U0001f600\x00\u07ff\u0800\uffff\U00010000\U0010ffff")
    | st.characters(codec="utf-8")
)


@st.composite
def _control(draw: st.DrawFn) -> bytes:
    opcode = draw(st.sampled_from([Opcode.PING, Opcode.PONG]))
    payload = draw(st.binary(max_size=10) | st.sampled_from([bytes(125), b"\xff" * 124]))
    return client_frame(opcode, payload, mask=draw(masks))


@st.composite
def good_message(draw: st.DrawFn, *, controls: bool = True) -> bytes:
    """One message, fragmented anywhere (inside characters too), control frames between the fragments."""
    text = draw(st.booleans())
    payload = draw(texts).encode() if text else draw(st.binary(max_size=60) | st.sampled_from([bytes(126)]))
    frames = fragments(draw, Opcode.TEXT if text else Opcode.BINARY, payload)
    between = st.lists(_control(), max_size=1) if controls else st.just([])
    return b"".join(b"".join([*draw(between), frame]) for frame in frames)


def fragments(draw: st.DrawFn, opcode: int, payload: bytes, *, reserved: int = 0) -> list[bytes]:
    """The frames of a message, cut anywhere; some of them may be empty."""
    pieces = chopped(payload, draw(st.lists(st.integers(0, len(payload)), max_size=3)))
    last = len(pieces) - 1
    return [
        client_frame(
            Opcode.CONTINUATION if at else opcode,
            piece,
            fin=at == last,
            reserved=0 if at else reserved,
            mask=draw(masks),
        )
        for at, piece in enumerate(pieces)
    ]


@st.composite
def closing(draw: st.DrawFn) -> bytes:
    """A close frame, mostly right."""
    code = draw(st.sampled_from([1000, 1001, 1003, 1011, 3000, 4999]) | st.integers(0, 65535))
    payload = code.to_bytes(2) + draw(
        st.just(b"") | texts.map(lambda text: text[:20].encode()) | st.binary(max_size=5)
    )
    cut = draw(st.sampled_from([0, 1, len(payload), len(payload), len(payload)]))
    return client_frame(Opcode.CLOSE, payload[:cut], mask=draw(masks))


@st.composite
def odd_frame(draw: st.DrawFn) -> bytes:
    """One frame with each part right or wrong by itself."""
    opcode = draw(st.sampled_from([0, 0, 1, 2, 8, 9, 10]) | st.integers(0, 15))
    payload = draw(
        st.binary(max_size=8)
        | texts.map(lambda text: text[:8].encode())
        | st.sampled_from([bytes(125), bytes(126)])
    )
    declared = draw(st.none() | st.sampled_from([0, 1, 125, 126, 127, 65535]))
    width: int | None = 8
    if draw(st.integers(0, 5)) == 5:
        declared = draw(st.sampled_from([65535, 65536, 2**62, 2**63 - 1, 2**63, 2**64 - 1]))
    else:
        least = len(payload) if declared is None else declared
        width = draw(st.sampled_from([None, None, None, 2, 8] if least < 65536 else [8]))
    return client_frame(
        opcode,
        payload,
        fin=draw(st.booleans()),
        reserved=draw(st.sampled_from([0, 0, 0, 0, 0x10, 0x20, 0x40, 0x70])),
        mask=draw(st.none() | masks) if draw(st.integers(0, 7)) == 7 else draw(masks),
        declared=declared,
        width=width,
    )


@st.composite
def mutated(draw: st.DrawFn, streams: st.SearchStrategy[bytes]) -> bytes:
    """A stream with a byte flipped, some cut out, or some put in; here and there more than one of these."""
    data = draw(streams)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["flip", "cut", "insert"])):
            case "flip":
                data = (
                    data[:at]
                    + bytes(octet ^ draw(st.integers(1, 255)) for octet in data[at : at + 1])
                    + data[at + 1 :]
                )
            case "cut":
                data = data[:at] + data[at + draw(st.integers(1, 20)) :]
            case _:
                data = data[:at] + draw(st.binary(min_size=1, max_size=8)) + data[at:]
    return data


good_streams = st.lists(good_message() | _control(), max_size=4).map(b"".join)
ended_streams = st.tuples(
    good_streams, st.just(b"") | closing(), st.just(b"") | st.binary(max_size=10)
).map(b"".join)
odd_streams = st.tuples(good_streams, st.lists(odd_frame(), max_size=4).map(b"".join), good_streams).map(
    b"".join
)

#: Everything that the parser's verdict may depend on, and what has no form at all.
any_streams = st.one_of(ended_streams, odd_streams, mutated(ended_streams), st.binary(max_size=200))
