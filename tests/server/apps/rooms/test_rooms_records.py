"""The tables of rooms on both databases, and the rules that are loaded from them."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from support.kept_rooms import enters, inline_site, rooms_config, says
from support.records import differences, open_records
from trio.testing import MockClock, wait_all_tasks_blocked

from tidings.server.apps import rooms as app
from tidings.server.apps.rooms import reading, records, settling
from tidings.server.apps.rooms.entities import Bounds, Left, Rejected, Room, Who
from tidings.server.apps.rooms.rules import Change, Rules
from tidings.server.apps.rooms.tables import metadata
from tidings.server.extension.tables import put_event
from tidings.server.store.errors import StoreUnavailable
from tidings.server.store.records.migrating import Migrations
from tidings.server.store.records.records import Records

MIGRATIONS = Migrations("rooms", Path(app.__file__).parent / "migrations")
BOUNDS = Bounds(owned=2, members=3)
ANN, BOB = Who("ann", is_admin=False), Who("bob", is_admin=False)


@pytest.fixture
async def tables(tmp_path: Path, records_url: str) -> AsyncIterator[Records]:
    """The tables alone."""
    async with open_records(records_url, tmp_path, [MIGRATIONS]) as opened:
        yield opened


async def test_the_tables_are_what_their_migrations_make(tables: Records) -> None:
    """A program that reads a column finds it."""
    assert await tables.read(partial(differences, metadata=metadata)) == []


async def test_a_room_on_either_database(tables: Records) -> None:
    """Create, invite, hand over, remove, delete: the rows say the same wherever they are, and in the same order."""
    changes: list[Change] = []

    async def do(operation: Any, **more: Any) -> Any:
        done = await tables.write(partial(operation, **more))
        changes.append(done.change)
        return done.result

    put = partial(records.put_member, name="b.r", bounds=BOUNDS, now_ms=1, invites=True)
    remove = partial(records.remove_member, name="b.r", bounds=BOUNDS, now_ms=2)
    for name in ("b.r", "B"):
        room = Room(name, "T", "", "invited", "ann", 0)
        await do(records.create, room=room, who=ANN, bounds=BOUNDS)
        with pytest.raises(Rejected):
            await do(records.create, room=room, who=BOB, bounds=BOUNDS)
    for user in ("bob", "Zoe"):
        await do(put, who=ANN, user_id=user, role="member")
    await do(put, who=ANN, user_id="bob", role="owner")
    await do(remove, who=BOB, user_id="Zoe")
    await do(records.change, name="b.r", who=BOB, wanted={"policy": "open", "title": "Ü"})
    page = await tables.read(partial(reading.page, who=ANN, after="", limit=10))
    assert [(room.name, room.title) for room in page[0]] == [("B", "T"), ("b.r", "Ü")], "by bytes"
    who = await tables.read(partial(reading.members_page, name="b.r", after="", limit=9, removed=True))
    assert [(each.user_id, each.role) for each in who[0]] == [
        ("Zoe", "removed"),
        ("ann", "admin"),
        ("bob", "owner"),
    ]
    assert await tables.read(partial(reading.what_is_left, name="b.r")) == Left(False, False)
    await tables.write(lambda connection: put_event(connection, "room:b.r", "note", {}))
    assert await tables.read(partial(reading.what_is_left, name="b.r")) == Left(False, True)
    await do(records.end, name="B", who=ANN, now_ms=3)
    assert await tables.read(partial(reading.what_is_left, name="B")) == Left(True, False)
    with pytest.raises(Rejected):
        await tables.read(partial(reading.find, name="B"))
    lived, loaded = Rules(), Rules()
    for change in filter(None, changes):
        lived.apply(change)
    for change in await tables.read(reading.load):
        loaded.apply(change)
    assert rules_of(lived) == rules_of(loaded)
    await do(records.forget, name="B")
    await do(records.forget, name="b.r")
    assert changes[-1].is_whole, "it is not to be deleted"
    assert [change.room for change in await tables.read(reading.load)] == ["b.r"]


def rules_of(rules: Rules) -> dict[str, tuple[Any, ...]]:
    """All that rules hold."""
    return {
        name: (room.policy, dict(sorted(room.roles.items())), room.members, room.is_ending)
        for name, room in rules.rooms.items()
    }


async def test_a_restart_keeps_rooms_and_finishes_what_was_begun(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rules are in force before the first connection; a deletion that the end cut short is done then."""
    async with inline_site(rooms_config(tmp_path)) as rooms:
        await rooms.create("ann", "r", "invited")
        await rooms.create("ann", "gone", "invited")
        await rooms.invite("ann", "r", "bob")
        with monkeypatch.context() as patch:
            patch.setattr(type(rooms.site.server.context.broker), "clear", _never)
            await rooms.done("ann", "DELETE", "/gone")
    async with inline_site(rooms_config(tmp_path)) as rooms:
        eve = await rooms.connect("eve")
        assert not await enters(eve, "r")
        assert await enters(await rooms.connect("bob"), "r")
        await wait_all_tasks_blocked()
        assert await enters(eve, "gone"), "a name as any other"
        assert (await rooms.create("eve", "gone"))["role"] == "owner"


