"""What clients send, made without the server's code; and coroutines that have nothing to wait for."""

import zlib
from collections.abc import Coroutine
from typing import Any, TypeVar

from tidings.bench.wire import client_frame
from tidings.protocol.deflate import RSV1
from tidings.protocol.frames import FIN

_T = TypeVar("_T")

_FLUSHED = b"\x00\x00\xff\xff"


def fragments(opcode: int, payload: bytes, count: int) -> bytes:
    """One message in `count` frames of about the same length (RFC 6455 section 5.4)."""
    size = -(-len(payload) // count)
    pieces = [payload[at : at + size] for at in range(0, len(payload), size)]
    frames = []
    for number, piece in enumerate(pieces):
        frame = client_frame(opcode if number == 0 else 0, piece)
        if number < len(pieces) - 1:
            frame = bytes((frame[0] & ~FIN,)) + frame[1:]
        frames.append(frame)
    return b"".join(frames)


def compressed(opcode: int, payload: bytes) -> bytes:
    """A compressed message in one frame (RFC 7692 section 7.2.1)."""
    compressor = zlib.compressobj(6, zlib.DEFLATED, -15)
    data = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return client_frame(opcode | RSV1, data.removesuffix(_FLUSHED))


def inflated(payload: bytes) -> bytes:
    """What such a payload says."""
    return zlib.decompressobj(-15).decompress(payload + _FLUSHED)


def finished(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """The result of a coroutine that never yields. Raises RuntimeError for one that does."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: _T = end.value
        return result
    coroutine.close()
    raise RuntimeError("it waits for something")
