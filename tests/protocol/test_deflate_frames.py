"""Our compressed frames, inflated by others with the window that was negotiated."""

import random
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.client_frames import texts
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame
from websockets.streams import StreamReader
from wsproto.connection import Connection, ConnectionType
from wsproto.events import Message
from wsproto.extensions import PerMessageDeflate as WsprotoDeflate

from tidings.protocol.deflate import RSV1, DeflateOptions, Deflater
from tidings.protocol.frames import FIN, Opcode, build_frame

TAIL = b"\x00\x00\xff\xff"
WINDOWS = range(8, 16)

_random = random.Random(7692)
_block = _random.randbytes(700)
_far = _random.randbytes(30_000)
# Repetitions at a distance of more than the small windows, of more than all but the greatest, and of all sizes.
PAYLOADS = {
    "near": b"tidings " * 20_000,
    "zeros": bytes(200_000),
    "apart": _block * 60,
    "far apart": _far * 2,
    "JSON": b",".join(b'{"id":%d,"room":"r%d"}' % (at, at * at % 97) for at in range(3000)),
}


def inflated_slowly(data: bytes, window: int) -> bytes:
    """By a decompressor that has nothing but its window: its output leaves it a few bytes at a time."""
    inflater = zlib.decompressobj(-window)
    pieces = [inflater.decompress(data + TAIL, 64)]
    while pieces[-1]:
        pieces.append(inflater.decompress(inflater.unconsumed_tail, 64))
    assert not inflater.unconsumed_tail
    return b"".join(pieces)


def read_by_websockets(frame: bytes, window: int) -> Frame:
    """As the client of `websockets` reads it."""
    extension = PerMessageDeflate(True, True, window, 15)
    reader = StreamReader()
    reader.feed_data(frame)
    parsing = Frame.parse(reader.read_exact, mask=False, extensions=[extension])
    with pytest.raises(StopIteration) as parsed:
        next(parsing)
    assert not reader.buffer
    frame_read: Frame = parsed.value.value
    return frame_read


def read_by_wsproto(frames: bytes, window: int) -> list[Any]:
    """The messages that the client of wsproto reads; it knows no window of 8, and a greater one does no harm."""
    extension = WsprotoDeflate()
    extension.finalize(f"x; server_no_context_takeover; server_max_window_bits={max(window, 9)}")
    client = Connection(ConnectionType.CLIENT, [extension])
    client.receive_data(frames)
    return [event.data for event in client.events() if isinstance(event, Message)]


@pytest.mark.parametrize("level", [1, 6, 9])
@pytest.mark.parametrize("window", WINDOWS)
def test_our_frames_are_read_with_the_negotiated_window(window: int, level: int) -> None:
    """Whatever repeats, and however far apart: a client that keeps no more than the window inflates it."""
    deflater = Deflater(window, DeflateOptions(level=level))
    assert deflater.window == window
    for payload in PAYLOADS.values():
        frame = deflater(Opcode.BINARY, payload)
        read_frame = read_by_websockets(frame, window)
        assert (int(read_frame.opcode), read_frame.fin) == (Opcode.BINARY, True)
        assert read_frame.data == payload
        # What does not become smaller is sent as it is.
        assert len(frame) <= len(build_frame(Opcode.BINARY, payload))
        if frame[0] & RSV1:
            assert inflated_slowly(frame[{126: 4, 127: 10}.get(frame[1], 2) :], window) == payload
    assert len(deflater(Opcode.TEXT, PAYLOADS["near"])) < len(PAYLOADS["near"]) / (
        1.5 if window == 8 else 50
    )


def test_a_greater_window_finds_more() -> None:
    """The window that was negotiated is the one that is used, up to the greatest."""
    sizes = {name: [len(Deflater(window, DeflateOptions(level=9))(1, payload)) for window in WINDOWS]
             for name, payload in PAYLOADS.items()}  # fmt: skip
    assert sizes["apart"][1] > 20 * sizes["apart"][2], "700 bytes apart: from 10 bits on"
    assert sizes["far apart"][6] > 1.8 * sizes["far apart"][7], "30,000 bytes apart: with 15 bits"


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.sampled_from([Opcode.TEXT, Opcode.BINARY]), texts.map(str.encode)), max_size=4),
    st.sampled_from(WINDOWS),
    st.integers(1, 9),
    st.integers(0, 40),
)
def test_each_frame_stands_for_itself(
    messages: list[tuple[Opcode, bytes]], window: int, level: int, threshold: int
) -> None:
    """One frame depends on no other: so any sequence of them is read by a client that takes no context over."""
    deflater = Deflater(window, DeflateOptions(level=level, threshold=threshold))
    frames = [deflater(opcode, payload * 9) for opcode, payload in messages]
    frames += frames[::-1]
    sent = [
        payload * 9 if opcode == Opcode.BINARY else (payload * 9).decode() for opcode, payload in messages
    ]
    assert read_by_wsproto(b"".join(frames), window) == sent + sent[::-1]
    for frame, (opcode, payload) in zip(frames, messages, strict=False):
        assert frame[0] & ~RSV1 == FIN | opcode
        assert read_by_websockets(frame, window).data == payload * 9
        if len(payload) * 9 < threshold:
            assert frame == build_frame(opcode, payload * 9)


def test_what_is_not_worth_compressing_is_sent_as_it_is() -> None:
    """Short payloads, those that would not become smaller, and control frames: as they are without compression."""
    deflater = Deflater(15, DeflateOptions(threshold=100))
    noise = random.Random(1).randbytes(5000)
    assert deflater(Opcode.TEXT, b"x" * 99) == build_frame(Opcode.TEXT, b"x" * 99)
    assert deflater(Opcode.TEXT, b"x" * 100)[0] == FIN | RSV1 | Opcode.TEXT
    assert deflater(Opcode.BINARY, noise) == build_frame(Opcode.BINARY, noise)
    eager = Deflater(15, DeflateOptions(threshold=0))
    for opcode in (Opcode.PING, Opcode.PONG, Opcode.CLOSE):
        assert eager(opcode, b"x" * 125) == build_frame(opcode, b"x" * 125)
    assert eager(Opcode.TEXT, b"") == build_frame(Opcode.TEXT, b"")
    # Exactly as long as without: nothing is won.
    assert eager(Opcode.TEXT, b"aaaaaa") == build_frame(Opcode.TEXT, b"aaaaaa")
    assert eager(Opcode.TEXT, b"aaaaaaa")[0] == FIN | RSV1 | Opcode.TEXT
