"""The rows of notifications, on both databases: what is kept, counted, read, deleted and dropped."""

from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
import trio
from sqlalchemy import Connection
from support.notifications import notified_records
from support.records import differences

from tidings.server.apps.notifications import notes
from tidings.server.apps.notifications.bodies import NewNotification
from tidings.server.apps.notifications.notes import Changed, Note
from tidings.server.apps.notifications.tables import metadata
from tidings.server.store.records.outbox import first_events
from tidings.server.store.records.records import Records

T = TypeVar("T")


class Shelf:
    """Alice's notifications, and others'."""

    def __init__(self, records: Records) -> None:
        self.records = records

    async def write(self, function: Callable[..., T], *users: str, **more: Any) -> T:
        user = {} if function is notes.sweep else {"user_id": users[0] if users else "alice"}
        return await self.records.write(partial(function, **user, **more))

    async def add(
        self, title: str = "hello", user: str = "alice", *, at: int = 1, keep: int = 1000
    ) -> Note:
        asked = NewNotification(title, "text")
        created = await self.write(notes.create, user, asked=asked, now_ms=at, keep=keep)
        assert created is not None
        return created.note

    async def page(self, user: str = "alice", **more: Any) -> notes.NotePage:
        asked = {"before": None, "limit": 50, "only_unread": False} | more
        return await self.records.read(partial(notes.page, user_id=user, **asked))

    async def titles(self, user: str = "alice", **more: Any) -> list[str]:
        return [note.title for note in (await self.page(user, **more)).notes]

    async def unread(self, user: str = "alice") -> int:
        return await self.records.read(partial(notes.unread, user_id=user))


@pytest.fixture
async def shelf(tmp_path: Path, records_url: str) -> AsyncIterator[Shelf]:
    """Without anything on it."""
    async with notified_records(tmp_path, records_url) as records:
        yield Shelf(records)


async def test_the_migrations_make_the_tables(shelf: Shelf) -> None:
    """What the revisions make is what the program declares, to the index."""
    assert await shelf.records.read(partial(differences, metadata=metadata)) == []


async def test_a_notification_and_its_event_are_one_commit(shelf: Shelf) -> None:
    """What was asked for is in the list, and in the outbox for the inbox: ids as text, and no absent field."""
    asked = NewNotification("新消息 <b>", "two\nlines\t'; DROP TABLE x;--", "warning", "🔔", "/a?b=c#d")
    first = await shelf.write(notes.create, asked=asked, now_ms=123, keep=10)
    second = await shelf.add()
    assert first is not None
    assert (first.unread, first.is_new) == (1, True)
    assert first.note[1:] == (asked.title, asked.message, "warning", "🔔", "/a?b=c#d", 123, None)
    page = await shelf.page()
    assert (page.notes, page.unread, page.next) == ([second, first.note], 2, None)

    def read(connection: Connection) -> list[Any]:
        return first_events(connection, 0, 10)

    told = [
        (event.channel, event.event, msgspec.json.decode(event.payload))
        for event in await shelf.records.read(read)
    ]
    fields = {"type": "warning", "icon": "🔔", "link": "/a?b=c#d"}
    assert told == [
        (
            "user:alice",
            "notification",
            {"id": str(first.note.id), "title": asked.title, "message": asked.message, **fields},
        ),
        (
            "user:alice",
            "notification",
            {"id": str(second.id), "title": "hello", "message": "text", "type": "info"},
        ),
    ]


async def test_of_two_with_one_key_one_is_made(shelf: Shelf) -> None:
    """However many come at once: one row and one event, and each is given that; each user's keys are apart."""
    asked = NewNotification("hello", "text", icon="bell")
    made: list[notes.Created | None] = []

    async def create(user: str, what: NewNotification = asked, *, keep: int = 10) -> None:
        more = {"asked": what, "now_ms": 1, "keep": keep, "idempotency_key": "order-7"}
        made.append(await shelf.write(notes.create, user, **more))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(create, "alice")
            nursery.start_soon(create, "bob")
    created = [each for each in made if each is not None]
    assert (len(created), sum(each.is_new for each in created)) == (10, 2)
    assert len({each.note for each in created}) == 2
    await create("alice", NewNotification("hello", "text"))
    assert made.pop() is None
    assert (await shelf.titles(), await shelf.titles("bob")) == (["hello"], ["hello"])
    events = await shelf.records.read(partial(first_events, after_id=0, limit=10))
    assert sorted(event.channel for event in events) == ["user:alice", "user:bob"]
    # One that is read is given as it is now; one that was dropped has taken its key along.
    note = created[0].note
    owner = "alice" if (await shelf.page()).notes[0].id == note.id else "bob"
    await shelf.write(notes.mark_read, owner, note_id=note.id, now_ms=7)
    await create(owner)
    assert made.pop() == (note._replace(read_ms=7), 0, False)
    await shelf.add("newer", owner, keep=1)
    await create(owner)
    last = made.pop()
    assert last is not None
    assert (last.is_new, last.note.id > note.id) == (True, True)


