"""The store without threads, for tests on virtual time: the same groups, log and database, in place."""

from collections.abc import Callable
from typing import TypeVar

import trio

from tidings.server.store.requests import Operation
from tidings.server.store.store import Store
from tidings.server.store.writer import Done, GroupWriter, OperationT, Pending

T = TypeVar("T")


class InlineWriter(GroupWriter[OperationT]):
    """Commits what one tick has submitted at the beginning of the next."""

    def submit(
        self, operation: OperationT, on_done: Done | None = None, *, size: int = 0
    ) -> Pending[OperationT]:
        """As a writer with a thread does."""
        pending = super().submit(operation, on_done, size=size)
        trio.lowlevel.current_trio_token().run_sync_soon(self.flush, idempotent=True)
        return pending

    def flush(self) -> None:
        """Commit what waits, now."""
        while self.waiting:
            group = self._take()
            if group is None:
                return
            self._hand_back(group, self._do(group))

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Nothing to run; at the end what waits is committed."""
        task_status.started()
        try:
            await self._closing.wait()
        finally:
            self.flush()
            self.close()


class InlineStore(Store):
    """A store that is opened, written and read in place."""

    def _make_writer(self) -> GroupWriter[Operation]:
        return InlineWriter(self._commit)

    async def _in_thread(
        self,
        function: Callable[[], T],
        limiter: trio.CapacityLimiter | None = None,  # noqa: ARG002
    ) -> T:
        await trio.lowlevel.checkpoint()
        return function()
