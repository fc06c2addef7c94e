"""Memory brokers with one fault each about the device without a name, and about channels that never were."""

import itertools
import unicodedata
from typing import Any

from msgspec.structs import replace

from tidings.protocol.positions import Position
from tidings.server.brokers.base import Attachment, Device, History, Receipt, TooManyDevices
from tidings.server.brokers.memory import MemoryBroker
from tidings.server.brokers.memory_history import Channel
from tidings.server.brokers.memory_idle import IdleChannels


class LookingEnrols(MemoryBroker):
    """Whoever looks is a device that lacks everything from then on."""

    async def attach(self, channel: str, device: str) -> Attachment:
        """Wrong."""
        attached = await super().attach(channel, device)
        await self.acknowledge(channel, device, attached.acknowledged)
        return attached


class TheUnnamedTakeAPlace(MemoryBroker):
    """A connection without a name is refused as a device is."""

    async def attach(self, channel: str, device: str) -> Attachment:
        """Wrong."""
        self._count(channel, device, await self.devices(channel))
        return await super().attach(channel, device)

    async def acknowledge(self, channel: str, device: str, offset: int) -> int:
        """Wrong."""
        self._count(channel, device, await self.devices(channel))
        return await super().acknowledge(channel, device, offset)

    def _count(self, channel: str, device: str, devices: Any) -> None:
        known: set[str] = {each.name for each in devices}
        if device not in known and len(known) >= self._most_devices:
            raise TooManyDevices(f"{channel}: {len(known)} devices")


class TheUnnamedHaveNoPosition(MemoryBroker):
    """An acknowledgement without a name is not noted."""

    async def acknowledge(self, channel: str, device: str, offset: int) -> int:
        """Wrong."""
        if device:
            return await super().acknowledge(channel, device, offset)
        return min(offset, self._known(channel).offset)


class TheUnnamedBeginAnew(MemoryBroker):
    """Without a name everything kept comes each time."""

    async def attach(self, channel: str, device: str) -> Attachment:
        """Wrong."""
        attached = await super().attach(channel, device)
        return attached if device else replace(attached, acknowledged=attached.first - 1)


class TheUnnamedBeginAtZero(MemoryBroker):
    """Without a name one lacks what is long gone."""

    async def attach(self, channel: str, device: str) -> Attachment:
        """Wrong."""
        attached = await super().attach(channel, device)
        known: list[Device] = list(await self.devices(channel))
        return replace(attached, acknowledged=0) if not device and not known else attached


class TheUnnamedHearNothing(MemoryBroker):
    """Looking is not listening: another life of the channel may begin meanwhile."""

    async def attach(self, channel: str, device: str) -> Attachment:
        """Wrong."""
        attached = await super().attach(channel, device)
        if not device:
            self._listened[channel].offset += 1
        return attached


class TheUnnamedStayForEver(MemoryBroker):
    """What somebody once acknowledged without a name holds for good."""

    async def attach(self, channel: str, device: str) -> Attachment:
        """Wrong."""
        before = [each for each in await self.devices(channel) if not each.name]
        attached = await super().attach(channel, device)
        for each in before:
            await self.acknowledge(channel, "", each.acknowledged)
        return attached


class AnotherLifeForEachQuestion(MemoryBroker):
    """A channel that never was has another epoch for everybody who asks."""

    _asked = itertools.count()

    async def history(self, channel: str, after: int, *, limit: int, most_bytes: int) -> History:
        """Wrong."""
        found = await super().history(channel, after, limit=limit, most_bytes=most_bytes)
        if found.position.offset:
            return found
        return replace(found, position=Position(f"asked-{next(self._asked)}", 0))


class LosesWhatCameFirst(MemoryBroker):
    """A channel begins with its second publication."""

    async def publish(self, channel: str, event: str, payload: bytes, **more: Any) -> Receipt:
        """Wrong."""
        receipt = await super().publish(channel, event, payload, **more)
        if receipt.offset == 1:
            await self.clear(channel)
        return receipt


class TheInventedPushOut(MemoryBroker):
    """Channels are forgotten in the order of use, whether anything was ever published to them or not."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._idle = _InOrder(more["idle_channels"])
        self._histories._emptied = self._idle.emptied


class _InOrder(IdleChannels):
    def put(self, channel: Channel) -> Channel | None:
        """Wrong."""
        forgotten = super().put(channel)
        if channel.name in self._bare:
            self._bare.move_to_end(channel.name)
        if forgotten is channel and self._bare:
            self._bare[channel.name] = channel
            return self._bare.popitem(last=False)[1]
        return forgotten


class KeysLookAlike(MemoryBroker):
    """Keys are compared as people compare words."""

    async def publish(self, channel: str, event: str, payload: bytes, **more: Any) -> Receipt:
        """Wrong."""
        key = more.pop("idempotency_key", None)
        if key is not None:
            key = unicodedata.normalize("NFKC", key).casefold().strip()
        return await super().publish(channel, event, payload, idempotency_key=key, **more)
