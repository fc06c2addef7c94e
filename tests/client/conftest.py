"""What the client's tests share."""

from collections.abc import AsyncIterator

import pytest
from support.network import Network
from support.site import Site, configured, memory_site
from trio.testing import MockClock

from tidings.server.config import ChannelRule

NOTHING_KEPT = ChannelRule(history_size=0, durable=False)


@pytest.fixture
def network(site: Site) -> Network:
    """A site in virtual time, and the network before it."""
    return Network(site)


@pytest.fixture
async def forgetful(autojump_clock: MockClock) -> AsyncIterator[Network]:
    """The same, of a server that keeps no publications: what is missed is lost."""
    async with memory_site(configured(channels={"*": NOTHING_KEPT, "user:*": NOTHING_KEPT})) as site:
        yield Network(site)
