"""A head that is read without h11 is the request that h11 would have made of it, ending at the same byte."""

from collections.abc import Awaitable, Callable
from typing import Any

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.hostile import BAD_HEADS, head
from support.hostile_http import ATTACKS

from tidings.server.edge.head import Head, read_any, read_head
from tidings.server.edge.plain_head import MAX_HEADERS, read_plain
from tidings.server.http import Response

LIMIT = 16384

_CHROME = b"\r\n".join(
    (
        b"GET /ws?token=eyJhbGciOiJIUzI1NiJ9.e30.x-_1&dialect=native HTTP/1.1",
        b"Host: app.example.com:8443",
        b"Connection: Upgrade",
        b"Pragma: no-cache",
        b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0",
        b"Upgrade: websocket",
        b"Origin: https://app.example.com",
        b"Sec-WebSocket-Version: 13",
        b"Accept-Encoding: gzip, deflate, br, zstd",
        b"Cookie: a=\xe9; b=2",
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
        b"\r\n",
    )
)
_PLAIN = {
    "Chrome": _CHROME,
    "Firefox": _CHROME.replace(b"Connection: Upgrade", b"Connection: keep-alive, Upgrade"),
    "curl": b"GET / HTTP/1.1\r\nHost: x\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n",
    "a health check": b"HEAD /healthz HTTP/1.1\r\nhost:x\r\nconnection:close\r\n\r\n",
    "a publisher": b"POST /api/v1/publish HTTP/1.1\r\nHost: x\r\nX-API-Key: k\r\nContent-Length: 2\r\n\r\n",
    "as many headers as there may be": head(*(b"X: a" for _ in range(MAX_HEADERS - 5))),
    "as long as it may be": head(b"X: " + b"a" * (LIMIT - len(head()) - 5)),
}

_HOSTILE = {
    **{f"socket: {name}": data for name, (data, _) in BAD_HEADS.items()},
    **{f"HTTP: {name}": data for name, (data, _) in ATTACKS.items()},
    **{f"LF at line {at}": b"\n".join(head().split(b"\r\n", at)) for at in range(1, 8)},
    "LF before the last line break": head()[:-4] + b"\n\r\n",
    "LF before a length": b"GET / HTTP/1.1\r\nHost: x\nContent-Length: 0\r\n\r\n",
    "two line breaks, the last bare": head()[:-2] + b"\n",
    "LF and CR": head().replace(b"\r\n", b"\n\r"),
    "two CRs": head(b"X: a\r"),
    "fold by a tab": head(b"X: a", b"\tb"),
    "fold of nothing": head(b"X: a", b" "),
    "fold before the fields": head(host=b" Host: 127.0.0.1"),
    "tab before the colon": head(b"X\t: a"),
    "name of Latin-1": head(b"X\xe9: a"),
    "name in brackets": head(b"[X]: a"),
    "vertical tab in a value": head(b"X: a\x0bb"),
    "form feed behind a value": head(b"X: a\x0c"),
    "DEL in a value": head(b"X: a\x7f"),
    "NUL behind a value": head(b"X: a\x00"),
    "NUL behind the head": head() + b"\x00",
    "two Hosts in two cases": head(b"HOST: 127.0.0.1"),
    "the length twice": head(b"Content-Length: 0", b"content-length: 0"),
    "a list of one length": head(b"Content-Length: 1, 1") + b"a",
    "an empty length": head(b"Content-Length: "),
    "a length in Arabic digits": head("Content-Length: \u0661".encode()),
    "a length with an underscore": head(b"Content-Length: 1_0") + b"a" * 10,
    "a length of 19 digits": head(b"Content-Length: " + b"9" * 19),
    "a transfer coding of no name": head(b"Transfer-Encoding:"),
    "chunked in mixed case": head(b"transfer-ENCODING: Chunked") + b"0\r\n\r\n",
    "two blanks in the first line": head(request=b"GET  /ws HTTP/1.1"),
    "a tab in the first line": head(request=b"GET\t/ws HTTP/1.1"),
    "a blank behind the version": head(request=b"GET /ws HTTP/1.1 "),
    "a blank before the method": head(request=b" GET /ws HTTP/1.1"),
    "no target": head(request=b"GET  HTTP/1.1"),
    "DEL in the target": head(request=b"GET /\x7f HTTP/1.1"),
    "Latin-1 in the target": head(request=b"GET /\xe9 HTTP/1.1"),
    "a star": head(request=b"OPTIONS * HTTP/1.1"),
    "CONNECT to a path": head(request=b"CONNECT / HTTP/1.1"),
    "a method in small letters": head(request=b"get / HTTP/1.1"),
    "HTTP/1.0": head(request=b"GET / HTTP/1.0"),
    "HTTP/1.2": head(request=b"GET / HTTP/1.2"),
    "http/1.1": head(request=b"GET / http/1.1"),
    "HTTP/1.10": head(request=b"GET / HTTP/1.10"),
    "an empty line before": b"\r\n" + head(),
    "one byte too long": head(b"X: " + b"a" * (LIMIT - len(head()) - 4)),
    "one header too many": head(*(b"X: a" for _ in range(MAX_HEADERS - 4))),
}


