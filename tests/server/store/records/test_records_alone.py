"""One server on a database: a second one is refused, commands are not, and nobody writes to what another has."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from sqlalchemy import Connection
from support.postgres import cluster, fresh_database
from support.records import open_records, running
from support.records_app import add, names, things_app

from tidings.server.store.errors import StoreRefused, StoreUnavailable
from tidings.server.store.records import groups
from tidings.server.store.records.postgresql import PostgreSQL
from tidings.server.store.records.records import Migrations, Records
from tidings.server.store.records.sqlite import SQLite

_REFUSED = (
    r"another server runs on this database\. Stop that one, or give this server a database of its own"
)

# Holds a database until it is killed.
_HOLDER = """
import sys, time
from pathlib import Path
from tidings.server.store.records.databases import database_of
from tidings.server.store.records.groups import GroupCommit
database = database_of(sys.argv[1], Path(sys.argv[2]))
database.create()
GroupCommit(database, alone=True).open()
print("open", flush=True)
time.sleep(60)
"""


Alone = Callable[..., Records]


@pytest.fixture
def things(tmp_path: Path) -> Migrations:
    """An app with tables."""
    return things_app(tmp_path)


@pytest.fixture
def alone(tmp_path: Path, things: Migrations) -> Alone:
    """Makes the records of a server, on the database of a URL."""
    return lambda url: Records(url, tmp_path, [things], alone=True)


async def refused(second: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    """See that another server does not get a database, though it waits."""
    with monkeypatch.context() as patch:
        patch.setattr(groups, "CLAIM_SECONDS", 0.1)
        began = time.monotonic()
        with pytest.raises(StoreRefused, match=_REFUSED):
            await second.prepare()
        assert time.monotonic() - began >= 0.1


async def test_a_second_server_is_refused_as_long_as_the_first_is_there(
    records_url: str, tmp_path: Path, things: Migrations, alone: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told what to do; a command works beside the first, and keeps nobody out; afterwards it is let in."""
    async with running(alone(records_url)) as first:
        await refused(alone(records_url), monkeypatch)
        async with open_records(records_url, tmp_path, [things]) as command:
            await command.write(lambda connection: add(connection, "the command's"))
        await refused(alone(records_url), monkeypatch)
        await first.write(lambda connection: add(connection, "the first's"))
    async with (
        open_records(records_url, tmp_path, [things]),
        running(alone(records_url)) as second,
    ):
        assert await second.read(names) == ["the command's", "the first's"]


async def test_one_that_is_about_to_end_is_waited_for(
    records_url: str, alone: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is started while the last one closes need not be started again."""
    second, kind = alone(records_url), PostgreSQL if records_url else SQLite
    claim, was_refused = kind.claim, threading.Event()

    def watched(database: Any, connection: Connection) -> bool:
        taken: bool = claim(database, connection)
        if not taken:
            was_refused.set()
        return taken

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:  # noqa: SIM117  the first ends before who waits for it
            async with running(alone(records_url)) as first:
                monkeypatch.setattr(kind, "claim", watched)
                nursery.start_soon(second.prepare)
                assert await trio.to_thread.run_sync(was_refused.wait, 20)
                await first.write(lambda connection: add(connection, "the first's"))
        async with running(second):
            assert await second.read(names) == ["the first's"]


async def test_one_that_was_killed_keeps_nobody_out(
    records_url: str, tmp_path: Path, alone: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it had goes with its process: nothing is to be removed by hand."""
    command = [sys.executable, "-c", _HOLDER, records_url, str(tmp_path)]
    with trio.fail_after(30):
        holder = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
        assert holder.stdout is not None
        try:
            assert (await holder.stdout.receive_some()).startswith(b"open")
            await refused(alone(records_url), monkeypatch)
        finally:
            holder.kill()
            with trio.CancelScope(shield=True):
                await holder.wait()
                await holder.stdout.aclose()
    async with running(alone(records_url)) as second:
        await second.write(lambda connection: add(connection, "a"))


async def test_two_schemas_are_two_databases(alone: Alone) -> None:
    """An administrator may give each of several servers a schema of one database in PostgreSQL."""
    with fresh_database() as one, fresh_database() as other:
        async with running(alone(one)) as first, running(alone(other)) as second:
            await first.write(lambda connection: add(connection, "a"))
            await second.write(lambda connection: add(connection, "b"))
            assert (await first.read(names), await second.read(names)) == (["a"], ["b"])


async def test_a_server_whose_connection_was_lost_claims_again(
    postgresql_url: str, alone: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After PostgreSQL was restarted it is its own again; where another was quicker, that one alone writes."""
    monkeypatch.setattr(groups, "PAUSE_SECONDS", 0.0)
    async with running(alone(postgresql_url)) as first:
        await first.write(lambda connection: add(connection, "before"))
        await trio.to_thread.run_sync(cluster().stop)
        await trio.to_thread.run_sync(cluster().start)
        await first.write(lambda connection: add(connection, "after"))
        await refused(alone(postgresql_url), monkeypatch)
        cluster().execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'tidings'"
        )
        async with running(alone(postgresql_url)) as second:
            with pytest.raises(StoreUnavailable, match="another server has this database"):
                await first.write(lambda connection: add(connection, "the first's"))
            await second.write(lambda connection: add(connection, "the second's"))
        await first.write(lambda connection: add(connection, "the first's"))
        assert await first.read(names) == ["before", "after", "the second's", "the first's"]
