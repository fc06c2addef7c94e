"""A stream with a bad line in it: late, chopped, stalled, slow, garbled, cut. Deterministic for a given seed."""

import random
import socket
import struct
from collections.abc import Collection
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal

import trio

Ending = Literal["close", "reset"]

# The most that one direction of a stream holds back at a time.
PIECE_BYTES = 16384

# A capped rate comes in pieces of this many seconds' worth, so that it looks like a slow line and not
# like bursts with pauses in between.
RATE_STEP = 0.05

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(eq=False)
class Faults:
    """What is wrong with one direction. Without arguments, nothing.

    One object may serve many streams; each counts its own bytes. Change the attributes at any time, from
    the event loop's thread: the next piece obeys.
    """

    delay: float = 0.0
    """Seconds that every piece waits, one after another."""
    jitter: float = 0.0
    """At most so many seconds more, drawn for every piece."""
    chop: int | tuple[int, int] | None = None
    """The longest piece, in bytes; of a pair, the bounds between which each piece's length is drawn."""
    rate: float | None = None
    """Bytes a second."""
    drop_after: int | None = None
    """Bytes that pass before the stream is ended as `drop` says."""
    drop: Ending = "close"
    corrupt: Collection[int] = ()
    """Which bytes of the flow arrive with all their bits inverted, counted from 0."""
    is_stalled: bool = field(default=False, init=False)
    """Whether nothing passes. The sender feels it as soon as the buffers between are full."""
    _waiting: trio.lowlevel.ParkingLot = field(
        default_factory=trio.lowlevel.ParkingLot, init=False, repr=False
    )

    def __post_init__(self) -> None:
        lengths = (self.chop,) if isinstance(self.chop, int) else self.chop or ()
        if any(length < 1 for length in lengths) or (self.rate is not None and self.rate <= 0):
            raise ValueError(
                "pieces have at least one byte, and a rate is above 0; use stall() for nothing at all"
            )

    def stall(self) -> None:
        """Let nothing pass from now on."""
        self.is_stalled = True

    def release(self) -> None:
        """Let it flow again. Nothing was lost."""
        self.is_stalled = False
        self.wake()

    def wake(self) -> None:
        """Have whoever waits for the release look again."""
        self._waiting.unpark_all()

    async def wait_released(self, ended: trio.Event) -> None:
        """Wait while it is stalled, or until the stream has ended."""
        while self.is_stalled and not ended.is_set():
            await self._waiting.park()


class _Flow:
    """One direction of one stream: how far it is, and when the line is free."""

    def __init__(self, faults: Faults, seed: str) -> None:
        self.faults = faults
        self.passed = 0
        self._free_at = 0.0
        self._random = random.Random(seed)  # noqa: S311  repeatable on purpose

    @property
    def is_used_up(self) -> bool:
        """Whether the stream ends here."""
        return self.faults.drop_after is not None and self.passed >= self.faults.drop_after

    def longest(self, size: int) -> int:
        """How many of so many bytes may go as one piece."""
        faults = self.faults
        size = min(size, PIECE_BYTES)
        if faults.chop is not None:
            most = faults.chop if isinstance(faults.chop, int) else self._random.randint(*faults.chop)
            size = min(size, most)
        if faults.rate is not None:
            size = min(size, int(faults.rate * RATE_STEP))
        if faults.drop_after is not None:
            size = min(size, faults.drop_after - self.passed)
        return max(1, size)

    def pause(self, size: int) -> float:
        """Seconds that a piece has to wait."""
        faults, now = self.faults, trio.current_time()
        pause = faults.delay + (self._random.uniform(0, faults.jitter) if faults.jitter else 0.0)
        if faults.rate is not None:
            self._free_at = max(now, self._free_at) + size / faults.rate
            pause += self._free_at - now
        return pause

    def take(self, data: bytes) -> bytes:
        """Count a piece that passes, and garble it."""
        first, self.passed = self.passed, self.passed + len(data)
        wrong = [at - first for at in self.faults.corrupt if first <= at < self.passed]
        if not wrong:
            return data
        garbled = bytearray(data)
        for at in wrong:
            garbled[at] ^= 0xFF
        return bytes(garbled)


