"""A body whose length is known: read without h11, and no byte of what follows it is taken or lost."""

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from tidings.server.edge.body import Body, HandlerClock
from tidings.server.edge.head import Head
from tidings.server.edge.transport import Transport
from tidings.server.http import BodyRefused, PeerGone, Request

_PIECES = st.lists(st.binary(min_size=1, max_size=8), max_size=6)


class Pieces:
    """What a peer sends, piece by piece, and then its end."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.left = pieces

    async def receive(self) -> bytes:
        """The next piece."""
        await trio.lowlevel.checkpoint()
        return self.left.pop(0) if self.left else b""


def _body(length: int, leftover: bytes, peer: object, *, limit: int = 100) -> Body:
    request = Request("POST", "/", [(b"content-length", b"%d" % length)], "1.1", "192.0.2.1", False)
    transport: Transport = peer  # type: ignore[assignment]
    clock = HandlerClock(trio.CancelScope())
    return Body(Head(request, None, leftover, length, True), transport, clock, limit=limit, timeout=10)


@given(st.binary(max_size=8), _PIECES, st.data(), st.booleans())
def test_a_body_ends_at_its_length(
    leftover: bytes, pieces: list[bytes], data: st.DataObject, unread: bool
) -> None:
    """However it is chopped, a handler reads so many bytes, and the next request begins behind them."""
    sent = leftover + b"".join(pieces)
    length = data.draw(st.integers(0, len(sent)))

    async def run() -> None:
        peer = Pieces(list(pieces))
        body = _body(length, leftover, peer)
        read = b""
        if unread:
            assert await body.drain()
        else:
            while piece := await body.receive():
                read += piece
            assert read == sent[:length]
        assert body.ended
        assert await body.receive() == b""
        assert body.leftover + b"".join(peer.left) == sent[length:]

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))


@given(st.binary(max_size=8), _PIECES, st.integers(1, 10))
def test_a_body_that_is_cut_off_is_none(leftover: bytes, pieces: list[bytes], missing: int) -> None:
    """A peer that ends within its body is gone: what came of it is never taken for the whole."""
    sent = leftover + b"".join(pieces)

    async def run() -> None:
        body = _body(len(sent) + missing, leftover, Pieces(list(pieces)))
        read = b""
        while len(read) < len(sent):
            read += await body.receive()
        assert read == sent
        with pytest.raises(PeerGone):
            await body.receive()
        assert body.gone
        assert not body.ended

    trio.run(run)


async def test_a_body_beyond_the_limit_is_not_drained() -> None:
    """A body that nobody read is not read on once it exceeds what a body may have; read, it is refused at once."""
    assert not await _body(101, b"a" * 101, Pieces([])).drain()
    with pytest.raises(BodyRefused):
        await _body(101, b"a" * 101, Pieces([])).receive()
    assert await _body(100, b"a" * 100, Pieces([])).drain()


async def test_a_cancelled_read_loses_nothing() -> None:
    """A handler that gives up waiting for a piece, and comes back for it, gets every byte."""

    class Slow(Pieces):
        async def receive(self) -> bytes:
            await trio.sleep_forever() if self.left[0] == b"" else None
            return await super().receive()

    peer = Slow([b"", b"cd", b"efgh"])
    body = _body(6, b"ab", peer)
    assert await body.receive() == b"ab"
    with trio.CancelScope() as scope:
        scope.cancel()
        await body.receive()
    peer.left.pop(0)
    assert await body.receive() == b"cd"
    assert await body.receive() == b"ef"
    assert await body.receive() == b""
    assert body.leftover == b"gh"
