"""What a group is going to write, gathered, so that it needs one statement for each table."""

import sqlite3
from typing import Any, Final, NamedTuple

from tidings.server.store.requests import Revocation
from tidings.server.store.rows import as_json, insert, values
from tidings.server.store.schema import row_id
from tidings.server.store.states import ChannelState

# Rows that one transaction deletes at most: some milliseconds.
PIECE: Final = 2_000

Known = tuple[int, int]
"""Of a device: the position acknowledged, and when it was seen (Unix milliseconds)."""


class Unbegun(NamedTuple):
    """A channel without a row: nobody ever published to it."""

    number: int
    """Of its row to be, where a device of it waits for one; 0 before."""
    name: str
    epoch: str
    since_ms: int


class Changes:
    """The rows of one transaction."""

    def __init__(self) -> None:
        self.publications: list[tuple[int, str, bytes, str | None, str | None, int]] = []
        self.channels: dict[str, ChannelState] = {}
        """Whose rows are to be written anew."""
        self.unbegun: list[Unbegun] = []
        """Whose rows are to be written as they are."""
        self.devices: dict[tuple[int, str], Known | None] = {}
        """By channel and name; None where one is to be deleted."""
        self.is_due = False
        """Whether any of it has to be on disk, or should be; else it can be written with something else."""
        self.keys: dict[tuple[int, str], tuple[bytes, int, int]] = {}
        self.revocations: list[Revocation] = []
        self._gone_rows: list[int] = []
        self._gone_channels: list[int] = []

    def trim(self, state: ChannelState, floor: int) -> bool:
        """Delete what lies below an offset; False where that was more than this transaction may delete."""
        end = min(floor, state.stored + PIECE - len(self._gone_rows))
        self._gone_rows += [row_id(state.id, offset) for offset in range(state.stored, end)]
        state.stored = max(state.stored, end)
        return end >= floor

    def forget_device(self, state: ChannelState, name: str) -> None:
        """Delete a device."""
        del state.devices[name]
        self.devices[state.id, name] = None

    def note_device(self, state: ChannelState, name: str, acknowledged: int, seen_ms: int) -> None:
        """Write a device."""
        state.devices[name] = self.devices[state.id, name] = (acknowledged, seen_ms)

    def forget_channel(self, state: ChannelState) -> None:
        """Delete a channel without publications."""
        for name in list(state.devices):
            self.forget_device(state, name)
        self._gone_channels.append(state.id)

    def write(self, connection: sqlite3.Connection) -> None:
        """Commit it all, or raise and have changed nothing. Raises sqlite3.Error."""
        if not (
            self.publications
            or self.channels
            or self.unbegun
            or self.devices
            or self.keys
            or self.revocations
            or self._gone_rows
            or self._gone_channels
        ):
            return
        connection.execute("BEGIN IMMEDIATE")
        self._insert(connection)
        self._delete(connection)
        connection.execute("COMMIT")

    def _insert(self, connection: sqlite3.Connection) -> None:
        insert(connection, "publications", self.publications)
        channels: list[tuple[Any, ...]] = [
            (state.id, state.name, state.epoch, state.offset, state.low, state.last_ms)
            for state in self.channels.values()
        ]
        channels += [
            (number, name, epoch, 0, 1, since_ms) for number, name, epoch, since_ms in self.unbegun
        ]
        insert(
            connection,
            "channels",
            channels,
            'ON CONFLICT (id) DO UPDATE SET "offset" = excluded."offset", low = excluded.low,'
            " last_ms = excluded.last_ms",
        )
        insert(
            connection,
            "keys",
            [(*key, *known) for key, known in self.keys.items()],
            'ON CONFLICT (channel, key) DO UPDATE SET digest = excluded.digest, "offset" = excluded."offset",'
            " expires_ms = excluded.expires_ms",
        )
        insert(
            connection,
            "devices",
            [(*key, *known) for key, known in self.devices.items() if known is not None],
            "ON CONFLICT (channel, name) DO UPDATE SET acknowledged = excluded.acknowledged,"
            " seen_ms = excluded.seen_ms",
        )
        insert(
            connection,
            "revocations",
            [(each.kind, each.value, each.before_ms, each.until_ms) for each in self.revocations],
            "ON CONFLICT (kind, value) DO UPDATE SET before_ms = max(before_ms, excluded.before_ms),"
            " until_ms = max(until_ms, excluded.until_ms)",
        )

    def _delete(self, connection: sqlite3.Connection) -> None:
        # Behind the insertions: what came and left within one group goes, too.
        for table, column, gone in (
            ("publications", "id", self._gone_rows),
            ("channels", "id", self._gone_channels),
            ("keys", "channel", self._gone_channels),
        ):
            if gone:
                connection.execute(
                    f"DELETE FROM {table} WHERE {column} IN (SELECT value FROM json_each(?))",  # noqa: S608
                    (as_json(gone),),
                )
        gone_devices = [key for key, known in self.devices.items() if known is None]
        if gone_devices:
            rows, parameters = values(gone_devices)
            connection.execute(
                "DELETE FROM devices WHERE (channel, name) IN"  # noqa: S608  ours, all of it
                f" (SELECT d.channel, d.name FROM {rows} g CROSS JOIN devices d"
                " ON d.channel = g.column1 AND d.name = g.column2)",
                parameters,
            )
