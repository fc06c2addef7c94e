"""`permessage-deflate` (RFC 7692), as a server that sends one publication to thousands wants it.

Our side never takes its context over from one message to the next (`server_no_context_takeover`): so a
compressed frame depends on nothing but the publication and the negotiated window, and one serves every
connection of that window, as an uncompressed one does. A server may impose this (section 7.1.1.1).
"""

import zlib
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from tidings.protocol.close_codes import CloseCode
from tidings.protocol.extensions import ExtensionOffer
from tidings.protocol.frames import Opcode, Violation, build_frame

#: The reserved bit that says that a message is compressed (section 6).
RSV1 = 0x40

#: What a flushed block ends with, and what is left out of the message (section 7.2.1).
_FLUSHED = b"\x00\x00\xff\xff"

# The format's own bounds on a window, as an exponent of 2 (section 7.1.2).
LEAST_WINDOW = 8
GREATEST_WINDOW = 15

# zlib compresses with no smaller window than this. For clients that ask for 8, repetitions are not
# looked for at all: what has none is right for any window.
_LEAST_COMPRESSOR_WINDOW = 9

# zlib's 8 allocates twice as much, to no measurable gain.
_MEMORY_LEVEL = 7

# Blocks may be marked as final in the middle of a message (section 7.2.3.4). Each costs a new
# decompressor, so a message of nothing else would cost far more than its bytes. zlib never makes two.
_FINAL_BLOCKS = 16

_NAME = "permessage-deflate"
_SERVER_TAKEOVER = "server_no_context_takeover"
_CLIENT_TAKEOVER = "client_no_context_takeover"
_SERVER_WINDOW = "server_max_window_bits"
_CLIENT_WINDOW = "client_max_window_bits"


class DeflateOptions(msgspec.Struct, frozen=True):
    """How a server compresses."""

    threshold: int = 1024
    """Payloads of fewer bytes are sent as they are."""
    level: int = 1
    """zlib's, 1 (fast) to 9 (small)."""
    window: int = GREATEST_WINDOW
    """Ours, 9 to 15 as an exponent of 2, and the greatest of clients that let us choose theirs."""
    client_takeover: bool = False
    """Whether a client may take its context over; its window then stays in memory for as long as it does."""


class Deflater:
    """Makes frames of messages for all connections of one window; a `Framing`."""

    __slots__ = ("_options", "_strategy", "window")

    def __init__(self, window: int, options: DeflateOptions) -> None:
        """Take the negotiated window, 8 to 15."""
        self.window = window
        self._options = options
        small = window < _LEAST_COMPRESSOR_WINDOW
        self._strategy = zlib.Z_HUFFMAN_ONLY if small else zlib.Z_DEFAULT_STRATEGY

    def __call__(self, opcode: int, payload: bytes) -> bytes:
        """A whole frame; compressed where that makes it smaller."""
        options = self._options
        # Control frames are never compressed (section 6), whatever the threshold.
        if opcode >= Opcode.CLOSE or len(payload) < options.threshold:
            return build_frame(opcode, payload)
        # No greater window than the message can use: clearing a compressor's memory costs more than
        # compressing a small message (1 KiB of JSON: 213 µs with a window of 15 bits, 27 with one of 10).
        window = max(min(self.window, (len(payload) - 1).bit_length()), _LEAST_COMPRESSOR_WINDOW)
        compressor = zlib.compressobj(options.level, zlib.DEFLATED, -window, _MEMORY_LEVEL, self._strategy)
        data = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
        if len(data) - len(_FLUSHED) >= len(payload):
            return build_frame(opcode, payload)
        return build_frame(RSV1 | opcode, data[: -len(_FLUSHED)])


