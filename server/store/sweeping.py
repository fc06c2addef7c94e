"""Deleting what nobody can ask for any more, piece by piece. Runs in the writer's thread.

Nothing depends on how soon it happens: whoever reads works out what is kept.
"""

import sqlite3
from typing import Final

from tidings.server.store.changes import PIECE, Changes
from tidings.server.store.pending import Pending
from tidings.server.store.requests import Sweep, Swept
from tidings.server.store.states import ChannelState, States

# Channels looked at in one sweep: some 2 ms, and a server with 100,000 of them is through in 17 minutes.
CHANNELS: Final = 500

# What all devices of an inbox have acknowledged stays for so long: another tab of the same device, which was
# cut off for a moment, may have heard less than the device has acknowledged.
ACKNOWLEDGED_MS: Final = 300_000

# A channel without publications, silent for so long, is forgotten with its epoch: who comes back after that is told
# that it may have missed something. One that never had any sooner: names cost nothing to invent.
FORGOTTEN_MS: Final = 30 * 86_400_000
FORGOTTEN_EMPTY_MS: Final = 86_400_000


class Sweeper:
    """Goes round the channels, some at each sweep."""

    def __init__(
        self, connection: sqlite3.Connection, states: States, pending: Pending, *, device_age_ms: int
    ) -> None:
        self._connection = connection
        self._states = states
        self._pending = pending
        self._device_age_ms = device_age_ms
        self._behind = 0
        """The number of the channel looked at last."""

    def sweep(self, operation: Sweep, *, now_ms: int, steady_ms: int) -> Swept:
        """Delete a piece, in transactions of its own. Raises sqlite3.Error, and is to be rolled back then.

        What is deleted is gone for good, and a clock may be put forward by mistake, and back: so the wall clock
        counts as far only as the steady one follows. Readers go by the wall clock alone.
        """
        wall_ms, now_ms = now_ms, min(now_ms, steady_ms)
        ended = self._delete_ended("keys", "expires_ms", steady_ms)
        ended += self._delete_ended("revocations", "until_ms", now_ms)
        states = self._states.behind(self._behind, CHANNELS)
        floors = self._states.floors(
            [(state, now_ms - int(state.policy.history_age * 1000)) for state in states], wall_ms
        )
        graces = self._states.floors([(state, now_ms - ACKNOWLEDGED_MS) for state in states], wall_ms)
        changes = Changes()
        expired = 0
        complete = True
        try:
            for state, floor, grace in zip(states, floors, graces, strict=True):
                acknowledged = state.acknowledged if state.is_inbox else 0
                goal = max(state.size_floor, floor, min(acknowledged + 1, grace))
                start = max(state.oldest, acknowledged + 1)
                complete = changes.trim(state, goal)
                if state.is_inbox:
                    expired += max(0, min(floor, state.stored) - start)
                if not complete:
                    break
                if self._is_forgotten(state, now_ms) and state.name not in operation.in_use:
                    changes.forget_channel(state)
                    self._states.drop([state.name])
                self._behind = state.id
            changes.write(self._connection)
            self._pending.written(changes)
        except BaseException:
            self._states.drop([state.name for state in states])
            raise
        if complete and len(states) < CHANNELS:
            self._behind = 0
        return Swept(expired, more=not complete or ended >= PIECE)

    def _is_forgotten(self, state: ChannelState, now_ms: int) -> bool:
        """Whether nobody would miss a channel."""
        silent_ms = now_ms - state.last_ms
        if state.stored <= state.offset:
            return False
        if state.devices:
            seen_ms = max(seen_ms for _, seen_ms in state.devices.values())
            return silent_ms > FORGOTTEN_MS and now_ms - seen_ms > max(self._device_age_ms, FORGOTTEN_MS)
        return silent_ms > (FORGOTTEN_MS if state.offset else FORGOTTEN_EMPTY_MS)

    def _delete_ended(self, table: str, column: str, now_ms: int) -> int:
        """Delete rows whose time is over; returns how many."""
        keys = {"keys": "channel, key", "revocations": "kind, value"}[table]
        done = self._connection.execute(
            f"DELETE FROM {table} WHERE ({keys}) IN"  # noqa: S608  both are ours
            f" (SELECT {keys} FROM {table} WHERE {column} <= ? LIMIT {PIECE})",
            (now_ms,),
        )
        return done.rowcount
