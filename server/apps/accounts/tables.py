"""The table of users. Its history is in `migrations`; a test holds the two against each other."""

from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, MetaData, Table, Text

from tidings.server.store.records.types import BYTEWISE

metadata: Final = MetaData()

#: A deleted user leaves a row without a name, so that nobody is ever given the id again, and with it an inbox of
#: somebody else's. Times are Unix milliseconds.
users: Final = Table(
    "accounts_users",
    metadata,
    Column("id", Text, primary_key=True),
    Column("username", Text),
    # What names are told apart by (names.py); null once the user is deleted.
    Column("name_key", BYTEWISE, unique=True),
    Column("email", Text),
    # What is searched: name and address, in the form of names.py.
    Column("searched", Text, nullable=False),
    # A JSON array, sorted.
    Column("roles", Text, nullable=False),
    Column("is_admin", Boolean, nullable=False),
    # An argon2id hash in PHC form.
    Column("password", Text),
    # When a temporary password ends; null for one of the user's own.
    Column("password_until_ms", BigInteger),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Column("logged_in_ms", BigInteger),
    # Logins and cuts are numbered together, so that no clock decides which was first: this is the last number. It
    # begins with the time of the row, so that numbers of a database that is gone are all lower.
    Column("login_number", BigInteger, nullable=False),
    # Which logins have ended: those with a lower number than `cut_number`, or, of other issuers, from before
    # `cut_ms`, but for `cut_spared`. Both only rise.
    Column("cut_number", BigInteger, nullable=False),
    Column("cut_ms", BigInteger, nullable=False, index=True),
    Column("cut_spared", Text),
    Column("deleted_ms", BigInteger),
    # In the tokens of the user's logins; null for who has none.
    Column("group_id", Text),
)
