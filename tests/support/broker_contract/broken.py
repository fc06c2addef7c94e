"""Memory brokers with one fault each, which the contract has to find."""

from collections.abc import Sequence
from typing import Any

import trio
from msgspec.structs import replace

from tidings.protocol.positions import Position
from tidings.protocol.publications import Publication
from tidings.server.brokers.base import (
    Attachment,
    Device,
    Durability,
    History,
    IdempotencyConflict,
    Member,
    Receipt,
    TooManyDevices,
)
from tidings.server.brokers.memory import MemoryBroker
from tidings.server.brokers.memory_history import Channel


class SkipsInHistory(MemoryBroker):
    """What is read back has a hole."""

    async def history(self, channel: str, after: int, *, limit: int, most_bytes: int) -> History:
        """Without the third."""
        found = await super().history(channel, after, limit=limit, most_bytes=most_bytes)
        return replace(found, publications=[each for each in found.publications if each.offset != 3])


class OtherBytes(MemoryBroker):
    """What is read back is not what was delivered."""

    async def history(self, channel: str, after: int, *, limit: int, most_bytes: int) -> History:
        """Stamped with the time of reading."""
        found = await super().history(channel, after, limit=limit, most_bytes=most_bytes)
        return replace(found, publications=[replace(each, time_ms=0) for each in found.publications])


class LosesFields(MemoryBroker):
    """What is delivered is not what was published."""

    async def publish(self, channel: str, event: str, payload: bytes, **more: Any) -> Receipt:
        """For everybody."""
        return await super().publish(channel, event, payload, **(more | {"excluded_session": None}))


class ForgetsThePage(MemoryBroker):
    """A page has no end in bytes."""

    async def history(self, channel: str, after: int, *, limit: int, most_bytes: int) -> History:  # noqa: ARG002
        """As many as there are."""
        return await super().history(channel, after, limit=limit, most_bytes=1 << 40)


class FailsOnLargeNumbers(MemoryBroker):
    """An offset is taken to be a number of the machine."""

    async def history(self, channel: str, after: int, *, limit: int, most_bytes: int) -> History:
        """As a database would."""
        after.to_bytes(8, signed=True)
        return await super().history(channel, after, limit=limit, most_bytes=most_bytes)


class KeepsTooMuch(MemoryBroker):
    """Sizes are not kept to, and nothing ages."""

    def _rested(self, channel: str) -> Channel:
        state = super()._rested(channel)
        state.size += 1
        state.age_ms = 1 << 60
        return state


class KeepsTooLittle(MemoryBroker):
    """A history ends with the last listener."""

    def release(self, channel: str) -> None:
        """And forget it."""
        super().release(channel)
        self._histories.clear(self._known(channel))


class ClearsThePosition(MemoryBroker):
    """A cleared channel begins at 0, in the same epoch."""

    async def clear(self, channel: str) -> Position:
        """Too much."""
        await super().clear(channel)
        state = self._known(channel)
        state.offset = 0
        state.devices = None
        return Position(state.epoch, 0)


class ClearsAll(MemoryBroker):
    """Channels are taken for others that look alike."""

    async def clear(self, channel: str) -> Position:
        """All that begin so."""
        position = await super().clear(channel)
        for name in [name for name in self._listened if name.startswith(channel)]:
            await super().clear(name)
        return position


class EpochStays(MemoryBroker):
    """A channel that was lost has the epoch that it had."""

    def _rested(self, channel: str) -> Channel:
        state = super()._rested(channel)
        state.epoch = f"of-{channel}"
        return state


class EpochChanges(MemoryBroker):
    """A listener is not told of a new epoch."""

    async def publish(self, channel: str, event: str, payload: bytes, **more: Any) -> Receipt:
        """In another epoch, each second time."""
        state = self._listened.get(channel)
        if state is not None and state.offset:
            state.epoch += "x"
        return await super().publish(channel, event, payload, **more)


class ANewEpochEachTime(MemoryBroker):
    """Nobody listens, so nothing is kept."""

    def _rest(self, state: Channel) -> None:
        super()._rest(state)
        self._idle.take(state.name)


