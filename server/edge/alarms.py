"""One timer for the heartbeats of all connections.

A heartbeat waits for a time, or to be woken. With a cancel scope and an event of its own each would
cost a connection a kilobyte, and every beat an exception through its stack; here it costs an entry in
one heap, and a beat is one task switch.
"""

import heapq
import itertools

import trio

_NEVER = float("inf")

# Entries of sleepers that are gone stay until their time comes, unless they are most of the heap and
# more than this: so what they hold is bounded by what the living hold.
FORGOTTEN_ENTRIES = 1_000


class Alarms:
    """Wakes sleepers at their times. `run` is the one task that does."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Sleeper]] = []
        self._numbers = itertools.count()
        self._forgotten = 0
        """Entries that do not count any more."""
        self._until = _NEVER
        """When `run` will look next."""
        self._earlier = trio.Event()

    def __len__(self) -> int:
        """How many times are set."""
        return len(self._heap) - self._forgotten

    async def run(self) -> None:
        """Wake whoever is due, until cancelled."""
        while True:
            self._wake_due(trio.current_time())
            self._until = self._heap[0][0] if self._heap else _NEVER
            with trio.move_on_at(self._until):
                await self._earlier.wait()
            self._earlier = trio.Event()

    def set(self, sleeper: "Sleeper", at: float) -> None:
        """Look at a sleeper at a time; an entry that it had does not count any more."""
        if sleeper.entry < _NEVER:
            self.forget(sleeper)
        sleeper.entry, sleeper.number = at, next(self._numbers)
        heapq.heappush(self._heap, (at, sleeper.number, sleeper))
        if at < self._until:
            self._earlier.set()

    def forget(self, sleeper: "Sleeper") -> None:
        """Let a sleeper's entry not count any more."""
        sleeper.entry, sleeper.number = _NEVER, -1
        self._forgotten += 1
        if self._forgotten > FORGOTTEN_ENTRIES and self._forgotten > len(self._heap) // 2:
            self._heap = [entry for entry in self._heap if entry[1] == entry[2].number]
            heapq.heapify(self._heap)
            self._forgotten = 0

    def _wake_due(self, now: float) -> None:
        heap = self._heap
        while heap and heap[0][0] <= now:
            _, number, sleeper = heapq.heappop(heap)
            if number != sleeper.number:
                self._forgotten -= 1
                continue
            sleeper.entry, sleeper.number = _NEVER, -1
            if sleeper.due <= now:
                sleeper.wake()
            elif sleeper.due < _NEVER:
                # It has changed its mind since: most of them, as every sign of life puts a beat off.
                self.set(sleeper, sleeper.due)


class Sleeper:
    """One task's waiting. Never more than one of its entries counts; the others are forgotten ones."""

    __slots__ = ("_alarms", "_task", "due", "entry", "number")

    def __init__(self, alarms: Alarms) -> None:
        self._alarms = alarms
        self._task: trio.lowlevel.Task | None = None
        self.due = _NEVER
        """When it wants to be woken."""
        self.entry = _NEVER
        """The time of its entry; infinite where it has none."""
        self.number = -1
        """Its entry's number."""

    async def sleep_until(self, at: float) -> None:
        """Wait until a time, or `wake`. Only one task may wait; cancelling is safe."""
        self.due = at
        if at < self.entry:
            self._alarms.set(self, at)
        self._task = trio.lowlevel.current_task()
        try:
            await trio.lowlevel.wait_task_rescheduled(self._abort)
        finally:
            self._task = None
            self.due = _NEVER

    def wake(self) -> None:
        """Wake the task that waits, where one does. Idempotent."""
        if self._task is not None:
            trio.lowlevel.reschedule(self._task)
            self._task = None

    def close(self) -> None:
        """Nobody will wait again."""
        if self.entry < _NEVER:
            self._alarms.forget(self)

    def _abort(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED
