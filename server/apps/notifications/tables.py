"""The table of notifications. Its history is in `migrations`; a test holds the two against each other."""

from typing import Final

from sqlalchemy import BigInteger, Column, Index, MetaData, Table, Text, text

from tidings.server.extension.tables import AUTO_ID

metadata: Final = MetaData()

#: Times are Unix milliseconds. Ids rise as rows are added and are never given twice (AUTOINCREMENT in SQLite):
#: pages go by them, and so does "read up to here".
notes: Final = Table(
    "notifications_notes",
    metadata,
    Column("id", AUTO_ID, primary_key=True),
    Column("user_id", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("icon", Text),
    Column("link", Text),
    Column("created_ms", BigInteger, nullable=False, index=True),
    # Null until the user has read it.
    Column("read_ms", BigInteger),
    # By which whoever made it may ask for it again. Null: they may not.
    Column("idempotency_key", Text),
    sqlite_autoincrement=True,
)

# A page of a user's, and which row is the oldest to stay.
Index("ix_notifications_notes_user", notes.c.user_id, notes.c.id)

# What is unread is counted at every change: of most users that is little beside all that they have.
_UNREAD: Final = text("read_ms IS NULL")
Index(
    "ix_notifications_notes_unread",
    notes.c.user_id,
    notes.c.id,
    sqlite_where=_UNREAD,
    postgresql_where=_UNREAD,
)

# Each user's keys are apart, so that a back end may take one for all whom an order concerns.
_KEYED: Final = text("idempotency_key IS NOT NULL")
Index(
    "ix_notifications_notes_key",
    notes.c.user_id,
    notes.c.idempotency_key,
    unique=True,
    sqlite_where=_KEYED,
    postgresql_where=_KEYED,
)