class DeliversTwice(MemoryBroker):
    """A retry that nobody notices."""

    async def publish(self, channel: str, event: str, payload: bytes, **more: Any) -> Receipt:
        """Once more."""
        receipt = await super().publish(channel, event, payload, **more)
        if receipt.offset % 2 == 0:
            self._deliver(Publication(channel, event, payload, receipt.offset, receipt.epoch, 0))
        return receipt


class DeliversLate(MemoryBroker):
    """What has its position is still on its way when `open` answers."""

    async def publish(self, channel: str, event: str, payload: bytes, **more: Any) -> Receipt:
        """Deliver after some steps."""
        deliver, waiting = self._deliver, list[Publication]()
        self._deliver = waiting.append
        try:
            receipt = await super().publish(channel, event, payload, **more)
        finally:
            self._deliver = deliver
        with trio.CancelScope(shield=True):
            await trio.lowlevel.checkpoint()
        for publication in waiting:
            deliver(publication)
        return receipt


class DeliversBeforeKeeping(MemoryBroker):
    """Who reads the history for what was delivered may not find it."""

    async def history(self, channel: str, after: int, *, limit: int, most_bytes: int) -> History:
        """Without the newest."""
        found = await super().history(channel, after, limit=limit, most_bytes=most_bytes)
        held = found.position.offset
        if held in (0, 80):
            return found
        return replace(found, publications=[each for each in found.publications if each.offset < held])


class NumbersAtOnce(MemoryBroker):
    """Two publishers at once get one offset."""

    async def publish(self, channel: str, event: str, payload: bytes, **more: Any) -> Receipt:
        """Read, wait, write."""
        state = self._known(channel)
        offset = state.offset
        await trio.lowlevel.checkpoint()
        state.offset = offset
        return await super().publish(channel, event, payload, **more)


class KeysForAll(MemoryBroker):
    """Keys are not each channel's own, and end with what they stand for."""

    async def publish(
        self, channel: str, event: str, payload: bytes, *, idempotency_key: str | None = None, **more: Any
    ) -> Receipt:
        """Find the key anywhere."""
        if idempotency_key is None:
            return await super().publish(channel, event, payload, **more)
        found = self._keys.find("", idempotency_key, event, payload)
        if found is not None and found.offset >= self._known(channel).first:
            return found
        receipt = await super().publish(channel, event, payload, **more)
        self._keys.add("", idempotency_key, event, payload, receipt)
        return receipt


class NoKeys(MemoryBroker):
    """A repetition is published again."""

    async def publish(self, channel: str, event: str, payload: bytes, **more: Any) -> Receipt:
        """Whatever its key."""
        return await super().publish(channel, event, payload, **(more | {"idempotency_key": None}))


class KeysByName(MemoryBroker):
    """A key is not compared with what it stands for."""

    async def publish(
        self, channel: str, event: str, payload: bytes, *, idempotency_key: str | None = None, **more: Any
    ) -> Receipt:
        """Take any body for the same, for ever."""
        try:
            return await super().publish(channel, event, payload, idempotency_key=idempotency_key, **more)
        except IdempotencyConflict:
            return Receipt("", 1, "memory")


class ClaimsADisk(MemoryBroker):
    """What is in memory is said to be on disk."""

    def durability(self, channel: str) -> Durability:  # noqa: ARG002
        """Wrong."""
        return "disk"


class AnnouncesAsPublished(MemoryBroker):
    """An announcement takes a place."""

    async def announce(self, channel: str, event: str, payload: bytes, **more: Any) -> None:
        """Wrong."""
        await self.publish(channel, event, payload, **more)


class AnswersTheNext(MemoryBroker):
    """`open` tells the position that the next publication will have."""

    async def open(self, channel: str) -> Position:
        """One too far."""
        position = await super().open(channel)
        return Position(position.epoch, position.offset + 1)


class CountsOpens(MemoryBroker):
    """A release has to be repeated, and one too many fails."""

    def release(self, channel: str) -> None:
        """Wrong."""
        super().release(channel)
        self._histories.clear(self._idle._keeping[channel])


