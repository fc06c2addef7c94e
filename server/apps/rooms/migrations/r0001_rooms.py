"""Kept rooms and their members."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Begin with both."""
    bytewise = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    op.create_table(
        "rooms_rooms",
        sa.Column("name", bytewise, primary_key=True),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("policy", sa.Text, nullable=False),
        sa.Column("owner_id", bytewise, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("deleted_ms", sa.BigInteger),
    )
    op.create_index("ix_rooms_rooms_owner_id", "rooms_rooms", ["owner_id"])
    op.create_table(
        "rooms_members",
        sa.Column("room", bytewise, primary_key=True),
        sa.Column("user_id", bytewise, primary_key=True),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("since_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_rooms_members_user_id", "rooms_members", ["user_id"])