async def _ended() -> bytes:
    return b""


Reader = Callable[..., Awaitable[Head | Response | None]]


def _read(reader: Reader, data: bytes, limit: int = LIMIT) -> Any:
    """What a reader makes of bytes behind which nothing comes. It has no reason to wait."""
    reading = reader(_ended, data, limit=limit, peer="192.0.2.1", secure=False).__await__()
    try:
        next(reading)
    except StopIteration as result:
        return result.value
    raise AssertionError("it waited")


def _agree(data: bytes, limit: int = LIMIT) -> bool:
    """Assert that nothing changes by reading plain heads ourselves; whether this was one."""
    found, expected = _read(read_head, data, limit), _read(read_any, data, limit)
    if read_plain(data, limit=limit, peer="192.0.2.1", secure=False) is None:
        return False
    assert isinstance(expected, Head), f"h11 would refuse it: {expected}"
    assert found == expected
    assert all(type(part) is bytes for field in found.request.headers for part in field)
    _agree_with_h11(found, data, limit)
    return True


def _agree_with_h11(found: Head, data: bytes, limit: int) -> None:
    """Assert it again, by h11 itself, and that the next request begins at the same byte."""
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=limit)
    parser.receive_data(data)
    request = parser.next_event()
    assert isinstance(request, h11.Request)
    assert found.request.method.encode() == request.method
    assert found.request.target.encode() == request.target
    assert found.request.headers == list(request.headers)
    assert parser.trailing_data[0] == found.leftover
    body = b""
    while isinstance(event := parser.next_event(), h11.Data):
        body += event.data
    assert found.length is not None
    assert body == found.leftover[: found.length]
    assert isinstance(event, h11.EndOfMessage) is (len(body) == found.length)
    assert parser.trailing_data[0] == found.leftover[found.length :]


# --- anything ----------------------------------------------------------------------------------------


def _made_of(allowed: bytes, min_size: int, max_size: int) -> st.SearchStrategy[bytes]:
    """Strings of certain bytes; quicker than to draw them one by one."""
    table = bytes(allowed[byte % len(allowed)] for byte in range(256))
    return st.binary(min_size=min_size, max_size=max_size).map(lambda data: data.translate(table))


_NAMES = st.one_of(
    st.sampled_from([b"Connection", b"Upgrade", b"X", b"COOKIE", b"expect", b"x-forwarded-for", b"Cookie"]),
    _made_of(b"!#$%&'*+.^_`|~09AZaz-", 1, 5),
)
_VALUES = st.one_of(
    st.sampled_from(
        [b"", b" ", b"close", b"keep-alive, Close", b"Upgrade", b"100-continue", b"a:b\t ", b"\x80"]
    ),
    _made_of(bytes((*range(0x20, 0x7F), *range(0x80, 0x100), 9)), 0, 12),
)
_TARGETS = _made_of(bytes(range(0x21, 0x7F)), 0, 12).map(lambda path: b"/" + path)
_METHODS = st.sampled_from([b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"])
_BLANKS = st.sampled_from([b"", b" ", b"\t ", b"  "])


@st.composite
def _good(draw: st.DrawFn) -> bytes:
    """A head of the common shape, and its body where it has a length."""
    lines = [
        name + b":" + draw(_BLANKS) + value
        for name, value in draw(st.lists(st.tuples(_NAMES, _VALUES), max_size=6))
    ]
    lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from([b"Host: x", b"host:y", b"HOST:"])))
    body = b""
    if draw(st.booleans()):
        body = draw(st.binary(max_size=12))
        lines.insert(draw(st.integers(0, len(lines))), b"Content-Length: %03d" % len(body))
    first = draw(_METHODS) + b" " + draw(_TARGETS) + b" HTTP/1.1"
    return b"\r\n".join((first, *lines, b"\r\n")) + body


