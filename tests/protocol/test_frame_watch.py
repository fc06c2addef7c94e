"""The watch over a client's frames: rules that hold from the header alone, however the bytes are chopped."""

import itertools
from collections.abc import Iterator
from typing import NamedTuple, cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.client import masked
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, Message
from wsproto.utilities import RemoteProtocolError

from tidings.protocol.close_codes import CloseCode
from tidings.protocol.frame_watch import FrameWatch
from tidings.protocol.frames import Opcode
from tidings.protocol.headers import ANY_DATA

MAX_MESSAGE = 200
MAX_FRAGMENTS = 3

TOO_BIG = CloseCode.TOO_BIG
PROTOCOL_ERROR = CloseCode.PROTOCOL_ERROR
POLICY_VIOLATION = CloseCode.POLICY_VIOLATION

CONTINUED = masked(Opcode.CONTINUATION, fin=False)


class Verdict(NamedTuple):
    """What the watch said of all that a client sent."""

    safe: bytes
    code: CloseCode | None
    control_frames: int


def watched(data: bytes, cuts: list[int], accepts: frozenset[Opcode] = ANY_DATA) -> Verdict:
    """Feed the bytes, chopped at these places, until the watch says stop."""
    watch = FrameWatch(max_message=MAX_MESSAGE, max_fragments=MAX_FRAGMENTS, accepts=accepts)
    safe = b"".join(safe_pieces(watch, data, cuts))
    assert data.startswith(safe)
    if len(safe) < len(data):
        assert watch.violation is not None or watch.finished, "it must say why"
        assert watch.feed(data) == 0, "nothing more is safe"
    return Verdict(safe, code_of(watch), watch.control_frames)


def code_of(watch: FrameWatch) -> CloseCode | None:
    return None if watch.violation is None else watch.violation.code


def safe_pieces(watch: FrameWatch, data: bytes, cuts: list[int]) -> Iterator[bytes]:
    """The pieces that an engine would hand on to its parser."""
    for start, end in itertools.pairwise([0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]):
        safe = watch.feed(data[start:end])
        # What it keeps is a header not yet whole, and never a payload.
        assert len(watch._header) < 14
        yield data[start : start + safe]
        if safe < end - start:
            return


class Sent(NamedTuple):
    """One frame as a client built it."""

    fin: bool
    opcode: int
    declared: int
    header: bytes
    payload: bytes


@st.composite
def client_frames(draw: st.DrawFn) -> list[Sent]:
    """Frames with each part right by itself; here and there one comes out of turn, or lies about its length."""
    sent: list[Sent] = []
    begun = False
    for _ in range(draw(st.integers(3, 10))):
        in_turn = [0] if begun else [1, 2]
        # Mostly in turn, so that a good many frames come before the first bad one.
        opcode = draw(st.sampled_from(in_turn * 8 + [9, 9, 10, 8, 0, 1]))
        fin = draw(st.booleans()) if opcode < 8 else draw(st.sampled_from([True] * 7 + [False]))
        sent.append(draw(client_frame(opcode, fin)))
        if opcode < 8:
            begun = not fin
    return sent


@st.composite
def client_frame(draw: st.DrawFn, opcode: int, fin: bool) -> Sent:
    """One frame, mostly small."""
    if draw(st.integers(0, 14)) == 14:
        lie = draw(st.sampled_from([201, 65_535, 65_536, 2**31, 2**63 - 1, 2**63, 2**64 - 1]))
        return Sent(fin, opcode, lie, masked(opcode, fin=fin, length=lie), b"")
    size = draw(st.sampled_from([0, 1, 60, 125, 126, 200, 201] if opcode < 8 else [0, 1, 125, 126]))
    size = draw(st.just(size) | st.integers(0, 5))
    frame = masked(opcode, bytes(size), fin=fin)
    return Sent(fin, opcode, size, frame[: len(frame) - size], frame[len(frame) - size :])


