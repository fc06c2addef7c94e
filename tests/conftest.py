"""What all tests share."""

from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing
from hypothesis import settings

from support.site import Site, listening_site, memory_site

# A shared machine is noisy: an example's time says nothing about the code.
settings.register_profile("tidings", deadline=None)
settings.load_profile("tidings")


@pytest.fixture
async def site(autojump_clock: trio.testing.MockClock) -> AsyncIterator[Site]:  # noqa: ARG001
    """A server on memory streams and virtual time."""
    async with memory_site() as site:
        yield site


@pytest.fixture
async def live_site() -> AsyncIterator[Site]:
    """A server on a real port, in real time; a test that hangs fails after 30 s."""
    with trio.fail_after(30):
        async with listening_site() as site:
            yield site
