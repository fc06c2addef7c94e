"""Copying a database that is in use: that of the messages, or that of the records."""

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Final, NamedTuple

from tidings.server.store.database import sync_directory
from tidings.server.store.errors import StoreRefused
from tidings.server.store.records import files
from tidings.server.store.schema import APPLICATION_ID, COPY
from tidings.server.store.wal import check_pair

# A step of 8 MiB, some 10 ms: often enough to tell how far it is.
_STEP_PAGES: Final = 2_048

Progress = Callable[[int, int], None]
"""Told now and then how many bytes are copied, and of how many."""


class Kind(NamedTuple):
    """What is copied."""

    application: int
    """What its header says."""
    check: Callable[[Path], None]
    """Refuses files that do not belong together. Raises StoreRefused and OSError."""
    marked: bool
    """Whether the copy must say that it is one."""


MESSAGES: Final = Kind(APPLICATION_ID, check_pair, marked=True)
RECORDS: Final = Kind(files.APPLICATION_ID, files.check_file, marked=False)


def back_up(
    source: Path, destination: Path, *, kind: Kind = MESSAGES, force: bool = False, progress: Progress
) -> int:
    """Copy a database as of one moment; its server may run, and be writing, or not. Returns the copy's bytes.

    What was acknowledged before this was called is in it. It is one file, on the disk when this returns, and one of
    messages is marked: a server that starts on it begins new epochs. It is made beside the destination and put in
    its place at the end, so that an interruption leaves what was there. An existing destination is replaced with
    `force` only. Raises StoreRefused, naming the file and the cure.
    """
    check_copy(source, destination, kind=kind, force=force)
    partial = destination.with_name(f"{destination.name}.{os.getpid()}.partial")
    try:
        # Nobody else's to read, as the original.
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        try:
            _copy(source, partial, kind, progress)
            size = _seal(partial, kind)
            if not force and destination.exists():
                raise _exists(destination)  # made meanwhile
            partial.replace(destination)
            sync_directory(destination.absolute().parent)
        finally:
            for name in (
                partial.name,
                f"{partial.name}-wal",
                f"{partial.name}-shm",
                f"{partial.name}-journal",
            ):
                with suppress(FileNotFoundError):
                    partial.with_name(name).unlink()
    except OSError as error:
        raise StoreRefused(f"{destination}: cannot be written: {error.strerror or error}") from error
    return size


def check_copy(source: Path, destination: Path, *, kind: Kind = MESSAGES, force: bool = False) -> None:
    """See whether a copy could be made, as far as can be told before. Raises StoreRefused."""
    if not source.is_file():
        raise StoreRefused(
            f"{source}: no such database: name the server's configuration (--config), or its directory"
            " (--set server.data_dir=...)"
        )
    try:
        kind.check(source)  # who opens an empty one beside a log deletes the log
    except OSError as error:
        raise StoreRefused(f"{source}: cannot be read: {error.strerror or error}") from error
    if destination.is_dir():
        raise StoreRefused(f"{destination}: is a directory: name a file, as {destination / source.name}")
    if destination.exists():
        if destination.samefile(source):
            raise StoreRefused(f"{destination}: is the database itself: name another file")
        if not force:
            raise _exists(destination)


def _exists(destination: Path) -> StoreRefused:
    return StoreRefused(f"{destination}: exists already: name another file, or replace it with --force")


def _copy(source: Path, partial: Path, kind: Kind, progress: Progress) -> None:
    try:
        # Not read only: who reads a database without its server has to mend its log first, after a kill.
        original = sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)
        with closing(original), closing(sqlite3.connect(partial, isolation_level=None)) as copy:
            [application] = original.execute("PRAGMA application_id").fetchone()
            if application != kind.application:
                raise StoreRefused(f"{source}: this is no database of Tidings")
            [page] = original.execute("PRAGMA page_size").fetchone()
            # One moment for all steps: without it each commit of the server's would begin the copy anew.
            original.execute("BEGIN")
            original.execute("SELECT count(*) FROM sqlite_master").fetchone()
            original.backup(
                copy,
                pages=_STEP_PAGES,
                progress=lambda _status, remaining, total: progress(
                    (total - remaining) * page, total * page
                ),
            )
            original.execute("ROLLBACK")
    except sqlite3.Error as error:
        raise StoreRefused(f"{source}: cannot be copied: {error}") from error


def _seal(partial: Path, kind: Kind) -> int:
    """Mark the copy where it must be, check it, and bring it to the disk; returns its bytes."""
    try:
        with closing(sqlite3.connect(partial, isolation_level=None)) as copy:
            # Without a log beside it, so that the copy is one file.
            copy.execute("PRAGMA journal_mode = DELETE")
            if kind.marked:
                copy.execute(
                    "INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)",
                    (COPY, str(int(time.time() * 1000))),
                )
            [found] = copy.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                raise StoreRefused(
                    f"{partial}: the copy is damaged, as the original is, or its disk: {found}"
                )
    except sqlite3.Error as error:
        raise StoreRefused(f"{partial}: the copy cannot be completed: {error}") from error
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    return partial.stat().st_size
