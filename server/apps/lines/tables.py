"""The tables of the line board. Their history is in `migrations`; a test holds the two against each other.

Times are Unix milliseconds. Ids rise as rows are added; those of incoming lines are never given twice, since
dashboards say by them up to where they have read.
"""

from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, MetaData, Table, Text, text

from tidings.server.extension.tables import AUTO_ID
from tidings.server.store.records.types import BYTEWISE

metadata: Final = MetaData()

groups: Final = Table(
    "lines_groups",
    metadata,
    Column("id", AUTO_ID, primary_key=True),
    Column("name", Text, nullable=False),
    # As IANA names it: where its day begins.
    Column("time_zone", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

codes: Final = Table(
    "lines_codes",
    metadata,
    Column("id", AUTO_ID, primary_key=True),
    Column("group_id", BigInteger, nullable=False),
    # In clear: dashboards show it. One that was disabled is nobody's again.
    Column("code", BYTEWISE, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    # Null while devices may come with it.
    Column("disabled_ms", BigInteger),
    Index("ix_lines_codes_group", "group_id", "id"),
    Index("ix_lines_codes_code", "code", unique=True),
    sqlite_autoincrement=True,
)

_ACTIVE: Final = text("disabled_ms IS NULL")
Index(
    "ix_lines_codes_active",
    codes.c.group_id,
    unique=True,
    sqlite_where=_ACTIVE,
    postgresql_where=_ACTIVE,
)

accounts: Final = Table(
    "lines_accounts",
    metadata,
    Column("id", AUTO_ID, primary_key=True),
    Column("group_id", BigInteger, nullable=False),
    # Of one group for ever, whichever reported it first.
    Column("line_account_id", BYTEWISE, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("platform", Text, nullable=False),
    # As memory has it, a moment later.
    Column("online_status", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
    # Of all time, also of lines that retention has taken; duplicates are among the incoming.
    Column("total_incoming", BigInteger, nullable=False, server_default=text("0")),
    Column("duplicate_incoming", BigInteger, nullable=False, server_default=text("0")),
    # Which day (date.toordinal) the two behind it are of: the day of the last line, not necessarily today.
    Column("day", Integer, nullable=False, server_default=text("0")),
    Column("today_incoming", BigInteger, nullable=False, server_default=text("0")),
    Column("today_duplicate", BigInteger, nullable=False, server_default=text("0")),
    Index("ix_lines_accounts_name", "line_account_id", unique=True),
    Index("ix_lines_accounts_group", "group_id", "id"),
    sqlite_autoincrement=True,
)

#: Who has written to which account: stays when the lines go, so that a duplicate is one for ever.
callers: Final = Table(
    "lines_callers",
    metadata,
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    Column("incoming_line_id", BYTEWISE, primary_key=True),
    # All there is to a row is its key: one tree in place of two.
    sqlite_with_rowid=False,
)


def _line_columns() -> tuple[Column[object], ...]:
    return (
        Column("group_id", BigInteger, nullable=False),
        Column("account_id", BigInteger, nullable=False),
        # The customer's.
        Column("incoming_line_id", BYTEWISE, nullable=False),
        # The client's, of the message: the second with it is the first again. Null where it has none.
        Column("message_id", BYTEWISE),
        Column("is_duplicate", Boolean, nullable=False),
        Column("received_ms", BigInteger, nullable=False),
        # What the client's clock said, believed in nothing.
        Column("client_time", Text),
        # A JSON object: the further fields.
        Column("details", Text),
    )


incoming: Final = Table(
    "lines_incoming",
    metadata,
    Column("id", AUTO_ID, primary_key=True),
    *_line_columns(),
    # Pages of a group's, and of an account's.
    Index("ix_lines_incoming_group", "group_id", "id"),
    Index("ix_lines_incoming_account", "account_id", "id"),
    # An account's of one day.
    Index("ix_lines_incoming_day", "account_id", "received_ms"),
    # What is too old.
    Index("ix_lines_incoming_received", "received_ms"),
    sqlite_autoincrement=True,
)

_NAMED: Final = text("message_id IS NOT NULL")
Index(
    "ix_lines_incoming_message",
    incoming.c.account_id,
    incoming.c.message_id,
    unique=True,
    sqlite_where=_NAMED,
    postgresql_where=_NAMED,
)

#: Old lines, for their owner to look at and to empty; the server only adds.
archive: Final = Table(
    "lines_incoming_archive",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    *_line_columns(),
)

customers: Final = Table(
    "lines_customers",
    metadata,
    Column("id", AUTO_ID, primary_key=True),
    Column("group_id", BigInteger, nullable=False),
    Column("customer_id", BYTEWISE, nullable=False),
    # The account that was last named with it; null where none was.
    Column("account_id", BigInteger),
    # A JSON object.
    Column("details", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
    Index("ix_lines_customers_name", "group_id", "customer_id", unique=True),
    Index("ix_lines_customers_group", "group_id", "id"),
    sqlite_autoincrement=True,
)

follow_ups: Final = Table(
    "lines_follow_ups",
    metadata,
    Column("id", AUTO_ID, primary_key=True),
    Column("group_id", BigInteger, nullable=False),
    # The customer's row.
    Column("customer_row", BigInteger, nullable=False),
    # The client's, of this record; null where it has none, and every one is another.
    Column("client_id", BYTEWISE),
    Column("content", Text, nullable=False),
    # A JSON object.
    Column("details", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
    Index("ix_lines_follow_ups_group", "group_id", "id"),
    Index("ix_lines_follow_ups_customer", "customer_row", "id"),
    sqlite_autoincrement=True,
)

# Devices count their own records, each from 1: what tells them apart is the customer.
_KEYED: Final = text("client_id IS NOT NULL")
Index(
    "ix_lines_follow_ups_client",
    follow_ups.c.customer_row,
    follow_ups.c.client_id,
    unique=True,
    sqlite_where=_KEYED,
    postgresql_where=_KEYED,
)

#: Up to which line each user of a dashboard has received all.
acks: Final = Table(
    "lines_acks",
    metadata,
    Column("user_id", BYTEWISE, primary_key=True),
    Column("line_id", BigInteger, nullable=False),
)
