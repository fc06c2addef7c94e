"""A client's compressed messages: every way in which it may compress, fragment and chop them."""

import itertools
import random
import zlib
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from support.client_deflate import ENDS, TAIL, ClientDeflater, deflaters
from support.client_frames import NO_LIMIT, chopped, cuttings, fragments, masks, read, texts
from support.frames import client_frame

from tidings.protocol.close_codes import CloseCode
from tidings.protocol.deflate import RSV1, Inflater
from tidings.protocol.frames import Opcode
from tidings.protocol.parser import Event, MessageParser, Ping


def inflating(window: int = 15, *, takeover: bool = False, most: int = 2**62) -> MessageParser:
    return MessageParser(
        max_message=most, max_fragments=NO_LIMIT, inflater=Inflater(window, takeover=takeover)
    )


@st.composite
def said(draw: st.DrawFn, window: int, takeover: bool) -> tuple[list[Event], bytes]:
    """Messages, and the frames in which a client says them: compressed or not, fragmented, pings between."""
    deflater = ClientDeflater(window, takeover=takeover, **draw(deflaters))
    events: list[Event] = []
    frames: list[bytes] = []
    for message in draw(st.lists(texts | st.binary(max_size=30), max_size=4)):
        opcode = Opcode.TEXT if isinstance(message, str) else Opcode.BINARY
        payload = (message.encode() if isinstance(message, str) else message) * draw(
            st.sampled_from([1, 2, 40])
        )
        reserved = draw(st.sampled_from([0, RSV1, RSV1]))
        if reserved:
            pieces = chopped(payload, draw(st.lists(st.integers(0, 200), max_size=3)))
            deflated = deflater.message([(piece, draw(st.sampled_from(ENDS))) for piece in pieces])
        else:
            deflated = payload
        for frame in fragments(draw, opcode, deflated, reserved=reserved):
            if draw(st.booleans()):
                frames.append(client_frame(Opcode.PING, b"?", mask=draw(masks)))
                events.append(Ping(b"?"))
            frames.append(frame)
        events.append(payload.decode() if opcode == Opcode.TEXT else payload)
    return events, b"".join(frames)


@settings(max_examples=40)
@given(st.integers(9, 15), st.booleans(), cuttings, st.data())
def test_what_a_client_compresses_is_what_is_heard(
    window: int, takeover: bool, cuts: list[int], data: st.DataObject
) -> None:
    """Any messages, with any flushes and final blocks, in any fragments and pieces, are heard as they were."""
    events, stream = data.draw(said(window, takeover))
    assert read(inflating(window, takeover=takeover), chopped(stream, cuts)) == (events, None)
    # Windows are upper bounds: one that is greater reads the same.
    assert read(inflating(takeover=takeover), [stream]) == (events, None)


@pytest.mark.slow
@settings(max_examples=250)
@given(st.integers(9, 15), st.booleans(), cuttings, st.data())
def test_what_a_client_compresses_is_what_is_heard_at_length(
    window: int, takeover: bool, cuts: list[int], data: st.DataObject
) -> None:
    """The same, with many more examples (five seconds)."""
    events, stream = data.draw(said(window, takeover))
    assert read(inflating(window, takeover=takeover), chopped(stream, cuts)) == (events, None)


def text(data: bytes, **how: Any) -> bytes:
    return client_frame(Opcode.TEXT, data, reserved=RSV1, **how)


# RFC 7692 section 7.2.3, and the frames that it gives.
HELLO = bytes.fromhex("f248cdc9c90700")
EXAMPLES = {
    "one block": text(HELLO),
    "in fragments": text(HELLO[:3], fin=False) + client_frame(0, HELLO[3:]),
    "without compression": text(bytes.fromhex("000500faff48656c6c6f00")),
    "a final block": text(bytes.fromhex("f348cdc9c9070000")),
    "two blocks": text(bytes.fromhex("f248050000 00ffffcac9c90700")),
}


