"""The line board: groups and codes, accounts, incoming lines, customers, follow-ups, and what was received."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Begin with all of them."""
    _groups()
    _accounts()
    _incoming()
    _customers()
    op.create_table(
        "lines_acks",
        sa.Column("user_id", _bytewise(), primary_key=True),
        sa.Column("line_id", sa.BigInteger, nullable=False),
    )


def _groups() -> None:
    op.create_table(
        "lines_groups",
        _id(),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("time_zone", sa.Text, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "lines_codes",
        _id(),
        sa.Column("group_id", sa.BigInteger, nullable=False),
        sa.Column("code", _bytewise(), nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("disabled_ms", sa.BigInteger),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_lines_codes_group", "lines_codes", ["group_id", "id"])
    op.create_index("ix_lines_codes_code", "lines_codes", ["code"], unique=True)
    _unique_where("ix_lines_codes_active", "lines_codes", ["group_id"], "disabled_ms IS NULL")


def _accounts() -> None:
    op.create_table(
        "lines_accounts",
        _id(),
        sa.Column("group_id", sa.BigInteger, nullable=False),
        sa.Column("line_account_id", _bytewise(), nullable=False),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("platform", sa.Text, nullable=False),
        sa.Column("online_status", sa.Text, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("changed_ms", sa.BigInteger, nullable=False),
        sa.Column("total_incoming", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("duplicate_incoming", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("day", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("today_incoming", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("today_duplicate", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_lines_accounts_name", "lines_accounts", ["line_account_id"], unique=True)
    op.create_index("ix_lines_accounts_group", "lines_accounts", ["group_id", "id"])


def _incoming() -> None:
    op.create_table(
        "lines_callers",
        sa.Column("account_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("incoming_line_id", _bytewise(), primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_table("lines_incoming", _id(), *_line_columns(), sqlite_autoincrement=True)
    op.create_index("ix_lines_incoming_group", "lines_incoming", ["group_id", "id"])
    op.create_index("ix_lines_incoming_account", "lines_incoming", ["account_id", "id"])
    op.create_index("ix_lines_incoming_day", "lines_incoming", ["account_id", "received_ms"])
    op.create_index("ix_lines_incoming_received", "lines_incoming", ["received_ms"])
    _unique_where(
        "ix_lines_incoming_message",
        "lines_incoming",
        ["account_id", "message_id"],
        "message_id IS NOT NULL",
    )
    op.create_table(
        "lines_incoming_archive",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        *_line_columns(),
    )


def _customers() -> None:
    op.create_table(
        "lines_customers",
        _id(),
        sa.Column("group_id", sa.BigInteger, nullable=False),
        sa.Column("customer_id", _bytewise(), nullable=False),
        sa.Column("account_id", sa.BigInteger),
        sa.Column("details", sa.Text, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("changed_ms", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_lines_customers_name", "lines_customers", ["group_id", "customer_id"], unique=True)
    op.create_index("ix_lines_customers_group", "lines_customers", ["group_id", "id"])
    op.create_table(
        "lines_follow_ups",
        _id(),
        sa.Column("group_id", sa.BigInteger, nullable=False),
        sa.Column("customer_row", sa.BigInteger, nullable=False),
        sa.Column("client_id", _bytewise()),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("details", sa.Text, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("changed_ms", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_lines_follow_ups_group", "lines_follow_ups", ["group_id", "id"])
    op.create_index("ix_lines_follow_ups_customer", "lines_follow_ups", ["customer_row", "id"])
    _unique_where(
        "ix_lines_follow_ups_client",
        "lines_follow_ups",
        ["customer_row", "client_id"],
        "client_id IS NOT NULL",
    )


def _id() -> sa.Column[int]:
    return sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True)


def _bytewise() -> sa.types.TypeEngine[str]:
    return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def _line_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("group_id", sa.BigInteger, nullable=False),
        sa.Column("account_id", sa.BigInteger, nullable=False),
        sa.Column("incoming_line_id", _bytewise(), nullable=False),
        sa.Column("message_id", _bytewise()),
        sa.Column("is_duplicate", sa.Boolean, nullable=False),
        sa.Column("received_ms", sa.BigInteger, nullable=False),
        sa.Column("client_time", sa.Text),
        sa.Column("details", sa.Text),
    ]


def _unique_where(name: str, table: str, columns: list[str], where: str) -> None:
    op.create_index(
        name, table, columns, unique=True, sqlite_where=sa.text(where), postgresql_where=sa.text(where)
    )