def judged(sent: list[Sent], accepts: frozenset[Opcode]) -> tuple[int, int, CloseCode | None, int]:
    """By RFC 6455 and the limits: where the bad frame's header starts and ends, its code, pings and pongs.

    Without a bad frame, both places are where the last frame ends that means anything.
    """
    at = message = fragments = control = 0
    begun = False
    for frame in sent:
        behind = at + len(frame.header)
        if frame.declared >= 2**63:
            return at, behind, PROTOCOL_ERROR, control
        if frame.opcode >= 8:
            if frame.declared > 125 or not frame.fin:
                return at, behind, PROTOCOL_ERROR, control
            if frame.opcode == 8:
                end = behind + len(frame.payload)
                return end, end, None, control
            control += 1
        else:
            if (frame.opcode == 0) != begun:
                return at, behind, PROTOCOL_ERROR, control
            if not begun and frame.opcode not in accepts:
                return at, behind, CloseCode.UNSUPPORTED_DATA, control
            message += frame.declared
            fragments += 1
            if message > MAX_MESSAGE:
                return at, behind, TOO_BIG, control
            if fragments > MAX_FRAGMENTS:
                return at, behind, POLICY_VIOLATION, control
            begun = not frame.fin
            if frame.fin:
                message = fragments = 0
        at = behind + len(frame.payload)
    return at, at, None, control


cuttings = st.lists(st.integers(0, 1000), max_size=8) | st.just(list(range(400)))


@settings(max_examples=100)
@given(
    client_frames(),
    cuttings,
    st.sampled_from([ANY_DATA, frozenset({Opcode.TEXT}), frozenset({Opcode.BINARY})]),
)
def test_the_rules_hold_from_the_headers_alone(
    sent: list[Sent], cuts: list[int], accepts: frozenset[Opcode]
) -> None:
    """However chopped, all before the first bad frame is safe, that frame's payload is not, and it has its code."""
    start, end, code, control_frames = judged(sent, accepts)
    verdict = watched(b"".join(frame.header + frame.payload for frame in sent), cuts, accepts)
    assert (verdict.code, verdict.control_frames) == (code, control_frames)
    # Of the bad frame, pieces of the header may have gone before the whole of it was known.
    assert start <= len(verdict.safe) <= max(start, end - 1)


