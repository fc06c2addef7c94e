"""Copies of a database that is in use: complete, sound, marked, and never half there."""

import sqlite3
import threading
from collections import defaultdict
from contextlib import closing
from pathlib import Path

import pytest
import trio
from support.durable_child import publishing, whole_history
from support.process import run
from support.store import Open, append, do, killed, store_at

from tidings.server.cli.backup import _Progress, backup
from tidings.server.store.backup import back_up
from tidings.server.store.database import NAME
from tidings.server.store.errors import StoreRefused
from tidings.server.store.records.migrating import migrate


def quiet(_done: int, _total: int) -> None:
    """Nobody watches."""


async def test_a_copy_made_under_load_has_all_that_was_acknowledged_before(tmp_path: Path) -> None:
    """By the command, while another process publishes: sound, without a hole, and in new epochs."""
    data, restored = tmp_path / "data", tmp_path / "restored"
    restored.mkdir()
    copy = restored / NAME
    said: dict[str, set[tuple[str, str]]] = defaultdict(set)
    epochs = set()
    with publishing(data) as process:
        assert process.stdout is not None
        for _ in range(1000):
            kind, channel, epoch, offset, payload = process.stdout.readline().decode().split()
            if kind == "acknowledged":
                said[channel].add((offset, payload))
                epochs.add(epoch)
        # Meanwhile it goes on writing, and so somebody must go on reading what it says.
        rest: list[bytes] = []
        # A daemon: where this fails before the kill, nobody waits for it.
        reader = threading.Thread(target=lambda: rest.extend(process.stdout or ()), daemon=True)
        reader.start()
        done = await run("backup", str(copy), "--set", f"server.data_dir={data}", folder=tmp_path)
        assert process.poll() is None
        process.kill()
        reader.join()
    assert len(rest) > 1000, "it was under load"
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"tidings: {copy}: {copy.stat().st_size:,} bytes\n"
    assert [file.name for file in restored.iterdir()] == [NAME], "one file"
    assert copy.stat().st_mode & 0o777 == 0o600
    connection = sqlite3.connect(copy)
    assert connection.execute("PRAGMA quick_check").fetchall() == [("ok",)]
    connection.close()
    with trio.fail_after(30):
        copied = await whole_history(restored)
        again = await whole_history(restored)
        original = await whole_history(data)
    assert again == copied, "started a second time it is no copy any more"
    for channel, publications in copied.items():
        assert said[channel] <= {(str(each.offset), each.payload.decode()) for each in publications}
        assert [each.offset for each in publications] == list(range(1, len(publications) + 1))
        assert {each.epoch for each in publications}.isdisjoint(epochs)
        here = [(each.offset, each.payload, each.time_ms) for each in publications]
        there = [(each.offset, each.payload, each.time_ms) for each in original[channel]]
        assert here == there[: len(here)]
        assert {each.epoch for each in original[channel]} <= epochs, "the original goes on as before"


def test_a_long_copy_is_of_one_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is committed between its steps, it neither begins anew nor takes it in, and it ends."""
    monkeypatch.setattr("tidings.server.store.backup._STEP_PAGES", 5)
    store = store_at(tmp_path / "data")
    for _ in range(100):
        append(store, "room:long", b"x" * 4000)
    steps: list[tuple[int, int]] = []

    def write_between(done: int, total: int) -> None:
        steps.append((done, total))
        assert len(steps) < 1000
        append(store, "room:long", b"y" * 4000)

    (tmp_path / "restored").mkdir()
    back_up(store.path, tmp_path / "restored" / NAME, progress=write_between)
    store.close()
    assert len(steps) > 10
    assert steps == sorted(steps)
    assert steps[-1][0] == steps[-1][1]
    copy = store_at(tmp_path / "restored")
    [position] = do(copy, Open("room:long"))
    copy.close()
    assert position.offset == 100  # type: ignore[attr-defined]


def test_the_copy_of_a_server_that_was_killed_has_what_its_log_holds(tmp_path: Path) -> None:
    """Nothing of it is in the database itself yet, and no server is there to bring it in."""
    store = store_at(tmp_path / "data")
    append(store, "room:a", b'{"n":1}')
    left = killed(tmp_path / "data", tmp_path / "left")
    store.close()
    (tmp_path / "restored").mkdir()
    back_up(left / NAME, tmp_path / "restored" / NAME, progress=quiet)
    copy = store_at(tmp_path / "restored")
    assert do(copy, Open("room:a"))[0].offset == 1  # type: ignore[attr-defined]
    copy.close()


def test_what_is_there_is_replaced_only_when_that_was_asked_for(tmp_path: Path) -> None:
    """And a copy that fails leaves it, and nothing else, behind."""
    store = store_at(tmp_path / "data")
    target = tmp_path / "copies" / "copy.db"
    target.parent.mkdir()
    target.write_text("mine")
    with pytest.raises(StoreRefused, match=r"copy\.db: exists already: .*--force"):
        back_up(store.path, target, progress=quiet)

    def interrupt(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        back_up(store.path, target, force=True, progress=interrupt)
    assert [file.name for file in target.parent.iterdir()] == ["copy.db"]
    assert target.read_text() == "mine"
    back_up(store.path, target, force=True, progress=quiet)
    assert target.read_bytes().startswith(b"SQLite format 3\0")
    store.close()


def test_what_cannot_be_copied_is_named(tmp_path: Path) -> None:
    """No database, a directory as destination, the database itself, another program's, no place to write to."""
    store = store_at(tmp_path / "data")
    with pytest.raises(StoreRefused, match=r"no such database: .*--config.*server\.data_dir"):
        back_up(tmp_path / "nothing" / NAME, tmp_path / "copy", progress=quiet)
    with pytest.raises(StoreRefused, match="is a directory"):
        back_up(store.path, tmp_path, progress=quiet)
    with pytest.raises(StoreRefused, match="is the database itself"):
        back_up(store.path, store.path, force=True, progress=quiet)
    with pytest.raises(StoreRefused, match="copy: cannot be written: No such file or directory"):
        back_up(store.path, tmp_path / "missing" / "copy", progress=quiet)
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    connection.close()
    with pytest.raises(StoreRefused, match="no database of Tidings"):
        back_up(other, tmp_path / "copy", progress=quiet)
    other.write_text("Dear diary, " * 100)
    with pytest.raises(StoreRefused, match="cannot be copied"):
        back_up(other, tmp_path / "copy", progress=quiet)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["data", "other.db"]
    store.close()