_LINES = st.sampled_from(
    [b"Host: x", b"Content-Length: 3", b"content-length:0", b"Content-Length: 1, 1", b"Content-Length: +1",
     b"Transfer-Encoding: chunked", b" folded", b"\tfolded", b"X : a", b"X\t: a", b": a", b"X", b"X: a\x00b",
     b"X: a\x0b", b"X: a\rb", b"X: a\nb", b"X: a\r", b"X: \x7f", b"", b"\r"]
)  # fmt: skip
_BYTES = st.sampled_from(b"\r\n\0\t :,\x0b\x0c\x1f\x7f\x80\xa0\xff/xX0")
_KINDS = st.sampled_from(["line", "line", "line", "put", "insert", "delete", "bare"])


@st.composite
def _mutated(draw: st.DrawFn) -> bytes:
    """Good requests, hostile ones or anything behind one another, and then a few bytes or lines of them changed."""
    parts = st.one_of(_good(), st.sampled_from(list(_HOSTILE.values())).map(lambda data: data[:1500]))
    data = draw(parts if draw(st.integers(0, 3)) == 3 else _good())
    data += draw(st.one_of(st.just(b""), _good(), parts, st.binary(max_size=20)))
    for _ in range(draw(st.integers(0, 3))):
        kind, at = draw(_KINDS), draw(st.integers(0, max(0, len(data) - 1)))
        if kind == "put":
            data = data[:at] + bytes((draw(_BYTES),)) + data[at + 1 :]
        elif kind == "insert":
            data = data[:at] + bytes((draw(_BYTES),)) + data[at:]
        elif kind == "delete":
            data = data[:at] + data[at + 1 :]
        else:
            lines = data.split(b"\r\n")
            # Among the first, which are those of a head.
            number = draw(st.integers(1, min(3, len(lines))))
            if kind == "line":
                lines.insert(number, draw(_LINES))
                data = b"\r\n".join(lines)
            else:
                data = b"\r\n".join(lines[:number]) + b"\n" + b"\r\n".join(lines[number:])
    return data


def _limits(data: bytes) -> st.SearchStrategy[int]:
    end = data.find(b"\r\n\r\n") + 4
    return st.sampled_from([LIMIT, LIMIT, LIMIT, max(1, end - 1), end, end + 1])


@settings(max_examples=200)
@given(st.data())
def test_what_is_read_without_h11_is_what_h11_reads(data: st.DataObject) -> None:
    """Whatever bytes come: a head is read without h11 only as h11 reads it, and never where h11 refuses it."""
    sent = data.draw(_mutated())
    _agree(sent, data.draw(_limits(sent)))


@pytest.mark.slow
@settings(max_examples=500)
@given(st.data())
def test_what_is_read_without_h11_is_what_h11_reads_at_length(data: st.DataObject) -> None:
    """The same, with more examples."""
    sent = data.draw(_mutated())
    _agree(sent, data.draw(_limits(sent)))


@settings(max_examples=200)
@given(_good(), _LINES, st.integers(1, 3))
def test_one_odd_line_is_read_as_h11_reads_it(sent: bytes, odd: bytes, number: int) -> None:
    """A line that is odd in any way, or stands there twice, leaves nothing that the two could disagree on."""
    lines = sent.split(b"\r\n")
    lines.insert(number, odd)
    _agree(b"\r\n".join(lines))


@given(_good(), st.one_of(_good(), st.binary(max_size=20)))
def test_what_clients_send_is_read_without_h11(sent: bytes, behind: bytes) -> None:
    """Every head of the common shape takes the short way, whatever comes behind it."""
    assert _agree(sent + behind)


@pytest.mark.parametrize("name", _PLAIN)
def test_what_known_clients_send_is_read_without_h11(name: str) -> None:
    """The heads of browsers, tools and publishers take the short way, up to the limits."""
    assert _agree(_PLAIN[name])


@pytest.mark.parametrize("name", _HOSTILE)
@pytest.mark.parametrize("behind", [b"", head()])
def test_hostile_heads_are_read_as_h11_reads_them(name: str, behind: bytes) -> None:
    """No head that is in any way odd is read otherwise than by h11, alone or before another."""
    _agree(_HOSTILE[name] + behind)


def test_a_bare_lf_before_a_length_is_refused() -> None:
    """The line that h11 finds and proxies do not is refused as one, before its value is looked for."""
    refusal = _read(read_any, _HOSTILE["LF before a length"])
    assert isinstance(refusal, Response)
    assert refusal.status == 400


@given(_good(), st.floats(0, 1))
def test_half_a_head_takes_h11(sent: bytes, cut: float) -> None:
    """What has not come whole is not a head yet."""
    end = sent.index(b"\r\n\r\n") + 4
    assert not _agree(sent[: int(cut * (end - 1))])
