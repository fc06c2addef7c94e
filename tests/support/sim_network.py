"""A network in virtual time that can be late, cut, half-open, stalled and sliced.

No task and no lock belongs to a connection: everything that happens on the way is a call on the one `Wire`,
which makes them in the order of their ticks. So a thousand connections cost what their bytes cost, and the
same script gives the same order of events.

What a fault does is what TCP does: bytes that cannot get through stay in the sender's buffer. Healed, they
arrive late and none is missing; never healed, the sender has only its buffer's room, and silence, to tell by.
"""

import random
from collections import defaultdict, deque
from collections.abc import Callable
from heapq import heappop, heappush

import trio

# Seconds. Events fall on ticks, so that the clock has few times to jump to; a power of two, so that sums of
# ticks are exact.
TICK = 1 / 8

# What the client's side may have under way: clients here say little, and are not the ones under test.
UPWARD_ROOM = 1 << 20

Deliver = Callable[[bytes], None]
End = Callable[[bool], None]


class Wire:
    """What happens when: calls in the order of their ticks, and within a tick in the order they were asked for."""

    def __init__(self) -> None:
        self._calls: defaultdict[int, list[Callable[[], None]]] = defaultdict(list)
        self._ticks: list[int] = []
        self._asleep: trio.CancelScope | None = None
        self.tick = 0
        """The tick that is being worked on."""

    def now(self) -> int:
        """The tick that virtual time has reached."""
        return int(trio.current_time() / TICK)

    def at(self, tick: int, call: Callable[[], None]) -> None:
        """Make a call at a tick; one that has passed is now, but never within the caller's own step."""
        calls = self._calls[tick]
        if not calls:
            heappush(self._ticks, tick)
            if self._asleep is not None and tick * TICK < self._asleep.deadline:
                self._asleep.deadline = tick * TICK
        calls.append(call)

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Make a call in so many seconds, rounded to ticks."""
        self.at(self.now() + round(seconds / TICK), call)

    async def run(self) -> None:
        """Make the calls, until cancelled."""
        while True:
            with trio.CancelScope() as self._asleep:
                self._asleep.deadline = self._ticks[0] * TICK if self._ticks else float("inf")
                await trio.sleep_forever()
            self._asleep = None
            now = self.now()
            while self._ticks and self._ticks[0] <= now:
                self.tick = heappop(self._ticks)
                for call in self._calls.pop(self.tick):
                    call()


class Lane:
    """One direction of a connection: the sender's kernel, the way, the receiver's kernel."""

    __slots__ = (
        "_arrived",
        "_deliver",
        "_end",
        "_last",
        "_random",
        "_underway",
        "_wire",
        "blocked_since",
        "blocked_until",
        "broken",
        "dead",
        "delay",
        "ended",
        "finished",
        "room",
        "sliced",
        "stalled",
        "used",
        "writable",
    )

    def __init__(self, wire: Wire, rng: random.Random, *, room: int, delay: int) -> None:
        """Take the bytes that may be under way, and the ticks that they need for it."""
        self._wire = wire
        self._random = rng
        self._deliver: Deliver = lambda _data: None
        self._end: End = lambda _broken: None
        self._arrived: deque[bytes | bool] = deque()
        """What the receiver's kernel has; a bool is the end, and whether it is a reset."""
        self._underway: deque[bytes | bool] = deque()
        self._last = 0
        self.room = room
        self.delay = delay
        self.used = 0
        """Bytes sent and not yet read."""
        self.dead = False
        """Nothing gets through, and nobody is told."""
        self.stalled = False
        """The receiver does not read."""
        self.sliced = False
        """Bytes are taken and delivered in pieces of any size."""
        self.blocked_since = float("inf")
        self.blocked_until = -float("inf")
        """When something last kept bytes from arriving."""
        self.broken = False
        """The receiver has gone: sending fails."""
        self.finished = False
        """The sender has sent its end."""
        self.ended = False
        """The receiver was told of the end."""
        self.writable = trio.lowlevel.ParkingLot()

    def connect(self, deliver: Deliver, end: End) -> None:
        """Take the receiver. It is handed bytes, and calls `read` once it has read them."""
        self._deliver = deliver
        self._end = end

    # --- the sender ----------------------------------------------------------------------------------

    def send(self, data: bytes | memoryview) -> int:
        """As a non-blocking socket's `send`."""
        if self.broken or self.finished:
            raise BrokenPipeError
        size = len(data)
        if not size:
            return 0
        if size > self.room - self.used:
            size = self.room - self.used
            if size <= 0:
                raise BlockingIOError
        if self.sliced and size > 1 and self._random.random() < 0.5:
            size = max(1, int(size * self._random.random()))
        self.used += size
        self._put(bytes(data) if size == len(data) else bytes(data[:size]))
        return size

    def finish(self, *, reset: bool = False) -> None:
        """End this direction behind what is under way; with `reset` what was not read is lost."""
        if self.finished:
            return
        self.finished = True
        if reset:
            self._arrived.clear()
        self._put(reset)
        self.writable.unpark_all()

    def _put(self, item: bytes | bool) -> None:
        tick = self._wire.now() + self.delay
        if self.delay:
            tick += int(self._random.random() * 2)
        # Never past what is under way already: the order holds.
        self._last = tick = max(tick, self._last)
        self._underway.append(item)
        self._wire.at(tick, self._arrive)

    # --- the way -------------------------------------------------------------------------------------

    def _arrive(self) -> None:
        if not self._underway:
            return  # lost in a reset
        self._arrived.append(self._underway.popleft())
        self._flow()

    def _flow(self) -> None:
        while self._arrived and not self.dead and not self.stalled:
            item = self._arrived.popleft()
            if isinstance(item, bool):
                self.ended = True
                self._end(item)
                return
            if self.sliced and len(item) > 1:
                for piece in self._slices(item):
                    self._deliver(piece)
            else:
                self._deliver(item)

    def _slices(self, data: bytes) -> list[bytes]:
        # The number of cuts does not depend on the length: the same seed draws as often.
        if len(data) < 64 and self._random.random() < 0.1:
            return [data[at : at + 1] for at in range(len(data))]
        cuts = sorted(int(self._random.random() * len(data)) for _ in range(3))
        pieces = [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        return [piece for piece in pieces if piece]

    def takes(self, seconds: float) -> float:
        """How many bytes it takes in so many seconds at least, where nothing is wrong with it."""
        return self.room * seconds / ((self.delay + 1) * TICK)

    def read(self, size: int) -> None:
        """The receiver has read so many bytes: the sender has room again."""
        self.used -= size
        if self.writable:
            self.writable.unpark_all()

    # --- faults --------------------------------------------------------------------------------------

    def block(self, *, dead: bool = False, stalled: bool = False) -> None:
        """Keep everything from arriving: the way is dead, or the receiver does not read."""
        self.dead |= dead
        self.stalled |= stalled
        self.blocked_since = min(self.blocked_since, trio.current_time())
        self.blocked_until = float("inf")

    def heal(self) -> None:
        """Let it flow again; nothing was lost."""
        if self.dead or self.stalled:
            self.dead = self.stalled = False
            self.blocked_until = trio.current_time()
            self._flow()

    def cut(self, *, reset: bool) -> None:
        """End it from outside: behind what is under way, or at once with its loss."""
        if reset or self.dead:
            self._underway.clear()
            self._arrived.clear()
        if reset:
            self.broken = True
        self.dead = False
        if not self.finished:
            self.finish(reset=reset)
        elif reset and not self.ended:
            self._underway.append(True)
            self._wire.at(self._wire.now(), self._arrive)


class Receiver:
    """A kernel's receive buffer, for an end that reads in a task of its own."""

    __slots__ = ("_chunks", "_ended", "_lane", "_on_end", "_read_before", "_readable", "last_read")

    def __init__(self, lane: Lane, on_end: Callable[[], None] = lambda: None) -> None:
        self._lane = lane
        self._on_end = on_end
        self._chunks: deque[bytes] = deque()
        self._ended: bool | None = None
        self._readable = trio.lowlevel.ParkingLot()
        self.last_read = self._read_before = trio.current_time()
        lane.connect(self._deliver, self._end)

    def _deliver(self, data: bytes) -> None:
        self._chunks.append(data)
        self._readable.unpark_all()

    def _end(self, reset: bool) -> None:
        self._ended = reset
        self._on_end()
        if reset:
            self._chunks.clear()
        self._readable.unpark_all()

    def silence(self) -> float:
        """Seconds since anything was read, but for what is read at this very moment: that may be too late."""
        now = trio.current_time()
        return now - (self.last_read if self.last_read < now else self._read_before)

    def wake(self) -> None:
        """Have whoever waits look again."""
        self._readable.unpark_all()

    async def receive(self, most: int, closed: Callable[[], bool]) -> bytes:
        """The next bytes, b"" at the end. Raises BrokenResourceError, ClosedResourceError."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._chunks:
            if closed():
                raise trio.ClosedResourceError
            if self._ended is not None:
                await trio.lowlevel.cancel_shielded_checkpoint()
                if self._ended:
                    raise trio.BrokenResourceError
                return b""
            await self._readable.park()
        data = self._chunks.popleft()
        if not self._lane.sliced:
            while self._chunks and len(data) < most:
                data += self._chunks.popleft()
        if len(data) > most:
            self._chunks.appendleft(data[most:])
            data = data[:most]
        self._lane.read(len(data))
        now = trio.current_time()
        if now > self.last_read:
            self._read_before, self.last_read = self.last_read, now
        await trio.lowlevel.cancel_shielded_checkpoint()
        return data


class Link:
    """One connection: both lanes, and what was done to it."""

    def __init__(self, wire: Wire, rng: random.Random, number: int) -> None:
        delay = rng.choice((0, 0, 1, 1, 2))
        self.wire = wire
        self.number = number
        self.peer = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        """An address of its own, so that the log's lines can be told apart."""
        self.up = Lane(wire, rng, room=UPWARD_ROOM, delay=delay)
        self.down = Lane(wire, rng, room=rng.choice((1024, 4096, 8192)), delay=delay)
        self.opened_at = trio.current_time()
        self.cut_at: float | None = None
        self.left_at: float | None = None
        """When the client closed its end."""
        self.said: int | None = None
        """The code of the client's own close frame."""
        self.kicked = False
        self.slow_until = -float("inf")
        self.freed_at: float | None = None
        """When the server closed its end."""
        self.receiver = Receiver(self.up, self._up_ended)

    def __str__(self) -> str:
        told = {name: value for name, value in vars(self).items() if isinstance(value, int | float)}
        lanes = {
            name: (
                lane.used,
                lane.room,
                lane.dead,
                lane.stalled,
                lane.sliced,
                lane.blocked_until,
                lane.broken,
            )
            for name, lane in (("up", self.up), ("down", self.down))
        }
        return f"{told} {lanes}"

    def is_clear(self, seconds: float) -> bool:
        """Whether nothing has kept bytes from arriving in the last so many seconds."""
        since = trio.current_time() - seconds
        last = max(self.up.blocked_until, self.down.blocked_until, self.slow_until)
        return self.cut_at is None and last < since

    def cut(self, *, reset: bool = False) -> None:
        """End it for both sides: orderly, or as a crash does."""
        if self.cut_at is None:
            self.cut_at = trio.current_time()
            self.up.cut(reset=reset)
            self.down.cut(reset=reset)

    def slow_down(self, ticks: int) -> None:
        """Make the way longer by so many ticks."""
        self.up.delay += ticks
        self.down.delay += ticks
        self.slow_until = float("inf")

    def speed_up(self, ticks: int) -> None:
        """Make it as much shorter again."""
        self.up.delay -= ticks
        self.down.delay -= ticks
        self.slow_until = trio.current_time()

    def heal(self) -> None:
        """Take dead ways and stalls away."""
        self.up.heal()
        self.down.heal()

    def leave(self) -> None:
        """The client closes its end: the server reads the end, and its sends fail from then on."""
        if self.left_at is None:
            self.left_at = trio.current_time()
            self.down.connect(lambda data: self.down.read(len(data)), lambda _reset: None)
            self.up.finish()

    def _up_ended(self) -> None:
        if self.left_at is not None:
            self.down.broken = True  # what arrives at a closed socket is answered with RST
            self.down.writable.unpark_all()

    def free(self, *, reset: bool) -> None:
        """The server closes its end."""
        if self.freed_at is None:
            self.freed_at = trio.current_time()
            self.down.finish(reset=reset)
            self.up.broken = True
            self.receiver.wake()

    def is_freed(self) -> bool:
        """Whether the server has closed its end."""
        return self.freed_at is not None
