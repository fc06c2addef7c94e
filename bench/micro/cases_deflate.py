"""Compression: a publication once for all who negotiated the same window, a message for one client."""

from collections.abc import Callable

import pytest

from tidings.bench.micro.plugin import Measure
from tidings.bench.micro.wire import inflated
from tidings.bench.wire import TEXT
from tidings.protocol.deflate import GREATEST_WINDOW, RSV1, DeflateOptions, Deflater, Inflater
from tidings.protocol.frames import FIN

GROUP = "deflate"

_LENGTHS = pytest.mark.parametrize("length", [1024, 4096, 65536])


@_LENGTHS
def case_deflate(measure: Measure, text: Callable[[int], str], length: int) -> None:
    """A compressed frame, by the server's defaults."""
    words = text(length).encode()

    def verify(frame: bytes) -> bool:
        # Behind the two bytes of the head stand two or eight of length, for what is not short.
        body = {126: 4, 127: 10}.get(frame[1], 2)
        return frame[0] == FIN | RSV1 | TEXT and len(frame) < length and inflated(frame[body:]) == words

    measure(
        f"deflate, {length:,} B",
        Deflater(GREATEST_WINDOW, DeflateOptions()),
        TEXT,
        words,
        verify=verify,
        per=length,
        each="byte",
    )


@_LENGTHS
def case_inflate(measure: Measure, text: Callable[[int], str], length: int) -> None:
    """A client's message, whose context ends with it."""
    words = text(length).encode()
    frame = Deflater(GREATEST_WINDOW, DeflateOptions())(TEXT, words)
    payload = frame[{126: 4, 127: 10}.get(frame[1], 2) :]
    inflater = Inflater()

    def inflate() -> bytearray:
        message = bytearray()
        inflater.inflate(payload, message, 65536)
        inflater.finish(message, 65536)
        return message

    measure(
        f"inflate, {length:,} B",
        inflate,
        verify=lambda message: message == words,
        per=length,
        each="byte",
    )
