"""A client that compresses its messages, in every way that RFC 7692 allows it."""

import zlib

from hypothesis import strategies as st

TAIL = b"\x00\x00\xff\xff"

#: How a piece of a message may end: with a flush, with none, or with a final block (section 7.2.3.4).
ENDS = [zlib.Z_NO_FLUSH, zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH, zlib.Z_BLOCK, zlib.Z_FINISH]


class ClientDeflater:
    """Compresses messages with a window of 9 to 15 bits, one after another."""

    def __init__(
        self, window: int = 15, *, takeover: bool = False, level: int = 6, strategy: int = 0
    ) -> None:
        self._window = window
        self._takeover = takeover
        self._how = (level, zlib.DEFLATED, -window, 8, strategy)
        self.known = b""
        """What was said so far, as far as it may be referred to."""
        self._compressor = zlib.compressobj(*self._how)

    def message(self, pieces: list[tuple[bytes, int]]) -> bytes:
        """One message, each of its pieces ended as told, without the tail that is never sent."""
        if not self._takeover:
            self.known = b""
            self._compressor = zlib.compressobj(*self._how)
        data = b""
        for piece, end in pieces:
            data += self._compressor.compress(piece) + self._compressor.flush(end)
            self.known += piece
            if end == zlib.Z_FINISH:
                # A new one that refers to what the old one said.
                self._compressor = zlib.compressobj(*self._how, self.known[-(1 << self._window) :])
        data += self._compressor.flush(zlib.Z_SYNC_FLUSH)
        # Directly after a flush there is nothing to flush again; a message must end with an empty block.
        if not data.endswith(TAIL):
            data += b"\x00" + TAIL
        return data.removesuffix(TAIL)


def simply(payload: bytes) -> bytes:
    """A message as most clients compress it."""
    return ClientDeflater().message([(payload, zlib.Z_NO_FLUSH)])


deflaters: st.SearchStrategy[dict[str, int]] = st.builds(
    dict,
    level=st.integers(0, 9),
    strategy=st.sampled_from([zlib.Z_DEFAULT_STRATEGY, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE, zlib.Z_FIXED]),
)
