"""The frames that a server builds, read by a parser that is not ours, and cut where no frame ends."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.strategies import LONE_SURROGATES
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Message, Ping, Pong, TextMessage

from tidings.protocol.frames import PING, Opcode, build_close, build_frame, end_of_begun_frame

# Where the header changes its length, and what lies on either side.
SIZES = [0, 1, 124, 125, 126, 127, 65_535, 65_536, 65_537, 200_000]


def as_client(*pieces: bytes) -> list[Event]:
    """What a client sees of a server's bytes, arriving in these pieces; the parts of a message joined."""
    connection = Connection(ConnectionType.CLIENT)
    events: list[Event] = []
    for piece in pieces:
        connection.receive_data(piece)
        for event in connection.events():
            before = events[-1] if events else None
            if isinstance(event, Message) and isinstance(before, Message) and not before.message_finished:
                events[-1] = replace(event, data=before.data + event.data)
            else:
                events.append(event)
    return events


def meant(opcode: int, payload: bytes) -> Event:
    """What a frame says, in the words of the parser."""
    match opcode:
        case Opcode.TEXT:
            return TextMessage(payload.decode(), frame_finished=True, message_finished=True)
        case Opcode.BINARY:
            return BytesMessage(payload, frame_finished=True, message_finished=True)
        case Opcode.PING:
            return Ping(payload)
        case _:
            return Pong(payload)


messages = st.tuples(
    st.just(Opcode.TEXT),
    st.text(max_size=200).map(str.encode) | st.sampled_from(SIZES).map(lambda n: b"x" * n),
) | st.tuples(st.just(Opcode.BINARY), st.binary(max_size=200) | st.sampled_from(SIZES).map(bytes))
controls = st.tuples(st.sampled_from([Opcode.PING, Opcode.PONG]), st.binary(max_size=125))


@given(st.lists(messages | controls, max_size=5), st.lists(st.integers(0, 500_000), max_size=4))
def test_a_parser_reads_back_what_was_framed(sent: list[tuple[int, bytes]], cuts: list[int]) -> None:
    """Any messages, framed and joined and cut anywhere, are the same messages to a strict client."""
    joined = b"".join(build_frame(opcode, payload) for opcode, payload in sent)
    bounds = [0, *sorted(min(cut, len(joined)) for cut in cuts), len(joined)]
    pieces = [joined[start:end] for start, end in itertools.pairwise(bounds)]
    assert as_client(*pieces) == [meant(opcode, payload) for opcode, payload in sent]


@pytest.mark.parametrize("size", SIZES)
def test_a_frame_is_one_unmasked_piece_with_the_shortest_header(size: int) -> None:
    """FIN is set, no reserved bit and no mask, and the length takes as few bytes as it can (section 5.2)."""
    frame = build_frame(Opcode.BINARY, bytes(size))
    header = 2 if size < 126 else 4 if size < 65_536 else 10
    assert (frame[0], frame[1] & 0x80, len(frame)) == (0x82, 0, header + size)
    assert as_client(frame) == [meant(Opcode.BINARY, bytes(size))]


def test_the_ping_is_a_ping() -> None:
    """The prebuilt ping is a ping without a payload."""
    assert as_client(PING) == [Ping(b"")]


# RFC 6455 section 7.4 and IANA's registry: these may stand in a close frame.
SENDABLE = {*range(1000, 1015), *range(3000, 5000)} - {1004, 1005, 1006}


