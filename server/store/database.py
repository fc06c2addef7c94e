"""Opening the database: made where there is none, checked where there is one, refused where it is damaged."""

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Final

import structlog

from tidings.server.policies import Policies
from tidings.server.store.data_dir import DataDir
from tidings.server.store.errors import StoreRefused
from tidings.server.store.rows import as_json
from tidings.server.store.schema import APPLICATION_ID, COPY, RETIRED, SCHEMA, VERSION
from tidings.server.store.wal import check_files, damaged

NAME: Final = "tidings.db"

# Checking reads the whole file, some 500 MB a second. Above this the log says what the start waits for.
_LONG_CHECK_BYTES: Final = 256 * 1024 * 1024

# The write-ahead log goes into the database when it has so many pages (16 MiB), which costs a sync of its own; and
# is cut back to this where a long copy had kept it from that.
_CHECKPOINT_PAGES: Final = 4_000
_LOG_BYTES: Final = 64 * 1024 * 1024

_PAGE_CACHE_KIB: Final = 16 * 1024

# UPSERT, JSON functions and row values.
_LEAST_SQLITE: Final = (3, 33, 0)

_log = structlog.get_logger("tidings.store")


def open_database(path: Path) -> sqlite3.Connection:
    """The writer's connection; blocks while the file is checked. Its directory must be locked.

    Raises StoreRefused, naming the file and the cure.
    """
    if sqlite3.sqlite_version_info < _LEAST_SQLITE:
        least = ".".join(map(str, _LEAST_SQLITE))
        raise StoreRefused(
            f"Python uses SQLite {sqlite3.sqlite_version}, and {least} or newer is needed: install a Python with"
            " a newer one, or set history.log to none and keep nothing on disk"
        )
    try:
        check_files(path)
        _create_file(path)
        size = path.stat().st_size
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise StoreRefused(f"{path}: cannot be opened: {error}") from error
    try:
        _settle(connection, path, size)
    except BaseException as error:
        connection.close()
        if isinstance(error, sqlite3.OperationalError):  # locked, read only, no room
            raise StoreRefused(f"{path}: cannot be used: {error}") from error
        if isinstance(error, sqlite3.Error):
            raise damaged(path, str(error)) from error
        raise
    return connection


def open_for_reading(path: Path) -> sqlite3.Connection:
    """A connection that changes nothing, beside the writer's. Raises sqlite3.Error."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA query_only = ON")
    return connection


def renew(connection: sqlite3.Connection, run: str, policies: Policies, *, keys_until_ms: int) -> None:
    """Make ready what an earlier process, or another file, has left. `run` begins the epochs of this process.

    On a copy every channel gets a new epoch: the original went on, and has given the same positions to other
    publications. Counterexample: the copy ends at 7, the original went on to 12, and the copy is put in its place;
    5 other publications follow, and a client that says "I have seen 12" would be told that it has missed nothing.

    So does every channel, on any file, that is not durable now: until it is again, what is published in it is not
    in here. And all of them where a server has run without the file (`retire`).

    Keys live for their whole time from now on: how long the server was away, and whether its clock was put forward
    meanwhile, nobody knows. Raises sqlite3.Error.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        marks = (COPY, RETIRED)
        found = connection.execute("SELECT name FROM meta WHERE name IN (?, ?)", marks).fetchall()
        if found:
            connection.execute("UPDATE channels SET epoch = ? || id", (f"{run}.c",))
            connection.execute("DELETE FROM meta WHERE name IN (?, ?)", marks)
            why = "started on a copy" if (COPY,) in found else "started without this database meanwhile"
            _log.info(f"{why}: every channel begins a new epoch")
        else:
            elsewhere = [
                number
                for number, name in connection.execute("SELECT id, name FROM channels").fetchall()
                if not policies.of(name).durable
            ]
            if elsewhere:
                connection.execute(
                    "UPDATE channels SET epoch = ? || id WHERE id IN (SELECT value FROM json_each(?))",
                    (f"{run}.m", as_json(elsewhere)),
                )
        connection.execute("UPDATE keys SET expires_ms = ?", (keys_until_ms,))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def retire(directory: Path) -> bool:
    """Note in a directory's database, where there is one, that a server runs without it; whether there is one.

    Its channels go on in memory, with other publications: a server that starts on it again begins new epochs.
    Blocks for some milliseconds. Raises StoreRefused where another server runs on it, or it cannot be written to.
    """
    path = directory / NAME
    if not path.exists():
        return False
    data_dir = DataDir(directory)
    try:
        check_files(path)
        connection = sqlite3.connect(path, isolation_level=None)
        with closing(connection):
            [application] = connection.execute("PRAGMA application_id").fetchone()
            known = (
                application == APPLICATION_ID
                and connection.execute(
                    "SELECT value FROM meta WHERE name IN (?, ?)", (COPY, RETIRED)
                ).fetchone()
            )
            if application == APPLICATION_ID and not known:
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute(
                    "INSERT INTO meta (name, value) VALUES (?, ?)", (RETIRED, str(int(time.time() * 1000)))
                )
    except sqlite3.OperationalError as error:
        raise StoreRefused(
            f"{path}: cannot be marked: {error}. The server runs without it (history.log is none), so it must not"
            f" be gone on with: move {NAME} and what begins with {NAME}- out of {directory}"
        ) from error
    except (StoreRefused, sqlite3.Error) as error:
        # Then whoever starts on it is refused, too.
        _log.warning("left alone: the database that this server runs without is damaged", error=str(error))
    finally:
        data_dir.close()
    return True


def _create_file(path: Path) -> None:
    """Make the file where there is none: nobody else's to read, in whatever directory it lies."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        return
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make what happened to the names in a directory durable. Raises OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _settle(connection: sqlite3.Connection, path: Path, size: int) -> None:
    [application] = connection.execute("PRAGMA application_id").fetchone()
    [version] = connection.execute("PRAGMA user_version").fetchone()
    [tables] = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    is_new = not (application or version or tables)
    if not is_new:
        if application != APPLICATION_ID:
            raise StoreRefused(
                f"{path}: this is another program's database: move it away, or give the server a directory of its"
                " own (server.data_dir)"
            )
        if version > VERSION:
            raise StoreRefused(
                f"{path}: written by a newer Tidings (schema {version}; this one knows {VERSION}): install that"
                " one, or restore a copy that was made before"
            )
        _check(connection, path, size)
    connection.execute("PRAGMA journal_mode = WAL")
    # Every commit is on the disk before it returns, also when the power fails.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
    connection.execute(f"PRAGMA cache_size = -{_PAGE_CACHE_KIB}")
    connection.execute("PRAGMA cell_size_check = ON")
    if is_new:
        connection.execute("BEGIN IMMEDIATE")
        for statement in SCHEMA:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")


def _check(connection: sqlite3.Connection, path: Path, size: int) -> None:
    if size > _LONG_CHECK_BYTES:
        _log.info("checking the database, which may take a while", file=str(path), bytes=size)
    [found] = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise damaged(path, found)
