"""The durable log: publications, keys and devices, group by group. Runs in the writer's thread."""

import secrets
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog

from tidings.protocol.positions import Position
from tidings.protocol.publications import Publication
from tidings.server.policies import Policies
from tidings.server.store.changes import Changes
from tidings.server.store.database import renew
from tidings.server.store.enrolment import Enrolment
from tidings.server.store.errors import StoreUnavailable
from tidings.server.store.lookups import Key, known_keys, revocations
from tidings.server.store.pending import MOST_UNBEGUN, NOTES_AT_ONCE, Pending
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
    ListDevices,
    ListRevocations,
    Open,
    Operation,
    Revocation,
    Revoke,
    Sweep,
    Swept,
)
from tidings.server.store.schema import LEAD_MS, row_id
from tidings.server.store.states import KEPT, ChannelState, States
from tidings.server.store.sweeping import Sweeper

# Rows beyond a channel's size are deleted a tenth of it at a time, so that not every append deletes.
_SLACK: Final = 16

# What is promised to be on disk. The others are answered without one.
_DURABLE: Final = (Append, Acknowledge, Clear, Revoke)

_log = structlog.get_logger("tidings.store")


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
        in_use: Callable[[str], bool] = lambda _channel: False,
        kept: int = KEPT,
        unbegun: int = MOST_UNBEGUN,
    ) -> None:
        """Take the connection of `open_database`, and the wall clock (Unix seconds) that stamps publications.

        `monotonic`, in seconds, measures how long keys live: a wall clock that is put an hour forward must not
        make a publisher's repetition a second publication. `devices` of an inbox may be enrolled; `device_age` is
        after how many seconds unseen one may be forgotten. `in_use` is asked whether a channel is listened to; of
        those that are not, and were never published to, `unbegun` are remembered. Raises sqlite3.Error.
        """
        self._connection = connection
        self._clock = clock
        self._monotonic = monotonic
        device_age_ms = self._device_age_ms = int(device_age * 1000)
        self._key_ms = int(key_seconds * 1000)
        # Unix milliseconds that nobody puts forward or back.
        self._steady_start = clock() - monotonic()
        # Two lives of a channel must not share an epoch: random bits tell processes apart.
        self._run = secrets.token_urlsafe(6)
        self._lives = 0
        renew(connection, self._run, policies, keys_until_ms=self._steady_ms() + self._key_ms)
        self._pending = Pending(in_use, most=unbegun)
        self._states = States(connection, policies, apply=self._pending.apply, kept=kept)
        self._enrolment = Enrolment(self._states, self._pending, most=devices)
        self._sweeper = Sweeper(connection, self._states, self._pending, device_age_ms=device_age_ms)
        self._do: dict[type[Operation], Callable[[Any], object]] = {
            Append: self._append,
            Open: self._open,
            Clear: self._clear,
            Attach: self._attach,
            Acknowledge: self._acknowledge,
            Detach: self._detach,
            ListDevices: self._list_devices,
            Revoke: self._revoke,
        }
        # Of the group that is being done.
        self._changes = Changes()
        self._now_ms = 0
        self._floors: dict[str, int] = {}
        self._known_keys: dict[Key, tuple[bytes, int]] = {}

    def commit(self, operations: Sequence[Operation]) -> list[object]:
        """Do operations in order, in one transaction, and return their results: what `requests` says of each.

        What cannot be stored has StoreUnavailable as its result, and what needs no disk is done all the same.
        Raises sqlite3.Error, and has done nothing then. Sweeps and lists come behind the others.
        """
        try:
            results = self._attempt(operations)
        except sqlite3.OperationalError as error:  # a full disk, or one that fails
            if all(isinstance(operation, _DURABLE) for operation in operations):
                raise
            results = self._without_disk(operations, error)
        for at, operation in enumerate(operations):
            if isinstance(operation, Sweep):
                results[at] = self._sweep(operation)
            elif isinstance(operation, ListRevocations):
                results[at] = self._list_revocations()
        return results

    def flush(self) -> None:
        """Write what only waits for something else to be written, as far as the disk takes it. Never raises."""
        try:
            while self._pending.notes:
                self._write_pending()
        except sqlite3.Error as error:
            self._roll_back()
            _log.warning(
                "not stored: when devices were seen last", devices=self._pending.notes, error=str(error)
            )

    def _attempt(self, operations: Sequence[Operation], *, writes: bool = True) -> list[object]:
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
            changes = self._changes
            if writes and (changes.is_due or self._pending.notes >= NOTES_AT_ONCE):
                states = [state for name in names if (state := self._states.find(name)) is not None]
                self._pending.join(changes, states)
                changes.write(self._connection)
                self._pending.written(changes)
            else:
                self._pending.keep(changes)
        except BaseException:
            self._states.drop(names)
            self._roll_back()
            raise
        return results

    def _without_disk(self, operations: Sequence[Operation], error: sqlite3.Error) -> list[object]:
        """Do what may be lost with the process, as if the rest had not been asked for."""
        durable = [isinstance(operation, _DURABLE) for operation in operations]
        done = iter(
            self._attempt(
                [each for each, needs in zip(operations, durable, strict=True) if not needs], writes=False
            )
        )
        if any(durable):
            _log.error("cannot store", error=str(error), operations=sum(durable))
        return [StoreUnavailable(f"cannot store: {error}") if needs else next(done) for needs in durable]

    def _write_pending(self) -> None:
        changes = Changes()
        self._pending.join(changes, ())
        changes.write(self._connection)
        self._pending.written(changes)

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
        self._known_keys = known_keys(self._connection, keys, self._steady_ms())
        # Where the oldest that is kept stands, by age: who attaches is told, and who pushes it out, too.
        asked = {operation.channel for operation in operations if type(operation) is Attach}
        asked |= self._overflowing(Counter(operation.channel for operation in appends))
        states = [state for name in asked if (state := self._states.find(name)) is not None]
        floors = self._states.floors(
            [(state, self._now_ms - int(state.policy.history_age * 1000)) for state in states], self._now_ms
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
            begun = self._pending.find(name)
            if begun is None:
                self._lives += 1
                begun = self._pending.begin(name, f"{self._run}.{self._lives:x}", self._now_ms)
            state = self._states.begin(*begun)
        elif not state.id and self._pending.find(name) is None:
            # Forgotten there, and not here yet: somebody may listen from now on.
            self._pending.begin(name, state.epoch, state.last_ms)
        return state

    def _asked_for(self, name: str) -> ChannelState | None:
        """As `_state`, where the channel was asked for before."""
        state = self._states.find(name)
        return self._state(name) if state is None and self._pending.find(name) is not None else state

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
        self._states.number(state)
        offset = state.offset = state.offset + 1
        # Of the thread, so that it does not fall within a channel: neither when two publishers overtake each
        # other, nor when the clock is put back a little. A clock that was years ahead for a moment is forgotten.
        leads = state.last_ms > self._now_ms + LEAD_MS
        time_ms = state.last_ms = self._now_ms if leads else max(state.last_ms, self._now_ms)
        changes = self._changes
        changes.is_due = True
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
        if not state.id:
            return state.position
        state.low = state.offset + 1
        self._changes.is_due = True
        self._changes.channels[state.name] = state
        self._changes.trim(state, state.low)
        return state.position

    # --- devices -------------------------------------------------------------------------------------

    def _attach(self, operation: Attach) -> Attached | DevicesFull | StoreUnavailable:
        state = self._state(operation.channel)
        return self._enrolment.attach(
            self._changes,
            state,
            operation.device,
            first=max(state.oldest, self._floors.get(state.name, 1)),
            now_ms=self._now_ms,
            since_ms=self._since_ms(),
        )

    def _acknowledge(self, operation: Acknowledge) -> int | DevicesFull:
        return self._enrolment.acknowledge(
            self._changes,
            self._state(operation.channel),
            operation.device,
            operation.offset,
            now_ms=self._now_ms,
            since_ms=self._since_ms(),
        )

    def _detach(self, operation: Detach) -> None:
        state = self._asked_for(operation.channel)
        self._enrolment.detach(self._changes, state, operation.device, self._now_ms)

    def _list_devices(self, operation: ListDevices) -> list[tuple[str, int, int]]:
        state = self._asked_for(operation.channel)
        return [] if state is None else sorted((name, *known) for name, known in state.devices.items())

    def _since_ms(self) -> int:
        """Who was not seen since then may be forgotten: by both clocks, as what is swept."""
        return min(self._now_ms, self._steady_ms()) - self._device_age_ms

    # --- the rest ------------------------------------------------------------------------------------

    def _revoke(self, operation: Revoke) -> None:
        self._changes.is_due = True
        self._changes.revocations.append(operation.revocation)

    def _list_revocations(self) -> list[Revocation] | StoreUnavailable:
        try:
            return revocations(self._connection, self._now_ms)
        except sqlite3.Error as error:
            return StoreUnavailable(f"cannot read the revocations: {error}")

    def _sweep(self, operation: Sweep) -> Swept | StoreUnavailable:
        # In a transaction of its own: what others wait for must not fail with it.
        try:
            if self._pending.notes:
                self._write_pending()
            swept = self._sweeper.sweep(operation, now_ms=self._now_ms, steady_ms=self._steady_ms())
            return swept._replace(more=swept.more or self._pending.notes > 0)
        except sqlite3.Error as error:
            self._roll_back()
            return StoreUnavailable(f"cannot tidy up: {error}")
