"""Databases that cannot be used: told with the cure, and without a password."""

import shutil
import sqlite3
import traceback
from pathlib import Path

import pytest
from support.postgres import cluster

from tidings.server.store.errors import StoreRefused
from tidings.server.store.records import postgresql
from tidings.server.store.records.files import NAME
from tidings.server.store.records.migrating import migrate
from tidings.server.store.records.records import Records


@pytest.mark.parametrize(
    ("url", "cure"),
    [
        ("mysql://root:hunter2@localhost/x", "neither with sqlite:/// nor with postgresql://"),
        ("postgresql+psycopg2://u:hunter2@localhost/x", "neither with"),
        ("hunter2", "neither with"),
        ("postgresql://u:hunter2@x@localhost:port/x", "%40"),
        ("postgresql://u:hunter2@127.0.0.1:1/x", "See that the server runs"),
        ("postgresql://u:hunter2@127.0.0.1:1/x?connect_timeout=hunter2", "no options"),
        ("postgresql://u:hunter2@127.0.0.1:1/x?hunter2=1", "no options"),
        ("postgres://127.0.0.1:1/x?password=hunter2", "See that"),
        ("sqlite://", "sqlite:///path"),
        ("sqlite:///:memory:", "sqlite:///path"),
        ("sqlite:///x.db?mode=hunter2", "no options"),
        ("sqlite:////proc/nowhere/x.db", "where the server may write"),
    ],
)
async def test_a_url_that_leads_nowhere_is_refused_with_the_cure(
    url: str, cure: str, tmp_path: Path
) -> None:
    """By `prepare`, not before; no message, nor what is behind it, holds the password."""
    records = Records(url, tmp_path, [])
    with pytest.raises(StoreRefused) as caught:
        await records.prepare()
    assert cure in str(caught.value)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value, chain=True)[1:]).replace(
        url, ""
    )
    records.close()


def test_a_sqlite_url_names_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the working directory with three slashes, from the root with four; `data_dir` is not touched."""
    monkeypatch.chdir(tmp_path)
    migrate("sqlite:///here.db", tmp_path / "data", [])
    migrate(f"sqlite:///{tmp_path}/there.db", tmp_path / "data", [])
    assert {path.name for path in tmp_path.iterdir()} >= {"here.db", "there.db"}
    assert not (tmp_path / "data").exists()


def test_the_driver_of_postgresql_is_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it one is told what to install."""
    monkeypatch.setattr(postgresql, "psycopg", None)
    with pytest.raises(StoreRefused, match=r"pip install 'tidings\[postgres\]'"):
        migrate("postgresql://localhost/x", tmp_path, [])


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    """As is a file that is no database; neither is changed by a byte."""
    file = tmp_path / NAME
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    connection.close()
    _refuses(file, "another program's database: move it away")
    file.write_text("Dear diary, " * 100)
    _refuses(file, "the database is damaged")


def test_a_damaged_database_is_refused(tmp_path: Path) -> None:
    """Before anything is read from it, or written to it."""
    file = tmp_path / NAME
    migrate("", tmp_path, [])
    with file.open("r+b") as damaged:
        damaged.seek(4096)
        damaged.write(b"\xff" * 4096)
    _refuses(file, "the database is damaged")


def test_a_log_without_its_database_is_not_thrown_away(tmp_path: Path) -> None:
    """SQLite would delete it; nor does a copy that was put back take what belongs to the original."""
    file = tmp_path / NAME
    (tmp_path / "data").mkdir()
    migrate("", tmp_path, [])
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE more (name TEXT)")
    for name in (NAME, f"{NAME}-wal"):
        shutil.copy(tmp_path / name, tmp_path / "data" / name)
    connection.close()
    moved = tmp_path / "data" / NAME
    head = moved.read_bytes()
    moved.unlink()
    _refuses(moved, "missing, and .* is there")
    moved.write_bytes(head[:18] + b"\x01\x01" + head[20:])
    _refuses(moved, "a copy, as `tidings backup` makes it")


def _refuses(file: Path, why: str) -> None:
    before = {path.name: path.read_bytes() for path in file.parent.glob(f"{NAME}*")}
    with pytest.raises(StoreRefused, match=why):
        migrate("", file.parent, [])
    assert {path.name: path.read_bytes() for path in file.parent.glob(f"{NAME}*")} == before


def test_a_database_that_cannot_keep_every_text_is_refused(postgresql_url: str, tmp_path: Path) -> None:
    """Names come from everywhere."""
    server = cluster()
    server.execute("CREATE DATABASE ascii ENCODING 'SQL_ASCII' TEMPLATE template0")
    try:
        with pytest.raises(StoreRefused, match=r"its encoding is SQL_ASCII.*ENCODING 'UTF8'"):
            migrate(server.url("ascii"), tmp_path, [])
    finally:
        server.execute("DROP DATABASE ascii")


def test_a_user_who_may_not_create_tables_is_told(postgresql_url: str, tmp_path: Path) -> None:
    """As on PostgreSQL 15 and later, where not everybody may."""
    server = cluster()
    server.execute("CREATE USER guest")
    try:
        with pytest.raises(StoreRefused, match=r"permission denied for schema .*GRANT CREATE"):
            migrate(server.url("postgres").replace("tidings@", "guest@"), tmp_path, [])
    finally:
        server.execute("DROP USER guest")


async def test_what_postgresql_is_told_about_its_client(postgresql_url: str, tmp_path: Path) -> None:
    """Sessions have a name and bounds; the URL may say otherwise."""
    database = postgresql.PostgreSQL(postgresql_url + "&application_name=mine")
    for engine in (database.writer(), database.reader(1)):
        with engine.connect() as connection:
            shown = {
                name: connection.exec_driver_sql(f"SHOW {name}").scalar()
                for name in (
                    "application_name",
                    "statement_timeout",
                    "lock_timeout",
                    "transaction_isolation",
                )
            }
        engine.dispose()
        assert (shown["application_name"], shown["statement_timeout"], shown["lock_timeout"]) == (
            "mine",
            "10s",
            "5s",
        )
        assert shown["transaction_isolation"] in {"read committed", "repeatable read"}
