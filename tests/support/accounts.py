"""A server with accounts: real sockets, a real database, and hashes that cost nothing."""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import trio

from support.client import RawClient
from support.process import Running, running, serve
from support.records import _migrated, open_records
from support.site import ENGINE, SECRET, Site, listening_site
from support.tasks import Peers, quiet
from tidings.server.apps.accounts import users
from tidings.server.apps.accounts.bodies import CreateUser
from tidings.server.apps.accounts.registration import checked_name, create_user
from tidings.server.choosing import migrations_of
from tidings.server.config import Accounts, Auth, Config, History, Limits, Server, Store
from tidings.server.store.records.files import NAME
from tidings.server.store.records.records import Records

PASSWORD: Final = "brass otter 41 lighthouse"
OTHER: Final = "seven quiet harbours 90"

# The cheapest that argon2id allows, and limits that no test meets by accident.
CHEAP: Final[Mapping[str, Any]] = {
    "hash_memory_kib": 8,
    "hash_passes": 1,
    "account_attempts": 1_000,
    "address_attempts": 100_000,
}

# PASSWORD, hashed as cheaply.
HASHED: Final = (
    "$argon2id$v=19$m=8,t=1,p=1$V8FGN+jOguXzqRb+mEHVWw$wfJ0rrasCNAGFsrNMPK5ySz+KFkKVf3XiokQ6XltqP0"
)

_markers = itertools.count(1)


def accounts_config(folder: Path, url: str = "", **settings: Any) -> Config:
    """A server's configuration that keeps its users, and its inboxes, in `folder`; users at `url` if given."""
    return Config(
        auth=Auth(secret=SECRET),
        server=Server(engine=ENGINE, apps=("rooms", "accounts"), data_dir=str(folder)),
        history=History(log="sqlite"),
        limits=Limits(connections_per_address=5_000),
        store=Store(url=url),
        accounts=Accounts(**{**CHEAP, **settings}),
    )


@dataclass
class FrontEnd:
    """What front ends do with a server that has accounts, wherever it runs."""

    http: httpx.AsyncClient
    open: Callable[[], Awaitable[RawClient]]
    """A new TCP connection, which somebody else closes."""

    async def ask(self, method: str, path: str, token: str | None = None, **more: Any) -> httpx.Response:
        """One request, as whoever the token says."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return await self.http.request(method, path, headers=headers, **more)

    async def done(self, method: str, path: str, token: str | None = None, **more: Any) -> Any:
        """The body of the answer to a request that has to be granted."""
        answer = await self.ask(method, path, token, **more)
        assert answer.is_success, (answer.status_code, answer.text)
        return answer.json()

    async def login(self, name: str, password: str = PASSWORD, **more: Any) -> str:
        """Log in as a front end does; returns the token."""
        body = {"username": name, "password": password, **more}
        token: str = (await self.done("POST", "/api/auth/login", json=body))["token"]
        return token

    async def refreshed(self, token: str) -> str:
        """The next token of a login."""
        newer: str = (await self.done("POST", "/api/auth/refresh", token))["token"]
        return newer

    async def change_password(self, token: str, old: str = PASSWORD, new: str = OTHER) -> None:
        """Change one's own password."""
        body = {"old_password": old, "new_password": new}
        assert await self.done("PUT", "/api/users/password", token, json=body) == {"changed": True}

    async def handshake(self, path: str, headers: dict[str, str] | None = None) -> tuple[RawClient, int]:
        """A WebSocket handshake at a path with its query; the client, and the status."""
        client = await self.open()
        status, _, _ = await client.handshake(path, headers=headers)
        return client, status

    async def connect(
        self, token: str, *, path: str = "/ws", headers: dict[str, str] | None = None
    ) -> RawClient:
        """A WebSocket that has read its first frame, by a token in the query, as the documents do.

        In the header instead where `headers` has an Authorization.
        """
        if not (headers and "Authorization" in headers):
            path += f"{'&' if '?' in path else '?'}token={token}"
        client, status = await self.handshake(path, headers)
        assert status == 101, status
        first = await client.receive_json()
        assert first["type"] == "connected", first
        return client

    async def is_live(self, token: str) -> bool:
        """Whether a token is good; HTTP and WebSocket must say the same."""
        status = (await self.ask("GET", "/api/auth/check", token)).status_code
        client, upgraded = await self.handshake(f"/ws?token={token}")
        await client.aclose()
        assert (status, upgraded) in {(200, 101), (401, 401)}, (status, upgraded)
        return status == 200


