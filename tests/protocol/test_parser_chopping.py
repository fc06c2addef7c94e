"""However a client's bytes are chopped, they mean the same, and hold no more memory than they may."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.client_frames import any_streams, chopped, cuttings, mutated, read, texts
from support.frames import client_frame

from tidings.protocol.close_codes import CloseCode
from tidings.protocol.frame_watch import FrameWatch
from tidings.protocol.frames import Opcode, Violation
from tidings.protocol.headers import ANY_DATA, HEADER_BYTES
from tidings.protocol.parser import Closing, MessageParser, Ping, Pong

MAX_MESSAGE = 70
MAX_FRAGMENTS = 3
CONTROL_FRAME = HEADER_BYTES - 8 + 125

EVERY_BYTE = list(range(2000))

accepted = st.sampled_from([ANY_DATA, frozenset({Opcode.TEXT}), frozenset({Opcode.BINARY})])


def limited(accepts: frozenset[Opcode] = ANY_DATA) -> MessageParser:
    return MessageParser(max_message=MAX_MESSAGE, max_fragments=MAX_FRAGMENTS, accepts=accepts)


@settings(max_examples=50)
@given(any_streams, cuttings, accepted)
def test_chopping_changes_nothing(data: bytes, cuts: list[int], accepts: frozenset[Opcode]) -> None:
    """Any bytes, in any pieces, are the same events and end in the same verdict, and so they are byte by byte."""
    whole = read(limited(accepts), [data])
    assert read(limited(accepts), chopped(data, cuts)) == whole
    assert read(limited(accepts), chopped(data, EVERY_BYTE)) == whole


@pytest.mark.slow
@settings(max_examples=250)
@given(any_streams, cuttings, accepted)
def test_chopping_changes_nothing_at_length(
    data: bytes, cuts: list[int], accepts: frozenset[Opcode]
) -> None:
    """The same, with many more examples (seven seconds)."""
    assert read(limited(accepts), chopped(data, cuts)) == read(limited(accepts), [data])


def held(parser: MessageParser) -> tuple[int, int]:
    """Bytes that the parser holds as they came, and as a message."""
    return len(parser._buffer), 0 if parser._message is None else len(parser._message._payload)


@settings(max_examples=50)
@given(any_streams, cuttings)
def test_what_is_held_is_bounded(data: bytes, cuts: list[int]) -> None:
    """Once no event is left, only a begun header or control frame is held, and of the message at most the limit."""
    parser = limited()
    for piece in chopped(data, cuts):
        parser.feed(piece)
        try:
            while parser.next_event() is not None:
                buffer, message = held(parser)
                assert buffer < CONTROL_FRAME + len(piece)
                assert message <= MAX_MESSAGE
        except Violation as violation:
            assert_it_has_ended(parser, violation)
            return
        buffer, message = held(parser)
        assert buffer < CONTROL_FRAME
        assert message <= MAX_MESSAGE
        assert parser.is_inside == (buffer > 0 or parser._message is not None)


def assert_it_has_ended(parser: MessageParser, violation: Violation) -> None:
    """It goes on saying so, with nothing held, whatever it is fed."""
    for _ in range(2):
        assert held(parser) == (0, 0)
        assert not parser.is_inside
        with pytest.raises(Violation) as again:
            parser.next_event()
        assert (again.value.code, again.value.reason) == (violation.code, violation.reason)
        assert again.value is not violation, "each grows a traceback of its own"
        parser.feed(client_frame(Opcode.TEXT, b"more") + b"\x81")


@pytest.mark.parametrize("cuts", [[], EVERY_BYTE], ids=["whole", "byte by byte"])
@pytest.mark.parametrize("behind", [b"", b"\xff" * 99, client_frame(Opcode.TEXT, b"more")])
@pytest.mark.parametrize("before", [b"", client_frame(Opcode.TEXT, b"begun", fin=False)])
def test_nothing_comes_after_a_close(before: bytes, behind: bytes, cuts: list[int]) -> None:
    """After a close frame the parser is silent, whatever follows, and holds neither that nor a begun message."""
    parser = limited()
    assert read(parser, chopped(before + client_frame(Opcode.CLOSE) + behind, cuts)) == (
        [Closing(1005, "")],
        None,
    )
    for _ in range(2):
        assert held(parser) == (0, 0)
        assert not parser.is_inside
        assert parser.next_event() is None
        parser.feed(b"\xff" * 9)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
def test_an_idle_connection_holds_nothing(size: int) -> None:
    """After a whole message, by whichever path it came, the bytes it came in are let go."""
    for pieces in ([1000, 66_000], [], [3], EVERY_BYTE[:20]):
        parser = MessageParser(max_message=65_536, max_fragments=1)
        assert read(parser, chopped(client_frame(Opcode.BINARY, bytes(size)), pieces)) == (
            [bytes(size)],
            None,
        )
        assert held(parser) == (0, 0)
        assert not parser.is_inside


def test_a_begun_header_does_not_hold_what_came_before() -> None:
    """A client that sends a great deal and then one byte of a header keeps one byte here, not the great deal."""
    parser = MessageParser(max_message=65_536, max_fragments=1)
    read(parser, [client_frame(Opcode.BINARY, bytes(100)) * 600 + b"\x81"])
    assert held(parser) == (1, 0)


@settings(max_examples=50)
@given(any_streams, cuttings, accepted)
@example(client_frame(Opcode.CLOSE, b"x"), [], ANY_DATA)
def test_the_watch_agrees_with_the_parser(data: bytes, cuts: list[int], accepts: frozenset[Opcode]) -> None:
    """The two refuse the same headers with the same codes, and count the same; the watch looks at no payload."""
    watch = FrameWatch(max_message=MAX_MESSAGE, max_fragments=MAX_FRAGMENTS, accepts=accepts)
    for piece in chopped(data, cuts):
        if watch.feed(piece) < len(piece):
            break
    parser = limited(accepts)
    reading = read(parser, [data])
    if reading.code == CloseCode.INVALID_DATA:
        return
    if reading.code and watch.violation is None:
        # The only other rules about a payload are those of a close frame.
        assert (reading.code, watch.finished) == (CloseCode.PROTOCOL_ERROR, True)
        return
    assert reading.code == (watch.violation.code if watch.violation else None)
    controls = sum(isinstance(event, Ping | Pong) for event in reading.events)
    messages = sum(isinstance(event, str | bytes) for event in reading.events)
    # It counts by headers, so a frame or message under way is counted by the watch alone.
    assert (watch.control_frames - controls) + (watch.messages - messages) <= 1
    assert watch.control_frames >= controls
    assert watch.messages >= messages
    if not (watch.violation or watch.finished):
        assert watch.is_inside == parser.is_inside


# The Unicode Standard's table 3-7, "Well-Formed UTF-8 Byte Sequences".
WELL_FORMED = [
    [(0x00, 0x7F)],
    [(0xC2, 0xDF), (0x80, 0xBF)],
    [(0xE0, 0xE0), (0xA0, 0xBF), (0x80, 0xBF)],
    [(0xE1, 0xEC), (0x80, 0xBF), (0x80, 0xBF)],
    [(0xED, 0xED), (0x80, 0x9F), (0x80, 0xBF)],
    # Half a surrogate pair is not well-formed, but Python's decoder says so one byte later: no third byte fits.
    [(0xED, 0xED), (0xA0, 0xBF), (1, 0)],
    [(0xEE, 0xEF), (0x80, 0xBF), (0x80, 0xBF)],
    [(0xF0, 0xF0), (0x90, 0xBF), (0x80, 0xBF), (0x80, 0xBF)],
    [(0xF1, 0xF3), (0x80, 0xBF), (0x80, 0xBF), (0x80, 0xBF)],
    [(0xF4, 0xF4), (0x80, 0x8F), (0x80, 0xBF), (0x80, 0xBF)],
]


def good_prefix(data: bytes) -> int:
    """How many leading bytes some text begins with, by the table."""
    left: list[list[tuple[int, int]]] = []
    for at, octet in enumerate(data):
        rows = left or WELL_FORMED
        rows = [row for row in rows if row[0][0] <= octet <= row[0][1]]
        if not rows:
            return at
        left = [row[1:] for row in rows if row[1:]]
    return len(data)


bad_texts = mutated(texts.map(str.encode)) | st.binary(max_size=12)


@settings(max_examples=60)
@given(bad_texts, st.lists(st.integers(0, 12), max_size=3), st.booleans())
@example(b"\xed\xa0\x80", [], False)
@example(b"\xf4\x90\x80\x80", [1, 2, 3], True)
@example(b"\xc0\xaf", [1], False)
@example(b"a\xf8", [], True)
def test_bad_text_is_refused_at_its_first_bad_byte(text: bytes, cuts: list[int], fragmented: bool) -> None:
    """The byte that no text can have ends it with 1007: before its frame is complete, and across fragments."""
    pieces = chopped(text, cuts) if fragmented else [text]
    # A last fragment never comes, and of the one before it a byte is missing.
    frames = [client_frame(0 if at else 1, piece, fin=False) for at, piece in enumerate(pieces)]
    frames.append(client_frame(0, fin=False, declared=1))
    parser = MessageParser(max_message=1000, max_fragments=10)
    good = good_prefix(text)
    given_so_far = 0
    for frame, piece in zip(frames, [*pieces, b""], strict=True):
        head = len(frame) - len(piece)
        parser.feed(frame[:head])
        assert parser.next_event() is None
        for at in range(len(piece)):
            parser.feed(frame[head + at : head + at + 1])
            if given_so_far == good:
                with pytest.raises(Violation) as refused:
                    parser.next_event()
                assert refused.value.code == CloseCode.INVALID_DATA
                return
            assert parser.next_event() is None
            given_so_far += 1
    assert good == len(text)


@pytest.mark.parametrize("cut", ["\xe9", "\u20ac", "\U0001f600"])
def test_text_that_ends_inside_a_character_is_refused(cut: str) -> None:
    """What is a good beginning of a character is no good end of a message, whichever path it takes."""
    for size in range(1, len(cut.encode())):
        begun = b"a" + cut.encode()[:size]
        for stream in (client_frame(1, begun), client_frame(1, begun, fin=False) + client_frame(0)):
            for cuts in ([], EVERY_BYTE):
                assert read(limited(), chopped(stream, cuts)) == ([], CloseCode.INVALID_DATA)
