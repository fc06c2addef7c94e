"""The hub, the connections and the broker of a server under watch: what they are asked, the witnesses know."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import trio

from support.stateful.book import Book
from support.stateful.promised import Held
from support.stateful.witness import Witness
from tidings.protocol.close_codes import CloseCode
from tidings.protocol.messages.answers import Passed
from tidings.protocol.positions import Position
from tidings.protocol.publications import Publication
from tidings.server.brokers.base import (
    Attachment,
    Broker,
    BrokerUnavailable,
    Device,
    Durability,
    History,
    IdempotencyConflict,
    Member,
    Receipt,
    TooManyDevices,
)
from tidings.server.delivery.fanout import Subscriber
from tidings.server.delivery.hold import Hold
from tidings.server.delivery.hub import Hub
from tidings.server.edge.connection import CloseReason, Connection
from tidings.server.edge.engines.seam import Upgrade
from tidings.server.identity import Identity


async def pause(turns: int) -> None:
    """Let the other tasks have so many turns."""
    for _ in range(turns):
        await trio.lowlevel.checkpoint()


class WatchedHub(Hub):
    """A hub that tells the witnesses what it is asked to do, before or as it does it."""

    def __init__(self, book: Book) -> None:
        super().__init__()
        self.book = book
        self.witnesses: dict[str, Witness] = {}
        """By address, of which each client has one of its own."""
        self.is_dead = False
        """Whether its process was killed: what becomes of it now is nobody's business."""

    def connect(self, subscriber: Subscriber) -> None:
        super().connect(subscriber)
        self.witnesses[subscriber.peer].registered = True

    def disconnect(self, subscriber: Subscriber) -> None:
        super().disconnect(subscriber)
        self.witnesses[subscriber.peer].gone()

    def subscribe(self, subscriber: Subscriber, name: str, position: Position) -> Position:
        told = super().subscribe(subscriber, name, position)
        witness = self.witnesses[subscriber.peer]
        if witness.registered:
            if name not in witness.held:
                self._stands(name, told, but=witness)
            witness.subscribed.add(name)
        return told

    def hold_back(
        self, subscriber: Subscriber, name: str, position: Position, *, limit: int
    ) -> Hold | None:
        witness = self.witnesses[subscriber.peer]
        hold = super().hold_back(subscriber, name, position, limit=limit)
        if hold is not None:
            if name not in witness.subscribed:
                self._stands(name, Position(hold.head.epoch, hold.head.offset), but=witness)
            witness.subscribed.add(name)
            witness.hold(
                name,
                Held(hold, limit, self.book.heads.get(name, hold.head), self.book.deleted.get(name, 0)),
            )
        return hold

    def join(self, subscriber: Subscriber, hold: Hold) -> bool:
        is_live = super().join(subscriber, hold)
        witness = self.witnesses[subscriber.peer]
        if is_live:
            del witness.held[hold.channel]
        return is_live

    def unsubscribe(self, subscriber: Subscriber, name: str) -> bool:
        done = super().unsubscribe(subscriber, name)
        witness = self.witnesses[subscriber.peer]
        assert done is (name in witness.subscribed)
        witness.leave(name)
        return done

    def deliver(self, publication: Publication) -> None:
        # First: the hub may send it at once.
        channel = publication.channel
        if not self.is_dead:
            if publication.offset:
                told = Position(publication.epoch, publication.offset)
                self.book.stands(channel, told, published=1, listened=self._is_heard(channel))
                self.book.published(publication)
            self.book.came_or_went(publication)
            for witness in self.witnesses.values():
                if channel in witness.subscribed:
                    witness.expect(publication)
        super().deliver(publication)

    def moved(self, name: str, position: Position) -> None:
        for witness in self.witnesses.values():
            if name in witness.held:
                witness.doomed = True
            elif name in witness.subscribed:
                witness.expected[name].append(Passed(name, position.epoch, position.offset))
        super().moved(name, position)

    def reply(self, subscriber: Subscriber, frame: bytes) -> None:
        if not self.is_dead:
            self.witnesses[subscriber.peer].promise(frame, at_once=False)
        super().reply(subscriber, frame)

    def reply_now(self, subscriber: Subscriber, frame: bytes) -> None:
        if not self.is_dead:
            self.witnesses[subscriber.peer].promise(frame, at_once=True)
        super().reply_now(subscriber, frame)

    def _is_heard(self, channel: str, but: Witness | None = None) -> bool:
        return any(
            channel in witness.subscribed for witness in self.witnesses.values() if witness is not but
        )

    def _stands(self, channel: str, position: Position, *, but: Witness) -> None:
        if not self.is_dead:
            self.book.stands(channel, position, published=0, listened=self._is_heard(channel, but))


class WatchedConnection(Connection):
    """A connection that tells its witness who serves it, and the first reason it records for its end."""

    @property
    def _witness(self) -> Witness:
        hub = self._context.hub
        assert isinstance(hub, WatchedHub)
        return hub.witnesses[self.peer]

    async def run(self, upgrade: Upgrade, identity: Identity | None) -> CloseReason:
        self._witness.connection = self
        return await super().run(upgrade, identity)

    def _record(self, code: int, reason: str, *, by_peer: bool) -> None:
        if self.closed is None:
            if code == CloseCode.INSUFFICIENT_STATE and not by_peer:
                self._witness.assert_insufficient()
            self._witness.recorded(int(code), by_peer=by_peer)
        super()._record(code, reason, by_peer=by_peer)