async def _never(*_: object) -> None:
    await trio.sleep_forever()


@pytest.mark.parametrize("most_in_doubt", [1_000, 0])
async def test_what_was_committed_unseen_is_found_out(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, most_in_doubt: int
) -> None:
    """Where a connection is lost in a commit, nobody knows whether somebody was removed: the tables are asked."""
    monkeypatch.setattr(settling, "_MOST_IN_DOUBT", most_in_doubt)
    async with inline_site(rooms_config(tmp_path)) as rooms:
        await rooms.create("ann", "r")
        bob = await rooms.connect("bob")
        assert await enters(bob, "r")
        tables = rooms.site.server.context.push.tables
        write, fail = tables.write, [True, True]

        async def lose(operation: Any, on_done: Any = None) -> Any:
            if fail:
                fail.pop()
                # The first is done, and its result is lost; the second is not even done.
                if fail:
                    await write(operation)
                raise StoreUnavailable("lost")
            return await write(operation, on_done)

        monkeypatch.setattr(tables, "write", lose)
        assert await rooms.refused("ann", "DELETE", "/r/members/bob") == (503, "unavailable")
        await trio.sleep(1)
        assert rooms.site.server.context.push.members_of("room:r") == []
        assert not await enters(bob, "r")


async def test_a_deletion_whose_commit_was_lost_leaves_the_next_room_alone(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last step was done, and nobody knows: whoever has the name next keeps what is said there."""
    async with inline_site(rooms_config(tmp_path)) as rooms:
        push = rooms.site.server.context.push
        write, clear = push.tables.write, push.clear_history
        cleared: list[str] = []

        async def lose(operation: Any, on_done: Any = None) -> Any:
            if operation.func is not records.forget or not cleared:
                return await write(operation, on_done)
            monkeypatch.undo()
            await write(operation)
            # Before anybody finds out, the name is somebody else's, who is in and has said something.
            await rooms.done("bob", "POST", "", {"name": "r"})
            assert await enters(bob, "r")
            assert await says(bob, "r", "precious") == "published"
            raise StoreUnavailable("lost")

        async def note(channel: str) -> Any:
            cleared.append(channel)
            return await clear(channel)

        bob = await rooms.connect("bob")
        await rooms.create("ann", "r")
        monkeypatch.setattr(push.tables, "write", lose)
        monkeypatch.setattr(push, "clear_history", note)
        await rooms.done("ann", "DELETE", "/r")
        await trio.sleep(5)
        assert await says(bob, "r", "still here") == "published"
        page = await rooms.done("bob", "GET", "/r/history")
        assert [each["data"]["text"] for each in page["publications"]] == ["precious", "still here"]


async def test_a_deletion_that_is_done_and_lost_is_over(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is free as soon as the tables are asked again, and what comes there meanwhile is not cleared."""
    async with inline_site(rooms_config(tmp_path)) as rooms:
        push = rooms.site.server.context.push
        tables = push.tables
        write = tables.write

        async def lose(operation: Any, on_done: Any = None) -> Any:
            if operation.func is not records.forget:
                return await write(operation, on_done)
            monkeypatch.undo()
            await write(operation)
            await push.publish("room:r", "note", {"text": "of a back end"})
            raise StoreUnavailable("lost")

        monkeypatch.setattr(tables, "write", lose)
        await rooms.create("ann", "r", "invited")
        await rooms.done("ann", "DELETE", "/r")
        await trio.sleep(1)
        bob = await rooms.connect("bob")
        assert await enters(bob, "r")
        page = (await bob.command("history", {"channel": "room:r"}))["data"]
        assert [each["data"]["text"] for each in page["publications"]] == ["of a back end"]
