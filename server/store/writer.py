"""One thread that writes, and commits in groups: what came while the disk was busy is committed together."""

import sqlite3
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Final, Generic, TypeVar

import outcome
import structlog
import trio

from tidings.server.store.errors import StoreUnavailable

# A group costs one sync of the disk, some 0.5 to 10 ms, whatever its size; more than this would only make the
# first of it wait, and the loop, which hands out all the results of a group in one go.
MOST_IN_GROUP: Final = 512

# What may wait. A request is some 500 bytes and its payload: 64 MiB of these and 50 MB of the others at worst.
MOST_WAITING: Final = 100_000
MOST_WAITING_BYTES: Final = 64 * 1024 * 1024

# Nothing in particular was wrong with any request of a group: the disk is full, or fails, or is locked.
_EVERYBODYS: Final = (sqlite3.OperationalError, OSError, MemoryError)

OperationT = TypeVar("OperationT")
Commit = Callable[[list[OperationT]], Sequence[object]]
"""Does a group's operations in one transaction, in order, and returns the result of each once it is durable.

Runs in the writer's thread. An exception as a result is raised for that operation alone, and means that nothing of
it was done; an exception raised means that nothing of the group was.
"""
Done = Callable[[Any], None]
"""Called with an operation's result, on the loop, in the order of commitment. Synchronous; must not raise."""

_log = structlog.get_logger("tidings.store")


