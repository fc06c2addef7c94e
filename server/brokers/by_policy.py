"""Two brokers as one: each channel's policy says which of them has it."""

from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

from tidings.protocol.positions import Position
from tidings.server.brokers.base import Attachment, Broker, Device, Durability, History, Member, Receipt
from tidings.server.policies import Policies


class DurableLog(Protocol):
    """The part of `Broker` that is about publications: what a durable broker has to do itself."""

    async def publish(
        self,
        channel: str,
        event: str,
        payload: bytes,
        *,
        user_id: str | None = None,
        idempotency_key: str | None = None,
        excluded_session: str | None = None,
    ) -> Receipt:
        """As in `Broker`."""

    def durability(self, channel: str) -> Durability:
        """As in `Broker`."""

    async def open(self, channel: str) -> Position:
        """As in `Broker`."""

    def release(self, channel: str) -> None:
        """As in `Broker`."""

    async def history(self, channel: str, after: int, *, limit: int, most_bytes: int) -> History:
        """As in `Broker`."""

    async def clear(self, channel: str) -> Position:
        """As in `Broker`."""

    async def attach(self, channel: str, device: str) -> Attachment:
        """As in `Broker`."""

    async def acknowledge(self, channel: str, device: str, offset: int) -> int:
        """As in `Broker`."""

    def detach(self, channel: str, device: str) -> None:
        """As in `Broker`."""

    async def devices(self, channel: str) -> Sequence[Device]:
        """As in `Broker`."""

    @property
    def forgotten_keys(self) -> int:
        """As in `Broker`."""

    @property
    def dropped_unacknowledged(self) -> int:
        """As in `Broker`."""


class PolicyBroker:
    """Durable channels are the durable broker's, where there is one; everything else is the other's.

    Policies do not change while the server runs, so a channel never changes hands, and its positions never
    meet those of the other. What is asked of one waits for that one only: a full disk stops no live fan-out
    of the others. The methods hand the chosen broker's coroutine on, which saves a frame on the way of every
    publication.
    """

    def __init__(self, memory: Broker, durable: DurableLog | None, policies: Policies) -> None:
        """Take both brokers, made with the same callbacks. Without a durable one the other has every channel."""
        self._memory = memory
        self._durable = durable
        self._policies = policies

    def _of(self, channel: str) -> DurableLog:
        if self._durable is not None and self._policies.of(channel).durable:
            return self._durable
        return self._memory

    def publish(
        self,
        channel: str,
        event: str,
        payload: bytes,
        *,
        user_id: str | None = None,
        idempotency_key: str | None = None,
        excluded_session: str | None = None,
    ) -> Coroutine[Any, Any, Receipt]:
        """Publish where the channel is."""
        return self._of(channel).publish(
            channel,
            event,
            payload,
            user_id=user_id,
            idempotency_key=idempotency_key,
            excluded_session=excluded_session,
        )

    def announce(
        self,
        channel: str,
        event: str,
        payload: bytes,
        *,
        user_id: str | None = None,
        excluded_session: str | None = None,
    ) -> Coroutine[Any, Any, None]:
        """Announce: nothing is kept, so nothing has to be durable."""
        return self._memory.announce(
            channel, event, payload, user_id=user_id, excluded_session=excluded_session
        )

    def durability(self, channel: str) -> Durability:
        """What the channel's broker says."""
        return self._of(channel).durability(channel)

    def open(self, channel: str) -> Coroutine[Any, Any, Position]:
        """Listen where the channel is."""
        return self._of(channel).open(channel)

    def release(self, channel: str) -> None:
        """Stop listening."""
        self._of(channel).release(channel)

    def history(
        self, channel: str, after: int, *, limit: int, most_bytes: int
    ) -> Coroutine[Any, Any, History]:
        """Read where the channel is."""
        return self._of(channel).history(channel, after, limit=limit, most_bytes=most_bytes)

    def clear(self, channel: str) -> Coroutine[Any, Any, Position]:
        """Clear where the channel is."""
        return self._of(channel).clear(channel)

    def attach(self, channel: str, device: str) -> Coroutine[Any, Any, Attachment]:
        """Attach where the inbox is."""
        return self._of(channel).attach(channel, device)

    def acknowledge(self, channel: str, device: str, offset: int) -> Coroutine[Any, Any, int]:
        """Acknowledge where the inbox is."""
        return self._of(channel).acknowledge(channel, device, offset)

    def detach(self, channel: str, device: str) -> None:
        """Note it where the inbox is."""
        self._of(channel).detach(channel, device)

    def devices(self, channel: str) -> Coroutine[Any, Any, Sequence[Device]]:
        """The devices of an inbox, by name."""
        return self._of(channel).devices(channel)

    def enter(self, channel: str, member: Member) -> Coroutine[Any, Any, bool]:
        """Presence ends with the connections, so it is never durable."""
        return self._memory.enter(channel, member)

    def leave(self, channel: str, user_id: str) -> Coroutine[Any, Any, bool]:
        """Somebody has left."""
        return self._memory.leave(channel, user_id)

    def presence(self, channel: str) -> Coroutine[Any, Any, Sequence[Member]]:
        """Who is present, by user id."""
        return self._memory.presence(channel)

    def tell_nodes(self, message: bytes) -> Coroutine[Any, Any, None]:
        """Between nodes goes what carries memory's channels."""
        return self._memory.tell_nodes(message)

    @property
    def forgotten_keys(self) -> int:
        """Of both."""
        return self._memory.forgotten_keys + (self._durable.forgotten_keys if self._durable else 0)

    @property
    def dropped_unacknowledged(self) -> int:
        """Of both."""
        durable = self._durable.dropped_unacknowledged if self._durable else 0
        return self._memory.dropped_unacknowledged + durable
