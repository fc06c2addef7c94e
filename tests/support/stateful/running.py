"""Lets a plan happen to a world that is whole before and has forgotten everything after."""

import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import Any

import structlog.testing
import trio
from structlog.processors import format_exc_info
from trio.testing import wait_all_tasks_blocked

from support.stateful.disk import Disk
from support.stateful.plans import Plan
from support.stateful.promised import Truth
from support.stateful.setting import CANARY, ISSUED
from support.stateful.world import World
from support.tasks import living_tasks
from tidings.server.edge import connection as connection_module

# A long example takes some 5,000 rounds of the scheduler; one that spins takes no time, and any number.
_ROUNDS = 100_000


class _Bound(trio.abc.Instrument):
    """Ends an example in which tasks spin: under virtual time no deadline would."""

    def __init__(self, scope: trio.CancelScope) -> None:
        self._scope = scope
        self.left = _ROUNDS

    def before_io_wait(self, timeout: float) -> None:  # noqa: ARG002  as trio calls it
        self.left -= 1
        if self.left < 0:
            self._scope.cancel()


@contextmanager
def _bounded() -> Iterator[None]:
    with trio.fail_after(100_000) as scope:
        bound = _Bound(scope)
        trio.lowlevel.add_instrument(bound)
        try:
            yield
        finally:
            trio.lowlevel.remove_instrument(bound)
            assert bound.left >= 0, "tasks spin"


@asynccontextmanager
async def world(
    engine: str, truth: Truth, *, broker_turns: int, ending: str, has_log: bool
) -> AsyncIterator[World]:
    """A server that must have forgotten everything at the end, without a fault or a secret in its log."""
    connection_module._numbers = itertools.count(1)
    disks = Disk() if has_log else nullcontext()
    with structlog.testing.capture_logs([format_exc_info]) as logs, living_tasks() as tasks, disks as disk:
        async with trio.open_nursery() as nursery:
            with _bounded():
                this = World(engine, nursery, truth, broker_turns, disk)
                await nursery.start(this.live)
                await wait_all_tasks_blocked()
                parts = tasks.living
                yield this
                await this.end(ending)
                this.assert_nothing_left()
                assert tasks.living == parts, list(tasks.names.values())
            nursery.cancel_scope.cancel()
    said = repr(logs)
    assert CANARY not in said
    assert not [issued for issued in ISSUED if issued in said]
    wrong = [
        line for line in logs if line["log_level"] not in ("info", "debug") and not _is_the_disks(line)
    ]
    assert not wrong, wrong


def _is_the_disks(line: Any) -> bool:
    # A commit that was to fail, and what a killed server still wanted to write.
    failed = line["event"] in ("cannot store", "replay failed")
    return failed and line["error"] in ("interrupted", "the store is not open")


async def run(engine: str, plan: Plan, truth: Truth) -> None:
    """One example: everything must be right after each step, and nothing be left at the end."""
    async with world(
        engine, truth, broker_turns=plan.broker_turns, ending=plan.ending, has_log=plan.has_log
    ) as this:
        for connect in plan.first:
            await connect.happen(this)
        for operation, turns, channel in plan.steps:
            await operation.happen(this)
            for _ in range(turns):
                # So that whatever has begun meets publications that are pending, or a flush half done.
                if channel is not None:
                    await this.publish(channel, 10)
                await trio.lowlevel.checkpoint()
            this.check()