class Pending(Generic[OperationT]):
    """An operation that was submitted. One task may wait for it, or nobody."""

    __slots__ = ("_is_done", "_on_done", "_result", "_task", "operation", "size")

    def __init__(self, operation: OperationT, on_done: Done | None, size: int) -> None:
        self.operation = operation
        self.size = size
        self._on_done = on_done
        self._is_done = False
        self._result: object = None
        self._task: trio.lowlevel.Task | None = None

    async def wait(self) -> Any:
        """Return the result. Raises StoreUnavailable, and what the operation came to. A checkpoint.

        Cancelled, it ends at once, and the operation is carried out all the same.
        """
        if self._is_done:
            await trio.lowlevel.checkpoint()
            return _outcome(self._result).unwrap()
        if self._task is not None:
            raise RuntimeError("another task waits for this operation")
        self._task = trio.lowlevel.current_task()
        return await trio.lowlevel.wait_task_rescheduled(self._abandon)

    def _abandon(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED

    def finish(self, result: object) -> None:
        """Take the result: tell `on_done`, then wake who waits. On the loop."""
        if self._on_done is not None and not isinstance(result, BaseException):
            try:
                self._on_done(result)
            except Exception as error:
                # It was stored; but whoever was to be told was not. The others of the group must be.
                _log.exception("what a stored operation leads to failed")
                result = error
        self._result, self._is_done = result, True
        if self._task is not None:
            task, self._task = self._task, None
            trio.lowlevel.reschedule(task, _outcome(result))


def _outcome(result: object) -> outcome.Outcome[Any]:
    return outcome.Error(result) if isinstance(result, BaseException) else outcome.Value(result)


class GroupWriter(Generic[OperationT]):
    """Carries operations to a thread, group by group, and their results back to the loop in the same order.

    Against a busy loop each call into SQLite may cost the thread the interpreter's switch interval (5 ms), so
    `commit` should need few of them for a group. The loop is called once for each group.
    """

    def __init__(
        self,
        commit: Commit[OperationT],
        *,
        most_in_group: int = MOST_IN_GROUP,
        most_waiting: int = MOST_WAITING,
        most_waiting_bytes: int = MOST_WAITING_BYTES,
    ) -> None:
        """Take what does the work; nothing runs before `run`."""
        self._commit = commit
        self._most_in_group = most_in_group
        self._most_waiting = most_waiting
        self._most_waiting_bytes = most_waiting_bytes
        # None wakes the thread to its end.
        self._queue: SimpleQueue[Pending[OperationT] | None] = SimpleQueue()
        self._closed: str | None = None
        self._closing = trio.Event()
        self.waiting = 0
        """Operations submitted whose results are still to come."""
        self.waiting_bytes = 0
        """Their payloads."""
        self.groups = 0
        """Groups that were handed back."""

    def submit(
        self, operation: OperationT, on_done: Done | None = None, *, size: int = 0
    ) -> Pending[OperationT]:
        """Queue an operation, in order; never waits. `size` is what it holds in bytes.

        `on_done` gets the result, if it is none that is raised, before anybody is woken. Raises StoreUnavailable
        at once when too much waits already, or the writer has ended.
        """
        if self._closed is not None:
            raise StoreUnavailable(self._closed)
        if self.waiting >= self._most_waiting or self.waiting_bytes + size > self._most_waiting_bytes:
            raise StoreUnavailable(
                f"{self.waiting} operations of {self.waiting_bytes} bytes wait for the disk: it is too slow"
            )
        pending = Pending(operation, on_done, size)
        self.waiting += 1
        self.waiting_bytes += size
        self._queue.put(pending)
        return pending

    async def do(self, operation: OperationT, on_done: Done | None = None, *, size: int = 0) -> Any:
        """Submit and wait; see `submit` and `Pending.wait`."""
        return await self.submit(operation, on_done, size=size).wait()

    def close(self) -> None:
        """Take nothing more; what was submitted is still committed, then `run` returns. Idempotent."""
        if self._closed is None:
            self._closed = "the store is closed"
            self._queue.put(None)
            self._closing.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write until closed or cancelled, and then what was submitted before: both end in the same way.

        Its end waits for the disk, shielded: nobody could take back what the thread has begun.
        """
        token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._run_thread, token, name="store writer")
            task_status.started()
            try:
                await self._closing.wait()
            finally:
                self.close()

    async def _run_thread(self, token: trio.lowlevel.TrioToken) -> None:
        with trio.CancelScope(shield=True):
            # A limiter of its own: threads that resolve names must not keep the writer from starting.
            await trio.to_thread.run_sync(self._work, token, limiter=trio.CapacityLimiter(1))

    # --- in the thread -------------------------------------------------------------------------------

    def _work(self, token: trio.lowlevel.TrioToken) -> None:
        while (group := self._take()) is not None:
            token.run_sync_soon(self._hand_back, group, self._do(group))

    def _take(self) -> list[Pending[OperationT]] | None:
        """Wait for something to do; all that waits, up to a group. None when nothing will follow."""
        pending = self._queue.get()
        if pending is None:
            return None
        group = [pending]
        try:
            while len(group) < self._most_in_group:
                pending = self._queue.get_nowait()
                if pending is None:
                    self._queue.put(None)  # nothing is submitted behind it: found again after this group
                    break
                group.append(pending)
        except Empty:
            pass
        return group

    def _do(self, group: Sequence[Pending[OperationT]]) -> Sequence[object]:
        """The result of each operation of a group. Whatever happens, the thread goes on."""
        try:
            return self._commit([pending.operation for pending in group])
        except _EVERYBODYS as error:
            _log.error("cannot store", error=str(error), operations=len(group))
            return [StoreUnavailable(f"cannot store: {error}") for _ in group]
        except Exception as error:
            if len(group) > 1:
                # Something in one of them: the others need not suffer for it.
                return [self._do([pending])[0] for pending in group]
            _log.exception("an operation cannot be stored")
            return [StoreUnavailable(f"cannot store this: {error}")]

    # --- on the loop ---------------------------------------------------------------------------------

    def _hand_back(self, group: Sequence[Pending[OperationT]], results: Sequence[object]) -> None:
        self.groups += 1
        self.waiting -= len(group)
        for pending, result in zip(group, results, strict=True):
            self.waiting_bytes -= pending.size
            pending.finish(result)
