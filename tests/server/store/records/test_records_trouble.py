"""Databases that fail: what was acknowledged is there, what is not was refused, and the next group tries anew."""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
import trio
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError
from support.postgres import cluster
from support.records import open_records
from support.records_app import add, names, things_app

from tidings.server.store.errors import StoreUnavailable
from tidings.server.store.records.files import NAME
from tidings.server.store.records.records import Records


async def outcomes(records: Records, *things: str) -> list[str]:
    """What adding things at once comes to: "kept", "there already", or why they cannot be stored."""
    found = dict.fromkeys(things, "")

    async def one(name: str) -> None:
        try:
            await records.write(lambda connection: add(connection, name))
            found[name] = "kept"
        except IntegrityError:
            found[name] = "there already"
        except StoreUnavailable as error:
            found[name] = str(error)

    async with trio.open_nursery() as nursery:
        for name in things:
            nursery.start_soon(one, name)
    return list(found.values())


def set_limit(connection: Connection, words: str) -> None:
    """Change something for the connection that writes, until it connects again."""
    connection.exec_driver_sql(words)


async def test_a_full_disk_refuses_the_group_and_no_more(tmp_path: Path) -> None:
    """Nothing of it is kept, and the next group finds room."""
    async with open_records("", tmp_path, [things_app(tmp_path)]) as records:
        await records.write(lambda connection: add(connection, "before"))
        await records.write(lambda connection: set_limit(connection, "PRAGMA max_page_count = 1"))

        def fill(connection: Connection) -> None:
            add(connection, "much")
            for _ in range(100):
                connection.execute(text("INSERT INTO boxes VALUES (hex(randomblob(5000)))"))

        with pytest.raises(StoreUnavailable, match="cannot store: database or disk is full"):
            await records.write(fill)
        assert await outcomes(records, "after") == ["kept"]
        assert await outcomes(records, "before") == ["there already"]
        assert await records.read(names) == ["before", "after"]


async def test_an_operation_that_swallows_a_full_disk_is_refused_all_the_same(tmp_path: Path) -> None:
    """SQLite has rolled the whole group back by itself: nobody is told that anything was kept."""
    async with open_records("", tmp_path, [things_app(tmp_path)]) as records:
        await records.write(lambda connection: set_limit(connection, "PRAGMA max_page_count = 1"))

        def swallow(connection: Connection) -> str:
            try:
                for _ in range(100):
                    connection.execute(text("INSERT INTO boxes VALUES (hex(randomblob(5000)))"))
            except Exception:
                # As SQLite itself does at a bad moment.
                connection.connection.driver_connection.execute("ROLLBACK")  # type: ignore[union-attr]
            return "all is well"

        with pytest.raises(StoreUnavailable, match="cannot store"):
            await records.write(swallow)
        assert await outcomes(records, "after") == ["kept"]


async def test_what_is_locked_by_somebody_else_is_refused_in_time(records_url: str, tmp_path: Path) -> None:
    """The group is refused when the time for locks is over; it is not held up until they are let go."""
    limit = "SET lock_timeout = 10" if records_url else "PRAGMA busy_timeout = 10"
    async with open_records(records_url, tmp_path, [things_app(tmp_path)]) as records:
        await records.write(lambda connection: set_limit(connection, limit))
        other = _other(records_url, tmp_path)
        with closing(other):
            other.execute("BEGIN; LOCK TABLE things" if records_url else "BEGIN IMMEDIATE")
            refused = await outcomes(records, "a", "b")
            assert all("lock" in each for each in refused), refused
            other.execute("ROLLBACK")
        assert await outcomes(records, "a", "b") == ["kept", "kept"]
        assert sorted(await records.read(names)) == ["a", "b"]


def _other(url: str, data_dir: Path) -> "sqlite3.Connection | psycopg.Connection":
    """A connection of somebody else's, in no transaction."""
    if url:
        return psycopg.connect(url, autocommit=True)
    return sqlite3.connect(data_dir / NAME, isolation_level=None)