@pytest.mark.parametrize("cuts", [[], list(range(60))], ids=["whole", "byte by byte"])
@pytest.mark.parametrize("takeover", [False, True])
@pytest.mark.parametrize("name", EXAMPLES)
def test_the_rfcs_examples(name: str, takeover: bool, cuts: list[int]) -> None:
    """Every way in which the RFC compresses "Hello", several times over."""
    stream = EXAMPLES[name] * 3
    assert read(inflating(takeover=takeover), chopped(stream, cuts)) == (["Hello"] * 3, None)


def test_the_rfcs_examples_beside_each_other() -> None:
    """Any of these ways may follow any other, with and without takeover."""
    for one, other in itertools.permutations(EXAMPLES.values(), 2):
        for takeover in (False, True):
            assert read(inflating(takeover=takeover), [one + other + one]) == (["Hello"] * 3, None)


AGAIN = text(bytes.fromhex("f200110000"))


def test_the_rfcs_example_of_a_window_that_is_shared() -> None:
    """With takeover a message may refer to the one before (section 7.2.3.2); without it that is refused."""
    plain = client_frame(Opcode.TEXT, b"plain")
    assert read(inflating(takeover=True), [text(HELLO) + AGAIN]) == (["Hello", "Hello"], None)
    assert read(inflating(takeover=True), [text(HELLO) + plain + AGAIN]) == (
        ["Hello", "plain", "Hello"],
        None,
    )
    # Also where a final block made a new decompressor necessary.
    final = EXAMPLES["a final block"]
    assert read(inflating(takeover=True), [final + AGAIN]) == (["Hello", "Hello"], None)
    assert read(inflating(), [text(HELLO) + AGAIN]) == (["Hello"], CloseCode.INVALID_DATA)
    assert read(inflating(takeover=True), [AGAIN]) == ([], CloseCode.INVALID_DATA)


def test_the_rfcs_empty_message() -> None:
    """A message of nothing is one zero byte (section 7.2.3.6); one without even that is nothing, too."""
    for takeover in (False, True):
        assert read(inflating(takeover=takeover), [text(b"\0") + text(HELLO)]) == (["", "Hello"], None)
    assert read(inflating(), [text(b"") + text(HELLO)]) == (["", "Hello"], None)


@pytest.mark.parametrize("window", [9, 12, 15])
def test_a_context_is_kept_as_far_as_the_window_and_through_final_blocks(window: int) -> None:
    """A message may refer to the whole window of what came before it, whatever decompressor read that."""
    # zlib refers no further back than this.
    far = random.Random(window).randbytes((1 << window) - 300)
    deflater = ClientDeflater(window, takeover=True, level=9)
    ends = [zlib.Z_FINISH, zlib.Z_FINISH, zlib.Z_NO_FLUSH, zlib.Z_FINISH, zlib.Z_NO_FLUSH]
    frames = [client_frame(Opcode.BINARY, deflater.message([(far, end)]), reserved=RSV1) for end in ends]
    assert all(len(frame) < len(far) / 4 for frame in frames[1:]), "they do refer to it"
    assert read(inflating(window, takeover=True), frames) == ([far] * 5, None)


def test_nothing_is_kept_between_messages_without_takeover() -> None:
    """An idle connection has no decompressor and no history, unless it agreed to keep them."""
    for takeover in (False, True):
        parser = inflating(takeover=takeover)
        inflater = parser._inflater
        assert inflater is not None
        read(parser, [text(HELLO) + EXAMPLES["a final block"]])
        assert (inflater._zlib is not None, inflater._history) == (takeover, b"HelloHello" * takeover)


@pytest.mark.parametrize("cuts", [[], list(range(60))], ids=["whole", "byte by byte"])
@pytest.mark.parametrize("wrong", ["ff", "07", "f248cdc9c907ff", "000500faf0", "f20011"])
def test_what_is_not_deflate_is_refused(wrong: str, cuts: list[int]) -> None:
    """Data that no compressor makes is 1007, in one frame and in fragments, text or not."""
    data = bytes.fromhex(wrong)
    for opcode in (Opcode.TEXT, Opcode.BINARY):
        stream = client_frame(opcode, data, reserved=RSV1) + client_frame(opcode)
        assert read(inflating(), chopped(stream, cuts)) == ([], CloseCode.INVALID_DATA)
    stream = text(data[:1], fin=False) + client_frame(Opcode.PING) + client_frame(0, data[1:])
    assert read(inflating(), chopped(stream, cuts)).code == CloseCode.INVALID_DATA


