"""A server with notifications: real sockets and a real database."""

import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import trio

from support.accounts import FrontEnd, _client
from support.client import RawClient
from support.records import _migrated, open_records
from support.site import ENGINE, SECRET, Site
from support.tasks import Peers, quiet
from tidings.protocol.channels import user_channel
from tidings.server.app import Listening
from tidings.server.app import Server as TidingsServer
from tidings.server.apps import notifications
from tidings.server.apps.notifications.app import notifications_app
from tidings.server.apps.notifications.broadcaster import Broadcaster
from tidings.server.config import Auth, Config, History, Limits, Notifications, Server, Store
from tidings.server.extension import App, Push
from tidings.server.store.records.files import NAME
from tidings.server.store.records.outbox import last_event
from tidings.server.store.records.records import Migrations, Records

KEY: Final = "a-key-of-the-tests"
BILLING: Final = "a-key-of-billing"

# The document's own.
NOTE: Final = {"title": "新消息", "message": "您有一条新的通知", "type": "info"}

MIGRATIONS: Final = Migrations(notifications.NAME, Path(notifications.__file__).parent / "migrations")

_markers = itertools.count(1)


def notified_config(
    folder: Path, url: str = "", *, limits: Limits | None = None, **settings: Any
) -> Config:
    """The configuration of a server that keeps notifications, at `url` if given, and inboxes in `folder`."""
    return Config(
        auth=Auth(secret=SECRET, api_keys=(KEY,), service_keys=(f"billing={BILLING}",)),
        server=Server(engine=ENGINE, port=0, data_dir=str(folder)),
        history=History(log="sqlite"),
        limits=limits or Limits(connections_per_address=5_000),
        store=Store(url=url),
        notifications=Notifications(**settings),
    )


@dataclass
class NotifiedSite(FrontEnd):
    """A running server that keeps notifications, and ways to use it as its front ends do."""

    site: Site

    @property
    def push(self) -> Push:
        """The server, as programs inside it see it."""
        return self.site.server.context.push

    @property
    def broadcaster(self) -> Broadcaster:
        """The document's pushes."""
        return Broadcaster(self.push)

    @property
    def records(self) -> Records:
        """The tables."""
        records = self.site.server._records
        assert records is not None
        return records

    @property
    def root(self) -> str:
        """An administrator's token."""
        return self.site.token("root", roles=["admin"])

    async def notify(self, user: str, title: str = "新消息") -> str:
        """Notify somebody as a back end does; the notification's id."""
        body = {**NOTE, "title": title}
        note = await self.done("POST", f"/api/v1/ws/notify/{user}", self.root, json=body)
        return str(note["id"])

    async def told(self, user: str) -> None:
        """Wait until all that commits have left for a user is published."""
        relay = self.site.server._relay
        assert relay is not None
        last = await self.records.read(partial(last_event, channel=user_channel(user)))
        if last is not None:
            await relay.wait_passed(last)

    async def heard(self, client: RawClient, user: str) -> list[tuple[str, Any]]:
        """What a native connection of the user's was told until now, and what its inbox still had for it."""
        number = next(_markers)
        await self.told(user)
        # The inbox comes in order, so that nothing of it is behind this; the answer comes behind all channels.
        await self.push.to_user(user, "marker", {"number": number})
        await client.send_json({"type": "ping", "id": f"heard-{number}"})
        heard: list[tuple[str, Any]] = []
        missing = 2
        while missing:
            message = await client.receive_json()
            if message.get("id") == f"heard-{number}" or message["data"] == {"number": number}:
                missing -= 1
            elif message["type"] != "marker":
                heard.append((message["type"], message["data"]))
        return heard


@asynccontextmanager
async def notified_site(
    config: Config, *, beside: Sequence[App] = (), before: Callable[[TidingsServer], None] = lambda _: None
) -> AsyncIterator[NotifiedSite]:
    """A server on a free port of 127.0.0.1; at the end nothing of its clients may be left with it.

    `before` may change it before it runs. A test that hangs fails after 60 s.
    """
    if not config.store.url:
        put_migrated(Path(config.server.data_dir))
    server = TidingsServer(config, apps=[notifications_app(config.notifications), *beside])
    before(server)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            site = Site(server, nursery)

            async def run(*, task_status: trio.TaskStatus[list[Listening]]) -> None:
                await server.run(site.stop, task_status=task_status)

            site.listening = await nursery.start(run)
            peers = Peers(site)
            try:
                async with _client(site.port) as client:
                    yield NotifiedSite(client, peers.open, site)
            finally:
                await peers.aclose()
            await quiet(site)
            site.stop.abort.cancel()


@asynccontextmanager
async def notified_records(folder: Path, url: str = "") -> AsyncIterator[Records]:
    """The tables of a server's notifications while no server runs there: nobody publishes what is written."""
    if not url:
        put_migrated(folder)
    async with open_records(url, folder, [MIGRATIONS]) as records:
        yield records


def put_migrated(folder: Path) -> None:
    """Lay the tables down, where none are, from a file that was migrated before: half of what a site costs."""
    path = folder / NAME
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_migrated((MIGRATIONS,)))
        path.chmod(0o600)


async def ask_with_key(
    http: httpx.AsyncClient, method: str, path: str, key: str = KEY, **more: Any
) -> httpx.Response:
    """One request of a back end's."""
    return await http.request(method, path, headers={"X-API-Key": key}, **more)
