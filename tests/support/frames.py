"""A client's frame, with everything about it that one may want wrong."""

MASK = b"\x1d\xe2\x5c\x80"


def client_frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    reserved: int = 0,
    mask: bytes | None = MASK,
    declared: int | None = None,
    width: int | None = None,
) -> bytes:
    """A client's frame. `declared` lies about the length, `width` (0, 2, 8) writes it in so many bytes more."""
    length = len(payload) if declared is None else declared
    if width is None:
        width = 0 if length < 126 else 2 if length < 65536 else 8
    short = {0: length, 2: 126, 8: 127}[width]
    head = bytes((fin << 7 | reserved | opcode, (mask is not None) << 7 | short))
    if width:
        head += length.to_bytes(width)
    return head + payload if mask is None else head + mask + xor(payload, mask)


def xor(payload: bytes, mask: bytes) -> bytes:
    """RFC 6455 section 5.3. Tests of large messages mask megabytes, so not byte by byte."""
    size = len(payload)
    mixed = int.from_bytes(payload) ^ int.from_bytes((mask * (size // 4 + 1))[:size])
    return mixed.to_bytes(size)
