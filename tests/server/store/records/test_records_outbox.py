"""Events that leave with a commit: there with it, in order, once each."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection
from support.records import open_records

from tidings.server.store.records.outbox import delete_events, first_events, last_event, put_event


async def test_an_event_is_there_with_the_commit_it_tells_of(records_url: str, tmp_path: Path) -> None:
    """What the operation undoes it undoes too; what it keeps is found in order, with all that was said."""

    def regret(connection: Connection) -> None:
        put_event(connection, "user:1", "regretted", {})
        raise KeyError("no")

    async with open_records(records_url, tmp_path) as records:
        with pytest.raises(KeyError):
            await records.write(regret)
        first = await records.write(
            lambda connection: put_event(
                connection,
                "user:1",
                "named",
                {"name": "Zoë\0\u2028", "n": [1.5, None]},
                excluded_session="s1",
            )
        )
        second = await records.write(
            lambda connection: put_event(connection, "all", "left", {}, then="logout:1")
        )
        one, two = await records.read(lambda connection: first_events(connection, 0, 10))
    assert (one.id, two.id) == (first, second)
    assert first < second
    assert one[1:6] == ("user:1", "named", '{"name":"Zoë\\u0000\u2028","n":[1.5,null]}', "s1", None)
    assert two[1:6] == ("all", "left", "{}", None, "logout:1")
    assert 1_700_000_000_000 < one.created_ms <= two.created_ms


@pytest.mark.parametrize(
    ("channel", "event", "payload"),
    [
        ("room:no such", "e", {}),
        ("nowhere", "e", {}),
        ("all", "no event", {}),
        ("all", "", {}),
        ("all", "e", [1]),
    ],
    ids=range(5),
)
async def test_what_can_never_be_published_is_not_left(
    tmp_path: Path, channel: str, event: str, payload: Any
) -> None:
    """The operation fails with the reason, and is undone: its rows would tell of what nobody ever hears."""

    def change(connection: Connection) -> None:
        put_event(connection, "all", "first", {})
        put_event(connection, channel, event, payload)

    async with open_records("", tmp_path) as records:
        with pytest.raises((ValueError, TypeError), match=r"name|mapping"):
            await records.write(change)
        assert await records.read(lambda connection: first_events(connection, 0, 10)) == []


async def test_events_come_in_pages_and_go_when_they_are_done(records_url: str, tmp_path: Path) -> None:
    """An id is not given twice, also when the last of them have gone; nor does it harm to delete one twice."""

    async with open_records(records_url, tmp_path) as records:
        ids = [
            await records.write(lambda connection: put_event(connection, "room:a", "e", {}))
            for _ in range(5)
        ]
        assert ids == sorted(set(ids))
        page = await records.read(lambda connection: first_events(connection, 0, 2))
        assert [event.id for event in page] == ids[:2]
        page = await records.read(lambda connection: first_events(connection, ids[1], 10))
        assert [event.id for event in page] == ids[2:]
        assert await records.read(lambda connection: last_event(connection, "room:a")) == ids[-1]
        assert await records.read(lambda connection: last_event(connection, "room:b")) is None
        await records.write(lambda connection: delete_events(connection, ids[1:]))
        await records.write(lambda connection: delete_events(connection, [*ids[1:], 999]))
        assert [event.id for event in await records.read(lambda each: first_events(each, 0, 9))] == ids[:1]
        await records.write(lambda connection: delete_events(connection, ids))
        assert await records.write(lambda connection: put_event(connection, "room:a", "e", {})) > ids[-1]
