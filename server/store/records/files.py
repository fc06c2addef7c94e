"""The SQLite file of records: where it lies, and what is refused before SQLite touches it.

Nothing here needs SQLAlchemy: a command that only copies the file need not load it.
"""

import fcntl
import os
from pathlib import Path
from typing import Final

from tidings.server.store.database import sync_directory
from tidings.server.store.errors import StoreRefused

NAME: Final = "records.db"

# In the header of the file, so that another program's database is not taken for ours: "Tdrc".
APPLICATION_ID: Final = 0x54647263

_MAGIC: Final = b"SQLite format 3\0"

# Of the header: the version to write and to read, and what says that there is a write-ahead log.
_VERSIONS: Final = slice(18, 20)
_LOGGED: Final = b"\x02\x02"

_SCHEME: Final = "sqlite://"


def sqlite_path(url: str, data_dir: Path) -> Path | None:
    """The file that a URL means, an empty one `records.db` in `data_dir`; None where it is no SQLite URL.

    As SQLAlchemy reads it: three slashes before a path from the working directory, four before one from the root.
    Raises StoreRefused.
    """
    if not url:
        return data_dir / NAME
    if not url.startswith("sqlite:"):
        return None
    path = url.removeprefix(f"{_SCHEME}/")
    if path == url or not path or path.startswith(":") or "?" in path:
        raise StoreRefused(
            "store.url: a SQLite URL is sqlite:///path/from/here.db or sqlite:////path/from/the/root.db, with a"
            f" file's name and no options; empty, {NAME} in server.data_dir"
        )
    return Path(path)


def claim_file(path: Path) -> int:
    """Lock a file beside a database; its descriptor, or -1 where another process has it. Raises OSError."""
    descriptor = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return -1
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def check_file(path: Path) -> None:
    """Refuse a database that is gone, or that has another one's log beside it; also while somebody writes.

    SQLite would delete the log in the first case, and spoil the database with it in the second. Not where this
    process has the file open: closing it here would let go of what SQLite has locked. Raises StoreRefused and
    OSError.
    """
    # Before the database: who makes one at this moment writes into that first, and then the log.
    log = path.with_name(f"{path.name}-wal")
    is_logged = log.exists() and log.stat().st_size > 0
    head = b""
    if path.exists():
        with path.open("rb") as file:
            head = file.read(100)
    if head and not head.startswith(_MAGIC):
        raise damaged(path, "it is not a SQLite database")
    if not is_logged:
        return
    others = f"{log.name} and {path.name}-shm"
    if not head:
        raise StoreRefused(
            f"{path}: {'empty' if path.exists() else 'missing'}, and {log} is there, with what was written last:"
            f" put the {path.name} back that belongs to it; or restore a copy that `tidings backup` made, with"
            f" {others} removed; or remove these alone: the server then begins without any records"
        )
    if head[_VERSIONS] != _LOGGED:
        raise StoreRefused(
            f"{path}: a copy, as `tidings backup` makes it, beside {log}, which belongs to the database that was"
            f" there before and would spoil the copy: remove {others}"
        )


def create_file(path: Path) -> None:
    """Make the file where there is none, nobody else's to read, and its directory. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        return
    sync_directory(path.parent)


def damaged(path: Path, what: str) -> StoreRefused:
    """Say that the file cannot be trusted."""
    return StoreRefused(
        f"{path}: the database is damaged ({what}). Move {path.name} and what begins with {path.name}- out of"
        f" {path.parent}. Then either put a copy there that `tidings backup` made, as {path.name} alone, or let the"
        " server begin without any records"
    )
