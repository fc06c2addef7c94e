"""Memory brokers whose histories or inboxes have one fault each."""

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from tidings.protocol.positions import Position
from tidings.server.brokers.base import (
    Attachment,
    Device,
    History,
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


class DeliversBeforeKeeping(MemoryBroker):
    """Who reads the history for what was delivered may not find it."""

    async def history(self, channel: str, after: int, *, limit: int, most_bytes: int) -> History:
        """Without the newest."""
        found = await super().history(channel, after, limit=limit, most_bytes=most_bytes)
        held = found.position.offset
        if held in (0, 80):
            return found
        return replace(found, publications=[each for each in found.publications if each.offset < held])


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


class KeepsWhatIsNotKept(MemoryBroker):
    """A channel that keeps nothing keeps the last."""

    def _rested(self, channel: str) -> Channel:
        state = super()._rested(channel)
        state.size = max(1, state.size)
        return state