async def test_records_are_copied_beside_the_messages(tmp_path: Path) -> None:
    """By the command, both whole; nothing is marked in records, and a second time nothing is replaced unasked."""
    store = store_at(tmp_path / "data")
    append(store, "room:a")
    store.close()
    migrate("", tmp_path / "data", [])
    with closing(sqlite3.connect(tmp_path / "data" / "records.db")) as original:
        original.execute("CREATE TABLE notes AS SELECT 'in the log only' AS text")
        original.commit()
        (tmp_path / "copies").mkdir()
        done = await run("backup", "copies/tidings.db", folder=tmp_path)
    messages, records = tmp_path / "copies" / NAME, tmp_path / "copies" / "tidings-records.db"
    assert done.stderr.splitlines() == [
        f"tidings: copies/{file.name}: {file.stat().st_size:,} bytes" for file in (records, messages)
    ]
    assert sorted(file.name for file in messages.parent.iterdir()) == ["tidings-records.db", "tidings.db"]
    assert records.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(records)) as copy:
        assert copy.execute("SELECT text FROM notes").fetchall() == [("in the log only",)]
    messages.unlink()
    done = await run("backup", "copies/tidings.db", folder=tmp_path)
    assert done.stderr.startswith("tidings: copies/tidings-records.db: exists already")
    assert not messages.exists(), "both, or neither"
    (tmp_path / "restored").mkdir()
    records.rename(tmp_path / "restored" / "records.db")
    assert migrate("", tmp_path / "restored", []) == [], "a server starts on it as on the original"


async def test_what_a_copy_does_not_hold_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Records in PostgreSQL are not in it; those of a server without messages on disk are all there is."""
    store = store_at(tmp_path / "data")
    store.close()
    where = [f"server.data_dir={tmp_path / 'data'}"]
    backup(tmp_path / "one.db", settings=[*where, "store.url=postgresql://localhost/x"])
    first, second = capsys.readouterr().err.splitlines()
    assert "pg_dump" in first
    assert second.startswith(f"tidings: {tmp_path / 'one.db'}: ")
    migrate(f"sqlite:///{tmp_path}/else.db", tmp_path / "data", [])
    for file in (tmp_path / "data").glob("tidings.db*"):
        file.unlink()
    backup(tmp_path / "two.db", settings=[*where, f"store.url=sqlite:///{tmp_path}/else.db"])
    assert capsys.readouterr().err.startswith(f"tidings: {tmp_path / 'two-records.db'}: ")
    assert not (tmp_path / "two.db").exists()


async def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    """In one line on standard error, with exit code 1."""
    done = await run("backup", "copy.db", folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("tidings: data/tidings.db: no such database")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "data").exists()


def test_only_a_large_copy_tells_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """At every tenth, once; a small one is there before anybody could read it."""
    small, large = _Progress(), _Progress()
    for step in range(1001):
        small(step * 1024, 1024 * 1000)
        large(step * 1024 * 1024, 1000 * 1024 * 1024)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"tidings: {tenth * 10} % of 1,000 MiB" for tenth in range(1, 11)]
