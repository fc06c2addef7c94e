"""What the database looks like inside."""

from typing import Final

# In the header of the file, so that another program's database is not taken for ours: "Tdng".
APPLICATION_ID: Final = 0x54646E67

# Rises with every change that an older server could not live with.
VERSION: Final = 1

# A publication's row has one number, made of its channel's and its offset: a channel's rows lie together in the
# order of their offsets, and one index serves all. Room for 134 million channels of 68 billion publications.
OFFSET_BITS: Final = 36

SCHEMA: Final = (
    """
    CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID
    """,
    # `low`: offsets below were cleared, also where their rows are still there. `last_ms` is the time of the last
    # publication, or of the channel's beginning. A channel has a row from its first publication or device on.
    """
    CREATE TABLE channels (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        epoch TEXT NOT NULL,
        "offset" INTEGER NOT NULL,
        low INTEGER NOT NULL,
        last_ms INTEGER NOT NULL
    )
    """,
    """
    CREATE TABLE publications (
        id INTEGER PRIMARY KEY,
        event TEXT NOT NULL,
        payload BLOB NOT NULL,
        user_id TEXT,
        excluded_session TEXT,
        time_ms INTEGER NOT NULL
    )
    """,
    """
    CREATE TABLE keys (
        channel INTEGER NOT NULL,
        key TEXT NOT NULL,
        digest BLOB NOT NULL,
        "offset" INTEGER NOT NULL,
        expires_ms INTEGER NOT NULL,
        PRIMARY KEY (channel, key)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX keys_by_end ON keys (expires_ms)",
    """
    CREATE TABLE devices (
        channel INTEGER NOT NULL,
        name TEXT NOT NULL,
        acknowledged INTEGER NOT NULL,
        seen_ms INTEGER NOT NULL,
        PRIMARY KEY (channel, name)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE revocations (
        kind TEXT NOT NULL,
        value TEXT NOT NULL,
        before_ms INTEGER NOT NULL,
        until_ms INTEGER NOT NULL,
        PRIMARY KEY (kind, value)
    ) WITHOUT ROWID
    """,
)

#: In `meta`: this file is a copy, and whatever starts on it must not go on with the original's positions.
COPY: Final = "copy"

#: In `meta`: a server has run without this file, and whatever starts on it again must not go on with its positions.
RETIRED: Final = "retired"

#: Times do not fall from row to row, so those that are too old come first: but for a time that leads the clock by
#: more than this. It came from a clock that was wrong, and those that follow it need not all be as wrong.
LEAD_MS: Final = 5_000


def row_id(channel: int, offset: int) -> int:
    """The number of a publication's row."""
    return channel << OFFSET_BITS | offset
