"""The command that brings the tables of records to this version: `migrate`."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tidings.protocol.messages.registry import NameConflict
from tidings.server.cli.common import INTERRUPTED, ConfigFile, Settings, configuration, ending_well, fail
from tidings.server.config import ConfigError
from tidings.server.store.errors import StoreRefused
from tidings.server.store.records import migrating


def migrate(
    *,
    check: Annotated[
        bool,
        Parameter(help="Change nothing; exit with 1 if something is to be done.", show_default=False),
    ] = False,
    config: ConfigFile = None,
    settings: Settings = [],  # noqa: B006  read only
) -> None:
    """Bring the tables of records to this version.

    A server does the same when it starts. By hand it is for a database whose server may not create tables, with the
    URL of a user who may. Nothing brings tables back to an older version: make a copy first.
    """
    # What the server would start with, and so loaded only when it is asked for.
    from tidings.server.choosing import choose_apps, migrations_of  # noqa: PLC0415

    effective = configuration(config, settings)
    url, data_dir = effective.store.url, Path(effective.server.data_dir)
    try:
        migrations = migrations_of(effective, choose_apps(effective))
    except (ConfigError, NameConflict) as error:
        fail(str(error))
    work = migrating.pending if check else migrating.migrate
    try:
        # Where no app has tables, there is no database of records either.
        steps = work(url, data_dir, migrations) if migrations else []
    except StoreRefused as error:
        fail(str(error))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    ending_well(lambda: _tell(steps))
    if check and steps:
        sys.exit(1)


def _tell(steps: list[migrating.Migrated]) -> None:
    for step in steps:
        print(f"{step.owner}: {step.before or 'no tables'} -> {step.after}")
    if not steps:
        print("nothing to do")
