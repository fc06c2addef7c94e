"""Any broker against a model of it: whatever is done in whatever order, both say the same."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import pytest
from hypothesis import strategies as st

from support.broker_contract.case import AGE, DEVICES, EVERYTHING, SMALL, Case
from tidings.protocol.positions import Position
from tidings.protocol.publications import Publication
from tidings.server.brokers.base import IdempotencyConflict, TooManyDevices

# Sums of the waits come nowhere near an age: real time passes beside them.
CHANNELS: Final = ("room:small", "room:short", "user:bob", "user:eve")
_SIZES: Final = {"room:small": SMALL, "user:bob": SMALL, "user:eve": SMALL}
_AGES: Final = {"room:short": AGE, "user:bob": AGE, "user:eve": AGE}

# Few names, so that steps meet: most of it happens in one inbox, with two devices.
_channels = st.sampled_from((*CHANNELS, "user:bob", "user:bob"))
_inboxes = st.sampled_from(("user:bob", "user:bob", "user:bob", "user:eve"))
_devices = st.sampled_from(("", "", "", "a", "a", "b", "c", "d", "e"))
_offsets = st.integers(-2, 12) | st.sampled_from((-(2**63), 2**63))
STEPS: Final = st.lists(
    st.tuples(st.just("publish"), _channels, st.sampled_from((None, None, "k", "l")), st.integers(0, 1))
    | st.tuples(st.just("publish many"), _channels, st.integers(1, 7))
    | st.tuples(st.just("open"), _channels)
    | st.tuples(st.just("release"), _channels)
    | st.tuples(st.just("history"), _channels, _offsets, st.integers(1, 8), st.integers(1, 60))
    | st.tuples(st.just("clear"), _channels)
    | st.tuples(st.just("attach"), _inboxes, _devices)
    | st.tuples(st.just("acknowledge"), _inboxes, _devices, _offsets)
    | st.tuples(st.just("detach"), _inboxes, _devices)
    | st.tuples(st.just("wait"), st.sampled_from((0.23 * AGE, 0.41 * AGE, AGE + 60))),
    min_size=15,  # on the average, lists are little longer than they must be
    max_size=50,
)


@dataclass
class _Channel:
    epoch: str | None = None
    offset: int = 0
    first: int = 1
    """No offset below is kept; what all devices have acknowledged may be, or not."""
    accepted: dict[int, tuple[str, bytes, float]] = field(default_factory=dict)
    """Event, payload and time by offset."""
    keys: dict[str, tuple[int, str, bytes, float]] = field(default_factory=dict)
    devices: dict[str, int] = field(default_factory=dict)
    is_open: bool = False


class Model:
    """What a broker should say. Needs a case whose time can be moved."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._broker = case.broker
        self._now = 0.0
        self._channels = {name: _Channel() for name in CHANNELS}
        self._dropped = 0

    async def run(self, steps: list[tuple[str, ...]]) -> None:
        """Take the steps, comparing after each."""
        does: dict[str, Callable[..., object]] = {
            "publish": self._publish,
            "publish many": self._publish_many,
            "open": self._open,
            "release": self._release,
            "history": self._history,
            "clear": self._clear,
            "attach": self._attach,
            "acknowledge": self._acknowledge,
            "detach": self._detach,
            "wait": self._wait,
        }
        for step, *arguments in steps:
            await does[step](*arguments)  # type: ignore[misc]
        for name, channel in self._channels.items():
            await self._history(name, 0, EVERYTHING["limit"], EVERYTHING["most_bytes"])
            if channel.is_open and channel.accepted:
                await self._case.node.until(lambda name=name, last=channel.offset: self._heard(name, last))  # type: ignore[misc]
            devices = {device.name: device.acknowledged for device in await self._broker.devices(name)}
            assert devices == channel.devices
        assert not self._case.node.faults, self._case.node.faults[0]

    def _heard(self, name: str, last: int) -> bool:
        return self._case.node.of(name)[-1].offset == last

    # --- what holds now ------------------------------------------------------------------------------

    def _at(self, name: str, position: Position) -> None:
        """The position is the model's, and the epoch stays: nothing is ever lost here."""
        channel = self._channels[name]
        channel.epoch = channel.epoch or position.epoch
        assert position == Position(channel.epoch, channel.offset)

    def _bounds(self, name: str) -> tuple[int, int]:
        """The lowest and the highest that `first` may be: what all have acknowledged may have gone."""
        channel = self._channels[name]
        oldest = max(channel.first, channel.offset + 1 - _SIZES.get(name, 100))
        age = _AGES.get(name)
        while (
            age is not None and oldest <= channel.offset and channel.accepted[oldest][2] < self._now - age
        ):
            oldest += 1
        return oldest, max(oldest, min(channel.devices.values(), default=0) + 1)

    def _first(self, name: str, first: int) -> None:
        lowest, highest = self._bounds(name)
        assert lowest <= first <= highest
        self._channels[name].first = first

    # --- the steps -----------------------------------------------------------------------------------

    async def _publish(self, name: str, key: str | None, other: int) -> None:
        channel = self._channels[name]
        event, payload = f"event{other}", b'{"n":%d}' % (0 if key else channel.offset)
        known = channel.keys.get(key) if key else None
        if known is not None and self._now < known[3] + 300 and known[1:3] != (event, payload):
            with pytest.raises(IdempotencyConflict):
                await self._broker.publish(name, event, payload, idempotency_key=key)
            return
        lacking = min(channel.devices.values(), default=0)
        oldest, _ = self._bounds(name)
        receipt = await self._broker.publish(name, event, payload, idempotency_key=key)
        if known is not None and self._now < known[3] + 300:
            assert receipt.position == Position(channel.epoch or "", known[0])
            return
        channel.offset += 1
        channel.accepted[channel.offset] = (event, payload, self._now)
        if key:
            channel.keys[key] = (channel.offset, event, payload, self._now)
        self._at(name, receipt.position)
        is_full = channel.offset - oldest >= _SIZES.get(name, 100)
        pushed_out = int(is_full and name.startswith("user:") and oldest > lacking)
        assert receipt.dropped == pushed_out

    async def _publish_many(self, name: str, count: int) -> None:
        for _ in range(count):
            await self._publish(name, None, 0)

    async def _open(self, name: str) -> None:
        self._at(name, await self._case.open(name))
        self._channels[name].is_open = True

    async def _release(self, name: str) -> None:
        self._case.release(name)
        self._channels[name].is_open = False

    async def _history(self, name: str, after: int, limit: int, most_bytes: int) -> None:
        channel = self._channels[name]
        history = await self._broker.history(name, after, limit=limit, most_bytes=most_bytes)
        self._at(name, history.position)
        self._first(name, history.first)
        expected: list[tuple[int, str, bytes, str]] = []
        size = 0
        for offset in range(max(after + 1, history.first), channel.offset + 1):
            if len(expected) == limit or size >= most_bytes:
                break
            event, payload, _ = channel.accepted[offset]
            expected.append((offset, event, payload, history.position.epoch))
            size += len(payload)
        assert [self._said(each) for each in history.publications] == expected

    def _said(self, publication: Publication) -> tuple[int, str, bytes, str]:
        self._case.node.same(publication)
        return publication.offset, publication.event, publication.payload, publication.epoch

    async def _clear(self, name: str) -> None:
        self._at(name, await self._broker.clear(name))
        self._channels[name].first = self._channels[name].offset + 1

    def _is_full(self, name: str, device: str) -> bool:
        devices = self._channels[name].devices
        return device not in {*devices, ""} and len({*devices} - {""}) >= DEVICES

    async def _attach(self, name: str, device: str) -> None:
        channel = self._channels[name]
        if self._is_full(name, device):
            with pytest.raises(TooManyDevices):
                await self._broker.attach(name, device)
            return
        attached = await self._broker.attach(name, device)
        self._case.node.listens(name, attached.position)
        channel.is_open = True
        self._at(name, attached.position)
        self._first(name, attached.first)
        start = max(channel.devices.values(), default=attached.first - 1)
        assert attached.acknowledged == channel.devices.get(device, start)
        if device:  # without a name it takes an acknowledgement
            channel.devices.setdefault(device, start)

    async def _acknowledge(self, name: str, device: str, offset: int) -> None:
        channel = self._channels[name]
        if self._is_full(name, device):
            with pytest.raises(TooManyDevices):
                await self._broker.acknowledge(name, device, offset)
            return
        reached = max(channel.devices.get(device, 0), min(offset, channel.offset))
        assert await self._broker.acknowledge(name, device, offset) == reached
        channel.devices[device] = reached

    async def _detach(self, name: str, device: str) -> None:
        self._broker.detach(name, device)

    async def _wait(self, seconds: float) -> None:
        # What is being noted without waiting belongs to the time before. DEVICE_AGE is 720 times AGE: no
        # example is so long that a device is forgotten, which is checked elsewhere.
        await self._broker.clear("room:other")
        self._case.pass_time(seconds)
        self._now += seconds
