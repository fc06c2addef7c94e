"""Bytes that have broken servers, and what each must give: heads of requests, and frames.

Messages stand in hostile_messages.py, requests with bodies in hostile_http.py, what is done rather than
sent in hostile_rows.py and hostile_rights.py; hostile_matrix.py says which threat is proven by which of them.
"""

from support.client import KEY, masked
from tidings.protocol.frames import Opcode

MESSAGE_BYTES = 2**18
"""`limits.message_bytes` where these are tried: with room for a message that nests 100,000 deep."""

TOKEN = b"%TOKEN%"
"""Stands in a head for a valid token, so that nothing but the named defect can be what is refused."""

_REQUEST = b"GET /ws?token=%TOKEN% HTTP/1.1"


def head(
    *fields: bytes,
    request: bytes = _REQUEST,
    host: bytes | None = b"Host: 127.0.0.1",
    key: bytes | None = b"Sec-WebSocket-Key: " + KEY.encode(),
    version: bytes | None = b"Sec-WebSocket-Version: 13",
    end: bytes = b"\r\n",
) -> bytes:
    """The head of a good handshake, with further fields; None leaves a usual one out."""
    usual = (request, host, b"Upgrade: websocket", b"Connection: Upgrade", version, key)
    return end.join(line for line in (*usual, *fields) if line is not None) + 2 * end


