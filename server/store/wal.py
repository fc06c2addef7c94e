"""The files of a database before SQLite touches them: what it would take for a crash, and mend by forgetting.

SQLite takes whatever it cannot read of its write-ahead log for the torn end of a commit that nobody was told of,
and goes on from before it. After a crash that is right. Where a disk, or a hand, has changed what was committed, it
would forget publications that were acknowledged, and give the same positions to others.
"""

import struct
from pathlib import Path
from typing import Final

from tidings.server.store.errors import StoreRefused

_MAGIC: Final = b"SQLite format 3\0"

# Of a database's header: the version to write and to read, and what says that there is a write-ahead log.
_VERSIONS: Final = slice(18, 20)
_LOGGED: Final = b"\x02\x02"

# https://www.sqlite.org/fileformat2.html#walformat
_WAL_HEADER: Final = 32
_FRAME_HEADER: Final = 24
_BIG_ENDIAN: Final = 0x377F0683
_LITTLE_ENDIAN: Final = 0x377F0682

_WORD: Final = 0xFFFFFFFF


def check_files(path: Path) -> None:
    """Refuse what SQLite would mend by forgetting; nobody may be writing. Changes nothing.

    Reads the log as a whole: some 16 MB, which take a second at most. Raises StoreRefused and OSError.
    """
    if path.exists():
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) not in (b"", _MAGIC):
                raise damaged(path, "it is not a SQLite database")
    check_pair(path)
    log = path.with_name(f"{path.name}-wal")
    found = _damage(log) if log.exists() else None
    if found is not None:
        raise damaged(log, found, database=path)


def check_pair(path: Path) -> None:
    """Refuse a database that is gone, or has another one's log beside it, also while somebody writes.

    Raises StoreRefused and OSError.
    """
    log = path.with_name(f"{path.name}-wal")
    logged = log.exists() and log.stat().st_size > 0
    head = b""
    if path.exists():
        with path.open("rb") as file:
            head = file.read(100)
    if not logged or (head and not head.startswith(_MAGIC)):
        return
    if not head:
        raise StoreRefused(
            f"{path}: {'empty' if path.exists() else 'missing'}, and {log} is there, with what was published last:"
            f" put the {path.name} back that belongs to it; or restore a copy that `tidings backup` made, with"
            f" {_others(path)} removed; or remove these alone: the server then begins anew, and what waits in them"
            " for absent users is lost"
        )
    if head[_VERSIONS] != _LOGGED:
        raise StoreRefused(
            f"{path}: a copy, as `tidings backup` makes it, beside {log}, which belongs to the database that was"
            f" there before and would spoil the copy: remove {_others(path)}"
        )


def damaged(path: Path, what: str, *, database: Path | None = None) -> StoreRefused:
    """Say that a database, or the log that belongs to it, cannot be trusted."""
    database = database or path
    return StoreRefused(
        f"{path}: the database is damaged ({what}). Move {database.name} and what begins with {database.name}- out"
        f" of {database.parent}. Then either put a copy there that `tidings backup` made, as {database.name} alone,"
        " or let the server begin anew: what waits in it for absent users is lost"
    )


def _others(path: Path) -> str:
    return f"{path.name}-wal and {path.name}-shm"


def _damage(log: Path) -> str | None:
    """What is wrong with a log, beyond the commit at its end that a crash may tear; None where nothing is.

    A commit is on the disk before the next one begins. So whatever follows a commit that is torn was never written
    by SQLite: that one was whole.
    """
    with log.open("rb") as file:
        header = file.read(_WAL_HEADER)
        if len(header) < _WAL_HEADER:
            return None
        magic, _, page, _, *sums = struct.unpack(">IIIIIIII", header)
        salts, expected = sums[:2], (sums[2], sums[3])
        order = {_BIG_ENDIAN: ">", _LITTLE_ENDIAN: "<"}.get(magic)
        if order is None or _sum(order, header[:24], (0, 0)) != expected:
            # It is on the disk before anything follows it.
            return (
                "the header of its log is not what was written" if any(file.read(_FRAME_HEADER)) else None
            )
        state = expected
        torn = ended = False
        number = bad = 0
        while len(frame := file.read(_FRAME_HEADER + page)) == _FRAME_HEADER + page:
            number += 1
            _, commits, *rest = struct.unpack(">IIIIII", frame[:_FRAME_HEADER])
            mine = rest[:2] == salts
            if ended and mine:
                return f"page {bad} of its log is not what was written, and commits follow it"
            if not torn:
                # What is not of this round of the log is of the last one, unless something of this one follows.
                state = _sum(order, frame[_FRAME_HEADER:], _sum(order, frame[:8], state))
                torn, bad = not mine or state != tuple(rest[2:]), number
            ended = torn and (ended or (mine and commits != 0))
    return None


def _sum(order: str, data: bytes, before: tuple[int, int]) -> tuple[int, int]:
    """SQLite's checksum: of each pair of words, one in each half."""
    first, second = before
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for at in range(0, len(words), 2):
        first = (first + words[at] + second) & _WORD
        second = (second + words[at + 1] + first) & _WORD
    return first, second
