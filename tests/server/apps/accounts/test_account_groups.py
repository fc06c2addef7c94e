"""The group of a user in the table, on both databases: what a change of it ends; and older tables."""

import shutil
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from sqlalchemy import Connection, text
from support.accounts import HASHED, accounts_config, accounts_site
from support.records import open_records, records_url

from tidings.server.apps.accounts import users
from tidings.server.apps.accounts.app import MIGRATIONS
from tidings.server.apps.accounts.registration import checked_name
from tidings.server.apps.accounts.users import Changed, Cut, User
from tidings.server.choosing import migrations_of
from tidings.server.store.records.migrating import Migrated, Migrations, pending
from tidings.server.store.records.outbox import first_events
from tidings.server.store.records.records import Records

__all__ = ["records_url"]

NOW = 1_800_000_000_000


@pytest.fixture
async def records(records_url: str, tmp_path: Path) -> AsyncIterator[Records]:
    """An empty table, on each database."""
    async with open_records(records_url, tmp_path, [MIGRATIONS]) as records:
        yield records


async def add(records: Records, name: str, **more: Any) -> User:
    """Add a user, whose id is the name."""
    given: dict[str, Any] = {"roles": (), "email": None, "password": "hash", "password_until_ms": None}
    insert = partial(users.insert, user_id=name, name=checked_name(name), now_ms=NOW, **(given | more))
    added: Changed = await records.write(insert)
    return added.user


async def update(records: Records, user_id: str, **more: Any) -> Changed:
    """Change what is given of a user."""
    given: dict[str, Any] = {"name": None, "email": msgspec.UNSET, "roles": None, "now_ms": NOW}
    changed: Changed = await records.write(partial(users.update, user_id=user_id, **(given | more)))
    return changed


async def told(records: Records) -> list[tuple[str, str, Any, Cut | None]]:
    """The events that were left: of which channel, which, what they say of the group, and what follows them."""

    def read(connection: Connection) -> list[tuple[str, str, Any, Cut | None]]:
        return [
            (
                each.channel,
                each.event,
                msgspec.json.decode(each.payload)["group_id"],
                None if each.then is None else msgspec.json.decode(each.then, type=Cut),
            )
            for each in first_events(connection, 0, 1_000)
        ]

    return await records.read(read)


async def test_a_user_has_a_group_or_none(records: Records) -> None:
    """As added, and none where none is given; nobody has to hear of it."""
    assert (await add(records, "alice", group_id="7")).group_id == "7"
    assert (await add(records, "bob")).group_id is None
    found = await records.read(partial(users.find, user_id="alice"))
    assert found is not None
    assert found.group_id == "7"
    assert await told(records) == []


async def test_a_group_that_is_not_mentioned_stays(records: Records) -> None:
    """Whatever else is changed; and the group that a user has already changes nothing."""
    alice = await add(records, "alice", group_id="7", roles=["a"])
    assert (await update(records, "alice", email="a@b")).user.group_id == "7"
    assert (await update(records, "alice", roles=["a", "b"])).cut is None
    events = await told(records)
    changed = await update(records, "alice", group_id="7", now_ms=NOW + 9)
    assert (changed.cut, changed.event, changed.user.updated_ms) == (None, None, alice.updated_ms)
    bob = await add(records, "bob")
    assert await update(records, "bob", group_id=None, now_ms=NOW + 9) == Changed(bob)
    assert await told(records) == events


@pytest.mark.parametrize("group", ["8", None])
async def test_a_group_that_is_taken_away_ends_the_logins(records: Records, group: str | None) -> None:
    """Another in its place, or none: tokens still say the old one, as with a role; the cut goes with the event."""
    await add(records, "alice", group_id="7")
    changed = await update(records, "alice", group_id=group, now_ms=NOW + 10)
    cut = Cut("alice", NOW + 1, NOW + 11, None, "group")
    assert (changed.user.group_id, changed.cut) == (group, cut)
    assert await told(records) == [
        ("role:admin", "user:updated", group, None),
        ("user:alice", "user:updated", group, cut),
    ]
    kept = await records.read(partial(users.cuts, since_ms=0))
    assert [(each.user_id, each.number, each.before_ms) for each in kept] == [("alice", NOW + 1, NOW + 11)]


async def test_a_first_group_ends_nothing(records: Records) -> None:
    """It is told, and counts from the next token on, as a role that is added."""
    await add(records, "alice")
    changed = await update(records, "alice", group_id="7")
    assert (changed.user.group_id, changed.cut) == ("7", None)
    assert [then for *_, then in await told(records)] == [None, None]
    assert await records.read(partial(users.cuts, since_ms=0)) == []


async def test_a_role_and_a_group_that_go_together_are_one_end(records: Records) -> None:
    """One cut, which says the role; and a role that is added beside a group that goes saves nobody."""
    await add(records, "alice", group_id="7", roles=["a"])
    changed = await update(records, "alice", group_id=None, roles=[])
    assert changed.cut is not None
    assert changed.cut.why == "roles"
    assert len(await told(records)) == 2
    await add(records, "bob", group_id="7")
    changed = await update(records, "bob", group_id="8", roles=["a"])
    assert changed.cut is not None
    assert changed.cut.why == "group"


async def test_who_is_deleted_leaves_no_group(records: Records) -> None:
    """The row that keeps the id from being given again says nothing of where the user belonged."""
    await add(records, "alice", group_id="7")
    await records.write(partial(users.delete, user_id="alice", now_ms=NOW))
    left = await records.read(
        lambda connection: connection.execute(text("SELECT group_id FROM accounts_users")).all()
    )
    assert [tuple(row) for row in left] == [(None,)]


# --- tables from before ------------------------------------------------------------------------------

_OLD_USER = text(
    "INSERT INTO accounts_users (id, username, name_key, searched, roles, is_admin, password, created_ms,"
    " updated_ms, login_number, cut_number, cut_ms)"
    " VALUES (:id, :id, :id, :id, :roles, :is_admin, :password, 1, 1, 1, 0, 0)"
)


def _insert_old(connection: Connection, row: dict[str, Any]) -> None:
    connection.execute(_OLD_USER, row)


async def test_users_of_an_older_server_log_in_as_before(records_url: str, tmp_path: Path) -> None:
    """Tables of the first revision are brought up with who is in them: nobody has a group, all may get one."""
    older = tmp_path / "older"
    older.mkdir()
    shutil.copy(MIGRATIONS.directory / "r0001_users.py", older)
    config = accounts_config(tmp_path / "data", records_url)
    folder = Path(config.server.data_dir)
    async with open_records(records_url, folder, [Migrations("accounts", older)]) as records:
        for name, role in (("alice", "editor"), ("root", "admin")):
            row = {"id": name, "roles": f'["{role}"]', "is_admin": role == "admin", "password": HASHED}
            await records.write(partial(_insert_old, row=row))
    steps = await trio.to_thread.run_sync(pending, records_url, folder, migrations_of(config, []))
    assert Migrated("accounts", "0001", "0002") in steps
    with trio.fail_after(30):
        async with accounts_site(config) as at:
            alice, root = await at.login("alice"), await at.login("root")
            page = await at.done("GET", "/api/admin/users", root)
            told = [(user["id"], user["roles"], user["group_id"]) for user in page["users"]]
            assert told == [("alice", ["editor"], None), ("root", ["admin"], None)]
            assert await at.is_live(await at.refreshed(alice))
            user = await at.done("PUT", "/api/admin/users/alice", root, json={"group_id": "7"})
            assert user["group_id"] == "7"
            assert await at.is_live(alice)
