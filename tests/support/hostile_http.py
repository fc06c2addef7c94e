"""Requests that HTTP servers are attacked with, and the status that each must get."""

from support.web import chunked, request

API_KEY = "an-API-key-of-the-tests"
BODY_BYTES = 2**18
"""`http.body_bytes` where these are tried."""

CHUNKED = "Transfer-Encoding: chunked"
PUBLISH = "/api/v1/publish"


def post(*fields: str, body: bytes = b"", version: str = "1.1") -> bytes:
    """A request to publish, by one who may: what follows the head is read."""
    head = request(PUBLISH, f"X-API-Key: {API_KEY}", *fields, method="POST", version=version)
    return head + body


ATTACKS: dict[str, tuple[bytes, int]] = {
    "4,000 headers": (request("/", *(f"X: {number}" for number in range(4000))), 431),
    "no end": (request()[:-2] + b"X: " + b"a" * 40_000, 431),
    "TLS to the plain port": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)), 400),
    "NUL in the target": (request("/\x00"), 400),
    "NUL in a value": (request("/", "X: a\x00b"), 400),
    "space before the colon": (request("/", "X : a"), 400),
    "two lengths": (post("Content-Length: 1", "Content-Length: 2", body=b"ab"), 400),
    "the same length twice": (post("Content-Length: 1", "Content-Length: 1", body=b"a"), 400),
    "a list of lengths": (post("Content-Length: 1, 1", body=b"a"), 400),
    "a length of 21 digits": (post("Content-Length: " + "9" * 21), 400),
    "a length with a sign": (post("Content-Length: +1", body=b"a"), 400),
    "length with chunked": (post("Content-Length: 5", CHUNKED, body=chunked()), 400),
    "chunked twice": (post("Transfer-Encoding: chunked, chunked", body=chunked()), 400),
    "chunked in 1.0": (post(CHUNKED, body=chunked(), version="1.0"), 400),
    "bad chunk size": (post(CHUNKED, body=b"zz\r\n"), 400),
    "bad chunk tail": (post(CHUNKED, body=b"1\r\naXX0\r\n\r\n"), 400),
    "LF in a chunk's tail": (post(CHUNKED, body=b"1\r\na\n0\r\n\r\n"), 400),
    "LF only": (request().replace(b"\r\n", b"\n"), 400),
    "obs-fold": (request("/", "X: a\r\n b"), 400),
    "absolute-form": (request("http://x/"), 400),
    "HTTP/2.0": (request(version="2.0"), 400),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "HTTP/0.9": (b"GET /\r\n\r\n", 400),
    "two Hosts": (request("/", "Host: x", "host: y"), 400),
    "escape in the target": (request("/\x1b[31m"), 400),
    "body on an upgrade": (
        request("/ws", "Upgrade: websocket", "Connection: Upgrade", "Content-Length: 5") + b"hello",
        426,
    ),
    "oversized body, declared": (post(f"Content-Length: {BODY_BYTES + 1}"), 413),
    "oversized body, in chunks": (post(CHUNKED, body=chunked(b"a" * (BODY_BYTES + 1))), 413),
}
"""What is refused with this status, after which the connection ends."""

SLOW: dict[str, tuple[bytes, int]] = {
    "silence": (b"", 408),
    "slow head": (request()[:-2], 408),
    "slow body": (post("Content-Length: 5", body=b"hell"), 408),
    "slow body in chunks": (post(CHUNKED, body=b"5\r\nhell"), 408),
}
"""What is refused once `handshake_timeout` or `body_timeout` has passed."""

DOTS = (
    "/../../../../etc/passwd", "/..%2f..%2fetc%2fpasswd", "/lab/../../../etc/passwd", "/%2e%2e/etc/passwd",
    "/docs/..%5c..%5cetc", "//etc/passwd", "/.", "/%00", "/healthz/..", "/healthz%00",
)  # fmt: skip
"""Paths that lead nowhere."""

BREAKS = ("/%0d%0aSet-Cookie:%20a=b", "/%0aSet-Cookie:%20a=b", "/%00", "/%0d", "/%1b[31m", "/%c2%85")
"""Paths that would break out of a header, or of a line of the log, in which they were repeated."""

BAD_BODIES: dict[str, bytes] = {
    name: b'{"channel":"all","event":"e","payload":{"x":%b}}' % value
    for name, value in {
        "bad UTF-8": b'"\xff"',
        "surrogate in UTF-8": b'"\xed\xa0\x80"',
        "lone surrogate": rb'"\ud800"',
        "NaN": b"NaN",
        "1e999": b"1e999",
        "5,000 digits": b"9" * 5_000,
        "100,000 deep": b"[" * 100_000 + b"]" * 100_000,
    }.items()
} | {"bad UTF-8 that is skipped": b'{"channel":"all","event":"e","payload":{},"y":"\xff"}'}
"""Publications over HTTP, each of which would do harm to whoever is subscribed."""
