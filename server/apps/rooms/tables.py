"""The tables of kept rooms. Their history is in `migrations`; a test holds the two against each other."""

from typing import Final

from sqlalchemy import BigInteger, Column, Index, MetaData, Table, Text

from tidings.server.store.records.types import BYTEWISE

metadata: Final = MetaData()

#: Times are Unix milliseconds.
rooms: Final = Table(
    "rooms_rooms",
    metadata,
    Column("name", BYTEWISE, primary_key=True),
    Column("title", Text, nullable=False),
    Column("topic", Text, nullable=False),
    # As `Policy` has them.
    Column("policy", Text, nullable=False),
    # The user whose role is `owner`: exactly one.
    Column("owner_id", BYTEWISE, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    # Set while what was said there is still kept: the name is nobody's until that is gone.
    Column("deleted_ms", BigInteger),
    Index("ix_rooms_rooms_owner_id", "owner_id"),
)

members: Final = Table(
    "rooms_members",
    metadata,
    Column("room", BYTEWISE, primary_key=True),
    Column("user_id", BYTEWISE, primary_key=True),
    # As `Role` has them.
    Column("role", Text, nullable=False),
    # Of the role.
    Column("since_ms", BigInteger, nullable=False),
    Index("ix_rooms_members_user_id", "user_id"),
)
