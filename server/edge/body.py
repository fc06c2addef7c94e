"""A request's body as it comes in: chunks read by h11, and all bounded in bytes, time and pieces."""

import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import h11
import trio

from tidings.server.edge.head import Head
from tidings.server.edge.transport import Transport
from tidings.server.http import BodyRefused, PeerGone, Response, refusal

# Chunks taken before everybody else runs: each costs some 8 µs, and 16 KiB may hold 2,700 of them.
CHUNKS_PER_TURN = 64

# What chunk sizes, extensions and trailers may weigh: the bare minimum is 5 bytes a chunk, real clients
# send no extension. Unbounded, a body of 1 MiB could keep us reading for gigabytes.
OVERHEAD_PER_CHUNK = 32
OVERHEAD_BYTES = 16384

# What nobody has read of a body is read to the end so that the connection can go on, if it is no more
# than this; a new connection costs the client less than sending more.
DRAIN_BYTES = 65536

# h11 lets a bare LF end a trailer. What a stricter proxy takes for one request must not be two to us.
_bare_lf = re.compile(rb"(?<!\r)\n").search


class HandlerClock:
    """A handler's time, which stands still while it waits for its peer."""

    __slots__ = ("_left", "_scope", "_waiting")

    def __init__(self, scope: trio.CancelScope) -> None:
        """Take the scope that the handler runs in."""
        self._scope = scope
        self._waiting = 0
        self._left = 0.0

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Do not count the time of the block. Blocks of several tasks may overlap."""
        if not self._waiting:
            self._left = self._scope.deadline - trio.current_time()
            self._scope.deadline = float("inf")
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._scope.deadline = trio.current_time() + self._left


class Body:
    """One request's body, read by at most one task at a time."""

    __slots__ = (
        "_buffered",
        "_chunks",
        "_clock",
        "_deadline",
        "_head",
        "_limit",
        "_on_first_wait",
        "_size",
        "_timeout",
        "_transport",
        "_unread",
        "_wire",
        "ended",
        "gone",
        "leftover",
        "refusal",
    )

    def __init__(
        self,
        head: Head,
        transport: Transport,
        clock: HandlerClock,
        *,
        limit: int,
        timeout: float,
        on_first_wait: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Take bytes and seconds; and what to do before waiting for a body of which nothing has come."""
        self._head = head
        self._transport = transport
        self._clock = clock
        self._limit = limit
        self._timeout = timeout
        self._on_first_wait = on_first_wait
        self._deadline: float | None = None
        self._size = self._chunks = 0
        self._wire = len(head.leftover)
        self._buffered = False
        """Whether the parser may hold more than it has given."""
        self._unread = head.leftover
        """Of a body that has a length: what has come and was not given yet."""
        self.ended = head.length == 0
        self.leftover = head.leftover if self.ended else b""
        """Once it has ended: the bytes that came behind it."""
        self.refusal: Response | None = None
        """What the client is to be told in place of an answer."""
        self.gone = False
        """Whether the peer went away within the body."""

    async def receive(self) -> bytes:
        """The next piece; b"" at the end, and ever after. Raises BodyRefused and goes on raising it; PeerGone."""
        if self.refusal is not None:
            raise BodyRefused(self.refusal)
        if self.ended:
            return b""
        if self._deadline is None:
            self._deadline = trio.current_time() + self._timeout
            if (self._head.length or 0) > self._limit:
                raise self._refuse(*self._too_large())
        while not (piece := await self._parse()) and not self.ended:
            if self._on_first_wait is not None:
                before, self._on_first_wait = self._on_first_wait, None
                if not self._size:
                    await before()
            with self._clock.stopped(), trio.move_on_at(self._deadline) as scope:
                await self._read_on()
            if scope.cancelled_caught:
                raise self._refuse(
                    408, "bad_request", f"the body must be complete within {self._timeout:g} s"
                )
        return piece

    @property
    def may_be_drained(self) -> bool:
        """Whether what is left of it looks small enough.

        Not of a refused one, whose end is unknown; nor where a client waits for 100, and may send it or not.
        """
        if self.ended:
            return True
        rest = (self._head.length or 0) - self._size
        return self.refusal is None and self._on_first_wait is None and rest <= DRAIN_BYTES

    async def drain(self) -> bool:
        """Read the rest and drop it; False when that cannot be done. The caller brings the deadline."""
        if not self.may_be_drained:
            return False
        most = self._size + DRAIN_BYTES
        try:
            while not self.ended:
                if not await self._parse() and not self.ended:
                    await self._read_on()
                if self._size > most:
                    return False
        except (BodyRefused, PeerGone):
            return False
        return True

    async def _read_on(self) -> None:
        data = await self._transport.receive()
        if not data:
            self.gone = True
            raise PeerGone
        if self._head.parser is None:
            self._unread = data
        else:
            self._wire += len(data)
            self._head.parser.receive_data(data)

    async def _parse(self) -> bytes:
        """What has come, as one piece; b"" when it takes `_read_on` to get on, or the body has ended."""
        if self._head.parser is None:
            return self._take()
        return await self._parse_chunks(self._head.parser)

    def _take(self) -> bytes:
        """What has come of a body that has a length: nothing is left unread but what is behind its end."""
        rest = (self._head.length or 0) - self._size
        piece, self._unread = self._unread[:rest], self._unread[rest:]
        self._size += len(piece)
        if self._size > self._limit:
            raise self._refuse(*self._too_large())
        if len(piece) == rest:
            self.ended = True
            self.leftover = self._unread
        return piece

    async def _parse_chunks(self, parser: h11.Connection) -> bytes:
        if self._buffered:
            await trio.lowlevel.checkpoint()
        pieces = []
        before = behind = parser.trailing_data[0]
        self._buffered = True
        for _ in range(CHUNKS_PER_TURN):
            try:
                event = parser.next_event()
            except h11.RemoteProtocolError:
                raise self._malformed() from None
            behind = parser.trailing_data[0]
            if isinstance(event, h11.Data):
                pieces.append(event.data)
                self._size += len(event.data)
                self._chunks += event.chunk_start
                if self._size > self._limit:
                    raise self._refuse(*self._too_large())
            elif isinstance(event, h11.EndOfMessage):
                if not _ends_well(before[: len(before) - len(behind)]):
                    raise self._malformed()
                self.ended = True
                self.leftover = behind
                break
            else:
                self._buffered = False
                break
            before = behind
        overhead = self._wire - len(behind) - self._size
        if overhead > OVERHEAD_BYTES + OVERHEAD_PER_CHUNK * self._chunks:
            raise self._malformed()
        return b"".join(pieces)

    def _too_large(self) -> tuple[int, str, str]:
        return 413, "too_large", f"a body may have {self._limit} bytes"

    def _malformed(self) -> BodyRefused:
        return self._refuse(400, "bad_request", "the body is not well-formed HTTP/1.1")

    def _refuse(self, status: int, code: str, message: str) -> BodyRefused:
        self.refusal = refusal(status, code, message)
        return BodyRefused(self.refusal)


def _ends_well(end: bytes) -> bool:
    """Whether the lines behind the last chunk end with CR LF, all of them.

    They begin with the last chunk's own CR LF, or what had not been read of it.
    """
    return end == b"\r\n" or (end.endswith(b"\r\n\r\n") and _bare_lf(end, 1) is None)
