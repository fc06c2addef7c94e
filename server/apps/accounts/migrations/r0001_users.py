"""Users."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Begin with users."""
    bytewise = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    op.create_table(
        "accounts_users",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("username", sa.Text),
        sa.Column("name_key", bytewise, unique=True),
        sa.Column("email", sa.Text),
        sa.Column("searched", sa.Text, nullable=False),
        sa.Column("roles", sa.Text, nullable=False),
        sa.Column("is_admin", sa.Boolean, nullable=False),
        sa.Column("password", sa.Text),
        sa.Column("password_until_ms", sa.BigInteger),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("updated_ms", sa.BigInteger, nullable=False),
        sa.Column("logged_in_ms", sa.BigInteger),
        sa.Column("login_number", sa.BigInteger, nullable=False),
        sa.Column("cut_number", sa.BigInteger, nullable=False),
        sa.Column("cut_ms", sa.BigInteger, nullable=False),
        sa.Column("cut_spared", sa.Text),
        sa.Column("deleted_ms", sa.BigInteger),
    )
    op.create_index("ix_accounts_users_cut_ms", "accounts_users", ["cut_ms"])