@given(st.integers(990, 5010) | st.integers(), st.text(st.characters() | LONE_SURROGATES, max_size=140))
@example(1000, "x" * 123)
@example(1000, "x" * 124)
@example(1000, "x" * 122 + "é")
@example(1000, "x" * 120 + "\U0001f600")
@example(3001, "\ud800" * 123)
@example(1005, "no status")
@example(1015, "")
@example(65_536, "")
@example(-1, "")
def test_any_close_is_a_valid_control_frame(code: int, reason: str) -> None:
    """Whatever code and reason: at most 125 bytes of payload, a code that may be sent, and whole characters."""
    frame = build_close(code, reason)
    assert frame[0] == 0x88
    assert frame[1] == len(frame) - 2 <= 125
    if code not in SENDABLE:
        assert frame == b"\x88\x00"
        assert as_client(frame) == [CloseConnection(1005, "")]
        return
    said = frame[4:].decode()
    assert int.from_bytes(frame[2:4]) == code
    # A lone surrogate cannot be said in UTF-8.
    sayable = "".join("?" if "\ud800" <= character <= "\udfff" else character for character in reason)
    assert sayable.startswith(said)
    rest = sayable[len(said) :]
    assert not rest or len(said.encode()) + len(rest[0].encode()) > 123, "cut no more than need be"
    if code <= 1011 or code >= 3000:  # the parser does not know IANA's later codes
        assert as_client(frame) == [CloseConnection(code, said)]


@pytest.mark.parametrize("code", [-1, 0, 999, 1005, 1006, 1015, 65_536])
def test_a_code_that_must_not_be_sent_is_left_out(code: int) -> None:
    """And its reason with it: a reason stands behind a code (section 5.5.1)."""
    assert build_close(code, "a reason") == b"\x88\x00"


frames = st.builds(
    build_frame, st.sampled_from(list(Opcode)), st.sampled_from(SIZES).map(bytes) | st.binary(max_size=130)
)


@given(st.lists(frames, min_size=1, max_size=6), st.data())
def test_the_begun_frame_is_finished_and_no_other(run: list[bytes], data: st.DataObject) -> None:
    """Whichever byte was the last to go out, what is kept ends with the frame of that byte."""
    joined = b"".join(run)
    ends = [0, *itertools.accumulate(len(frame) for frame in run)]
    near_an_end = st.sampled_from(ends).flatmap(lambda end: st.integers(end - 11, end + 11))
    sent = min(max(data.draw(st.integers(0, len(joined)) | near_an_end), 0), len(joined))
    assert end_of_begun_frame(joined, sent) == next(end for end in ends if end >= sent)


@pytest.mark.parametrize("run", [[b"", b"x" * 125, b"x" * 126], [b"x" * 65_535, b"", b"x" * 65_536]])
def test_every_byte_belongs_to_its_frame(run: list[bytes]) -> None:
    """Each single cut of a run with headers of every length gives the end of the frame that it cuts."""
    built = [build_frame(Opcode.TEXT, payload) for payload in run]
    joined = b"".join(built)
    expected = [0]
    for frame in built:
        expected += [expected[-1] + len(frame)] * len(frame)
    cuts = {cut for end in set(expected) for cut in range(end - 15, end + 15) if 0 <= cut <= len(joined)}
    assert {cut: end_of_begun_frame(joined, cut) for cut in cuts} == {cut: expected[cut] for cut in cuts}


@given(st.lists(frames, max_size=3).map(b"".join), st.data())
def test_the_handshake_is_one_piece(behind: bytes, data: st.DataObject) -> None:
    """Once a byte of the handshake's answer is out, all of it goes, and what was joined to it."""
    head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n" + behind
    assert end_of_begun_frame(head, 0) == 0
    assert end_of_begun_frame(head, data.draw(st.integers(1, len(head)))) == len(head)


@pytest.mark.parametrize(
    "behind", [b"", build_frame(Opcode.TEXT, b"x" * 126)], ids=["alone", "a frame behind it"]
)
def test_every_byte_of_the_handshake_belongs_to_all(behind: bytes) -> None:
    """Nothing of it may go alone, nor go without what was joined to it."""
    head = b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + behind
    ends = {end_of_begun_frame(head, sent) for sent in range(1, len(head) + 1)}
    assert (end_of_begun_frame(head, 0), ends) == (0, {len(head)})
