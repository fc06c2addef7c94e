"""The real log in SQLite on virtual time: killed, started again, and failing where a test wants it to."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

from support.inline_store import InlineStore
from support.store import killed
from tidings.server.config.channels import Inbox
from tidings.server.policies import Policies
from tidings.server.store.database import NAME
from tidings.server.store.requests import Operation

# In memory, where there is such a directory: what a disk is worth is proved elsewhere.
_SHM = Path("/dev/shm")


class FailingStore(InlineStore):
    """A store whose database is interrupted in the middle of a commit when asked to be."""

    interrupt_after = 0
    """Steps of the database's machine, in tens, after which the next commit fails; 0: none."""

    def _commit(self, operations: list[Operation]) -> Sequence[object]:
        if not self.interrupt_after or self._connection is None:
            return super()._commit(operations)
        connection = self._connection
        left, self.interrupt_after = self.interrupt_after, 0
        statement = ""

        def begin(text: str) -> None:
            nonlocal statement
            statement = text

        def interrupt() -> int:
            nonlocal left
            left -= 1
            # SQLite asks once more at the end of COMMIT, when it is done: interrupted there it would say that
            # nothing was, as no disk makes it do.
            return left == 0 and (statement != "COMMIT" or connection.in_transaction)

        connection.set_trace_callback(begin)
        connection.set_progress_handler(interrupt, 10)
        try:
            return super()._commit(operations)
        finally:
            connection.set_progress_handler(None, 0)
            connection.set_trace_callback(None)


@cache
def _template() -> bytes:
    """An empty database: making one takes as long as a whole example."""
    with tempfile.TemporaryDirectory() as directory:
        store = InlineStore(Path(directory), Policies())
        store.open()
        store.close()
        return store.path.read_bytes()


class Disk:
    """A directory for each life of a server, gone with the block; each begins as the one before was left."""

    def __enter__(self) -> Self:
        self._root = Path(tempfile.mkdtemp(prefix="tidings-", dir=_SHM if _SHM.is_dir() else None))
        self._lives = 0
        self.fails = False
        """Whether it ever fails."""
        self._store: FailingStore | None = None
        self._killed: Path | None = None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._store is not None:
            self._store.close()
        shutil.rmtree(self._root)

    def start(
        self, policies: Policies, inbox: Inbox, clock: Callable[[], float], monotonic: Callable[[], float]
    ) -> FailingStore:
        """Open it for the next life."""
        directory = self._root / f"{self._lives}"
        self._lives += 1
        if self._killed is None:
            directory.mkdir()
            (directory / NAME).write_bytes(_template())
        else:
            self._killed.rename(directory)
        store = self._store = FailingStore(
            directory,
            policies,
            devices=inbox.devices,
            device_age=inbox.device_age,
            clock=clock,
            monotonic=monotonic,
        )
        store.open()
        return store

    def kill(self) -> None:
        """Leave everything as it is for the next life; whatever this one still does is for nothing."""
        assert self._store is not None
        self._killed = killed(self._store._directory, self._root / "killed")
        self._store.close()

    def fail(self, after: int) -> None:
        """Have the next commit fail after so many steps, unless it is over before."""
        assert self._store is not None
        self.fails = True
        self._store.interrupt_after = after