class Inflater:
    """Inflates the messages of one client, no further than a limit.

    Memory: some 7 KiB within a message and the window; between messages nothing, or all of that and a
    second window where the client takes its context over.
    """

    __slots__ = ("_finals", "_history", "_takeover", "_window", "_zlib")

    def __init__(self, window: int = GREATEST_WINDOW, *, takeover: bool = False) -> None:
        """Take the negotiated window of the client, and whether its context goes on after a message."""
        self._window = window
        self._takeover = takeover
        self._zlib: zlib._Decompress | None = None
        self._history = b""
        """The end of the messages before, for a new decompressor."""
        self._finals = 0

    def inflate(self, data: bytes, into: bytearray, most: int) -> None:
        """Append what `data` inflates to, where the message so far stands in `into`.

        Raises Violation: when the message would have more than `most` bytes, or is not DEFLATE's.
        """
        inflater = self._zlib or self._renewed(into)
        while data:
            try:
                if len(into) < most:
                    into += inflater.decompress(data, most - len(into))
                    data = inflater.unconsumed_tail
                beyond = len(into) == most and not inflater.eof and _has_more(inflater, data)
            except zlib.error:
                raise Violation(CloseCode.INVALID_DATA, "a message is not compressed as it says") from None
            if beyond:
                raise Violation(CloseCode.TOO_BIG, f"a message may have {most} bytes, inflated")
            data = b""
            if inflater.eof:
                self._finals += 1
                if self._finals > _FINAL_BLOCKS:
                    raise Violation(CloseCode.POLICY_VIOLATION, "too many final blocks in a message")
                data = inflater.unused_data
                inflater = self._renewed(into)
        self._zlib = inflater

    def finish(self, into: bytearray, most: int) -> None:
        """The message's last byte was given. Raises Violation, as `inflate` does."""
        self.inflate(_FLUSHED, into, most)
        self._finals = 0
        if self._takeover:
            self._history = (self._history + into)[-(1 << self._window) :]
        else:
            self._zlib = None

    def _renewed(self, into: bytearray) -> "zlib._Decompress":
        """A decompressor that knows what came before."""
        known = (self._history + into)[-(1 << self._window) :]
        return zlib.decompressobj(-self._window, known) if known else zlib.decompressobj(-self._window)


def _has_more(inflater: "zlib._Decompress", data: bytes) -> bool:
    """Whether a message that is full has a byte more: held back, or in `data`. Raises zlib.error.

    zlib looks on behind a byte that it gives, and where it then meets a fault it gives nothing. So that
    it does not depend on the chopping which of the two is seen, the first of the bytes decides.
    """
    if inflater.decompress(b"", 1):
        return True
    before = inflater.copy()
    try:
        return bool(inflater.decompress(data, 1))
    except zlib.error:
        return any(before.decompress(data[at : at + 1], 1) for at in range(len(data)))


class Agreement(NamedTuple):
    """What was negotiated for one connection."""

    server_window: int
    client_window: int
    client_takeover: bool
    answer: str
    """For `Sec-WebSocket-Extensions`."""

    def inflater(self) -> Inflater:
        """What inflates this client's messages."""
        return Inflater(self.client_window, takeover=self.client_takeover)


def negotiate(offers: Sequence[ExtensionOffer], options: DeflateOptions) -> Agreement | None:
    """Accept the first offer that can be met (section 7.1); None when there is none."""
    for offer in offers:
        if offer.name == _NAME:
            agreement = _accept(offer, options)
            if agreement is not None:
                return agreement
    return None


def _accept(offer: ExtensionOffer, options: DeflateOptions) -> Agreement | None:
    """Accept one offer, or decline it where it is malformed (section 5.1)."""
    asked = dict(offer.parameters)
    if len(asked) < len(offer.parameters):
        return None
    for name, value in asked.items():
        if name in {_SERVER_TAKEOVER, _CLIENT_TAKEOVER}:
            if value is not None:
                return None
        elif name in {_SERVER_WINDOW, _CLIENT_WINDOW}:
            if _window(value) is None and (value is not None or name == _SERVER_WINDOW):
                return None
        else:
            return None
    takeover = options.client_takeover and _CLIENT_TAKEOVER not in asked
    answer = [_NAME, _SERVER_TAKEOVER]
    if not takeover:
        answer.append(_CLIENT_TAKEOVER)
    server = _served(_window(asked.get(_SERVER_WINDOW)) or GREATEST_WINDOW, options)
    if _SERVER_WINDOW in asked or server < GREATEST_WINDOW:
        answer.append(f"{_SERVER_WINDOW}={server}")
    client = GREATEST_WINDOW
    if _CLIENT_WINDOW in asked:
        # Only who says that it understands this may be told so (section 7.1.2.2).
        client = min(_window(asked[_CLIENT_WINDOW]) or GREATEST_WINDOW, options.window)
        answer.append(f"{_CLIENT_WINDOW}={client}")
    return Agreement(server, client, takeover, "; ".join(answer))


def _served(asked: int, options: DeflateOptions) -> int:
    """Our window where a client can take so much: the configured one, or else one of two small ones.

    A server may answer with less than was asked for (section 7.1.2.1). Each further window would be one
    more compression of every publication, at the choice of whoever connects.
    """
    if asked >= options.window:
        return options.window
    return max(LEAST_WINDOW, min(asked, _LEAST_COMPRESSOR_WINDOW))


def _window(value: str | None) -> int | None:
    """A window's bits, written without leading zeros (section 7.1.2); None for anything else."""
    if value is None or value not in _WINDOWS:
        return None
    return _WINDOWS[value]


_WINDOWS = {str(bits): bits for bits in range(LEAST_WINDOW, GREATEST_WINDOW + 1)}
