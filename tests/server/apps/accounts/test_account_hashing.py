"""Hashing: argon2id in threads of its own, a queue with a bound, and the same work whoever asks."""

import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal, NoReturn

import pytest
import structlog
import trio
from argon2 import PasswordHasher, Type, extract_parameters
from argon2.exceptions import HashingError, VerificationError
from trio.testing import wait_all_tasks_blocked

from tidings.server.apps.accounts.hashing import Hasher, HasherBusy, Verified

RIGHT, WRONG = Verified(ok=True, outdated=False), Verified(ok=False, outdated=False)

# argon2's least: what it costs is measured elsewhere.
CHEAP = {"memory_kib": 8, "passes": 1}


class Gated(PasswordHasher):
    """Hashes for real, while its gate is open; keeps what it was given."""

    __slots__ = ("begun", "gate", "most", "now", "seen")

    def __init__(self) -> None:
        super().__init__(1, 8, 1, 32, 16)
        self.seen: list[bytes | str] = []
        self.begun = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()
        self.now, self.most = 0, 0

    def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
        self._pass(password)
        return super().hash(password, salt=salt)

    def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:  # noqa: A002
        self._pass(hash)
        return super().verify(hash, password)

    def _pass(self, given: str | bytes) -> None:
        self.seen.append(given)
        self.now += 1
        self.most = max(self.most, self.now)
        self.begun.release()
        assert self.gate.wait(20)
        self.now -= 1

    async def wait_begun(self) -> None:
        assert await trio.to_thread.run_sync(lambda: self.begun.acquire(timeout=20))


@asynccontextmanager
async def hashing(*, waiting: int = 4, threads: int = 1) -> AsyncIterator[tuple[Hasher, Gated]]:
    """A hasher whose work can be held up."""
    gated = Gated()
    with trio.fail_after(30):
        async with Hasher(**CHEAP, waiting=waiting, threads=threads) as hasher:
            hasher._argon2 = gated
            try:
                yield hasher, gated
            finally:
                gated.gate.set()


@pytest.fixture
async def hasher() -> AsyncIterator[Hasher]:
    """Cheap, and nothing holds it up."""
    async with Hasher(**CHEAP, waiting=4) as hasher:
        yield hasher


class Poor(PasswordHasher):
    """Has no memory."""

    def hash(self, *_args: object, **_kwargs: object) -> str:
        raise HashingError("Memory allocation error")

    def verify(self, *_args: object, **_kwargs: object) -> NoReturn:
        raise VerificationError("Memory allocation error")


# --- hashes ------------------------------------------------------------------------------------------


async def test_a_hash_is_of_its_password_alone(hasher: Hasher) -> None:
    """argon2id with the configured parameters and a salt of its own; the password fits, and no other."""
    encoded = await hasher.hash(b"vexing lanterns")
    assert encoded.startswith("$argon2id$v=19$m=8,t=1,p=1$")
    assert await hasher.hash(b"vexing lanterns") != encoded
    assert await hasher.verify(b"vexing lanterns", encoded) == RIGHT
    for other in (b"", b"Vexing lanterns", b"vexing lanterns\x00"):
        assert await hasher.verify(other, encoded) == WRONG


@pytest.mark.parametrize(
    "other", [(2, 8, 1, 32), (1, 16, 1, 32), (1, 8, 1, 16), (1, 16, 2, 32)], ids=["t", "m", "length", "m p"]
)
async def test_a_hash_of_other_parameters_is_outdated(
    hasher: Hasher, other: tuple[int, int, int, int]
) -> None:
    """Whatever a hash was made with, its password fits, and should be hashed again; another does not fit."""
    old = PasswordHasher(*other).hash("secret")
    assert await hasher.verify(b"secret", old) == Verified(ok=True, outdated=True)
    assert await hasher.verify(b"guess", old) == WRONG


async def test_the_same_work_is_done_for_nobody() -> None:
    """No user, no password, a hash that is none: each costs one comparison by today's parameters, and is wrong."""
    async with hashing() as (hasher, gated):
        encoded = await hasher.hash(b"secret")
        gated.seen.clear()
        for password, of in [
            (b"secret", None),
            (None, encoded),
            (None, None),
            (b"", None),
            (b"x", "broken"),
        ]:
            with structlog.testing.capture_logs():
                assert await hasher.verify(password, of) == WRONG
            (compared,) = gated.seen
            gated.seen.clear()
            assert isinstance(compared, str)
            assert compared != encoded
            assert extract_parameters(compared) == extract_parameters(encoded)


