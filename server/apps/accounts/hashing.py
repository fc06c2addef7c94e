"""Hashes of passwords: argon2id, in threads of its own that come after everything else.

A hash takes tens of milliseconds of a core, on purpose. So there are two threads, a queue with a bound, and an
answer for everybody else: busy. Worst-case memory is that of the hashes under way, `threads * memory_kib`, and of
`waiting` passwords of at most a KiB.
"""

import os
import secrets
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, TypeVar, cast

import outcome
import structlog
import trio
from argon2 import PasswordHasher, Type, extract_parameters
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError
from argon2.low_level import error_to_str

T = TypeVar("T")

# RFC 9106 section 3.1 has 16 bytes of salt and lets 16 of hash do; 32 are argon2-cffi's default.
_SALT_BYTES: Final = 16
_HASH_BYTES: Final = 32

# Half of what an ordinary thread gets is still much on a busy core: at 10 it is a tenth.
_NICER: Final = 10
_NICEST: Final = 19

# ARGON2_MEMORY_ALLOCATION_ERROR of argon2.h: says nothing of the hash.
_NO_MEMORY: Final = error_to_str(-22)

_log = structlog.get_logger("tidings.accounts")


class HasherBusy(Exception):
    """Too many passwords wait to be hashed already, or the hasher has ended: answer 503."""


class Verified(NamedTuple):
    """What a comparison has come to."""

    ok: bool
    outdated: bool
    """Right, but hashed with other parameters than today's: hash it again while it is known."""


_WRONG: Final = Verified(ok=False, outdated=False)


class _Job:
    """Something for a thread, and who waits for it; nobody, once cancelled."""

    __slots__ = ("task", "work")

    def __init__(self, work: Callable[[], Any], task: trio.lowlevel.Task) -> None:
        self.work = work
        self.task: trio.lowlevel.Task | None = task


