"""Memory brokers that number, deliver, know keys, tell and count wrongly, with one fault each."""

from typing import Any

import trio

from tidings.protocol.positions import Position
from tidings.protocol.publications import Publication
from tidings.server.brokers.base import (
    Durability,
    IdempotencyConflict,
    Member,
    Receipt,
)
from tidings.server.brokers.memory import MemoryBroker
from tidings.server.brokers.memory_history import Channel


class LosesFields(MemoryBroker):
    """What is delivered is not what was published."""

    async def publish(self, channel: str, event: str, payload: bytes, **more: Any) -> Receipt:
        """For everybody."""
        return await super().publish(channel, event, payload, **(more | {"excluded_session": None}))


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


class Overtakes(MemoryBroker):
    """Every other publication is looked at twice before it is accepted, and the next one goes past it."""

    calls = 0

    async def publish(self, channel: str, event: str, payload: bytes, **more: Any) -> Receipt:
        """Wait for some turns first."""
        self.calls += 1
        for _ in range(3 * (self.calls % 2)):
            await trio.lowlevel.checkpoint()
        return await super().publish(channel, event, payload, **more)


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


class CountsWrongly(MemoryBroker):
    """Figures begin at one."""

    @property
    def forgotten_keys(self) -> int:
        """Wrong."""
        return 1


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