BAD_HEADS: dict[str, tuple[bytes, int]] = {
    "subprotocol ff": (head(b"Sec-WebSocket-Protocol: \xff"), 400),
    "extensions ff": (head(b"Sec-WebSocket-Extensions: \xff;=\xff"), 400),
    "key missing": (head(key=None), 400),
    "key of 2 bytes": (head(key=b"Sec-WebSocket-Key: abc="), 400),
    "key not base64": (head(key=b"Sec-WebSocket-Key: " + b"\xff" * 24), 400),
    "key twice": (head(b"Sec-WebSocket-Key: " + KEY.encode()), 400),
    "version missing": (head(version=None), 426),
    "version 8": (head(version=b"Sec-WebSocket-Version: 8"), 426),
    "version not a number": (head(version=b"Sec-WebSocket-Version: \xff"), 426),
    "POST": (head(request=b"POST /ws?token=%TOKEN% HTTP/1.1"), 400),
    "method of 500 letters": (head(request=b"G" * 500 + b" /ws?token=%TOKEN% HTTP/1.1"), 400),
    "method ff": (head(request=b"\xff /ws HTTP/1.1"), 400),
    "HTTP/1.0 upgrade": (head(request=b"GET /ws?token=%TOKEN% HTTP/1.0"), 400),
    "HTTP/2.0 upgrade": (head(request=b"GET /ws?token=%TOKEN% HTTP/2.0"), 400),
    "HTTP/2.0 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "HTTP/2.0 page": (b"GET /healthz HTTP/2.0\r\nHost: x\r\n\r\n", 400),
    "HTTP/0.9": (b"GET /healthz\r\n\r\n", 400),
    "LF only": (head(end=b"\n"), 400),
    "one LF": (b"GET /healthz HTTP/1.1\r\nHost: x\nX: y\r\n\r\n", 400),
    "bare CR": (head(b"X: a\rY: b"), 400),
    "obs-fold": (head(b"X: a\r\n b"), 400),
    "absolute-form": (head(request=b"GET http://127.0.0.1/ws?token=%TOKEN% HTTP/1.1"), 400),
    "authority-form": (head(request=b"CONNECT 127.0.0.1:80 HTTP/1.1"), 400),
    "two Hosts": (head(b"Host: 127.0.0.1"), 400),
    "no Host": (head(host=None), 400),
    "length with chunked": (head(b"Content-Length: 5", b"Transfer-Encoding: chunked") + b"0\r\n\r\n", 400),
    "two lengths": (head(b"Content-Length: 0", b"Content-Length: 5") + b"12345", 400),
    "length of -1": (head(b"Content-Length: -1"), 400),
    "body with a length": (head(b"Content-Length: 5") + b"hello", 400),
    "body in chunks": (head(b"Transfer-Encoding: chunked") + b"0\r\n\r\n", 400),
    "transfer coding unknown": (head(b"Transfer-Encoding: gzip"), 400),
    "chunked in HTTP/1.0": (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "NUL in a value": (head(b"X: a\x00b"), 400),
    "NUL in the path": (head(request=b"GET /ws\x00 HTTP/1.1"), 400),
    "NULs": (bytes(100) + b"\r\n\r\n", 400),
    "TLS to the plain port": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) * 2, 400),
    "space before the colon": (head(b"X : a"), 400),
    "name with a control character": (head(b"X\x01: a"), 400),
    "name empty": (head(b": a"), 400),
    "line without a colon": (head(b"abc"), 400),
    "4,000 headers": (head(*(b"X: a" for _ in range(4000))), 431),
    "129 headers": (head(*(b"X: a" for _ in range(124))), 431),
    "head of 20,000 bytes": (head(b"X: " + b"a" * 20_000), 431),
    "request line of 20,000 bytes": (head(request=b"GET /ws?token=" + b"a" * 20_000 + b" HTTP/1.1"), 431),
    "no end": (b"GET /ws HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 40_000, 431),
    "unknown path": (head(request=b"GET /nowhere?token=%TOKEN% HTTP/1.1"), 404),
    "path of two slashes": (head(request=b"GET //ws?token=%TOKEN% HTTP/1.1"), 404),
    "path with ..": (head(request=b"GET /ws/../ws?token=%TOKEN% HTTP/1.1"), 404),
    "path that names a user": (head(request=b"GET /ws/bob?token=%TOKEN% HTTP/1.1"), 404),
    "path with %00": (head(request=b"GET /ws%00?token=%TOKEN% HTTP/1.1"), 404),
    "unknown dialect": (head(request=b"GET /ws?dialect=latin&token=%TOKEN% HTTP/1.1"), 400),
    "upgrade to h2c": (head().replace(b"Upgrade: websocket", b"Upgrade: h2c"), 426),
    "no upgrade": (b"GET /ws?token=%TOKEN% HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 426),
    "foreign origin": (head(b"Origin: https://evil.example"), 403),
    "origin null": (head(b"Origin: null"), 403),
    "origin with our name as suffix": (head(b"Origin: http://evil-127.0.0.1"), 403),
    "origin with our name as prefix": (head(b"Origin: http://127.0.0.1.evil.example"), 403),
    "origin with our name as user": (head(b"Origin: http://127.0.0.1@evil.example"), 403),
    "origin of mixed case": (head(b"Origin: HtTpS://EVIL.Example"), 403),
    "origin empty": (head(b"Origin: "), 403),
    "origin homoglyph": (
        head("Origin: http://ex\u0430mple.com".encode(), host=b"Host: example.com"),
        403,
    ),
    "origin homoglyph in punycode": (
        head(b"Origin: http://xn--exmple-cua.com", host=b"Host: example.com"),
        403,
    ),
    "two origins": (head(b"Origin: http://127.0.0.1", b"Origin: http://127.0.0.1"), 403),
    "token malformed": (head(request=b"GET /ws?token=abc HTTP/1.1"), 401),
    "token empty in Authorization": (head(b"Authorization: Bearer "), 401),
    "token beside another scheme": (head(b"Authorization: Basic YTpi"), 401),
    "token twice": (head(b"Authorization: Bearer %TOKEN%", b"Authorization: Bearer %TOKEN%"), 401),
    "token with a lone surrogate": (head(request=b"GET /ws?token=%ED%A0%80.e30.x HTTP/1.1"), 401),
    "token with an e-acute": (head(request=b"GET /ws?token=%C3%A9 HTTP/1.1"), 401),
    "token with a bad percent": (head(request=b"GET /ws?token=%zz%E9 HTTP/1.1"), 401),
    "token with controls": (head(request=b"GET /ws?token=a%0d%0a%00%1b[31m HTTP/1.1"), 401),
    "token raw in the target": (head(request="GET /ws?token=é HTTP/1.1".encode()), 400),
    "Authorization e-acute": (head(b"Authorization: Bearer \xe9.\xe9.\xe9"), 401),
    "Authorization surrogate": (head(b"Authorization: Bearer \xed\xa0\x80"), 401),
    "Authorization controls": (head(b"Authorization: Bearer \x01\x1b[31m"), 401),
}
"""A head, and the status with which it is refused."""


def _plain(opcode: int, payload: bytes = b"") -> bytes:
    return bytes((0x80 | opcode, len(payload))) + payload


def _close(code: int, reason: bytes = b"") -> bytes:
    return masked(Opcode.CLOSE, code.to_bytes(2) + reason)


_OVER = masked(Opcode.TEXT, b"a" * (MESSAGE_BYTES + 1))
_PING = masked(Opcode.PING)
_HALF = masked(Opcode.TEXT, b"a", fin=False)
_CONTROL = {"ping": Opcode.PING, "pong": Opcode.PONG, "close": Opcode.CLOSE}

BAD_FRAMES: dict[str, tuple[bytes, int]] = {
    **{
        f"reserved bit {bit:#x}": (bytes((0x81 | bit, 0x80, 0, 0, 0, 0)), 1002)
        for bit in (0x10, 0x20, 0x40)
    },
    **{f"opcode {opcode:#x}": (masked(opcode), 1002) for opcode in (*range(3, 8), *range(0xB, 0x10))},
    "unmasked text": (_plain(Opcode.TEXT, b"{}"), 1002),
    "unmasked ping": (_plain(Opcode.PING), 1002),
    "unmasked close": (_plain(Opcode.CLOSE, b"\x03\xe8"), 1002),
    **{f"fragmented {name}": (masked(opcode, fin=False), 1002) for name, opcode in _CONTROL.items()},
    **{
        f"{name} of 126 bytes": (masked(opcode, b"\x03\xe8" + b"x" * 124), 1002)
        for name, opcode in _CONTROL.items()
    },
    "lone continuation": (masked(Opcode.CONTINUATION, b"x"), 1002),
    "lone continuation without an end": (masked(Opcode.CONTINUATION, b"x", fin=False), 1002),
    "continuation behind a whole message": (
        masked(Opcode.TEXT, b"{}") + masked(Opcode.CONTINUATION, b"x"),
        1002,
    ),
    "new message in a fragmented one": (_HALF + masked(Opcode.TEXT, b"b"), 1002),
    "binary message in a fragmented text": (_HALF + masked(Opcode.BINARY, b"b"), 1002),
    "new fragmented message in a fragmented one": (_HALF + _HALF, 1002),
    "close of 1 byte": (masked(Opcode.CLOSE, b"\x03"), 1002),
    **{
        f"close {code}": (_close(code), 1002)
        for code in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65535)
    },
    "close with bad UTF-8": (_close(1000, b"\xff"), 1007),
    "bad UTF-8": (masked(Opcode.TEXT, b'{"type":"ping","x":"\xff"}'), 1007),
    "surrogate in UTF-8": (masked(Opcode.TEXT, b'{"type":"ping","x":"\xed\xa0\x80"}'), 1007),
    "truncated UTF-8": (masked(Opcode.TEXT, b"\xe2\x82"), 1007),
    "bad UTF-8 over two frames": (
        masked(Opcode.TEXT, b"\xe2\x82", fin=False) + masked(Opcode.CONTINUATION, b"\xff"),
        1007,
    ),
    "binary where text was agreed on": (masked(Opcode.BINARY, b"\x81\xa4type\xa4ping"), 1003),
    "declared one byte over": (masked(Opcode.TEXT, length=MESSAGE_BYTES + 1), 1009),
    "declared 2^63-1": (masked(Opcode.TEXT, length=2**63 - 1), 1009),
    "declared 2^63": (masked(Opcode.TEXT, length=2**63), 1002),
    "declared 2^64-1": (masked(Opcode.TEXT, length=2**64 - 1), 1002),
    "over in two frames": (
        masked(Opcode.TEXT, b"a" * 200_000, fin=False) + masked(Opcode.CONTINUATION, length=70_000),
        1009,
    ),
    "length not minimal": (bytes((0x81, 0xFE, 0, 2, 0, 0, 0, 0)) + b"{}", 1002),
    "over the limit, and a ping": (_OVER + _PING, 1009),
    "over the limit and a ping, twice": (2 * (_OVER + _PING), 1009),
    "100,000 empty fragments": (
        masked(Opcode.TEXT, fin=False) + 100_000 * masked(Opcode.CONTINUATION, fin=False),
        1008,
    ),
    "2,000 pings": (2_000 * _PING, 3013),
    "2,000 pongs": (2_000 * masked(Opcode.PONG), 3013),
}
"""Frames, and the code with which the server closes."""