@given(st.binary(max_size=300), cuttings)
@example(b"\x89\xfe\xff", [2])
def test_any_bytes_chopped_in_any_way_get_the_same_verdict(data: bytes, cuts: list[int]) -> None:
    """Arbitrary bytes never raise, and how they are chopped changes neither the verdict nor the count."""
    whole, chopped = watched(data, []), watched(data, cuts)
    assert whole[1:] == chopped[1:]
    assert 0 <= len(chopped.safe) - len(whole.safe) < 14


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (masked(Opcode.BINARY, length=MAX_MESSAGE), None),
        (masked(Opcode.BINARY, length=MAX_MESSAGE + 1), TOO_BIG),
        (masked(Opcode.TEXT, length=65_535), TOO_BIG),
        (masked(Opcode.TEXT, length=65_536), TOO_BIG),
        (masked(Opcode.TEXT, length=2**63 - 1), TOO_BIG),
        (masked(Opcode.TEXT, length=2**63), PROTOCOL_ERROR),
        (masked(Opcode.TEXT, length=2**64 - 1), PROTOCOL_ERROR),
        (masked(Opcode.PING, length=125), None),
        (masked(Opcode.PING, length=126), PROTOCOL_ERROR),
        (masked(Opcode.PONG, length=65_536), PROTOCOL_ERROR),
        (masked(Opcode.CLOSE, length=2**63 - 1), PROTOCOL_ERROR),
        (masked(Opcode.TEXT, bytes(100), fin=False) + masked(Opcode.CONTINUATION, length=100), None),
        (masked(Opcode.TEXT, bytes(100), fin=False) + masked(Opcode.CONTINUATION, length=101), TOO_BIG),
        (masked(Opcode.TEXT, bytes(200)) + masked(Opcode.TEXT, length=200), None),
        (masked(Opcode.TEXT, fin=False) + masked(Opcode.CONTINUATION, fin=False) * 2, None),
        (masked(Opcode.TEXT, fin=False) + masked(Opcode.CONTINUATION, fin=False) * 3, POLICY_VIOLATION),
        (
            masked(Opcode.TEXT, fin=False)
            + masked(Opcode.PING) * 9
            + CONTINUED
            + masked(Opcode.CONTINUATION),
            None,
        ),
        # The sequence of a message's frames, and of control frames among them.
        (masked(Opcode.CONTINUATION), PROTOCOL_ERROR),
        (CONTINUED, PROTOCOL_ERROR),
        (masked(Opcode.TEXT, fin=False) + masked(Opcode.TEXT), PROTOCOL_ERROR),
        (masked(Opcode.BINARY, fin=False) + masked(Opcode.TEXT, fin=False), PROTOCOL_ERROR),
        (masked(Opcode.TEXT, fin=False) + masked(Opcode.CONTINUATION) * 2, PROTOCOL_ERROR),
        (masked(Opcode.PING, fin=False), PROTOCOL_ERROR),
        (masked(Opcode.PONG, fin=False), PROTOCOL_ERROR),
        (masked(Opcode.CLOSE, fin=False), PROTOCOL_ERROR),
        (masked(Opcode.TEXT, length=MAX_MESSAGE + 1, fin=False) + masked(Opcode.TEXT), TOO_BIG),
        (masked(Opcode.TEXT) * 9, None),
        # Headers that no limit is about, but that must not be judged by a limit first.
        (b"\xc1" + masked(Opcode.TEXT)[1:], PROTOCOL_ERROR),
        (masked(0x3), PROTOCOL_ERROR),
        (masked(0xB), PROTOCOL_ERROR),
        (b"\x81\x00", PROTOCOL_ERROR),
        (b"\x81\x7f" + (2**62).to_bytes(8), PROTOCOL_ERROR),
        (b"\x81\xfe\x00\x7d" + bytes(4), PROTOCOL_ERROR),
        (b"\x81\xfe\x00\x7e" + bytes(4), None),
        (b"\x81\xff" + (65_535).to_bytes(8) + bytes(4), PROTOCOL_ERROR),
        (b"\x81\xff" + (65_536).to_bytes(8) + bytes(4), TOO_BIG),
    ],
)
@pytest.mark.parametrize("cuts", [[], list(range(1500))], ids=["whole", "byte by byte"])
def test_each_rule_is_met_exactly(data: bytes, code: CloseCode | None, cuts: list[int]) -> None:
    """At a limit all is well; one beyond it the code is the documented one, from the header alone."""
    assert watched(data, cuts).code == code


@pytest.mark.parametrize("cuts", [[], list(range(1500))], ids=["whole", "byte by byte"])
def test_a_message_of_the_wrong_kind_is_refused(cuts: list[int]) -> None:
    """Where only one kind of message is understood the other is 1003; the kind that is meant goes on as ever."""
    for kind, other in ((Opcode.TEXT, Opcode.BINARY), (Opcode.BINARY, Opcode.TEXT)):
        accepts = frozenset({kind})
        good = masked(kind) + masked(kind, fin=False) + masked(Opcode.CONTINUATION)
        assert watched(good, cuts, accepts) == Verdict(good, None, 0)
        assert watched(good + masked(other), cuts, accepts).code == CloseCode.UNSUPPORTED_DATA
        # Out of turn is wrong by itself, whatever is understood.
        assert watched(masked(kind, fin=False) + masked(other), cuts, accepts).code == PROTOCOL_ERROR


