"""The command that copies what a server keeps on disk: `backup`."""

import sys
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter

from tidings.server.cli.common import INTERRUPTED, ConfigFile, Settings, configuration, fail, say
from tidings.server.store.backup import back_up
from tidings.server.store.database import NAME
from tidings.server.store.errors import StoreRefused

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
    destination: Annotated[Path, Parameter(help="File to write.")],
    /,
    *,
    force: Annotated[bool, Parameter(help="Replace the file if it exists.", show_default=False)] = False,
    config: ConfigFile = None,
    settings: Settings = [],  # noqa: B006  read only
) -> None:
    """Copy the database of a server, which may be running, into one file.

    Everything acknowledged before is in it. To restore: stop the server, move tidings.db and what begins with
    tidings.db- out of its data_dir, put the copy there as tidings.db, and start it again. Clients that come back
    are told that they may have missed something; what waited for them is there.
    """
    source = Path(configuration(config, settings).server.data_dir) / NAME
    try:
        size = back_up(source, destination, force=force, progress=_Progress())
    except StoreRefused as error:
        fail(str(error))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    say(f"{destination}: {size:,} bytes")