class WatchedBroker:
    """A broker whose answers take a few turns, as those of one on a network do, and are compared with the book."""

    is_dead = False
    """Whether its process was killed."""

    def __init__(self, inner: Broker, book: Book, turns: int) -> None:
        self.inner = inner
        self.turns = turns
        self._book = book
        self._calls: Counter[str] = Counter()
        """About each inbox, so far: to tell whether one was alone."""

    # --- publishing ----------------------------------------------------------------------------------

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
        book = self._book
        known = None if idempotency_key is None else book.known_key(channel, idempotency_key)
        try:
            receipt = await self.inner.publish(
                channel,
                event,
                payload,
                user_id=user_id,
                idempotency_key=idempotency_key,
                excluded_session=excluded_session,
            )
        except IdempotencyConflict:
            assert idempotency_key is not None
            assert not book.is_key_free(channel, idempotency_key)
            assert known is None or known[:2] != (event, payload)
            raise
        if self.is_dead:  # it goes on for a moment, and nobody hears what it acknowledges
            return receipt
        log = book.logs[channel, receipt.epoch]
        assert receipt.offset <= len(log), "acknowledged, and nobody was given it"
        stored = log[receipt.offset - 1]
        assert (stored.event, stored.payload) == (event, payload), "another publication's position"
        if known is not None:
            assert known == (event, payload, known[2]), "the key was another's"
            assert receipt.position == known[2].position, "published twice under one key"
        elif idempotency_key is not None and book.is_key_free(channel, idempotency_key):
            book.keys[channel, idempotency_key] = (event, payload, receipt, stored.time_ms)
        assert receipt.durability == ("disk" if book.is_durable(channel) else "memory")
        await pause(self.turns)
        return receipt

    async def announce(self, channel: str, event: str, payload: bytes, **more: Any) -> None:
        await self.inner.announce(channel, event, payload, **more)
        await pause(self.turns)

    def durability(self, channel: str) -> Durability:
        return self.inner.durability(channel)

    # --- listening and history -----------------------------------------------------------------------

    async def open(self, channel: str) -> Position:
        position = await self.inner.open(channel)
        await pause(self.turns)
        return position

    def release(self, channel: str) -> None:
        self.inner.release(channel)

    async def history(self, channel: str, after: int, *, limit: int, most_bytes: int) -> History:
        await pause(self.turns)
        found = await self.inner.history(channel, after, limit=limit, most_bytes=most_bytes)
        await pause(self.turns)
        return found

    async def clear(self, channel: str) -> Position:
        book = self._book
        book.clearing.add(channel)
        position = await self.inner.clear(channel)
        book.clearing.discard(channel)
        if self.is_dead:
            return position
        if channel in book.heads and book.heads[channel].epoch == position.epoch:
            book.cleared[channel] = position.offset
        await pause(self.turns)
        return position

    # --- inboxes -------------------------------------------------------------------------------------

    async def attach(self, channel: str, device: str) -> Attachment:
        book, found = self._book, None
        low = book.first(channel)[1] if channel in book.heads else 1
        call = self._begin(channel)
        try:
            found = await self.inner.attach(channel, device)
        except BrokerUnavailable:
            self._end(channel, call, lambda alone: None)  # noqa: ARG005
            raise
        except TooManyDevices:
            self._end(channel, call, lambda alone: book.attach(channel, device, None, alone=alone))
            raise
        known = book.heads.get(channel)
        if not self.is_dead and (known is None or known.epoch != found.position.epoch):
            book.stands(channel, found.position, published=0, listened=False)
            low = 1
        attached = found
        self._end(channel, call, lambda alone: book.attach(channel, device, attached, alone=alone, low=low))
        await pause(self.turns)
        return found

    async def acknowledge(self, channel: str, device: str, offset: int) -> int:
        book = self._book
        call = self._begin(channel)
        try:
            reached = await self.inner.acknowledge(channel, device, offset)
        except BrokerUnavailable:
            self._end(channel, call, lambda alone: None)  # noqa: ARG005
            raise
        except TooManyDevices:
            self._end(
                channel, call, lambda alone: book.acknowledged(channel, device, offset, None, alone=alone)
            )
            raise
        self._end(
            channel, call, lambda alone: book.acknowledged(channel, device, offset, reached, alone=alone)
        )
        await pause(self.turns)
        return reached

    def _begin(self, channel: str) -> int:
        """The number of a call that is alone with the inbox so far, else 0."""
        self._calls[channel] += 1
        self._book.busy[channel] += 1
        return self._calls[channel] if self._book.busy[channel] == 1 else 0

    def _end(self, channel: str, call: int, note: Callable[[bool], None]) -> None:
        # What a process says when it was killed already is nobody's word.
        if not self.is_dead:
            self._book.busy[channel] -= 1
            note(call == self._calls[channel])

    def detach(self, channel: str, device: str) -> None:
        self.inner.detach(channel, device)
        if not self.is_dead:
            self._book.detach(channel, device)

    async def devices(self, channel: str) -> Sequence[Device]:
        return await self.inner.devices(channel)

    # --- presence and nodes --------------------------------------------------------------------------

    async def enter(self, channel: str, member: Member) -> bool:
        first = await self.inner.enter(channel, member)
        await pause(self.turns)
        return first

    async def leave(self, channel: str, user_id: str) -> bool:
        last = await self.inner.leave(channel, user_id)
        await pause(self.turns)
        return last

    async def presence(self, channel: str) -> Sequence[Member]:
        await pause(self.turns)
        return await self.inner.presence(channel)

    async def tell_nodes(self, message: bytes) -> None:
        await self.inner.tell_nodes(message)

    @property
    def forgotten_keys(self) -> int:
        return self.inner.forgotten_keys

    @property
    def dropped_unacknowledged(self) -> int:
        return self.inner.dropped_unacknowledged
