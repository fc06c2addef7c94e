"""Notifications of users."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Begin with notifications."""
    op.create_table(
        "notifications_notes",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("icon", sa.Text),
        sa.Column("link", sa.Text),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("read_ms", sa.BigInteger),
        sa.Column("idempotency_key", sa.Text),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_notifications_notes_user", "notifications_notes", ["user_id", "id"])
    op.create_index(
        "ix_notifications_notes_unread",
        "notifications_notes",
        ["user_id", "id"],
        sqlite_where=sa.text("read_ms IS NULL"),
        postgresql_where=sa.text("read_ms IS NULL"),
    )
    op.create_index(
        "ix_notifications_notes_key",
        "notifications_notes",
        ["user_id", "idempotency_key"],
        unique=True,
        sqlite_where=sa.text("idempotency_key IS NOT NULL"),
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )
    op.create_index("ix_notifications_notes_created_ms", "notifications_notes", ["created_ms"])