class Hasher:
    """Makes and compares hashes within `async with`; asked before or after, it is busy.

    The end waits, shielded, for the hashes under way, since nobody can interrupt one.
    """

    def __init__(self, *, memory_kib: int, passes: int, waiting: int, threads: int = 2) -> None:
        """Take argon2's memory and passes, how many may wait for a thread, and the threads."""
        # One lane: with several a hash would take as many cores, and no guesser would mind.
        self._argon2 = PasswordHasher(
            time_cost=passes,
            memory_cost=memory_kib,
            parallelism=1,
            hash_len=_HASH_BYTES,
            salt_len=_SALT_BYTES,
            type=Type.ID,
        )
        self._most_waiting = waiting
        self._thread_count = threads
        self._dummy = ""
        # Who waits stays on the loop, in order: so a place is free at once when its owner is cancelled, and a
        # thread begins nothing that the loop has no time to let it begin.
        self._waiting: dict[_Job, None] = {}
        self._idle = 0
        self._is_open = False
        # To the threads: a job only for one that is idle, and a None for each at the end.
        self._handed: SimpleQueue[_Job | None] = SimpleQueue()
        self._ended = trio.Event()
        self._threads: list[threading.Thread] = []

    @property
    def waiting(self) -> int:
        """Passwords that wait for a thread."""
        return len(self._waiting)

    async def __aenter__(self) -> Self:
        """Start the threads. Once only; takes as long as one hash."""
        if self._threads:
            raise RuntimeError("a hasher is opened once")
        token = trio.lowlevel.current_trio_token()
        for number in range(self._thread_count):
            # A daemon, so that a process whose loop has broken does not wait for it.
            thread = threading.Thread(
                target=self._work, args=(token,), name=f"tidings-hash-{number}", daemon=True
            )
            self._threads.append(thread)
            thread.start()
        self._idle = self._thread_count
        self._is_open = True
        try:
            self._dummy = await self.hash(secrets.token_bytes(32))
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End: who still waits gets HasherBusy, and what is being hashed is waited for."""
        await self._close()

    async def hash(self, password: bytes) -> str:
        """Hash a password, with a salt of its own; a PHC string.

        Raises HasherBusy at once. A checkpoint. Cancelled, it returns at once: a hash that has not begun is not
        made, and the result of one that has is dropped.
        """
        hashed: str = await self._do(lambda: self._argon2.hash(password))
        return hashed

    async def verify(self, password: bytes | None, encoded: str | None) -> Verified:
        """Compare a password with a hash, as long as it takes with today's parameters, whatever the outcome.

        Without a hash (no such user), without a password (none can be prepared) and with a hash that is none of
        argon2id's the same work is done on another, so that the time tells nothing. Raises and is cancelled as
        `hash`. A checkpoint.
        """
        verified: Verified = await self._do(lambda: self._verify(password, encoded))
        return verified

    async def run(self, work: Callable[[], T]) -> T:
        """Do other work that blocks, of a password too, in the same threads and the same queue.

        Raises what it does, and HasherBusy at once. A checkpoint. Cancelled as `hash`.
        """
        return cast(T, await self._do(work))

    # --- on the loop ---------------------------------------------------------------------------------

    async def _do(self, work: Callable[[], Any]) -> Any:
        await trio.lowlevel.checkpoint_if_cancelled()
        if not self._is_open:
            raise HasherBusy("passwords are not hashed any more")
        if not self._idle and len(self._waiting) >= self._most_waiting:
            raise HasherBusy(f"{len(self._waiting)} passwords wait to be hashed")
        job = _Job(work, trio.lowlevel.current_task())
        self._waiting[job] = None
        self._hand_out()

        def abandon(_raise_cancel: object) -> trio.lowlevel.Abort:
            self._waiting.pop(job, None)
            job.task = None
            return trio.lowlevel.Abort.SUCCEEDED

        return await trio.lowlevel.wait_task_rescheduled(abandon)

    def _hand_out(self) -> None:
        while self._idle and self._waiting:
            job = next(iter(self._waiting))
            del self._waiting[job]
            self._idle -= 1
            self._handed.put(job)

    def _finish(self, job: _Job, result: outcome.Outcome[Any]) -> None:
        self._idle += 1
        _wake(job, result)
        self._hand_out()
        if not self._is_open and self._idle == self._thread_count:
            self._ended.set()

    async def _close(self) -> None:
        self._is_open = False
        waiting, self._waiting = self._waiting, {}
        for job in waiting:
            _wake(job, outcome.Error(HasherBusy("passwords are not hashed any more")))
        if self._idle < self._thread_count:
            with trio.CancelScope(shield=True):
                await self._ended.wait()
        else:
            await trio.lowlevel.cancel_shielded_checkpoint()
        for _ in self._threads:
            self._handed.put(None)
        for thread in self._threads:
            # It has nothing left to do but to return.
            thread.join()

    # --- in a thread ---------------------------------------------------------------------------------

    def _work(self, token: trio.lowlevel.TrioToken) -> None:
        _come_last()
        # Where the loop has ended without us there is nobody to tell, and nothing more will come.
        with suppress(trio.RunFinishedError):
            while (job := self._handed.get()) is not None:
                token.run_sync_soon(self._finish, job, outcome.capture(job.work))

    def _verify(self, password: bytes | None, encoded: str | None) -> Verified:
        if password is None or encoded is None:
            return self._pretend()
        try:
            if extract_parameters(encoded).type is not Type.ID:
                raise InvalidHashError
            self._argon2.verify(encoded, password)
        except VerifyMismatchError:
            return _WRONG
        except (VerificationError, ValueError) as error:
            if str(error) == _NO_MEMORY:
                raise
            # InvalidHashError is a ValueError, and so is what is not ASCII; neither is quoted.
            _log.error("a stored password is no hash of argon2id", error=type(error).__name__)
            return self._pretend()
        return Verified(ok=True, outdated=self._argon2.check_needs_rehash(encoded))

    def _pretend(self) -> Verified:
        with suppress(VerifyMismatchError):
            self._argon2.verify(self._dummy, b"")
        return _WRONG


def _wake(job: _Job, result: outcome.Outcome[Any]) -> None:
    if job.task is not None:
        task, job.task = job.task, None
        trio.lowlevel.reschedule(task, result)


def _come_last() -> None:
    """Let every other thread go first. Linux alone knows priorities of threads; elsewhere it is the process's."""
    if sys.platform == "linux":
        with suppress(OSError):
            now = os.getpriority(os.PRIO_PROCESS, 0)
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(_NICEST, now + _NICER))