@dataclass
class AccountsSite(FrontEnd):
    """A running server with accounts, and ways to use it as its front ends do."""

    site: Site

    async def add_all(self, *names: str, roles: tuple[str, ...] = (), group_id: str | None = None) -> None:
        """Add users with PASSWORD, whose ids are the names, quickly."""
        assert self.site.server._records is not None
        await insert_users(self.site.server._records, *names, roles=roles, group_id=group_id)

    async def add(self, name: str, password: str = PASSWORD, *, roles: tuple[str, ...] = ()) -> str:
        """Add a user, whose id is the name."""
        accounts = self.site.server.accounts
        assert accounts is not None
        asked = CreateUser(username=name, password=password, roles=roles)
        user, _ = await create_user(accounts._records, accounts._passwords, asked, user_id=name)
        return user.id

    async def heard(self, client: RawClient, user: str) -> list[Any]:
        """All that a native connection of the user's was told until now, and what its inbox still had for it."""
        number = next(_markers)
        # The inbox comes in order, so that nothing of it is behind this; the answer comes behind all channels.
        await self.site.server.context.push.to_user(user, "marker", {"number": number})
        await client.send_json({"type": "ping", "id": f"heard-{number}"})
        heard: list[Any] = []
        missing = 2
        while missing:
            message = await client.receive_json()
            if message.get("id") == f"heard-{number}" or message["data"] == {"number": number}:
                missing -= 1
            # A position alone is what is said of something that was not for this login.
            elif message["type"] not in {"marker", "position"}:
                heard.append(message)
        return heard


def error(answer: httpx.Response) -> tuple[int, str, str]:
    """What a refusal says: its status, its code, its words."""
    told = answer.json()["error"]
    return answer.status_code, told["code"], told["message"]


def events(messages: list[Any]) -> list[tuple[str, Any]]:
    """What messages are, and what they say."""
    return [(message["type"], message["data"]) for message in messages]


@asynccontextmanager
async def accounts_site(config: Config) -> AsyncIterator[AccountsSite]:
    """A server on a free port of 127.0.0.1; at the end nothing of its clients may be left with it."""
    if not config.store.url:
        _put_migrated(Path(config.server.data_dir))
    async with listening_site(config) as site:
        peers = Peers(site)
        try:
            async with _client(site.port) as client:
                yield AccountsSite(client, peers.open, site)
        finally:
            await peers.aclose()
        await quiet(site)


def with_accounts(config: Config, **settings: Any) -> Config:
    """The same with other settings of accounts."""
    return msgspec.structs.replace(config, accounts=msgspec.structs.replace(config.accounts, **settings))


# --- processes -----------------------------------------------------------------------------------


@asynccontextmanager
async def accounts_process(
    folder: Path, url: str = "", **settings: Any
) -> AsyncIterator[tuple[FrontEnd, Running]]:
    """`tidings serve` with accounts in a process of its own; killed at the end, if it was not before."""
    given = [f"accounts.{name}={value}" for name, value in {**CHEAP, **settings}.items()]
    data_dir = folder / "data"
    arguments = serve(
        'server.apps=["*","accounts"]', f"server.data_dir={data_dir}", f"store.url={url}", *given
    )
    clients: list[RawClient] = []
    async with running(*arguments, folder=folder) as process:

        async def open_client() -> RawClient:
            clients.append(await process.open())
            return clients[-1]

        try:
            async with _client(process.port) as client:
                yield FrontEnd(client, open_client), process
        finally:
            for each in clients:
                await trio.aclose_forcefully(each.stream)


@asynccontextmanager
async def accounts_records(folder: Path, url: str = "") -> AsyncIterator[Records]:
    """The records of a server's accounts while no server runs there: nobody publishes what is written."""
    if not url:
        _put_migrated(folder)
    async with open_records(url, folder, migrations_of(accounts_config(folder), [])) as records:
        yield records


async def insert_users(
    records: Records, *names: str, roles: tuple[str, ...] = (), group_id: str | None = None
) -> None:
    """Add users with PASSWORD, whose ids are the names, without the time that it takes to judge and hash it."""
    for name in names:
        insert = partial(users.insert, user_id=name, name=checked_name(name), email=None, roles=roles)
        insert = partial(insert, group_id=group_id, password=HASHED, password_until_ms=None)
        await records.write(partial(insert, now_ms=0))


def _put_migrated(folder: Path) -> None:
    """Lay the tables down, where none are, from a file that was migrated before: half of what a site costs."""
    path = folder / NAME
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_migrated(tuple(migrations_of(accounts_config(folder), []))))
        path.chmod(0o600)


def _client(port: int) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=200, max_keepalive_connections=200)
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", verify=False, limits=limits, timeout=60)
