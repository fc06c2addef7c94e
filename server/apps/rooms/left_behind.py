"""Rooms that were kept, in a server that keeps none: nobody would ask their rules, and anybody could enter."""

from pathlib import Path

from sqlalchemy import func, inspect, select
from sqlalchemy.exc import SQLAlchemyError

from tidings.server.apps.rooms.tables import members, rooms
from tidings.server.store.errors import StoreRefused
from tidings.server.store.records.databases import database_of


def check_none_kept(url: str, data_dir: Path) -> None:
    """Look whether rooms in the database of records keep anybody out. Blocks. Raises StoreRefused with the cure."""
    database = database_of(url, data_dir)
    if not database.exists():
        return
    database.create()
    engine = database.reader(1)
    try:
        with engine.connect() as connection:
            if not inspect(connection).has_table(rooms.name):
                return
            removed = select(members.c.room).where(members.c.role == "removed")
            strict = (rooms.c.policy != "open") | rooms.c.name.in_(removed)
            found = connection.scalar(select(func.count()).select_from(rooms).where(strict))
    except SQLAlchemyError as error:
        raise database.refusal("cannot be read", error) from error
    finally:
        engine.dispose()
    if found:
        raise StoreRefused(
            f"{database.place}: {found} rooms were kept here that not everybody may enter or speak in, and with"
            " rooms.kept = false everybody could. Set rooms.kept = true, with the app rooms in server.apps; or"
            " start so, and delete them (DELETE /api/v1/rooms/{room})"
        )
