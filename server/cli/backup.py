"""The command that copies what a server keeps on disk: `backup`."""

import sys
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter

from tidings.server.cli.common import INTERRUPTED, ConfigFile, Settings, configuration, fail, say
from tidings.server.store.backup import MESSAGES, RECORDS, Kind, back_up, check_copy
from tidings.server.store.database import NAME
from tidings.server.store.errors import StoreRefused
from tidings.server.store.records.files import sqlite_path

_MIB: Final = 1024 * 1024

# What takes long enough to be told about, and how often: at every tenth.
_LARGE_BYTES: Final = 256 * _MIB
_TENTHS: Final = 10


class _Progress:
    """Tells how far a large copy is, at every tenth."""

    def __init__(self) -> None:
        self._told = 0

    def __call__(self, done: int, total: int) -> None:
        """Take how many bytes are copied."""
        tenths = _TENTHS * done // max(total, 1)
        if total >= _LARGE_BYTES and tenths > self._told:
            self._told = tenths
            say(f"{tenths * 10} % of {total // _MIB:,} MiB")


def backup(
    destination: Annotated[
        Path, Parameter(help="File to write; one with -records in its name may stand beside it.")
    ],
    /,
    *,
    force: Annotated[bool, Parameter(help="Replace what exists.", show_default=False)] = False,
    config: ConfigFile = None,
    settings: Settings = [],  # noqa: B006  read only
) -> None:
    """Copy the databases of a server, which may be running: messages into one file, records into one beside it.

    Everything acknowledged before is in them. To restore: stop the server, move tidings.db and what begins with
    tidings.db- out of its data_dir, put the copy there as tidings.db, and start it again. Clients that come back
    are told that they may have missed something; what waited for them is there. Where apps keep records, as users,
    there is a second copy: of backup.db it is backup-records.db, and is put back as records.db in the same way.
    Records in PostgreSQL are copied with pg_dump.
    """
    effective = configuration(config, settings)
    data_dir = Path(effective.server.data_dir)
    try:
        copies = _copies(destination, data_dir / NAME, sqlite_path(effective.store.url, data_dir))
        # All of them before any: two copies of different days are not what somebody wants.
        for kind, source, target in copies:
            check_copy(source, target, kind=kind, force=force)
        for kind, source, target in copies:
            size = back_up(source, target, kind=kind, force=force, progress=_Progress())
            say(f"{target}: {size:,} bytes")
    except StoreRefused as error:
        fail(str(error))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _copies(destination: Path, messages: Path, records: Path | None) -> list[tuple[Kind, Path, Path]]:
    """What to copy, from where to where.

    Records first: an event that was published between the two copies is then in both, and published again where it
    must be. The other way round it would be in neither.
    """
    if records is None:
        say("the records are in PostgreSQL, and not in this copy: pg_dump copies them")
    if records is None or not records.exists():
        return [(MESSAGES, messages, destination)]
    copies = [(RECORDS, records, destination.with_name(f"{destination.stem}-records.db"))]
    # A server that keeps no messages on disk has users all the same.
    return [*copies, (MESSAGES, messages, destination)] if any(messages.parent.glob(f"{NAME}*")) else copies
