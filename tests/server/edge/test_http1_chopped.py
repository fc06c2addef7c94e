"""The same bytes, chopped in any way, are the same requests."""

from itertools import pairwise
from typing import Any

import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from support.client import RawClient
from support.served import served, with_http
from support.site import configured
from support.web import WebClient, chunked, echo, request

from tidings.server.app import Server
from tidings.server.config import Http
from tidings.server.edge.transport import StreamTransport

_BODIES = st.binary(max_size=40)
_EXTENSIONS = st.sampled_from([b"", b";a", b";a=b"])
_TRAILERS = st.sampled_from([b"", b"X-Sum: 1\r\n"])


@st.composite
def _in_chunks(draw: st.DrawFn) -> bytes:
    pieces = draw(st.lists(st.binary(min_size=1, max_size=20), max_size=4))
    body = b"".join(b"%x%b\r\n%b\r\n" % (len(piece), draw(_EXTENSIONS), piece) for piece in pieces)
    return (
        request("/c", "Transfer-Encoding: chunked", method="POST")
        + body
        + b"0\r\n"
        + draw(_TRAILERS)
        + b"\r\n"
    )


_GOOD = st.one_of(
    st.just(request("/a")),
    st.just(b"\r\n" + request("/r")),
    st.just(request("/h", method="HEAD")),
    _BODIES.map(lambda body: request("/b", f"Content-Length: {len(body)}", method="POST") + body),
    _in_chunks(),
)
_ANY = st.one_of(
    _GOOD,
    st.sampled_from(
        [
            request("/x", "Transfer-Encoding: chunked", method="POST") + b"2\r\nab\n0\r\n\r\n",
            request("/x", "Transfer-Encoding: chunked", method="POST") + b"2\r\nab\r\n0\r\n\n",
            request("/x", "Transfer-Encoding: chunked", method="POST") + chunked(b"a" * 101),
            request("/x", "Content-Length: 101", method="POST") + b"a" * 101,
            request("/x", "Connection: close"),
            b"GET / HTTP/1.1\nHost: x\n\n",
            b"\r\n\r\n",
            b"\r",
            request("/x", "Expect: more"),
        ]
    ),
    st.binary(max_size=30),
)


async def _answers(server: Server, pieces: list[bytes]) -> list[Any]:
    """What a client reads that sends the pieces one by one and nothing behind them."""
    async with served(server) as site:
        ours, theirs = trio.testing.memory_stream_pair()
        site.nursery.start_soon(_serve, site.server, theirs)
        client = RawClient(ours)
        for piece in pieces:
            await client.send(piece)
            await trio.testing.wait_all_tasks_blocked()
        await ours.send_eof()
        received = await WebClient(client).rest()
    return [line for line in received.split(b"\r\n") if line]


async def _serve(server: Server, stream: trio.abc.Stream) -> None:
    await server.front.serve(StreamTransport(stream), "192.0.2.1")


_SERVER = with_http(echo, configured(http=Http(body_bytes=100)))


@settings(max_examples=100)
@given(st.lists(_ANY, min_size=1, max_size=5), st.lists(st.floats(0, 1), max_size=8), st.booleans())
def test_chopping_changes_nothing(requests: list[bytes], cuts: list[float], bytewise: bool) -> None:
    """Pipelined requests, bodies and faults get the same answers in one piece, in any pieces, byte by byte."""
    sent = b"".join(requests)
    at = sorted({0, len(sent), *(int(cut * len(sent)) for cut in cuts)})
    pieces = [sent[a:b] for a, b in pairwise(range(len(sent) + 1) if bytewise else at)]

    async def both() -> None:
        whole = await _answers(_SERVER, [sent] if sent else [])
        assert await _answers(_SERVER, pieces) == whole

    trio.run(both, clock=trio.testing.MockClock(autojump_threshold=0))
    assert _SERVER.front.busy.inside == 0


@given(st.lists(_GOOD, min_size=1, max_size=6))
def test_every_good_request_is_answered(requests: list[bytes]) -> None:
    """However good requests follow one another, each has its answer, in its order."""

    async def run() -> None:
        async with served(_SERVER) as site:
            client = WebClient(await site.open())
            await client.send(b"".join(requests))
            for sent in requests:
                method, target = sent.lstrip().split(b" ")[:2]
                answer = await client.answer(method.decode())
                assert answer.status == 200
                if method != b"HEAD":
                    assert answer.json["target"] == target.decode()
            await client.raw.aclose()

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))
