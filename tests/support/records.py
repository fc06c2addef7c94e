"""Records of a test's own: on both databases, and without threads for tests on virtual time."""

import functools
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trio
from sqlalchemy import Connection, MetaData

from support.inline_store import InlineWriter
from support.postgres import fresh_database
from tidings.server.store.records.files import NAME
from tidings.server.store.records.groups import GroupCommit, Operation
from tidings.server.store.records.migrating import migrate
from tidings.server.store.records.records import MOST_WAITING, Migrations, Records
from tidings.server.store.writer import GroupWriter

T = TypeVar("T")
RecordsT = TypeVar("RecordsT", bound=Records)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def records_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """`store.url` of records without tables: a test runs on SQLite, and with the long ones on PostgreSQL."""
    if request.param == "sqlite":
        yield ""
    else:
        with fresh_database() as url:
            yield url


@pytest.fixture
def postgresql_url() -> Iterator[str]:
    """`store.url` of an empty database in PostgreSQL."""
    with fresh_database() as url:
        yield url


@asynccontextmanager
async def open_records(
    url: str, data_dir: Path, migrations: Sequence[Migrations] = ()
) -> AsyncIterator[Records]:
    """Records that run until the block ends, or the test has taken 30 s."""
    with trio.fail_after(30):
        async with running(Records(url, data_dir, migrations)) as records:
            yield records


@asynccontextmanager
async def running(records: RecordsT) -> AsyncIterator[RecordsT]:
    """Have records run until the block ends."""
    async with trio.open_nursery() as nursery:
        await nursery.start(records.run)
        try:
            yield records
        finally:
            nursery.cancel_scope.cancel()


class InlineRecords(Records):
    """Records in SQLite that are opened, written and read in place."""

    def __init__(self, data_dir: Path, migrations: Sequence[Migrations] = ()) -> None:
        super().__init__("", data_dir, migrations)

    def open(self) -> None:
        """As with threads; from a file that was migrated before, since many tests ask for the same."""
        path = self._data_dir / NAME
        if not path.exists():
            self._data_dir.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_migrated(tuple(self._migrations)))
            path.chmod(0o600)
        super().open()

    def _make_writer(self, groups: GroupCommit, most_in_group: int) -> GroupWriter[Operation]:
        return InlineWriter(groups.commit, most_in_group=most_in_group, most_waiting=MOST_WAITING)

    async def _in_thread(
        self,
        function: Callable[[], T],
        limiter: trio.CapacityLimiter | None = None,  # noqa: ARG002
    ) -> T:
        await trio.lowlevel.checkpoint()
        return function()


@asynccontextmanager
async def open_inline_records(
    data_dir: Path, migrations: Sequence[Migrations] = ()
) -> AsyncIterator[InlineRecords]:
    """Records that run until the block ends, however much virtual time passes."""
    async with running(InlineRecords(data_dir, migrations)) as records:
        yield records


@functools.cache
def _migrated(migrations: tuple[Migrations, ...]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        migrate("", Path(folder), migrations)
        return (Path(folder) / NAME).read_bytes()


def differences(connection: Connection, metadata: MetaData) -> list[Any]:
    """How the tables of a database differ from what a program declares: what its migrations have forgotten."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    def belongs(_item: object, name: str | None, kind: str, *_: object) -> bool:
        return kind != "table" or name in metadata.tables

    context = MigrationContext.configure(connection, opts={"compare_type": True, "include_object": belongs})
    return list(compare_metadata(context, metadata))


__all__ = [
    "InlineRecords",
    "differences",
    "open_inline_records",
    "open_records",
    "postgresql_url",
    "records_url",
]