@pytest.mark.parametrize(
    "behind", [b"x", masked(Opcode.TEXT), masked(Opcode.PING), masked(Opcode.TEXT, length=2**63)]
)
@pytest.mark.parametrize("cuts", [[], list(range(1500))], ids=["whole", "byte by byte"])
def test_nothing_behind_a_close_frame_is_looked_at(behind: bytes, cuts: list[int]) -> None:
    """What follows a close frame is neither safe nor wrong: it means nothing (section 5.5.1)."""
    closing = masked(Opcode.PING) + masked(Opcode.CLOSE, b"\x03\xe8bye")
    assert watched(closing + behind, cuts) == Verdict(closing, None, 1)


@pytest.mark.parametrize(
    "before",
    [masked(Opcode.TEXT, bytes(150)), masked(Opcode.TEXT, fin=False) + masked(Opcode.CONTINUATION, fin=False) +
     masked(Opcode.CONTINUATION)],
    ids=["bytes", "fragments"],
)  # fmt: skip
def test_a_lone_continuation_is_no_fragment_of_the_message_before(before: bytes) -> None:
    """A continuation after a whole message is a protocol error, not a message over a limit."""
    assert watched(before + masked(Opcode.CONTINUATION, bytes(100)), []) == Verdict(
        before, PROTOCOL_ERROR, 0
    )


def test_it_knows_whether_it_stands_in_a_message_and_how_many_there_were() -> None:
    """Byte by byte: from the first of a header to the last of the last frame, whose header is what counts."""
    watch = FrameWatch(max_message=MAX_MESSAGE, max_fragments=MAX_FRAGMENTS, accepts=ANY_DATA)
    seen = [(watch.messages, watch.is_inside)]
    for byte in (
        masked(Opcode.TEXT, b"ab", fin=False) + masked(Opcode.PING) + masked(Opcode.CONTINUATION, b"c")
    ):
        watch.feed(bytes([byte]))
        seen.append((watch.messages, watch.is_inside))
    assert [inside for _, inside in seen] == [False, *[True] * 20, False]
    # The header of its last frame is whole when all but the one byte behind it have come.
    assert [messages for messages, _ in seen] == [0] * 20 + [1] * 2


def outcome(data: bytes, cuts: list[int]) -> tuple[int, int | None]:
    """How many messages the watch and a strict parser behind it let through, and with which code they end."""
    watch = FrameWatch(max_message=MAX_MESSAGE, max_fragments=MAX_FRAGMENTS)
    parser = Connection(ConnectionType.SERVER)
    messages = 0
    for piece in safe_pieces(watch, data, cuts):
        try:
            parser.receive_data(piece)
            for event in parser.events():
                if isinstance(event, CloseConnection):
                    return messages, event.code
                messages += isinstance(event, Message) and event.message_finished
        except RemoteProtocolError as error:
            return messages, cast("CloseConnection", error.event_hint).code
    return messages, code_of(watch)


@settings(max_examples=40)
@given(client_frames(), cuttings)
def test_chopping_never_changes_what_becomes_of_well_formed_headers(
    sent: list[Sent], cuts: list[int]
) -> None:
    """Behind the watch a strict parser finds the same messages and the same end, however the bytes are chopped."""
    data = b"".join(frame.header + frame.payload for frame in sent)
    assert outcome(data, cuts) == outcome(data, [])


OVER_THE_LIMIT = masked(Opcode.TEXT, length=MAX_MESSAGE + 1)


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(bytes([OVER_THE_LIMIT[0] | 0x40]) + OVER_THE_LIMIT[1:], id="reserved bit"),
        pytest.param(bytes([0x83]) + OVER_THE_LIMIT[1:], id="reserved opcode"),
        pytest.param(b"\x81\x7e" + OVER_THE_LIMIT[2:4], id="unmasked"),
        pytest.param(b"\x81\xff" + bytes(6) + OVER_THE_LIMIT[2:], id="length not in its shortest form"),
    ],
)
def test_chopping_never_changes_what_becomes_of_a_header_wrong_twice(frame: bytes) -> None:
    """A header that is malformed, and over the limit too, ends in one code, wherever it is cut."""
    assert len({outcome(frame, [cut]) for cut in range(len(frame))}) == 1
