"""The durable log: publications, keys and devices, group by group. Runs in the writer's thread."""

import secrets
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

from tidings.protocol.positions import Position
from tidings.protocol.publications import Publication
from tidings.server.policies import Policies
from tidings.server.store.changes import Changes
from tidings.server.store.database import renew
from tidings.server.store.errors import StoreUnavailable
from tidings.server.store.requests import (
    Acknowledge,
    Append,
    Appended,
    Attach,
    Attached,
    Clear,
    Detach,
    DevicesFull,
    KeyTaken,
    ListRevocations,
    Open,
    Operation,
    Revocation,
    Revoke,
    Sweep,
    Swept,
)
from tidings.server.store.rows import as_json, from_json
from tidings.server.store.schema import row_id
from tidings.server.store.states import KEPT, ChannelState, States
from tidings.server.store.sweeping import Sweeper

# Rows beyond a channel's size are deleted a tenth of it at a time, so that not every append deletes.
_SLACK: Final = 16

_KNOWN_KEYS: Final = """
    SELECT json_group_array(json_array(channel, key, hex(digest), "offset")) FROM keys
    WHERE (channel, key) IN (
        SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?)
    ) AND expires_ms > ?"""

_Key = tuple[int, str]


class MessageLog:
    """Numbers publications and keeps them. One thread at a time; nobody else writes to the file."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        policies: Policies,
        *,
        key_seconds: float,
        devices: int,
        device_age: float,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        kept: int = KEPT,
    ) -> None:
        """Take the connection of `open_database`, and the wall clock (Unix seconds) that stamps publications.

        `monotonic`, in seconds, measures how long keys live: a wall clock that is put an hour forward must not
        make a publisher's repetition a second publication. `devices` of an inbox may be enrolled; `device_age` is
        after how many seconds unseen one may be forgotten. Raises sqlite3.Error.
        """
        self._connection = connection
        self._clock = clock
        self._monotonic = monotonic
        self._devices = devices
        self._device_age_ms = int(device_age * 1000)
        self._key_ms = int(key_seconds * 1000)
        # Unix milliseconds that nobody puts forward or back.
        self._steady_start = clock() - monotonic()
        # Two lives of a channel must not share an epoch: random bits tell processes apart.
        self._run = secrets.token_urlsafe(6)
        self._lives = 0
        renew(connection, self._run, keys_until_ms=self._steady_ms() + self._key_ms)
        self._states = States(connection, policies, kept=kept)
        self._sweeper = Sweeper(connection, self._states, device_age_ms=self._device_age_ms)
        self._do: dict[type[Operation], Callable[[Any], object]] = {
            Append: self._append,
            Open: self._open,
            Clear: self._clear,
            Attach: self._attach,
            Acknowledge: self._acknowledge,
            Detach: self._detach,
            Revoke: self._revoke,
        }
        # Of the group that is being done.
        self._changes = Changes()
        self._now_ms = 0
        self._floors: dict[str, int] = {}
        self._known_keys: dict[_Key, tuple[bytes, int]] = {}

    def commit(self, operations: Sequence[Operation]) -> list[object]:
        """Do operations in order, in one transaction, and return their results: what `requests` says of each.

        Raises sqlite3.Error, and has done nothing then. Sweeps and lists come behind the others.
        """
        names = {
            operation.channel
            for operation in operations
            if not isinstance(operation, Sweep | Revoke | ListRevocations)
        }
        try:
            self._prepare(names, operations)
            results = [
                do(operation) if (do := self._do.get(type(operation))) is not None else None
                for operation in operations
            ]
            self._changes.write(self._connection)
        except BaseException:
            self._states.drop(names)
            self._roll_back()
            raise
        for at, operation in enumerate(operations):
            if isinstance(operation, Sweep):
                results[at] = self._sweep(operation)
            elif isinstance(operation, ListRevocations):
                results[at] = self._list_revocations()
        return results

    def _prepare(self, names: set[str], operations: Sequence[Operation]) -> None:
        """Read what the group needs, each kind with one call."""
        self._changes = Changes()
        self._now_ms = int(self._clock() * 1000)
        self._states.load(names)
        appends = [operation for operation in operations if type(operation) is Append]
        keys = [
            (state.id, operation.key)
            for operation in appends
            if operation.key is not None and (state := self._states.find(operation.channel)) is not None
        ]
        self._known_keys = {}
        if keys:
            for channel, key, digest, offset in from_json(
                self._connection,
                _KNOWN_KEYS,
                (as_json(keys), self._steady_ms()),
                list[tuple[int, str, str, int]],
            ):
                self._known_keys[channel, key] = (bytes.fromhex(digest), offset)
        # Where the oldest that is kept stands, by age: who attaches is told, and who pushes it out, too.
        asked = {operation.channel for operation in operations if type(operation) is Attach}
        asked |= self._overflowing(Counter(operation.channel for operation in appends))
        states = [state for name in asked if (state := self._states.find(name)) is not None]
        floors = self._states.floors(
            [(state, self._now_ms - int(state.policy.history_age * 1000)) for state in states]
        )
        self._floors = {state.name: floor for state, floor in zip(states, floors, strict=True)}

    def _overflowing(self, appends: Counter[str]) -> set[str]:
        """Inboxes that so many appends push something out of."""
        return {
            name
            for name, count in appends.items()
            if (state := self._states.find(name)) is not None
            and state.is_inbox
            and state.offset + count - state.policy.history_size >= state.oldest
        }

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _steady_ms(self) -> int:
        return int((self._steady_start + self._monotonic()) * 1000)

    # --- channels ------------------------------------------------------------------------------------

    def _state(self, name: str) -> ChannelState:
        state = self._states.find(name)
        if state is None:
            self._lives += 1
            state = self._states.begin(name, f"{self._run}.{self._lives:x}", self._now_ms)
            self._changes.channels[name] = state
        return state

    def _open(self, operation: Open) -> Position:
        return self._state(operation.channel).position

    def _append(self, operation: Append) -> Appended | KeyTaken:
        name, event, payload, user_id, excluded_session, key, digest = operation
        state = self._state(name)
        if key is not None:
            assert digest is not None
            known = self._known_keys.get((state.id, key))
            if known is not None:
                if known[0] != digest:
                    return KeyTaken(name)
                return Appended(Position(state.epoch, known[1]), None)
        offset = state.offset = state.offset + 1
        # Of the thread, so that it never falls within a channel: neither when two publishers overtake each
        # other, nor when the clock is put back.
        time_ms = state.last_ms = max(state.last_ms, self._now_ms)
        changes = self._changes
        changes.publications.append(
            (row_id(state.id, offset), event, payload, user_id, excluded_session, time_ms)
        )
        changes.channels[name] = state
        if key is not None:
            assert digest is not None
            self._known_keys[state.id, key] = (digest, offset)
            changes.keys[state.id, key] = (digest, offset, self._steady_ms() + self._key_ms)
        dropped = expired = 0
        left = offset - state.policy.history_size
        if state.is_inbox and left >= max(state.low, state.stored) and left > state.acknowledged:
            # An inbox begun within this group is not among the floors; all that it has is new.
            if left >= self._floors.get(name, 1):
                dropped = 1
            else:
                expired = 1
        size = state.policy.history_size
        floor = state.size_floor
        if floor - state.stored > size // 10 + _SLACK:
            changes.trim(state, floor)
        position = Position(state.epoch, offset)
        publication = Publication(
            name, event, payload, offset, state.epoch, time_ms, user_id, excluded_session
        )
        return Appended(position, publication, dropped, expired)

    def _clear(self, operation: Clear) -> Position:
        state = self._state(operation.channel)
        state.low = state.offset + 1
        self._changes.channels[state.name] = state
        self._changes.trim(state, state.low)
        return state.position

    # --- devices -------------------------------------------------------------------------------------

    def _attach(self, operation: Attach) -> Attached | DevicesFull:
        state = self._state(operation.channel)
        first = max(state.oldest, self._floors.get(state.name, 1))
        known = state.devices.get(operation.device)
        if known is not None:
            acknowledged = known[0]
        elif not self._has_room(state):
            return DevicesFull(state.name, len(state.devices))
        else:
            acknowledged = max((other for other, _ in state.devices.values()), default=first - 1)
        self._changes.note_device(state, operation.device, acknowledged, self._now_ms)
        return Attached(state.position, first, acknowledged)

    def _acknowledge(self, operation: Acknowledge) -> int | DevicesFull:
        state = self._state(operation.channel)
        known = state.devices.get(operation.device)
        if known is None and not self._has_room(state):
            return DevicesFull(state.name, len(state.devices))
        reached = max(0 if known is None else known[0], min(operation.offset, state.offset))
        self._changes.note_device(state, operation.device, reached, self._now_ms)
        return reached

    def _detach(self, operation: Detach) -> None:
        state = self._states.find(operation.channel)
        known = state.devices.get(operation.device) if state is not None else None
        if state is not None and known is not None:
            self._changes.note_device(state, operation.device, known[0], self._now_ms)

    def _has_room(self, state: ChannelState) -> bool:
        """Make room for a new device, by forgetting those that were away for too long; whether there is some."""
        oldest_ms = self._now_ms - self._device_age_ms
        for name in [name for name, (_, seen_ms) in state.devices.items() if seen_ms < oldest_ms]:
            self._changes.forget_device(state, name)
        return len(state.devices) < self._devices

    # --- the rest ------------------------------------------------------------------------------------

    def _revoke(self, operation: Revoke) -> None:
        self._changes.revocations.append(operation.revocation)

    def _list_revocations(self) -> list[Revocation] | StoreUnavailable:
        try:
            return from_json(
                self._connection,
                "SELECT json_group_array(json_object('kind', kind, 'value', value, 'before_ms', before_ms,"
                " 'until_ms', until_ms)) FROM revocations WHERE until_ms > ?",
                (self._now_ms,),
                list[Revocation],
            )
        except sqlite3.Error as error:
            return StoreUnavailable(f"cannot read the revocations: {error}")

    def _sweep(self, operation: Sweep) -> Swept | StoreUnavailable:
        # In a transaction of its own: what others wait for must not fail with it.
        try:
            return self._sweeper.sweep(operation, now_ms=self._now_ms, steady_ms=self._steady_ms())
        except sqlite3.Error as error:
            self._roll_back()
            return StoreUnavailable(f"cannot tidy up: {error}")