FOREIGN = PasswordHasher(1, 8, 1, type=Type.I).hash("secret", salt=b"the same for all")
BROKEN = [
    "",
    "secret",
    "$2b$12$abcdefghijklmnopqrstuv",
    FOREIGN,
    FOREIGN.replace("argon2i", "argon2d"),
    FOREIGN.replace("argon2i", "argon2id")[:40],
    "$argon2id$v=19$m=8,t=1,p=1$????$????",
    f"$argon2id$v=19$m={'9' * 5_000},t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2g",
    "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$é",
    "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$\ud800",
]


@pytest.mark.parametrize("encoded", BROKEN, ids=range(len(BROKEN)))
async def test_what_is_no_hash_is_wrong_and_logged_without_its_content(
    hasher: Hasher, encoded: str
) -> None:
    """An operator hears of it, once each time, and nobody reads it."""
    with structlog.testing.capture_logs() as logs:
        assert await hasher.verify(b"secret", encoded) == WRONG
    (line,) = logs
    assert line["log_level"] == "error"
    assert not encoded or encoded not in str(line)
    assert "secret" not in str(line)


async def test_what_fails_for_another_reason_is_no_wrong_password() -> None:
    """Without memory nothing is known of a password: that is raised, by the thread's next work unharmed."""

    async with hashing() as (hasher, gated):
        encoded = await hasher.hash(b"secret")
        hasher._argon2 = Poor()
        with structlog.testing.capture_logs() as logs:
            for work in (lambda: hasher.hash(b"x"), lambda: hasher.verify(b"secret", encoded)):
                with pytest.raises((HashingError, VerificationError), match="Memory"):
                    await work()
        assert not logs
        hasher._argon2 = gated
        assert await hasher.verify(b"secret", encoded) == RIGHT


# --- the queue ---------------------------------------------------------------------------------------


async def test_a_full_queue_is_busy_at_once_and_the_first_comes_first() -> None:
    """As many as configured wait, in order; the next is told at once, and comes in when one has gone."""
    finished: list[int] = []
    all_finished = trio.Event()
    async with hashing(waiting=3) as (hasher, gated), trio.open_nursery() as nursery:

        async def ask(number: int) -> None:
            await hasher.hash(b"%d" % number)
            finished.append(number)
            if len(finished) == 4:
                all_finished.set()

        gated.gate.clear()
        for number in range(4):
            nursery.start_soon(ask, number)
            await wait_all_tasks_blocked()
        assert hasher.waiting == 3
        for work in (lambda: hasher.hash(b"x"), lambda: hasher.verify(b"x", None)):
            with pytest.raises(HasherBusy, match="3 passwords wait"):
                await work()
        gated.gate.set()
        await all_finished.wait()
        assert finished == [0, 1, 2, 3]
        assert hasher.waiting == 0
        assert gated.seen == [b"0", b"1", b"2", b"3"]


async def test_without_a_queue_a_thread_that_is_idle_is_enough() -> None:
    """`waiting=0` hashes as many as there are threads, and lets nobody wait."""
    async with hashing(waiting=0) as (hasher, gated), trio.open_nursery() as nursery:
        gated.gate.clear()
        nursery.start_soon(hasher.hash, b"x")
        await gated.wait_begun()
        with pytest.raises(HasherBusy):
            await hasher.hash(b"y")
        gated.gate.set()


async def test_as_many_run_at_once_as_there_are_threads() -> None:
    """Two threads, two hashes; and both are used."""
    async with hashing(waiting=8, threads=2) as (hasher, gated):
        gated.gate.clear()
        async with trio.open_nursery() as nursery:
            for _ in range(6):
                nursery.start_soon(hasher.hash, b"x")
            await gated.wait_begun()
            await gated.wait_begun()
            assert hasher.waiting == 4
            gated.gate.set()
    assert gated.most == 2
    assert len(gated.seen) == 6


async def test_who_is_cancelled_in_the_queue_frees_the_place_and_is_not_hashed() -> None:
    """The place is free at once, before any thread has looked; nothing is ever done for it."""
    async with hashing(waiting=1) as (hasher, gated), trio.open_nursery() as nursery:
        gated.gate.clear()
        nursery.start_soon(hasher.hash, b"first")
        await gated.wait_begun()
        with trio.CancelScope() as scope:
            nursery.start_soon(_cancel_when_blocked, scope)
            await hasher.hash(b"cancelled")
        assert scope.cancelled_caught
        assert hasher.waiting == 0
        nursery.start_soon(hasher.hash, b"next")
        await wait_all_tasks_blocked()
        gated.gate.set()
    assert gated.seen == [b"first", b"next"]


