"""A server on a real port with an API key, and an HTTP client of it."""

from collections.abc import AsyncIterator
from contextlib import aclosing

import httpx
import pytest
import trio
from support.client import RawClient
from support.site import SECRET, Site, configured, listening_site

from tidings.server.config import Auth, Http

KEY = "a-key-of-the-tests"
ORIGIN = "https://app.example.com"


@pytest.fixture
async def api_site() -> AsyncIterator[Site]:
    """A server on a real port; a test that hangs fails after 30 s."""
    config = configured(
        auth=Auth(secret=SECRET, api_keys=(KEY,), origins=(ORIGIN,)),
        http=Http(body_bytes=200_000, batch_publications=1000),
    )
    with trio.fail_after(30):
        async with listening_site(config) as site:
            yield site


@pytest.fixture
async def stranger(api_site: Site) -> AsyncIterator[httpx.AsyncClient]:
    """A client without credentials."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{api_site.port}", verify=False) as client:
        yield client


@pytest.fixture
async def api(api_site: Site) -> AsyncIterator[httpx.AsyncClient]:
    """A client with an API key."""
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{api_site.port}", verify=False, headers={"X-API-Key": KEY}
    ) as client:
        yield client


@pytest.fixture
async def alice(api_site: Site) -> AsyncIterator[RawClient]:
    """A user's WebSocket that has read `connected`."""
    async with aclosing(await api_site.connect("alice")) as client:
        yield client


@pytest.fixture
async def bob(api_site: Site) -> AsyncIterator[RawClient]:
    """Another's."""
    async with aclosing(await api_site.connect("bob")) as client:
        yield client