async def test_a_deadlock_is_tried_again(postgresql_url: str, tmp_path: Path) -> None:
    """Another node waits for what a group has locked, and the other way round: both come through."""
    runs = 0
    async with open_records(postgresql_url, tmp_path, [things_app(tmp_path)]) as records:
        await records.write(lambda connection: set_limit(connection, "SET deadlock_timeout = '10ms'"))
        await records.write(lambda connection: (add(connection, "ours"), add(connection, "theirs")))
        lock = "UPDATE things SET box = NULL WHERE name = %s"
        with psycopg.connect(postgresql_url) as other:
            # It must not be the one that finds the deadlock.
            other.execute("SET deadlock_timeout = '60s'")
            other.execute(lock, ["theirs"])

            def cross(connection: Connection) -> None:
                nonlocal runs
                runs += 1
                if runs == 2:
                    threads[0].join()
                    other.rollback()
                connection.exec_driver_sql(lock, ("ours",))
                if runs == 1:
                    threads.append(thread := threading.Thread(target=other.execute, args=(lock, ["ours"])))
                    thread.start()
                    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
                    while not connection.scalar(waiting):
                        pass
                connection.exec_driver_sql(lock, ("theirs",))

            threads: list[threading.Thread] = []
            done = records.submit(cross)
            assert await outcomes(records, "neighbour") == ["kept"]
            await done.wait()
    assert runs == 2


async def test_a_server_that_starts_again_is_found_again(
    postgresql_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is away each is refused; who comes after does not even see that connections have died."""
    monkeypatch.setattr("tidings.server.store.records.groups.PAUSE_SECONDS", 0.0)
    async with open_records(postgresql_url, tmp_path, [things_app(tmp_path)]) as records:
        assert await outcomes(records, "before") == ["kept"]
        assert await records.read(names) == ["before"]
        await trio.to_thread.run_sync(cluster().stop)
        try:
            for refused in await outcomes(records, "a", "b"):
                assert refused.startswith("cannot store: "), refused
            with pytest.raises(StoreUnavailable, match="cannot read"):
                await records.read(names)
        finally:
            await trio.to_thread.run_sync(cluster().start)
        assert await outcomes(records, "after") == ["kept"]
        assert await records.read(names) == ["before", "after"]
        # Connections that die while nobody uses them, and in the middle of an operation, are nobody's trouble.
        several = threading.Barrier(3)
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(records.read, lambda connection: (names(connection), several.wait(20)))
        _end_sessions()
        assert await records.read(names) == ["before", "after"]
        assert await outcomes(records, "later") == ["kept"]
        runs = 0

        def cut(connection: Connection) -> None:
            nonlocal runs
            runs += 1
            add(connection, "cut")
            if runs == 1:
                _end_sessions()
            add(connection, "off")

        await records.write(cut)
        assert await records.read(names) == ["before", "after", "later", "cut", "off"]
        assert runs == 2


def _end_sessions() -> None:
    """End every session of ours with the server."""
    found = cluster().execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tidings'"
    )
    assert found, "sessions are known by their name"


async def test_a_server_that_does_not_answer_is_not_asked_by_each(
    postgresql_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an attempt to connect has failed, those that wait are refused for the same reason without another."""
    monkeypatch.setattr("tidings.server.store.records.groups.PAUSE_SECONDS", 1000.0)
    async with open_records(postgresql_url, tmp_path, [things_app(tmp_path)]) as records:
        await trio.to_thread.run_sync(cluster().stop)
        try:
            [first] = await outcomes(records, "a")
            [second] = await outcomes(records, "b")
        finally:
            await trio.to_thread.run_sync(cluster().start)
        assert first.startswith("cannot store: connection")
        assert await outcomes(records, "c") == [second] == [first]


async def test_another_process_may_write_to_the_same_file(tmp_path: Path) -> None:
    """It is waited for; who reads waits for nobody."""
    async with open_records("", tmp_path, [things_app(tmp_path)]) as records:
        with closing(
            sqlite3.connect(tmp_path / NAME, isolation_level=None, check_same_thread=False)
        ) as other:
            other.execute("BEGIN IMMEDIATE")
            other.execute("INSERT INTO things (name) VALUES ('theirs')")
            pending = records.submit(lambda connection: add(connection, "ours"))
            assert await records.read(names) == [], "who reads waits for nobody"
            other.execute("COMMIT")
            await pending.wait()
        assert await records.read(names) == ["theirs", "ours"]


async def test_who_reads_first_and_writes_then_has_the_lock_from_the_beginning(tmp_path: Path) -> None:
    """Nobody else's commit comes in between, which would make SQLite refuse the operation at once."""

    def look_and_add(connection: Connection) -> None:
        assert names(connection) == []
        with (
            closing(sqlite3.connect(tmp_path / NAME, isolation_level=None, timeout=0)) as other,
            pytest.raises(sqlite3.OperationalError, match="locked"),
        ):
            other.execute("INSERT INTO things (name) VALUES ('theirs')")
        add(connection, "ours")

    async with open_records("", tmp_path, [things_app(tmp_path)]) as records:
        await records.write(look_and_add)
        assert await records.read(names) == ["ours"]
