"""Incoming lines on their way to the tables, on virtual time: gathered, and each answered for itself."""

from pathlib import Path

import pytest
import trio
from support.lines import board_in_memory
from trio.testing import MockClock, wait_all_tasks_blocked

from tidings.server.apps.lines import ingest
from tidings.server.apps.lines.board import AccountState
from tidings.server.apps.lines.ingest import Reported
from tidings.server.extension.tables import StoreUnavailable


def reported(account: AccountState, name: str) -> Reported:
    """A line of a customer."""
    return Reported(account, name, message_id=None, client_time=None, details=None)


async def test_what_comes_during_a_write_is_written_together(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """One operation for all who wait, whoever they are; each has its own result."""
    async with board_in_memory(tmp_path) as board:
        await board.device(await board.made(), "", "a")
        account, lines = board.lines.board.accounts["a"], board.lines
        first, others = reported(account, "x"), [reported(account, f"c{n % 20}") for n in range(40)]
        board.records.is_held = True
        board.records.commits.clear()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lines.ingest.add, [first])
            await wait_all_tasks_blocked()
            for line in others:
                nursery.start_soon(lines.ingest.add, [line])
            await wait_all_tasks_blocked()
            board.records.go_on()
        assert board.records.commits == [1, 1]
        ids = [line.result.id for line in (first, *others) if line.result]
        assert len(set(ids)) == 41
        assert sum(line.result.is_duplicate for line in others if line.result) == 20
        await board.check()


async def test_a_poisoned_line_costs_only_itself(tmp_path: Path, autojump_clock: MockClock) -> None:
    """What no database takes is told to whoever sent it; the others that waited with it are kept, each once."""
    async with board_in_memory(tmp_path) as board:
        group = await board.made()
        await board.device(group, "", "a")
        account = board.lines.board.accounts["a"]
        lines = [reported(account, name) for name in ("x", "half a pair \ud83d", "y")]
        await board.lines.ingest.add(lines)
        assert [(line.result is None, line.error is None) for line in lines] == [
            (False, True),
            (True, False),
            (False, True),
        ]
        await board.check()
        assert board.figures(group) == (2, 0, 2, 0)


async def test_a_database_that_fails_is_told_to_each(tmp_path: Path, autojump_clock: MockClock) -> None:
    """Nothing is kept, counted or told, and what comes once it answers again is."""
    async with board_in_memory(tmp_path) as board:
        group = await board.made()
        await board.device(group, "", "a")
        account = board.lines.board.accounts["a"]
        lines = [reported(account, name) for name in "xy"]
        board.records.is_down = True
        await board.lines.ingest.add(lines)
        assert all(isinstance(line.error, StoreUnavailable) for line in lines)
        assert board.figures(group) == (0, 0, 0, 0)
        board.records.is_down = False
        await board.lines.ingest.add([reported(account, "x")])
        await board.check()
        assert board.figures(group) == (1, 0, 1, 0)


async def test_no_more_wait_than_may(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes beyond that is told at once, and nothing of theirs is done; who gave up has sent theirs."""
    monkeypatch.setattr(ingest, "MOST_WAITING", 3)
    async with board_in_memory(tmp_path) as board:
        group = await board.made()
        await board.device(group, "", "a")
        account, add = board.lines.board.accounts["a"], board.lines.ingest.add
        board.records.is_held = True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(add, [reported(account, "at work")])
            await wait_all_tasks_blocked()
            nursery.start_soon(add, [reported(account, name) for name in "xyz"])
            await wait_all_tasks_blocked()
            with pytest.raises(StoreUnavailable):
                await add([reported(account, "one too many")])
            nursery.cancel_scope.cancel()
        board.records.go_on()
        await trio.sleep(0.1)
        await board.check()
        assert board.figures(group) == (4, 0, 4, 0)