async def test_pages_stay_where_they_are_while_new_ones_come(shelf: Shelf) -> None:
    """Each of those that were there comes once, newest first, whatever is added or deleted between two pages."""
    made = [await shelf.add(f"n{number}") for number in range(7)]
    await shelf.add("his", "bob")
    page = await shelf.page(limit=3)
    seen = [note.title for note in page.notes]
    await shelf.add("new")
    # The one that the cursor names is gone, too.
    await shelf.write(notes.remove, note_id=page.notes[-1].id)
    while page.next is not None:
        page = await shelf.page(limit=3, before=page.next)
        seen += [note.title for note in page.notes]
    assert seen == [note.title for note in reversed(made)]
    # A page that ends with the last one says so.
    assert (await shelf.page(limit=7)).next is None
    assert (await shelf.page(limit=6)).next is not None


async def test_what_is_read_is_counted_once_and_by_its_owner(shelf: Shelf) -> None:
    """Marking counts what has changed; the second time nothing has; somebody else's is not there at all."""
    mine, other = await shelf.add("mine", at=5), await shelf.add("other")
    his = await shelf.add("his", "bob")
    assert await shelf.write(notes.mark_read, note_id=mine.id, now_ms=70) == Changed(1, 1, recounted=True)
    again = await shelf.write(notes.mark_read, note_id=mine.id, now_ms=80)
    assert again == Changed(0, 1, recounted=False)
    assert [note.read_ms for note in (await shelf.page()).notes] == [None, 70]
    assert await shelf.titles(only_unread=True) == ["other"]
    for function in (notes.mark_read, notes.remove):
        more = {"now_ms": 1} if function is notes.mark_read else {}
        assert await shelf.write(function, note_id=his.id, **more) is None
        assert await shelf.write(function, note_id=10**18 - 1, **more) is None
    assert (await shelf.unread("bob"), await shelf.unread()) == (1, 1)
    assert await shelf.write(notes.remove, note_id=mine.id) == Changed(1, 1, recounted=False)
    assert await shelf.write(notes.remove, note_id=other.id) == Changed(1, 0, recounted=True)
    assert await shelf.titles("bob") == ["his"]


async def test_all_up_to_one_are_read(shelf: Shelf) -> None:
    """What came after the newest that was seen stays unread; without a bound nothing does."""
    made = [await shelf.add(f"n{number}") for number in range(4)]
    await shelf.add("his", "bob")
    marked = await shelf.write(notes.mark_all_read, up_to=made[1].id, now_ms=9)
    assert marked == Changed(2, 2, recounted=True)
    assert await shelf.titles(only_unread=True) == ["n3", "n2"]
    for expected in (Changed(2, 0, recounted=True), Changed(0, 0, recounted=False)):
        assert await shelf.write(notes.mark_all_read, up_to=None, now_ms=9) == expected
    assert await shelf.unread("bob") == 1


async def test_all_or_those_that_are_read_are_deleted(shelf: Shelf) -> None:
    """Deleting what is read changes no count, and somebody else's stay."""
    made = [await shelf.add(f"n{number}") for number in range(3)]
    await shelf.add("his", "bob")
    await shelf.write(notes.mark_read, note_id=made[1].id, now_ms=9)
    assert await shelf.write(notes.remove_all, only_read=True) == Changed(1, 2, recounted=False)
    assert await shelf.titles() == ["n2", "n0"]
    assert await shelf.write(notes.remove_all, only_read=False) == Changed(2, 0, recounted=True)
    assert await shelf.write(notes.remove_all, only_read=False) == Changed(0, 0, recounted=False)
    assert await shelf.titles("bob") == ["his"]


async def test_an_id_is_never_given_again(shelf: Shelf) -> None:
    """Not even that of the newest, deleted: somebody's cursor, or mark, may still name it."""
    first = await shelf.add()
    await shelf.write(notes.remove, note_id=first.id)
    assert (await shelf.add()).id > first.id


async def test_the_oldest_go_where_a_user_has_too_many(shelf: Shelf) -> None:
    """Read or not, and of that user alone; the count is of those that stay."""
    await shelf.add("his", "bob")
    for number in range(6):
        await shelf.add(f"n{number}", keep=4)
    assert (await shelf.titles(), await shelf.unread()) == (["n5", "n4", "n3", "n2"], 4)
    # A smaller limit takes effect with the next one.
    await shelf.add("last", keep=2)
    assert (await shelf.titles(), await shelf.unread()) == (["last", "n5"], 2)
    assert await shelf.titles("bob") == ["his"]


async def test_what_is_too_old_goes_piece_by_piece(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest first, in bounded pieces; counts are told of users who lost something unread, and of no others."""
    monkeypatch.setattr(notes, "PIECE", 2)
    read = await shelf.add("read", "carol", at=10)
    await shelf.write(notes.mark_read, "carol", note_id=read.id, now_ms=11)
    for at in (30, 20, 99, 100):
        await shelf.add(f"at {at}", at=at)
    await shelf.add("his", "bob", at=98)
    assert await shelf.write(notes.sweep, before_ms=100) == (2, {"alice": 3})
    assert await shelf.write(notes.sweep, before_ms=100) == (2, {"alice": 2, "bob": 0})
    assert await shelf.write(notes.sweep, before_ms=100) == (1, {"alice": 1})
    assert await shelf.write(notes.sweep, before_ms=100) == (0, {})
    assert await shelf.titles() == ["at 100"]
