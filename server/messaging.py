"""What carries and keeps messages, put together: hub, brokers, store, inboxes, presence."""

from dataclasses import dataclass
from pathlib import Path

import structlog
import trio

from tidings.protocol.messages.registry import Registry
from tidings.server.brokers.base import IDEMPOTENCY_SECONDS, Broker, NodeMessage
from tidings.server.brokers.by_policy import PolicyBroker
from tidings.server.brokers.durable import DurableBroker
from tidings.server.brokers.memory import MemoryBroker
from tidings.server.config import Config
from tidings.server.delivery.history import Histories
from tidings.server.delivery.hub import Hub
from tidings.server.delivery.inbox import Inboxes
from tidings.server.delivery.presence import Presence
from tidings.server.policies import Policies
from tidings.server.push import OUTBOX_SHARE, Push
from tidings.server.revocations import MemoryRevocations, Revocations
from tidings.server.revocations_log import StoredRevocations
from tidings.server.revoker import Revoker
from tidings.server.store.database import NAME, retire
from tidings.server.store.store import Store

# After the last connection: what dialects without a word for it have received.
_FLUSH_SECONDS = 5.0

_log = structlog.get_logger("tidings.server")


@dataclass(slots=True, frozen=True)
class Messaging:
    """The parts of one server that outlive its connections."""

    policies: Policies
    hub: Hub
    store: Store | None
    """None where nothing is kept on disk."""
    data_dir: Path
    broker: Broker
    push: Push
    histories: Histories
    inboxes: Inboxes
    presence: Presence
    revoker: Revoker
    listeners: list[NodeMessage]
    """Who is given what nodes tell each other."""

    def start(self, nursery: trio.Nursery) -> None:
        """Start the tasks without which no connection lives. They end when cancelled."""
        nursery.start_soon(self.hub.run_flusher, name="flusher")
        nursery.start_soon(self.inboxes.run, name="inboxes")
        nursery.start_soon(self.histories.run, name="histories")
        nursery.start_soon(self.presence.run, name="presence")
        nursery.start_soon(self.revoker.run, name="revocations")

    async def prepare(self) -> None:
        """Open what is on disk, and lock it; or mark what is there and not used. Raises StoreRefused.

        Whoever does not `keep` calls `close`.
        """
        if self.store is not None:
            await self.store.prepare()
        elif (self.data_dir / NAME).exists() and await trio.to_thread.run_sync(retire, self.data_dir):
            _log.info(
                "nothing is kept on disk; a database of earlier is left alone", directory=str(self.data_dir)
            )

    async def keep(self, nursery: trio.Nursery) -> None:
        """Start writing to disk, and put in force what was stored. Raises NotStored. It ends when cancelled."""
        if self.store is not None:
            await nursery.start(self.store.run)
        found = await self.revoker.load()
        if found:
            _log.info("revocations in force", count=found)

    async def settle(self) -> None:
        """Note what the last connections have received. Bounded."""
        with trio.move_on_after(_FLUSH_SECONDS):
            await self.inboxes.flush()

    def close(self) -> None:
        """Let go of what `prepare` opened and nobody runs. Idempotent."""
        if self.store is not None:
            self.store.close()


def messaging(config: Config, registry: Registry, revocations: Revocations) -> Messaging:
    """Put the parts together as configured. Nothing is opened yet."""
    policies = Policies(config.channels)
    hub = Hub()
    outbox_bytes = config.limits.outbox_bytes
    listeners: list[NodeMessage] = []

    def told(sender: str, message: bytes) -> None:
        for listener in listeners:
            listener(sender, message)

    memory = MemoryBroker(
        hub.deliver,
        policies=policies,
        moved=hub.moved,
        told=told,
        memory_bytes=config.history.memory_bytes,
        devices=config.inbox.devices,
        device_age=config.inbox.device_age,
    )
    data_dir = Path(config.server.data_dir)
    store = None
    broker: Broker = memory
    if config.history.log == "sqlite":
        store = Store(
            data_dir,
            policies,
            devices=config.inbox.devices,
            device_age=config.inbox.device_age,
            key_seconds=IDEMPOTENCY_SECONDS,
        )
        broker = PolicyBroker(memory, DurableBroker(store, policies, hub.deliver, hub.moved), policies)
    hub.release = broker.release
    histories = Histories(hub, broker, policies, cache_bytes=config.history.cache_bytes)
    presence = Presence(
        hub, broker, policies, grace=config.presence.grace, service_seconds=config.presence.service_seconds
    )
    hub.watcher = presence
    revoker = Revoker(
        revocations,
        MemoryRevocations() if store is None else StoredRevocations(store),
        hub,
        broker,
        longest=config.auth.max_ttl,
        leeway=config.auth.leeway,
    )
    listeners.append(revoker.told)
    return Messaging(
        policies=policies,
        hub=hub,
        store=store,
        data_dir=data_dir,
        broker=broker,
        push=Push(registry, hub, broker, outbox_bytes=outbox_bytes, forget=histories.forget),
        histories=histories,
        inboxes=Inboxes(
            hub,
            broker,
            histories,
            policies,
            registry,
            outbox_bytes=outbox_bytes,
            piece_bytes=outbox_bytes // OUTBOX_SHARE,
            device_age=config.inbox.device_age,
        ),
        presence=presence,
        revoker=revoker,
        listeners=listeners,
    )
