"""What dashboards are told as it happens: in order, nothing lost, nothing twice, and no group waits for another."""

from pathlib import Path
from typing import Any

import trio
from support.lines import Board, board_in_memory
from trio.testing import MockClock, wait_all_tasks_blocked

from tidings.protocol.messages.lines import AccountStatusChange
from tidings.server.apps.lines import news


def changes(group: Any, count: int) -> list[AccountStatusChange]:
    """Events of a group that are numbered by their account."""
    return [AccountStatusChange(str(number), "online", group.id, 0) for number in range(count)]


def hearing(board: Board) -> list[tuple[float, int, str]]:
    """What the broker accepts from now on: when, of which group, of which account."""
    told: list[tuple[float, int, str]] = []
    publish = board.lines.push.publish

    async def noted(channel: str, event: str, payload: Any, **more: Any) -> Any:
        receipt = await publish(channel, event, payload, **more)
        told.append((trio.current_time(), payload.group_id, payload.line_account_id))
        return receipt

    board.lines.push.publish = noted  # type: ignore[method-assign]
    return told


async def test_ten_thousand_events_of_one_group_keep_no_other_waiting(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """Each group's come in their order; between them those of another group, at once."""
    async with board_in_memory(tmp_path) as board:
        large, small = [
            board.lines.board.groups[(await board.made(name)).id] for name in ("large", "small")
        ]
        told = hearing(board)
        begun = trio.current_time()
        board.lines.news.tell(large, *changes(large, 10_000))
        board.lines.news.tell(small, *changes(small, 3))
        while board.lines.news.waiting(large):  # noqa: ASYNC110 - nothing tells of it
            await trio.sleep(0.01)
        for group, count in ((large, 10_000), (small, 3)):
            assert [name for _, its, name in told if its == group.id] == [
                str(each) for each in range(count)
            ]
        first = max(at for at, its, _ in told if its == small.id)
        assert first - begun < 0.05
        # In pieces: whoever hears it has time to take it.
        assert trio.current_time() - begun >= (10_000 / news.PIECE - 1) * news.PAUSE
        assert board.lines.news.waiting(large) == 0


async def test_what_cannot_be_published_is_tried_again(tmp_path: Path, autojump_clock: MockClock) -> None:
    """While a group's channel is out of order its news wait, in order; those of other groups do not."""
    async with board_in_memory(tmp_path) as board:
        out, well = [board.lines.board.groups[(await board.made(name)).id] for name in ("out", "well")]
        told = hearing(board)
        board.broker.failing = lambda channel: channel == f"group:{out.id}" and len(told) % 7 == 3
        board.lines.news.tell(out, *changes(out, 20))
        await trio.sleep(60)
        assert [name for _, _, name in told] == ["0", "1", "2"]
        # With back-off, and not for ever longer.
        assert 12 <= board.broker.refused <= 30
        board.lines.news.tell(well, *changes(well, 2))
        board.lines.news.tell(out, *changes(out, 1))
        await trio.sleep(6)
        board.broker.failing = lambda _: False
        await trio.sleep(6)
        assert [name for _, its, name in told if its == out.id] == [*map(str, range(20)), "0"]
        assert [name for _, its, name in told if its == well.id] == ["0", "1"]


async def test_who_writes_waits_for_room(tmp_path: Path, autojump_clock: MockClock) -> None:
    """Above the bound of a group nobody adds to it before there is room; other groups have theirs."""
    async with board_in_memory(tmp_path) as board:
        full, other = [board.lines.board.groups[(await board.made(name)).id] for name in ("full", "other")]
        board.broker.failing = lambda _: True
        board.lines.news.tell(full, *changes(full, news.MOST_WAITING))
        await board.lines.news.wait_room(other)
        with trio.move_on_after(30) as waiting:
            await board.lines.news.wait_room(full)
        assert waiting.cancelled_caught
        board.broker.failing = lambda _: False
        with trio.fail_after(30):
            await board.lines.news.wait_room(full)
        assert 0 < board.lines.news.waiting(full) < news.MOST_WAITING
        await wait_all_tasks_blocked()