class _OneAtATime:
    """Keeps two tasks from doing the same thing to one stream."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._busy = False

    def __enter__(self) -> None:
        if self._busy:
            raise trio.BusyResourceError(f"another task is {self._what} this stream")
        self._busy = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._busy = False


class FaultyStream(trio.abc.HalfCloseableStream):
    """A stream over another, with faults in each direction. Owns it, and holds at most a piece of it.

    Seen from either end it behaves as a stream on a bad line does: cut by a fault, `receive_some` gives
    b"" or raises BrokenResourceError, and `send_all` raises that. All waiting is by trio's clock, so that
    under virtual time hours of delay cost nothing. Cancelling `receive_some` loses no byte.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        *,
        sending: Faults | None = None,
        receiving: Faults | None = None,
        seed: int = 0,
    ) -> None:
        self.stream = stream
        self.sending = sending or Faults()
        self.receiving = receiving or Faults()
        self.ending: Ending | None = None
        """How a fault has cut it, if one has."""
        self._out = _Flow(self.sending, f"sending {seed}")
        self._in = _Flow(self.receiving, f"receiving {seed}")
        self._one_sends = _OneAtATime("sending on")
        self._one_receives = _OneAtATime("receiving from")
        self._held = b""
        """What was received and has to wait yet."""
        self._held_until = 0.0
        self._closed = False
        self._over = trio.Event()

    def stall(self) -> None:
        """Let nothing pass in either direction."""
        self.sending.stall()
        self.receiving.stall()

    def release(self) -> None:
        """Let it flow again in both directions."""
        self.sending.release()
        self.receiving.release()

    async def reset(self) -> None:
        """Cut it as a crashed peer or a firewall does: with RST where there is TCP below. Never blocks."""
        await self._cut("reset")

    async def drop(self) -> None:
        """Cut it with an orderly end of both directions. Never blocks.

        The kernel makes a reset of it if this side has bytes that it has not read.
        """
        await self._cut("close")

    async def wait_over(self) -> None:
        """Wait until it is cut or closed."""
        await self._over.wait()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send everything, piece by piece. Cancelled, it may have sent any part."""
        with self._one_sends:
            self._check()
            rest = memoryview(bytes(data))
            if not rest:
                await self._below(b"")
            while rest:
                size = self._out.longest(len(rest))
                if not self._out.is_used_up:
                    await self._wait(self._out, size)
                    # No await between taking and sending: what is counted has passed.
                    await self._below(self._out.take(bytes(rest[:size])))
                    rest = rest[size:]
                if self._out.is_used_up:
                    await self._cut(self.sending.drop)
                if rest:
                    self._check()

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until it is released, and the stream below takes something."""
        with self._one_sends:
            self._check()
            await self.sending.wait_released(self._over)
            self._check()
            await self.stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """End the sending direction. Raises TypeError where the stream below cannot."""
        with self._one_sends:
            self._check()
            if not isinstance(self.stream, trio.abc.HalfCloseableStream):
                raise TypeError(f"{type(self.stream).__name__} cannot end one direction alone")
            await self.sending.wait_released(self._over)
            self._check()
            await self.stream.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """The next piece, or b"" at the end."""
        with self._one_receives:
            if max_bytes is not None and max_bytes < 1:
                raise ValueError("max_bytes must be at least 1")
            if self._is_at_end():
                return b""
            if not self._held:
                # Not read while stalled: the sender shall feel it.
                await self.receiving.wait_released(self._over)
                if self._in.is_used_up:
                    await self._cut(self.receiving.drop)
                if self._is_at_end():
                    return b""
                try:
                    data = await self.stream.receive_some(self._in.longest(max_bytes or PIECE_BYTES))
                except (trio.ClosedResourceError, trio.BrokenResourceError):
                    if self._is_at_end():
                        return b""
                    raise
                if not data:
                    return b""
                # Kept before any wait: a cancelled receive must not lose it.
                self._held = bytes(data)
                self._held_until = trio.current_time() + self._in.pause(len(data))
            with trio.move_on_at(self._held_until):
                await self._over.wait()
            await self.receiving.wait_released(self._over)
            if self._is_at_end():
                return b""
            piece, self._held = self._held[:max_bytes], self._held[max_bytes or len(self._held) :]
            piece = self._in.take(piece)
            if self._in.is_used_up:
                await self._cut(self.receiving.drop)
            return piece

    async def aclose(self) -> None:
        """Close it, and what is below."""
        self._closed = True
        self._finish()
        await self.stream.aclose()

    async def _below(self, data: bytes) -> None:
        try:
            await self.stream.send_all(data)
        except trio.ClosedResourceError:
            self._check()
            raise

    async def _wait(self, flow: _Flow, size: int) -> None:
        with trio.move_on_after(flow.pause(size)):
            await self._over.wait()
        await flow.faults.wait_released(self._over)
        self._check()

    async def _cut(self, ending: Ending) -> None:
        if self._over.is_set():
            return
        self.ending = ending
        self._finish()
        if ending == "reset":
            _reset_on_close(self.stream)
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(self.stream)

    def _finish(self) -> None:
        self._over.set()
        self.sending.wake()
        self.receiving.wake()

    def _check(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this stream was closed")
        if self.ending is not None:
            raise trio.BrokenResourceError(f"a planted fault has cut this stream ({self.ending})")

    def _is_at_end(self) -> bool:
        if self.ending == "close" and not self._closed:
            return True
        self._check()
        return False


def _reset_on_close(stream: trio.abc.AsyncResource) -> None:
    """Have TCP end with RST where there is a socket below."""
    while isinstance(stream, trio.SSLStream | FaultyStream):
        stream = stream.stream if isinstance(stream, FaultyStream) else stream.transport_stream
    if isinstance(stream, trio.SocketStream):
        try:
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        except OSError:
            return  # it has ended by itself


async def reset_stream(stream: trio.abc.AsyncResource) -> None:
    """Close a stream with RST where there is TCP below. Never blocks."""
    _reset_on_close(stream)
    with trio.CancelScope(shield=True):
        await trio.aclose_forcefully(stream)
