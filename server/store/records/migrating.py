"""Bringing tables to the version of the program: a numbered line of revisions for each owner of tables.

An owner's directory holds Alembic's revision files, named by their number and what they do: `r0001_users.py` is
revision `0001`, `r0002_devices.py` the next, whose `down_revision` is `0001`. So the newest that the program knows
can be read off the names, and Alembic, which takes its time to load, is loaded only where there is something to do.
"""

import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from sqlalchemy import Column, Connection, Engine, MetaData, String, Table, inspect, select
from sqlalchemy.exc import SQLAlchemyError

from tidings.server.store.errors import StoreRefused
from tidings.server.store.records.databases import Database, database_of

_NAME: Final = re.compile(r"r?(\d{4})_\w+\.py")

# Part of a table's name, of which PostgreSQL takes 63 characters.
_OWNER: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")

# What is being migrated is known to the whole process in Alembic: `op` is a module.
_alembic_lock = threading.Lock()


class Migrations(NamedTuple):
    """Revisions of one owner's tables, in one line."""

    owner: str
    """Lower-case letters, digits and underscores: `tidings_<owner>_version` holds how far its tables are."""
    directory: Path


class Migrated(NamedTuple):
    """A step of an owner's tables."""

    owner: str
    before: str | None
    """None where there were no tables."""
    after: str


OURS: Final = Migrations("records", Path(__file__).parent / "migrations")
"""The tables of the server itself, before any app's."""


def migrate(url: str, data_dir: Path, migrations: Sequence[Migrations]) -> list[Migrated]:
    """Bring the tables of every owner to this version, ours first; what was done. Blocks.

    Each owner's tables are brought forward in one transaction: as a whole, or not at all. Other processes may do
    the same, or write, meanwhile. Raises StoreRefused, naming what to do.
    """
    database = database_of(url, data_dir)
    database.create()
    return bring_up(database, migrations)


def pending(url: str, data_dir: Path, migrations: Sequence[Migrations]) -> list[Migrated]:
    """What `migrate` would do; changes nothing, and makes no file. Blocks. Raises StoreRefused."""
    database = database_of(url, data_dir)
    if not database.exists():
        return [
            Migrated(each.owner, None, known[-1]) for each, known in _known(migrations).items() if known
        ]
    database.create()
    return _look(database, _known(migrations))


def bring_up(database: Database, migrations: Sequence[Migrations]) -> list[Migrated]:
    """As `migrate`, in a database that was created."""
    known = _known(migrations)
    # Everything is looked at before anything is changed: the tables of one owner may be too new.
    if not _look(database, known):
        return []
    done: list[Migrated] = []
    engine = database.migrator()
    try:
        for each, revisions in known.items():
            step = _migrate_one(database, engine, each, revisions)
            if step is not None:
                done.append(step)
    finally:
        engine.dispose()
    return done


def revisions_in(directory: Path) -> list[str]:
    """The numbers of a directory's revisions, in order. Raises StoreRefused where they are not a line from 0001."""
    names = [file.name for file in directory.glob("*.py") if not file.name.startswith("_")]
    matches = [_NAME.fullmatch(name) for name in names]
    numbers = sorted(match[1] for match in matches if match)
    if None in matches or numbers != [f"{number:04}" for number in range(1, len(names) + 1)]:
        raise StoreRefused(
            f"{directory}: its files must be r0001_….py, r0002_….py and so on, each number once, and are"
            f" {', '.join(sorted(names))}"
        )
    return numbers


def _known(migrations: Sequence[Migrations]) -> dict[Migrations, list[str]]:
    """The revisions that this program knows, of each owner."""
    everything = [OURS, *migrations]
    owners = [each.owner for each in everything]
    for owner in owners:
        if not _OWNER.fullmatch(owner):
            raise StoreRefused(
                f"{owner!r}: no name of an owner of tables: use lower-case letters, digits and _"
            )
        if owners.count(owner) > 1:
            raise StoreRefused(
                f"{owner}: two apps call the owner of their tables so: one must take another name"
            )
    return {each: revisions_in(each.directory) for each in everything}


def _look(database: Database, known: dict[Migrations, list[str]]) -> list[Migrated]:
    engine = database.reader(1)
    try:
        with engine.connect() as connection:
            steps = [_step(database, connection, each, known[each]) for each in known]
    except SQLAlchemyError as error:
        raise database.refusal("cannot be read", error) from error
    finally:
        engine.dispose()
    return [step for step in steps if step is not None]


def _step(
    database: Database, connection: Connection, each: Migrations, known: list[str]
) -> Migrated | None:
    """What an owner's tables need; None where that is nothing. Raises StoreRefused where they are too new."""
    stored = _stored(connection, each)
    if stored is not None and stored not in known:
        raise StoreRefused(
            f"{database.place}: written by a newer Tidings, or a newer app ({each.owner}: revision {stored}; this"
            f" one knows {known[-1] if known else 'none'}): install that one, or restore a copy made before"
        )
    return Migrated(each.owner, stored, known[-1]) if known and stored != known[-1] else None


def _stored(connection: Connection, each: Migrations) -> str | None:
    """The revision that an owner's tables are at; None where there are none."""
    name = _version_table(each)
    if not inspect(connection).has_table(name):
        return None
    table = Table(name, MetaData(), Column("version_num", String))
    return connection.scalar(select(table.c.version_num))


def _version_table(each: Migrations) -> str:
    return f"tidings_{each.owner}_version"


def _migrate_one(database: Database, engine: Engine, each: Migrations, known: list[str]) -> Migrated | None:
    try:
        with engine.connect() as connection, connection.begin():
            database.lock(connection)
            # Another process may have done it while this one waited.
            step = _step(database, connection, each, known)
            if step is None:
                return None
            _upgrade(connection, each)
            database.check_migrated(connection)
            _check_arrived(connection, each, step.after)
            return step
    except StoreRefused:
        raise
    except (SQLAlchemyError, OSError) as error:
        cure = f"The migration in {each.directory} is at fault, and nothing of it was kept"
        raise database.refusal(f"cannot migrate {each.owner}", error, cure) from error
    except Exception as error:
        # Nothing that a database says: what the cure of one would be is beside the point.
        raise StoreRefused(
            f"{each.directory}: the migration of {each.owner} is at fault, and nothing of it was kept:"
            f" {type(error).__name__}: {error}"
        ) from error


def _check_arrived(connection: Connection, each: Migrations, last: str) -> None:
    stored = _stored(connection, each)
    if stored != last:
        raise StoreRefused(
            f"{each.directory}: `revision` in its files must be the number in their names: migrated to {stored},"
            f" and {last} is the last"
        )


def _upgrade(connection: Connection, each: Migrations) -> None:
    from alembic import command  # noqa: PLC0415  see the head of this file
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    for option, path in (("script_location", Path(__file__).parent), ("version_locations", each.directory)):
        config.set_main_option(option, str(path.absolute()).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.attributes["connection"] = connection
    config.attributes["version_table"] = _version_table(each)
    with _alembic_lock:
        command.upgrade(config, "head")
