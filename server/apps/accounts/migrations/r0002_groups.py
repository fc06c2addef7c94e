"""Groups of users."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Let a user have a group; nobody has one yet."""
    op.add_column("accounts_users", sa.Column("group_id", sa.Text))
