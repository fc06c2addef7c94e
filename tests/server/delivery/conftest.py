"""A hub with its flusher and the memory broker, on virtual time."""

import pytest
import trio
from trio.testing import MockClock

from tidings.server.brokers.memory import MemoryBroker
from tidings.server.delivery.hub import Hub


@pytest.fixture
async def hub(autojump_clock: MockClock, nursery: trio.Nursery) -> Hub:
    """A hub whose flusher runs."""
    hub = Hub()
    nursery.start_soon(hub.run_flusher)
    return hub


@pytest.fixture
def broker(hub: Hub) -> MemoryBroker:
    """The broker that delivers into the hub, joined to it as the composition root does."""
    broker = MemoryBroker(hub.deliver, clock=lambda: 1_000.0)
    hub.release = broker.release
    return broker
