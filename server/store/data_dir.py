"""The directory of what stays on disk: one server's at a time."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from tidings.server.store.errors import StoreRefused

LOCK: Final = "tidings.lock"

# A process id and a line's end; what is longer was not written by us.
_LONGEST: Final = 20


class DataDir:
    """A directory that is locked for as long as this is open; also when the process is killed, and no longer."""

    def __init__(self, path: Path) -> None:
        """Make the directory where it is missing, readable by nobody else, and lock it.

        Raises StoreRefused, naming the directory, who holds it, and the cure.
        """
        self.path = path
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StoreRefused(
                f"{path}: cannot keep anything there: {error.strerror or error}. Set server.data_dir to a directory"
                " that the server may write to"
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = self._holder()
            self.close()
            if isinstance(error, BlockingIOError):
                who = f"process {holder}" if holder else "another process"
                raise StoreRefused(
                    f"{path}: in use by {who}. Stop that one, or give this server a directory of its own"
                    " (server.data_dir)"
                ) from None
            raise StoreRefused(
                f"{path}: cannot be locked: {error.strerror or error}. Set server.data_dir to a directory"
                " on a local disk"
            ) from error
        with suppress(OSError):  # a full disk: the lock holds, and only a message will be poorer
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, b"%d\n" % os.getpid(), 0)

    def close(self) -> None:
        """Let go of the directory. Idempotent."""
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)

    def _holder(self) -> int | None:
        """The process that wrote its number into the lock, as far as it can be told."""
        with suppress(OSError):
            text = os.pread(self._lock, _LONGEST, 0)
            if text.strip().isdigit():
                return int(text)
        return None
