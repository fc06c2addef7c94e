"""The write-ahead log beside the database: what a crash leaves is mended, what a disk or a hand did is refused."""

import shutil
import sqlite3
from pathlib import Path

import pytest
from support.store import Open, append, appending, do, killed, store_at

from tidings.server.store.backup import back_up
from tidings.server.store.data_dir import DataDir
from tidings.server.store.database import NAME
from tidings.server.store.errors import StoreRefused

WAL = f"{NAME}-wal"
FRAME = 24 + 4096


def left(tmp_path: Path, commits: int = 20) -> Path:
    """The directory of a server that was killed after so many commits."""
    store = store_at(tmp_path / "data")
    for _ in range(commits):
        append(store, "room:long", b"x" * 200)
    directory = killed(tmp_path / "data", tmp_path / "left")
    store.close()
    return directory


def refused(directory: Path) -> str:
    """Why a store is refused here; nothing stays locked, and no file is another than before."""
    before = {file.name: file.read_bytes() for file in directory.iterdir() if file.name.startswith(NAME)}
    with pytest.raises(StoreRefused) as caught:
        store_at(directory)
    DataDir(directory).close()
    after = {file.name: file.read_bytes() for file in directory.iterdir() if file.name.startswith(NAME)}
    assert after == before
    return str(caught.value)


def head(directory: Path) -> int:
    """Up to where the channel is."""
    store = store_at(directory)
    [position] = do(store, Open("room:long"))
    store.close()
    return int(position.offset)  # type: ignore[attr-defined]


def commits(log: Path) -> list[int]:
    """Where the frames that end commits begin."""
    data = log.read_bytes()
    return [at for at in range(32, len(data), FRAME) if any(data[at + 4 : at + 8])]


@pytest.mark.parametrize("where", ["first", "middle", "last but two"])
@pytest.mark.parametrize("part", [0, 8, 16, 24, 2000])
def test_damage_before_the_last_commit_is_refused(tmp_path: Path, where: str, part: int) -> None:
    """64 bytes anywhere in a frame that others follow: what was acknowledged is not forgotten in silence."""
    directory = left(tmp_path)
    ends = commits(directory / WAL)
    at = {"first": 32, "middle": ends[len(ends) // 2], "last but two": ends[-3]}[where]
    with (directory / WAL).open("r+b") as file:
        file.seek(at + part)
        file.write(b"\xff" * 64)
    message = refused(directory)
    assert f"{directory / WAL}: the database is damaged" in message
    assert "tidings backup" in message
    assert f"{NAME}-" in message


def test_a_damaged_header_is_refused(tmp_path: Path) -> None:
    """SQLite would take the whole log for nothing."""
    directory = left(tmp_path)
    with (directory / WAL).open("r+b") as file:
        file.seek(12)
        file.write(b"\xff")
    assert "header" in refused(directory)


@pytest.mark.parametrize("cut", [1, 24, FRAME, FRAME + 1])
def test_a_torn_last_commit_is_no_damage(tmp_path: Path, cut: int) -> None:
    """Cut off anywhere, the end of the log is what nobody was told of."""
    directory = left(tmp_path)
    data = (directory / WAL).read_bytes()
    (directory / WAL).write_bytes(data[:-cut])
    assert head(directory) == 19


@pytest.mark.parametrize("part", [0, 8, 24, 2000])
def test_a_last_commit_written_out_of_order_is_no_damage(tmp_path: Path, part: int) -> None:
    """After a power cut its first page may be missing and its last be there."""
    directory = left(tmp_path)
    first = commits(directory / WAL)[-2] + FRAME
    with (directory / WAL).open("r+b") as file:
        file.seek(first + part)
        file.write(b"\xa5" * 64 if part else b"\0" * 64)
    assert head(directory) == 19


@pytest.mark.parametrize("torn", [False, True])
def test_a_log_begun_anew_over_an_older_one_is_sound(tmp_path: Path, torn: bool) -> None:
    """What is left of the last round behind the end is of no meaning, also where the end is torn."""
    store = store_at(tmp_path / "data")
    assert store._connection is not None
    for _ in range(20):
        append(store, "room:long")
    store._connection.execute("PRAGMA wal_checkpoint(RESTART)")
    for _ in range(3):
        append(store, "room:long")
    directory = killed(tmp_path / "data", tmp_path / "left")
    store.close()
    data = (directory / WAL).read_bytes()
    salts = data[16:24]
    mine = [at for at in commits(directory / WAL) if data[at + 8 : at + 16] == salts]
    assert len(mine) == 3
    assert len(commits(directory / WAL)) > 3
    if torn:
        with (directory / WAL).open("r+b") as file:
            file.seek(mine[-2] + FRAME + 24)
            file.write(b"\xa5" * 64)
    assert head(directory) == (22 if torn else 23)


def test_a_log_as_large_as_it_gets_is_read_in_a_moment(tmp_path: Path) -> None:
    """Some thousand commits, none of which is in the database itself."""
    store = store_at(tmp_path / "data")
    for _ in range(60):
        do(store, *(appending("room:long", b"x" * 200) for _ in range(100)))
    directory = killed(tmp_path / "data", tmp_path / "left")
    store.close()
    assert head(directory) == 6000


@pytest.mark.parametrize("kind", ["empty", "missing"])
def test_a_log_without_its_database_is_refused(tmp_path: Path, kind: str) -> None:
    """SQLite would delete it; both files are named, and stay."""
    directory = left(tmp_path)
    (directory / NAME).unlink()
    if kind == "empty":
        (directory / NAME).touch()
    message = refused(directory)
    assert f"{directory / NAME}: {kind}" in message
    assert str(directory / WAL) in message
    if kind == "empty":
        with pytest.raises(StoreRefused, match="empty"):
            back_up(directory / NAME, tmp_path / "copy.db", progress=lambda *_: None)
        assert (directory / WAL).stat().st_size


def test_a_copy_beside_another_databases_log_is_refused(tmp_path: Path) -> None:
    """Restored as the manual says, but for the log: it would undo the copy, or damage it. Without it it starts."""
    store = store_at(tmp_path / "data")
    for _ in range(5):
        append(store, "room:long")
    back_up(store.path, tmp_path / "copy.db", progress=lambda *_: None)
    before = append(store, "room:long").position
    directory = killed(tmp_path / "data", tmp_path / "left")
    store.close()
    shutil.copy(tmp_path / "copy.db", directory / NAME)
    message = refused(directory)
    assert f"{directory / NAME}: a copy" in message
    assert f"remove {WAL} and {NAME}-shm" in message
    (directory / WAL).unlink()
    store = store_at(directory)
    [after] = do(store, Open("room:long"))
    assert after.offset == 5  # type: ignore[attr-defined]
    assert after.epoch != before.epoch  # type: ignore[attr-defined]
    # Killed at once, it is no copy any more: its log is its own.
    again = killed(directory, tmp_path / "again")
    store.close()
    assert (again / WAL).stat().st_size
    assert head(again) == 5


def test_a_log_that_another_program_made_is_sound(tmp_path: Path) -> None:
    """Whatever the order of its bytes: a table filled by hand, and killed."""
    directory = left(tmp_path, 1)
    shutil.copytree(directory, tmp_path / "next")
    connection = sqlite3.connect(tmp_path / "next" / NAME, isolation_level=None)
    for number in range(20):
        connection.execute("INSERT OR REPLACE INTO meta (name, value) VALUES ('x', ?)", (str(number),))
    directory = killed(tmp_path / "next", tmp_path / "hand")
    connection.close()
    assert head(directory) == 1
