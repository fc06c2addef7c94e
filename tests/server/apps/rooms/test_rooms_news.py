"""What those who are in a room hear of its changes, and what is made of too many."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
import trio
from structlog.testing import capture_logs
from support.kept_rooms import RoomsSite, enters, inline_site, next_of, rooms_config, says
from trio.testing import MockClock, wait_all_tasks_blocked

from tidings.protocol.errors import ErrorCode, Refusal
from tidings.protocol.messages.rooms import RoomChanged
from tidings.server.apps.rooms import news
from tidings.server.apps.rooms.news import News
from tidings.server.extension import PublishRefused


@pytest.fixture
async def rooms(tmp_path: Path, autojump_clock: MockClock) -> AsyncIterator[RoomsSite]:
    """A server that keeps rooms."""
    async with inline_site(rooms_config(tmp_path)) as site:
        yield site


async def test_changes_are_heard_in_order_and_kept_nowhere(rooms: RoomsSite) -> None:
    """Who is in hears all of them; what was said there stays, however many are invited after it."""
    await rooms.create("ann", "r")
    ann = await rooms.connect("ann")
    assert await enters(ann, "r")
    assert await says(ann, "r", "the only word") == "published"
    users = [f"u{number}" for number in range(20)]
    await rooms.invite("ann", "r", *users)
    await rooms.done("ann", "DELETE", "/r/members/u0")
    told = [(await next_of(ann, "room_changed")) for _ in range(21)]
    assert [each["data"]["user_id"] for each in told] == [*users, "u0"]
    assert told[-1]["data"]["change"] == "removed"
    page = await rooms.done("ann", "GET", "/r/history")
    assert [each["data"].get("text") for each in page["publications"]] == ["the only word"]


async def test_nobody_hears_of_the_removal_of_a_stranger(rooms: RoomsSite) -> None:
    """Whoever looks after a room may remove any number of names."""
    await rooms.create("ann", "r")
    ann = await rooms.connect("ann")
    assert await enters(ann, "r")
    await rooms.done("ann", "DELETE", "/r/members/nobody")
    await rooms.done("ann", "PATCH", "/r", {"title": "New"})
    assert (await next_of(ann, "room_changed"))["data"]["change"] == "settings"


async def test_nothing_of_a_deleted_room_is_told_in_the_next_one_of_its_name(
    rooms: RoomsSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What still waits to be told when a room is deleted is forgotten with it."""
    push = rooms.site.server.context.push
    announce, told, may_go_on = push.announce, [], trio.Event()

    async def slowly(channel: str, event: str, payload: Any) -> None:
        told.append(channel)
        await may_go_on.wait()
        await announce(channel, event, payload)

    monkeypatch.setattr(push, "announce", slowly)
    for name in ("other", "r"):
        await rooms.create("ann", name)
        await rooms.done("ann", "PATCH", f"/{name}", {"title": "Secret"})
    await rooms.done("ann", "DELETE", "/r")
    may_go_on.set()
    await wait_all_tasks_blocked()
    assert told == ["room:other"]


class Told:
    """A server that notes what is announced, and refuses some of it."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    async def announce(self, channel: str, event: str, payload: RoomChanged) -> None:
        """Refuse the room `bad`."""
        if payload.room == "bad":
            raise PublishRefused(Refusal(ErrorCode.UNAVAILABLE, "not now"))
        self.told.append((channel, event, payload.by))


async def test_only_so_much_waits_to_be_told(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest is dropped and logged; so is what cannot be told, and nothing is told of a room that ends."""
    monkeypatch.setattr(news, "MOST_WAITING", 4)
    waiting, push = News(), Told()
    for number in range(6):
        waiting.note(RoomChanged("bad" if number == 4 else "r", "settings", str(number)))
    waiting.note(RoomChanged("gone", "settings", "6"))
    waiting.forget("gone")
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(waiting.run, cast(Any, push))
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    assert push.told == [("room:r", "room_changed", number) for number in ("3", "5")]
    assert [(log["event"][:9], log.get("count")) for log in logs] == [("a change ", None), ("changes o", 3)]