def test_bad_text_is_refused_inside_a_compressed_message() -> None:
    """Bad UTF-8 is told as soon as it can be inflated: in an unfinished frame, and across fragments."""
    deflater = ClientDeflater()
    begun = deflater.message([(b"ab\xe2\x82", zlib.Z_SYNC_FLUSH), (b"ab", zlib.Z_SYNC_FLUSH), (b"cd", 0)])
    first = begun.index(TAIL) + 4
    bad = begun.index(TAIL, first)
    parser = inflating()
    assert read(parser, [text(begun[:first], fin=False)]) == ([], None)
    assert read(parser, [client_frame(0, begun[first:])[: 6 + bad - first]]).code == CloseCode.INVALID_DATA
    for end in (zlib.Z_NO_FLUSH, zlib.Z_FINISH):
        half = deflater.message([(b"\xe2\x82", end)])
        for pieces in ([text(half)], chopped(text(half), range(60))):
            assert read(inflating(), pieces) == ([], CloseCode.INVALID_DATA)


#: Where a message of 29 bytes is full, and a byte beyond has not begun.
JUST_FULL = len(ClientDeflater().message([(bytes(29), zlib.Z_SYNC_FLUSH)]) + TAIL)


@settings(max_examples=40)
@given(
    st.lists(texts.map(str.encode) | st.binary(max_size=9), min_size=1, max_size=3),
    st.integers(0, 90),
    st.binary(max_size=3),
    st.sampled_from([Opcode.TEXT, Opcode.BINARY]),
    st.integers(0, 60),
    cuttings,
)
@example([bytes(30)], 90, b"\xff", Opcode.BINARY, 29, [])
@example([bytes(29), b"a"], 90, b"\xff", Opcode.BINARY, 29, [6 + JUST_FULL])
@example([b"a" * 29 + b"\xff"], 90, b"\xff", Opcode.TEXT, 29, [])
@example([b"\xff" + bytes(200)], 90, b"", Opcode.TEXT, 29, [])
@example([b"ab", b"c"], 90, b"\x03\x00" * 20, Opcode.TEXT, 3, [])
@example([b"ab\xff"], 90, b"\x03\x00" * 20, Opcode.TEXT, 60, [])
def test_chopping_changes_nothing_in_what_is_wrong(
    payload: list[bytes], at: int, put_in: bytes, opcode: Opcode, most: int, cuts: list[int]
) -> None:
    """Broken, too long, no text, or all of these: the code is the same whole, byte by byte, and chopped."""
    deflated = ClientDeflater().message([(piece, zlib.Z_SYNC_FLUSH) for piece in payload])
    deflated = deflated[:at] + put_in + deflated[at:]
    assume(len(deflated) < 126)
    inflated: set[object] = set()
    for places in ([], cuts, range(200)):
        # As sent it is never too long.
        parser = MessageParser(max_message=126, max_fragments=1, inflater=Inflater())
        parser._max_message = most
        reading = read(parser, chopped(client_frame(opcode, deflated, reserved=RSV1), places))
        inflated.add((tuple(reading.events), reading.code))
    assert len(inflated) == 1


def test_a_byte_beyond_the_limit_counts_before_a_fault_behind_it() -> None:
    """Thirty literals of eight bits, then a block of no known type: too long by one is 1009, else it is 1007."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_FIXED)
    data = bytearray(compressor.compress(bytes(range(30))) + compressor.flush(zlib.Z_SYNC_FLUSH))
    data[31] |= 0b11100
    for most, code in ((28, CloseCode.TOO_BIG), (29, CloseCode.TOO_BIG), (30, CloseCode.INVALID_DATA)):
        stream = client_frame(Opcode.BINARY, bytes(data), reserved=RSV1)
        for cuts in ([], *([cut] for cut in range(len(stream))), range(len(stream))):
            parser = inflating(most=99)
            parser._max_message = most
            assert read(parser, chopped(stream, cuts)) == ([], code)
