"""What the writer knows of each channel, read from the database once and kept at hand. In the writer's thread."""

import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

from tidings.protocol.positions import Position
from tidings.server.config.channels import ChannelPolicy
from tidings.server.policies import Policies
from tidings.server.store.reading import behind_the_old
from tidings.server.store.rows import as_json, from_json
from tidings.server.store.schema import LEAD_MS, OFFSET_BITS, row_id

# Some 500 bytes each, and 200 for each device of an inbox: 10 MB, or 70 MB where every user has 16 devices.
KEPT: Final = 20_000

_READ: Final = f"""
    SELECT json_group_array(json_array(
        id, name, epoch, "offset", low, last_ms,
        (SELECT min(p.id) FROM publications p
            WHERE p.id BETWEEN c.id << {OFFSET_BITS} AND ((c.id + 1) << {OFFSET_BITS}) - 1),
        (SELECT max(p.id) FROM publications p
            WHERE p.id BETWEEN c.id << {OFFSET_BITS} AND ((c.id + 1) << {OFFSET_BITS}) - 1),
        json((SELECT json_group_array(json_array(d.name, d.acknowledged, d.seen_ms))
            FROM devices d WHERE d.channel = c.id))
    ))
    FROM channels c WHERE c.id IN """  # noqa: S608
_BY_NAME: Final = _READ + "(SELECT id FROM channels WHERE name IN (SELECT value FROM json_each(?)))"  # noqa: S608
_BEHIND: Final = _READ + "(SELECT id FROM channels WHERE id > ? ORDER BY id LIMIT ?)"  # noqa: S608

# The oldest row of each channel that is younger than a time; NULL where none is.
_FLOORS: Final = """
    SELECT json_group_array(json((
        SELECT json_array(p.id, p.time_ms) FROM publications p
        WHERE p.id BETWEEN json_extract(w.value, '$[0]') AND json_extract(w.value, '$[1]')
            AND p.time_ms > json_extract(w.value, '$[2]')
        ORDER BY p.id LIMIT 1
    )))
    FROM json_each(?) w"""

_Row = tuple[int, str, str, int, int, int, int | None, int | None, list[tuple[str, int, int]]]
_OFFSET: Final = (1 << OFFSET_BITS) - 1


class ChannelState:
    """One channel as of the end of what the writer has done so far, also where that is not committed yet."""

    __slots__ = (
        "devices", "epoch", "id", "is_inbox", "last_ms", "low", "name", "offset", "policy", "stored",
    )  # fmt: skip

    def __init__(
        self, number: int, name: str, epoch: str, policy: ChannelPolicy, *, is_inbox: bool
    ) -> None:
        self.id = number
        """Of its row; 0 where it has none yet."""
        self.name = name
        self.epoch = epoch
        self.policy = policy
        self.is_inbox = is_inbox
        self.offset = 0
        self.last_ms = 0
        self.low = 1
        """What lies below was cleared."""
        self.stored = 1
        """The offset of the oldest row; `offset + 1` where there is none. Rows have no hole from there on."""
        self.devices: dict[str, tuple[int, int]] = {}
        """Of an inbox: by name, the position acknowledged and when it was seen (Unix milliseconds)."""

    @property
    def position(self) -> Position:
        """Of the last publication."""
        return Position(self.epoch, self.offset)

    @property
    def acknowledged(self) -> int:
        """The lowest position of any device; 0 where there is none, since nobody has anything then."""
        return min((acknowledged for acknowledged, _ in self.devices.values()), default=0)

    @property
    def foremost(self) -> int | None:
        """The highest position of any device; None where there is none."""
        return max((acknowledged for acknowledged, _ in self.devices.values()), default=None)

    @property
    def named(self) -> int:
        """Devices with a name: the one without takes nobody's place."""
        return len(self.devices) - ("" in self.devices)

    @property
    def size_floor(self) -> int:
        """What lies below has left, by number or because it was cleared."""
        return max(self.low, self.offset - self.policy.history_size + 1)

    @property
    def oldest(self) -> int:
        """The oldest offset that is kept, if age has not taken it."""
        return max(self.size_floor, self.stored)