async def test_who_is_cancelled_while_being_hashed_returns_at_once() -> None:
    """Nobody waits for the thread; its result is dropped, and the next gets the next one's."""
    async with hashing() as (hasher, gated):
        encoded = await hasher.hash(b"secret")
        await gated.wait_begun()
        gated.gate.clear()
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(hasher.verify, b"guess", encoded)
                await gated.wait_begun()
                scope.cancel()
        assert scope.cancelled_caught
        async with trio.open_nursery() as nursery:
            results: list[Verified] = []

            async def ask() -> None:
                results.append(await hasher.verify(b"secret", encoded))

            nursery.start_soon(ask)
            await wait_all_tasks_blocked()
            assert hasher.waiting == 1
            gated.gate.set()
        assert results == [RIGHT]


async def test_nothing_begins_for_who_is_cancelled_already() -> None:
    """A checkpoint comes first: neither a place nor a hash is spent."""
    async with hashing() as (hasher, gated):
        with trio.CancelScope() as scope:
            scope.cancel()
            await hasher.hash(b"never")
        assert scope.cancelled_caught
        await hasher.hash(b"then")
        assert gated.seen == [b"then"]


async def _cancel_when_blocked(scope: trio.CancelScope) -> None:
    await wait_all_tasks_blocked()
    scope.cancel()


# --- its life ----------------------------------------------------------------------------------------


def hashing_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("tidings-hash")]


async def test_threads_end_with_it_and_who_waits_is_told() -> None:
    """Leaving, also when cancelled, waits for the hash under way; who waits is busy, and so is who comes later."""
    assert not hashing_threads()
    gated = Gated()
    outcomes: list[str] = []
    hasher = Hasher(**CHEAP, waiting=4, threads=1)

    async def ask() -> None:
        try:
            outcomes.append(await hasher.hash(b"x"))
        except HasherBusy:
            outcomes.append("busy")

    async def hold(*, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
        with trio.CancelScope() as scope:
            async with hasher:
                task_status.started(scope)
                await trio.sleep_forever()
        outcomes.append("left")

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            scope = await nursery.start(hold)
            hasher._argon2 = gated
            gated.gate.clear()
            for _ in range(3):
                nursery.start_soon(ask)
            await gated.wait_begun()
            scope.cancel()
            await wait_all_tasks_blocked()
            assert outcomes == ["busy", "busy"]
            assert hashing_threads()
            gated.gate.set()
        hashed, left = sorted(outcomes[2:])
        assert hashed.startswith("$argon2id$")
        assert left == "left"
        assert not hashing_threads()
        with pytest.raises(HasherBusy):
            await hasher.hash(b"x")


async def test_it_is_busy_before_it_is_opened_and_opened_once() -> None:
    """Nothing waits for threads that nobody has started; and a second opening is a mistake."""
    hasher = Hasher(**CHEAP, waiting=4)
    with pytest.raises(HasherBusy):
        await hasher.verify(b"x", None)
    async with hasher:
        with pytest.raises(RuntimeError):
            await hasher.__aenter__()
    assert not hashing_threads()


async def test_an_opening_that_is_cancelled_leaves_no_thread() -> None:
    """Whoever gives up while it opens has nothing to close."""
    with trio.CancelScope() as scope:
        scope.cancel()
        async with Hasher(**CHEAP, waiting=4):
            pytest.fail("it opened")
    assert scope.cancelled_caught
    assert not hashing_threads()


def test_a_loop_that_has_gone_is_nothing_to_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop may end while a hash is made, as where the server breaks: the thread ends without a word."""
    said: list[object] = []
    monkeypatch.setattr(threading, "excepthook", said.append)
    gated = Gated()
    hasher = Hasher(**CHEAP, waiting=4, threads=1)

    async def main() -> None:
        await hasher.__aenter__()
        hasher._argon2 = gated
        gated.gate.clear()
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(hasher.hash, b"x")
                await gated.wait_begun()
                nursery.cancel_scope.cancel()

    trio.run(main)
    (thread,) = hashing_threads()
    gated.gate.set()
    thread.join(20)
    assert not thread.is_alive()
    assert not said


async def test_its_threads_come_last() -> None:
    """On a busy core the loop's thread goes before them, and its own priority stays as it was."""
    async with hashing() as (hasher, gated):
        before = os.getpriority(os.PRIO_PROCESS, 0)
        gated.gate.clear()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hasher.hash, b"x")
            await gated.wait_begun()
            (thread,) = hashing_threads()
            assert thread.native_id is not None
            assert os.getpriority(os.PRIO_PROCESS, thread.native_id) == min(19, before + 10)
            gated.gate.set()
        assert os.getpriority(os.PRIO_PROCESS, 0) == before
