"""The data directory and its database: whose they are, and what is refused."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from support.store import DURABLE, Append, append, appending, do, store_at

from tidings.server.store import database
from tidings.server.store.data_dir import LOCK, DataDir
from tidings.server.store.database import NAME, open_database
from tidings.server.store.errors import StoreRefused, StoreUnavailable
from tidings.server.store.requests import Open
from tidings.server.store.store import Store


def filled(directory: Path, publications: int = 200) -> Path:
    """A database that was closed in good order; its path."""
    store = store_at(directory)
    for _ in range(publications // 100):
        do(store, *_appends(100))
    store.close()
    return directory / NAME


def _appends(count: int) -> list[Append]:
    return [appending("room:long", b'{"text":"%d"}' % number * 20) for number in range(count)]


def refused(directory: Path) -> str:
    """Why a store is refused here; nothing stays locked."""
    with pytest.raises(StoreRefused) as caught:
        store_at(directory)
    DataDir(directory).close()
    return str(caught.value)


def test_directory_and_files_are_nobody_elses_to_read(tmp_path: Path) -> None:
    """Made with its parents, for its owner only; also the database in a directory that was there before."""
    store = store_at(tmp_path / "deep" / "data")
    assert (tmp_path / "deep" / "data").stat().st_mode & 0o777 == 0o700
    for file in (tmp_path / "deep" / "data").iterdir():
        assert file.stat().st_mode & 0o077 == 0, file
    store.close()


def test_a_second_process_is_refused_and_told_who_is_there(tmp_path: Path) -> None:
    """The lock holds between processes, names its holder, and ends with a kill."""
    program = (
        "import sys, pathlib\n"
        "from tidings.server.store.data_dir import DataDir\n"
        "held = DataDir(pathlib.Path(sys.argv[1]))\n"
        "print('locked', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(StoreRefused) as caught:
            DataDir(tmp_path)
        assert f"{tmp_path}: in use by process {holder.pid}" in str(caught.value)
        assert "server.data_dir" in str(caught.value)
        holder.kill()
        holder.wait()
        DataDir(tmp_path).close()


def test_two_stores_of_one_process_are_refused_too(tmp_path: Path) -> None:
    """A directory is one server's, whoever asks; the first one is not disturbed."""
    first = store_at(tmp_path)
    with pytest.raises(StoreRefused, match=f"process {os.getpid()}"):
        store_at(tmp_path)
    assert append(first, "room:a").position.offset == 1
    first.close()
    store_at(tmp_path).close()


def test_a_place_that_cannot_hold_a_directory_is_refused(tmp_path: Path) -> None:
    """The message names the directory and the key to set."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreRefused, match=r"file/data: cannot keep anything there: .*server\.data_dir"):
        DataDir(tmp_path / "file" / "data")


def test_what_is_no_database_is_refused_with_the_cure(tmp_path: Path) -> None:
    """Text in its place: the message names the file and both ways out, and the file stays as it is."""
    (tmp_path / NAME).write_text("Dear diary, " * 100)
    message = refused(tmp_path)
    assert f"{tmp_path / NAME}: the database is damaged" in message
    assert "tidings backup" in message
    assert "is lost" in message
    assert (tmp_path / NAME).read_text().startswith("Dear diary")


@pytest.mark.parametrize("at", [100, 4096, 3 * 4096, 20 * 4096])
def test_damage_within_the_file_is_found(tmp_path: Path, at: int) -> None:
    """Bytes that somebody wrote over a page are found before anything is read for good."""
    path = filled(tmp_path)
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"\xa5" * 64)
    assert "damaged" in refused(tmp_path)


def test_a_file_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    """As a copy that was interrupted is."""
    path = filled(tmp_path)
    os.truncate(path, path.stat().st_size // 2)
    assert "damaged" in refused(tmp_path)


def test_an_empty_file_is_a_new_database(tmp_path: Path) -> None:
    """A start that was interrupted may leave one."""
    (tmp_path / NAME).touch()
    store = store_at(tmp_path)
    assert append(store, "room:a").position.offset == 1
    store.close()


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    """It is not touched."""
    with sqlite3.connect(tmp_path / NAME) as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    connection.close()
    before = (tmp_path / NAME).read_bytes()
    assert "another program's database" in refused(tmp_path)
    assert (tmp_path / NAME).read_bytes() == before


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    """After an upgrade was taken back."""
    path = filled(tmp_path)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 2")
    connection.close()
    assert "newer Tidings (schema 2; this one knows 1)" in refused(tmp_path)


def test_a_database_that_is_gone_begins_anew_with_new_epochs(tmp_path: Path) -> None:
    """With what belonged to it; an empty log is nothing."""
    store = store_at(tmp_path)
    before = append(store, "room:a").position
    store.close()
    (tmp_path / NAME).unlink()
    (tmp_path / f"{NAME}-wal").touch()
    store = store_at(tmp_path)
    [after] = do(store, Open("room:a"))
    store.close()
    assert after.offset == 0  # type: ignore[attr-defined]
    assert after.epoch != before.epoch  # type: ignore[attr-defined]


def test_every_commit_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer waits for the disk at each commit, whatever SQLite was built to do; only a power cut shows it."""
    connect = sqlite3.connect

    def careless(*arguments: Any, **more: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **more)
        connection.execute("PRAGMA synchronous = OFF")
        return connection

    monkeypatch.setattr(sqlite3, "connect", careless)
    store = store_at(tmp_path)
    assert store._connection is not None
    assert store._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert store._connection.execute("PRAGMA synchronous").fetchone() == (2,), "FULL"
    store.close()


def test_a_long_check_is_announced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator sees what the start waits for; a small file is checked without a word."""
    path = filled(tmp_path)
    with capture_logs() as logs:
        open_database(path).close()
        assert not logs
        monkeypatch.setattr(database, "_LONG_CHECK_BYTES", 1000)
        open_database(path).close()
    assert [entry["event"] for entry in logs] == ["checking the database, which may take a while"]


async def test_a_store_that_is_refused_says_so_when_it_is_run(tmp_path: Path) -> None:
    """The service fails before it counts as started, and operations before that are refused."""
    (tmp_path / NAME).write_text("no")
    store = Store(tmp_path, DURABLE)
    with pytest.raises(StoreUnavailable, match="not open"):
        store.submit(Open("room:a"))
    with pytest.raises(StoreRefused, match="damaged"):
        await store.run()
    assert (tmp_path / LOCK).exists()
