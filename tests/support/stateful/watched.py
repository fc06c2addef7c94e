"""The hub, the connections and the broker of a server under watch: what they are asked, the witnesses know."""

import trio

from support.stateful.witness import Witness
from tidings.protocol.positions import Position
from tidings.protocol.publications import Publication
from tidings.server.brokers.memory import MemoryBroker
from tidings.server.delivery.fanout import Subscriber
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

    def __init__(self) -> None:
        super().__init__()
        self.witnesses: dict[str, Witness] = {}
        """By address, of which each client has one of its own."""
        self.positions: dict[str, Position] = {}

    def connect(self, subscriber: Subscriber) -> None:
        super().connect(subscriber)
        self.witnesses[subscriber.peer].registered = True

    def disconnect(self, subscriber: Subscriber) -> None:
        super().disconnect(subscriber)
        witness = self.witnesses[subscriber.peer]
        witness.registered = False
        witness.subscribed.clear()

    def subscribe(self, subscriber: Subscriber, name: str, position: Position) -> Position:
        told = super().subscribe(subscriber, name, position)
        witness = self.witnesses[subscriber.peer]
        if witness.registered:
            self._check_position(name, told, published=0, but=witness)
            witness.subscribed.add(name)
        return told

    def unsubscribe(self, subscriber: Subscriber, name: str) -> bool:
        done = super().unsubscribe(subscriber, name)
        witness = self.witnesses[subscriber.peer]
        assert done is (name in witness.subscribed)
        witness.subscribed.discard(name)
        return done

    def deliver(self, publication: Publication) -> None:
        # First: the hub may send it at once.
        self._check_position(
            publication.channel, Position(publication.epoch, publication.offset), published=1
        )
        for witness in self.witnesses.values():
            if publication.channel in witness.subscribed:
                witness.expected[publication.channel].append(publication)
        super().deliver(publication)

    def reply(self, subscriber: Subscriber, frame: bytes) -> None:
        self.witnesses[subscriber.peer].promise(frame, at_once=False)
        super().reply(subscriber, frame)

    def reply_now(self, subscriber: Subscriber, frame: bytes) -> None:
        self.witnesses[subscriber.peer].promise(frame, at_once=True)
        super().reply_now(subscriber, frame)

    def _check_position(
        self, channel: str, position: Position, *, published: int, but: Witness | None = None
    ) -> None:
        """It follows the one before; only where nobody listened may a new life have begun."""
        before = self.positions.get(channel)
        self.positions[channel] = position
        if before is not None and before.epoch == position.epoch:
            assert position.offset == before.offset + published
        else:
            assert position.offset == published
            assert not any(
                channel in witness.subscribed for witness in self.witnesses.values() if witness is not but
            )


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
            self._witness.recorded(int(code), by_peer=by_peer)
        super()._record(code, reason, by_peer=by_peer)


class SlowBroker(MemoryBroker):
    """A broker whose answers take a few turns, as those of one on a network do."""

    turns = 0

    async def publish(
        self,
        channel: str,
        event: str,
        payload: bytes,
        *,
        user_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> Position:
        position = await super().publish(
            channel, event, payload, user_id=user_id, idempotency_key=idempotency_key
        )
        await pause(self.turns)
        return position

    async def open(self, channel: str) -> Position:
        position = await super().open(channel)
        await pause(self.turns)
        return position
