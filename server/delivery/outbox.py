"""A connection's one way out: inline sends, a queue bounded in bytes, and the slow-consumer policy."""

from collections.abc import Callable

import trio

from tidings.protocol.close_codes import REASONS, CloseCode
from tidings.protocol.frames import build_close, end_of_begun_frame

# At most this much is joined into one send: enough to make the system call's fixed cost small, little
# enough that joining does not copy megabytes for a peer that takes them slowly.
JOIN_BYTES = 65536

# Room kept beside the limit for the last frame: a close frame is at most 2 + 125 bytes.
_CLOSE_BYTES = 127

_SLOW_CONSUMER = build_close(CloseCode.SLOW_CONSUMER, REASONS[CloseCode.SLOW_CONSUMER])

# Takes bytes and says how many the kernel accepted; raises BlockingIOError or another OSError.
Send = Callable[[bytes | memoryview], int]


def _nobody() -> None:
    """Nobody is there to be told."""


class Outbox:
    """Every byte of one connection leaves through here, in the order it was offered.

    With a `send` function (a plain non-blocking socket's), what is offered to an empty outbox goes to
    the kernel at once, in the caller's own step, without a task switch. What the kernel does not take
    waits for the connection's write task. Without one (TLS), everything waits for the write task.

    When more than `limit` bytes would wait, the consumer is too slow: the rest of a frame already begun
    is kept, so that the peer never reads half a frame, all whole frames behind it are dropped, a close
    frame 3008 takes their place, and nothing more is accepted. The producer notices nothing.

    Memory: at most `limit` bytes for each connection that does not read. Frames are shared between
    connections, so a thousand slow members of one room hold its frames once.
    """

    __slots__ = (
        "_bytes",
        "_chunks",
        "_in_flight",
        "_limit",
        "_offset",
        "_on_broken",
        "_on_overflow",
        "_on_rerouted",
        "_room",
        "_send",
        "_wake",
        "bytes_sent",
        "is_queueing",
        "lost",
        "sealed",
    )

    def __init__(
        self,
        limit: int,
        *,
        send: Send | None,
        on_overflow: Callable[[], None],
        on_broken: Callable[[], None],
        on_rerouted: Callable[[], None] = _nobody,
    ) -> None:
        """Take the limit in bytes, and whom to tell. The callbacks are synchronous and must not raise.

        `on_rerouted` is told whenever `is_queueing` changes.
        """
        self._limit = limit - _CLOSE_BYTES
        self._send = send
        self._on_overflow = on_overflow
        self._on_broken = on_broken
        # A list: an empty deque would cost every connection 600 bytes, and moving some thousand pointers once
        # for each send of 64 KiB costs nothing beside it.
        self._chunks: list[bytes] = []
        self._offset = 0
        """Bytes of the first chunk that have gone out."""
        self._in_flight = 0
        """Further bytes of the first chunk that the write task has in hand."""
        self._bytes = 0
        self.is_queueing = send is None
        """Whether an offer must queue: one look decides the common path. While it need not, whoever has whole
        frames may also use `send` directly, and says so by `fell_short` when that did not take all of them."""
        self._on_rerouted = on_rerouted
        self._wake: trio.Event | None = None
        self._room: trio.Event | None = None
        """Set once at most half of the limit waits; None while nobody needs to know."""
        self.sealed = False
        """Whether the last frame is in: later offers are dropped."""
        self.bytes_sent = 0
        self.lost = False
        """Whether something that was offered will never go out."""

    @property
    def pending_bytes(self) -> int:
        """Bytes accepted and not yet sent."""
        return self._bytes

    def offer(self, data: bytes) -> None:
        """Send whole frames, or queue them. Never blocks, never raises."""
        if self.is_queueing:
            if self.sealed:
                self.lost = True
            else:
                self._enqueue(data)
            return
        try:
            sent = self._send(data)  # type: ignore[misc]  # is_queueing says that there is one
        except BlockingIOError:
            sent = 0
        except OSError:
            self.break_off()
            return
        if sent < len(data):
            self.fell_short(data, sent)
        else:
            self.bytes_sent += sent

    def fell_short(self, data: bytes, sent: int | None) -> None:
        """Take over what a `send` past this outbox left of whole frames; None: the socket is broken."""
        if sent is None:
            self.break_off()
            return
        self.bytes_sent += sent
        if not sent:
            self._enqueue(data)
            return
        self._chunks.append(data)
        self._offset = sent
        self._bytes = len(data) - sent
        self._queue()
        if self._bytes > self._limit:
            self._overflow()

    def hold(self) -> None:
        """Let what is offered from now on wait for `release`, or for the write task if that comes first.

        For what is made in several steps and had better be one packet.
        """
        self._route(queueing=True)

    def release(self) -> None:
        """Send what was held, in one piece where the kernel takes it. Never blocks, never raises."""
        if self._send is None or self.sealed:
            return
        if self._bytes:
            self.flush()
        else:
            self._route(queueing=False)

    def seal(self, last: bytes) -> None:
        """Send or queue a last frame, behind everything that waits. Idempotent: the first one stands."""
        if self.sealed:
            return
        if self.is_queueing:
            self._append(last)
        else:
            self.offer(last)
        self.sealed = True
        self._give_room()
        self._queue()

    def discard(self) -> None:
        """Drop everything that waits, and all that will be offered: nobody is there to read it."""
        self.lost = self.lost or self._bytes > 0
        self._chunks.clear()
        self._bytes = self._offset = 0
        self.sealed = True
        self._give_room()
        self._queue()

    def detach(self) -> None:
        """Discard, and forget whom to tell: the owner is gone.

        An owner and its outbox know each other; left so, every ended connection would be garbage that only
        a collection over all living ones finds.
        """
        self.discard()
        self._on_overflow = self._on_broken = self._on_rerouted = _nobody

    def break_off(self) -> None:
        """Discard, and say that the peer cannot be reached any more."""
        self.lost = True
        self.discard()
        self._on_broken()

    def flush(self) -> None:
        """Send what the kernel takes now. Only with a `send` function; never blocks, never raises."""
        while self._bytes:
            piece = self.take()
            try:
                sent = self._send(piece)  # type: ignore[misc]
            except BlockingIOError:
                self.taken(0)
                return
            except OSError:
                self.break_off()
                return
            self.taken(sent)

    def take(self) -> bytes | memoryview:
        """The next bytes to send, at most JOIN_BYTES; `taken` must follow before the next call."""
        chunks = self._chunks
        if not self._offset and len(chunks) > 1 and len(chunks[0]) < JOIN_BYTES:
            count, size = 1, len(chunks[0])
            while count < len(chunks) and size + len(chunks[count]) <= JOIN_BYTES:
                size += len(chunks[count])
                count += 1
            chunks[:count] = [b"".join(chunks[:count])]
        first = chunks[0]
        if not self._offset and len(first) <= JOIN_BYTES:
            self._in_flight = len(first)
            return first
        piece = memoryview(first)[self._offset : self._offset + JOIN_BYTES]
        self._in_flight = len(piece)
        return piece

    def taken(self, sent: int) -> None:
        """Note how many of the bytes that `take` gave have gone out."""
        self._in_flight = 0
        if not self._bytes:
            return  # discarded meanwhile
        self.bytes_sent += sent
        self._bytes -= sent
        if self._room is not None and self.has_room:
            self._give_room()
        self._offset += sent
        if self._offset == len(self._chunks[0]):
            del self._chunks[0]
            self._offset = 0
            if not self._chunks and self._send is not None and not self.sealed:
                self._route(queueing=False)

    @property
    def has_room(self) -> bool:
        """Whether at most half of the limit waits."""
        return self._bytes <= self._limit // 2

    async def wait_room(self) -> None:
        """Wait until at most half of the limit waits, or nothing more is accepted.

        Whoever sends much, of which nobody is in a hurry, waits in between: so it never makes a consumer that
        reads at all a slow one. Several may wait, and each looks again before it goes on. Cancelling loses nothing.
        """
        while not self.has_room and not self.sealed:
            if self._room is None:
                self._room = trio.Event()
            await self._room.wait()

    async def wait_pending(self) -> bool:
        """Wait until something waits to be sent; False when the last frame has gone out.

        Only the write task may wait. Cancellation loses nothing.
        """
        while not self._bytes:
            if self.sealed:
                return False
            self._wake = trio.Event()
            await self._wake.wait()
        return True

    def _give_room(self) -> None:
        if self._room is not None:
            self._room.set()
            self._room = None

    def _enqueue(self, data: bytes) -> None:
        if self._bytes + len(data) > self._limit:
            self._overflow()
        else:
            self._append(data)

    def _append(self, data: bytes) -> None:
        self._chunks.append(data)
        self._bytes += len(data)
        self._queue()

    def _route(self, *, queueing: bool) -> None:
        if queueing is not self.is_queueing:
            self.is_queueing = queueing
            self._on_rerouted()

    def _queue(self) -> None:
        self._route(queueing=True)
        if self._wake is not None:
            self._wake.set()
            self._wake = None

    def _overflow(self) -> None:
        self.lost = True
        begun = self._offset + self._in_flight
        if begun:
            first = self._chunks[0][: end_of_begun_frame(self._chunks[0], begun)]
            self._chunks.clear()
            self._chunks.append(first)
            self._bytes = len(first) - self._offset
        else:
            self._chunks.clear()
            self._bytes = 0
        self._append(_SLOW_CONSUMER)
        self.sealed = True
        self._give_room()
        self._on_overflow()