_NO_UTF8 = {
    "stray continuation": b"a\x80",
    "overlong": b"\xc0\xaf",
    "overlong in three": b"\xe0\x80\xaf",
    "surrogate": b"\xed\xa0\x80",
    "beyond U+10FFFF": b"\xf4\x90\x80\x80",
    "five bytes": b"\xf8\x88\x80\x80\x80",
    "ff": b"\xc3\xa9\xff",
    "cut off": b"\xf0\x9f\x98",
    "broken off": b"\xe2\x82(",
}


def fragmented(data: bytes, *cuts: int, opcode: Opcode = Opcode.TEXT) -> bytes:
    """A message in frames that end at each of the cuts, and at its end."""
    ends = (*cuts, len(data))
    return b"".join(
        masked(opcode if number == 0 else Opcode.CONTINUATION, data[begin:end], fin=number == len(cuts))
        for number, (begin, end) in enumerate(zip((0, *cuts), ends, strict=True))
    )


BAD_UTF8: dict[str, tuple[bytes, int]] = {
    **{
        f"{name}, split at {at}": (fragmented(data, at), 1007)
        for name, data in _NO_UTF8.items()
        for at in range(len(data) + 1)
    },
    **{
        f"{name}, a frame for each byte": (fragmented(data, *range(1, len(data))), 1007)
        for name, data in _NO_UTF8.items()
    },
}
"""Text messages that are no UTF-8, fragmented wherever they can be, and the code with which the server closes."""