class AcknowledgementsFall(MemoryBroker):
    """The last acknowledgement counts, whatever it says."""

    async def acknowledge(self, channel: str, device: str, offset: int) -> int:
        """Wrong."""
        devices = self._devices(self._known(channel))
        devices._known.pop(device, None)
        return await super().acknowledge(channel, device, offset)


class AcknowledgesForAll(MemoryBroker):
    """What one device has, the others are not sent either."""

    async def acknowledge(self, channel: str, device: str, offset: int) -> int:
        """Wrong."""
        reached = await super().acknowledge(channel, device, offset)
        state = self._known(channel)
        while state.kept and state.kept[0].offset <= reached:
            state.kept.popleft()
        return reached


class StartsAtTheEnd(MemoryBroker):
    """A new device gets nothing of what waits."""

    async def attach(self, channel: str, device: str) -> Attachment:
        """Wrong."""
        if all(device != known.name for known in await self.devices(channel)):
            await super().acknowledge(channel, device, 1 << 40)
        return await super().attach(channel, device)


class OneDevice(MemoryBroker):
    """All devices share one position."""

    async def attach(self, channel: str, device: str) -> Attachment:  # noqa: ARG002
        """Wrong."""
        return await super().attach(channel, "")


class AnyNumberOfDevices(MemoryBroker):
    """No device is refused, and none is ever forgotten."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **(more | {"devices": 1000}))


class FewDevices(MemoryBroker):
    """Whoever comes too much makes room by force."""

    async def attach(self, channel: str, device: str) -> Attachment:
        """Wrong."""
        try:
            return await super().attach(channel, device)
        except TooManyDevices:
            self._devices(self._known(channel))._known.clear()
            return await super().attach(channel, device)


class NeverSeesThemLeave(MemoryBroker):
    """A device that leaves is not noted."""

    def detach(self, channel: str, device: str) -> None:
        """Wrong."""


class ForgetsDevices(MemoryBroker):
    """A device is forgotten when it leaves."""

    def detach(self, channel: str, device: str) -> None:
        """Wrong."""
        state = self._known(channel)
        if state.devices is not None:
            state.devices._known.pop(device, None)


class UnsortedDevices(MemoryBroker):
    """Devices come as they came."""

    async def devices(self, channel: str) -> Sequence[Device]:
        """Wrong."""
        return list(reversed(await super().devices(channel)))


class AttachesWithoutOpening(MemoryBroker):
    """Who attaches a device hears nothing, and is told an old position."""

    async def attach(self, channel: str, device: str) -> Attachment:
        """Wrong."""
        attached = await super().attach(channel, device)
        return replace(attached, position=Position(attached.position.epoch, 0))


class DropsInSilence(MemoryBroker):
    """A full inbox tells nobody, and a room tells everybody."""

    async def publish(self, channel: str, event: str, payload: bytes, **more: Any) -> Receipt:
        """Wrong."""
        receipt = await super().publish(channel, event, payload, **more)
        return replace(receipt, dropped=int(receipt.offset > 10 and channel.startswith("room:small")))


class CountsWrongly(MemoryBroker):
    """Figures begin at one."""

    @property
    def forgotten_keys(self) -> int:
        """Wrong."""
        return 1


class KeepsWhatIsNotKept(MemoryBroker):
    """A channel that keeps nothing keeps the last."""

    def _rested(self, channel: str) -> Channel:
        state = super()._rested(channel)
        state.size = max(1, state.size)
        return state


class EntersAgain(MemoryBroker):
    """Everybody comes for the first time, and nobody goes."""

    async def enter(self, channel: str, member: Member) -> bool:
        """Wrong."""
        await super().enter(channel, member)
        return True

    async def leave(self, channel: str, user_id: str) -> bool:  # noqa: ARG002
        """Wrong."""
        return True


class TellsTwice(MemoryBroker):
    """A message comes twice."""

    async def tell_nodes(self, message: bytes) -> None:
        """Wrong."""
        await super().tell_nodes(message)
        await super().tell_nodes(message)


BROKEN = [
    kind
    for kind in list(globals().values())
    if isinstance(kind, type) and issubclass(kind, MemoryBroker) and kind is not MemoryBroker
]