class States:
    """The channels used last."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        policies: Policies,
        *,
        apply: Callable[[ChannelState], object],
        kept: int = KEPT,
    ) -> None:
        """Take the writer's connection, and what brings a state that was read to what has been answered since."""
        self._connection = connection
        self._policies = policies
        self._apply = apply
        self._most = kept
        self._kept: OrderedDict[str, ChannelState] = OrderedDict()
        [self._last_id] = connection.execute("SELECT coalesce(max(id), 0) FROM channels").fetchone()

    def load(self, names: Collection[str]) -> None:
        """Have these at hand, as far as they exist, until the next call."""
        unknown = []
        for name in names:
            if name in self._kept:
                self._kept.move_to_end(name)
            else:
                unknown.append(name)
        if unknown:
            for state in self._read(_BY_NAME, (as_json(unknown),)):
                self._kept[state.name] = state
        while len(self._kept) > max(self._most, len(names)):
            self._kept.popitem(last=False)

    def find(self, name: str) -> ChannelState | None:
        """One of those that were loaded."""
        return self._kept.get(name)

    def begin(self, number: int, name: str, epoch: str, since_ms: int) -> ChannelState:
        """Have a channel at hand that is not in the database."""
        state = self._made(number, name, epoch)
        state.last_ms = since_ms
        self._apply(state)
        self._kept[name] = state
        return state

    def number(self, state: ChannelState) -> None:
        """Give a channel the number of its row, if it has none; the caller stores it."""
        if not state.id:
            self._last_id += 1
            state.id = self._last_id

    def drop(self, names: Iterable[str]) -> None:
        """Forget what is at hand of these: it may not be what the database says."""
        for name in names:
            self._kept.pop(name, None)

    def behind(self, number: int, limit: int) -> list[ChannelState]:
        """Channels in the order of their numbers, from some number on. Those that were not at hand are not kept."""
        return [self._kept.get(state.name, state) for state in self._read(_BEHIND, (number, limit))]

    def floors(self, wanted: Sequence[tuple[ChannelState, int]], now_ms: int) -> list[int]:
        """For each channel, the oldest committed row younger than a time (Unix ms); behind the last if none is.

        `now_ms` is of the clock that stamps publications.
        """
        if not wanted:
            return []
        ranges = [
            (row_id(state.id, state.oldest), row_id(state.id, _OFFSET), time_ms)
            for state, time_ms in wanted
        ]
        found = from_json(self._connection, _FLOORS, (as_json(ranges),), list[tuple[int, int] | None])
        floors = []
        for (state, _), (_, last, time_ms), row in zip(wanted, ranges, found, strict=True):
            if row is None:
                floors.append(state.offset + 1)
            elif row[1] <= now_ms + LEAD_MS:
                floors.append(row[0] & _OFFSET)
            else:
                floors.append(behind_the_old(self._connection, row[0], last, time_ms) & _OFFSET)
        return floors

    def _made(self, number: int, name: str, epoch: str) -> ChannelState:
        return ChannelState(
            number, name, epoch, self._policies.of(name), is_inbox=self._policies.is_inbox(name)
        )

    def _read(self, sql: str, parameters: Sequence[object]) -> list[ChannelState]:
        states = []
        for number, name, epoch, offset, low, last_ms, lowest, highest, devices in from_json(
            self._connection, sql, parameters, list[_Row]
        ):
            state = self._made(number, name, epoch)
            # They agree, unless somebody has been at the file: then what is there must not be numbered again.
            state.offset = offset if highest is None else max(offset, highest & _OFFSET)
            state.low = low
            state.last_ms = last_ms
            state.stored = state.offset + 1 if lowest is None else lowest & _OFFSET
            state.devices = {device: (acknowledged, seen_ms) for device, acknowledged, seen_ms in devices}
            self._apply(state)
            states.append(state)
        return states
