"""A server with accounts: real sockets, a real database, and hashes that cost nothing."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec

from support.client import RawClient
from support.site import ENGINE, SECRET, Site, listening_site
from tidings.server.apps.accounts.bodies import CreateUser
from tidings.server.apps.accounts.registration import create_user
from tidings.server.config import Accounts, Auth, Config, History, Limits, Server, Store

PASSWORD: Final = "brass otter 41 lighthouse"
OTHER: Final = "seven quiet harbours 90"

# The cheapest that argon2id allows, and limits that no test meets by accident.
CHEAP: Final[Mapping[str, Any]] = {
    "hash_memory_kib": 8,
    "hash_passes": 1,
    "account_attempts": 1_000,
    "address_attempts": 100_000,
}


def accounts_config(folder: Path, url: str = "", **settings: Any) -> Config:
    """A server's configuration that keeps its users, and its inboxes, in `folder`; users at `url` if given."""
    return Config(
        auth=Auth(secret=SECRET),
        server=Server(engine=ENGINE, apps=("rooms", "accounts"), data_dir=str(folder)),
        history=History(log="sqlite"),
        limits=Limits(connections_per_address=5_000),
        store=Store(url=url),
        accounts=Accounts(**(CHEAP | settings)),
    )


@dataclass
class AccountsSite:
    """A running server with accounts, and ways to use it as its front ends do."""

    site: Site
    http: httpx.AsyncClient

    async def add(self, name: str, password: str = PASSWORD, *, roles: tuple[str, ...] = ()) -> str:
        """Add a user, whose id is the name."""
        accounts = self.site.server.accounts
        assert accounts is not None
        asked = CreateUser(username=name, password=password, roles=roles)
        user, _ = await create_user(accounts._records, accounts._passwords, asked, user_id=name)
        return user.id

    async def login(self, name: str, password: str = PASSWORD, **more: Any) -> str:
        """Log in as a front end does; returns the token."""
        answer = await self.ask(
            "POST", "/api/auth/login", json={"username": name, "password": password, **more}
        )
        assert answer.status_code == 200, answer.text
        token: str = answer.json()["token"]
        return token

    async def ask(self, method: str, path: str, token: str | None = None, **more: Any) -> httpx.Response:
        """One request, as whoever the token says."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return await self.http.request(method, path, headers=headers, **more)

    async def handshake(self, path: str) -> tuple[RawClient, int]:
        """A WebSocket handshake at a path with its query; the client, and the status."""
        client = await self.site.open()
        status, _, _ = await client.handshake(path)
        return client, status

    async def connect(self, token: str, *, path: str = "/ws") -> RawClient:
        """A WebSocket that has read its first frame, by a token in the query, as the documents do."""
        client, status = await self.handshake(f"{path}{'&' if '?' in path else '?'}token={token}")
        assert status == 101, status
        first = await client.receive_json()
        assert first["type"] == "connected", first
        return client


def error(answer: httpx.Response) -> tuple[int, str, str]:
    """What a refusal says: its status, its code, its words."""
    told = answer.json()["error"]
    return answer.status_code, told["code"], told["message"]


@asynccontextmanager
async def accounts_site(config: Config) -> AsyncIterator[AccountsSite]:
    """A server on a free port of 127.0.0.1."""
    async with listening_site(config) as site:
        limits = httpx.Limits(max_connections=200, max_keepalive_connections=200)
        base = f"http://127.0.0.1:{site.port}"
        async with httpx.AsyncClient(base_url=base, verify=False, limits=limits, timeout=60) as client:
            yield AccountsSite(site, client)


def with_accounts(config: Config, **settings: Any) -> Config:
    """The same with other settings of accounts."""
    return msgspec.structs.replace(config, accounts=msgspec.structs.replace(config.accounts, **settings))
