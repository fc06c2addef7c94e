"""Tables of an app, for the tests of what keeps them: boxes, and things that lie in one."""

from pathlib import Path
from typing import Final

from sqlalchemy import (
    Column,
    Connection,
    ForeignKey,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    insert,
    select,
)

from support.revisions import write_revision
from tidings.server.store.records.records import Migrations
from tidings.server.store.records.types import AUTO_ID

metadata: Final = MetaData()

boxes: Final = Table("boxes", metadata, Column("name", String(64), primary_key=True))

things: Final = Table(
    "things",
    metadata,
    Column("id", AUTO_ID, primary_key=True),
    Column("name", String(64), nullable=False),
    # Looked at when the transaction ends.
    Column("box", ForeignKey("boxes.name", deferrable=True, initially="DEFERRED")),
    UniqueConstraint("name", name="uq_things_name"),
    sqlite_autoincrement=True,
)

_UPGRADE = """
op.create_table("boxes", sa.Column("name", sa.String(64), primary_key=True))
op.create_table(
    "things",
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("name", sa.String(64), nullable=False),
    sa.Column("box", sa.String(64), sa.ForeignKey("boxes.name", deferrable=True, initially="DEFERRED")),
    sa.UniqueConstraint("name", name="uq_things_name"),
    sqlite_autoincrement=True,
)
"""


def things_app(folder: Path) -> Migrations:
    """The revisions of the tables, written below a folder."""
    return write_revision(folder, "things", _UPGRADE)


def add(connection: Connection, name: str, box: str | None = None) -> int:
    """Keep a thing; its id."""
    key = connection.execute(insert(things), {"name": name, "box": box}).inserted_primary_key
    assert key is not None
    return int(key[0])


def names(connection: Connection) -> list[str]:
    """Of all things, in the order of their ids."""
    return list(connection.scalars(select(things.c.name).order_by(things.c.id)))
