"""A server with kept rooms, and what its users do with it: on sockets, or in memory and on virtual time."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import msgspec
import trio

from support.client import RawClient
from support.records import InlineRecords
from support.site import SECRET, Site, configured, listening_site
from support.tasks import Peers, quiet
from tidings.server.app import Server
from tidings.server.choosing import migrations_of
from tidings.server.config import Auth, ChannelRule, Config, Store
from tidings.server.config import Server as ServerSection
from tidings.server.config.rooms import Rooms
from tidings.server.extension.running import RunningApps
from tidings.server.permissions import Permissions
from tidings.server.relay import Relay
from tidings.server.tables import Tables

Reply = tuple[int, Any]

KEY = "api-key-0123456789abcdef0123456789abcdef"
SERVICE = "a back end with KEY"
"""Who asks with an API key."""


def rooms_config(folder: Path, url: str = "", *, open_rooms: bool = True, **settings: Any) -> Config:
    """A server that keeps rooms in `folder`, or at `url`."""
    return configured(
        auth=Auth(secret=SECRET, open_rooms=open_rooms, api_keys=(KEY,)),
        server=ServerSection(engine=configured().server.engine, apps=("rooms",), data_dir=str(folder)),
        store=Store(url=url),
        rooms=Rooms(**{"kept": True, **settings}),
        channels={"room:*": ChannelRule(history_size=100, presence=True)},
    )


@dataclass
class RoomsSite:
    """A running server, and ways to use it."""

    site: Site
    peers: Peers

    @property
    def permissions(self) -> Permissions:
        """The server's."""
        return self.site.server.context.permissions

    def token(
        self,
        user: str,
        *,
        channels: Sequence[str] | None = None,
        verbs: Sequence[str] = ("subscribe", "publish"),
        **more: Any,
    ) -> str:
        """A token, with grants for channels if named."""
        if channels is None:
            return self.site.token(user, **more)
        now = int(time.time())
        grants = {channel: list(verbs) for channel in channels}
        claims = {"sub": user, "username": user, "iat": now, "exp": now + 3600, "channels": grants}
        return jwt.encode(claims, SECRET, algorithm="HS256")

    async def connect(self, user: str, **more: Any) -> RawClient:
        """A client that has read `connected`."""
        return await self.peers.connect(user, token=self.token(user, **more))

    async def ask(self, user: str, method: str, path: str, body: Any = None, **more: Any) -> Reply:
        """One request below `/api/v1/rooms`, as a user: the status and the body."""
        who = (
            f"X-API-Key: {KEY}" if user == SERVICE else f"Authorization: Bearer {self.token(user, **more)}"
        )
        payload = b"" if body is None else msgspec.json.encode(body)
        client = await self.site.open()
        try:
            head = (
                f"{method} /api/v1/rooms{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
                f"{who}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(payload)}\r\n\r\n"
            )
            await client.send(head.encode() + payload)
            status, _, answer = await client.response()
        finally:
            await trio.aclose_forcefully(client.stream)
        return status, answer

    async def done(self, user: str, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """The body of the answer to a request that has to be granted."""
        status, answer = await self.ask(user, method, path, body, **more)
        assert status in {200, 201}, (status, answer)
        return answer

    async def refused(self, user: str, method: str, path: str, body: Any = None, **more: Any) -> Reply:
        """Status and code of the answer to a request that has to be refused."""
        status, answer = await self.ask(user, method, path, body, **more)
        assert status >= 400, (status, answer)
        return status, answer["error"]["code"]

    async def create(self, user: str, name: str, policy: str = "open", **more: Any) -> Any:
        """Create a room."""
        return await self.done(user, "POST", "", {"name": name, "policy": policy, **more})

    async def invite(self, by: str, name: str, *users: str, role: str = "member") -> None:
        """Make users members."""
        for user in users:
            await self.done(by, "PUT", f"/{name}/members/{user}", {"role": role})


class Directory:
    """Users that an app keeps."""

    def __init__(self, *users: str) -> None:
        self.users = users

    async def has_user(self, user_id: str) -> bool:
        """Whether there is one."""
        return user_id in self.users


async def enters(client: RawClient, room: str) -> bool:
    """Whether a client is let into a room."""
    answer = await client.command("join_room", {"room": room})
    assert answer["type"] == "subscribed" or answer["data"]["code"] == "forbidden", answer
    return bool(answer["type"] == "subscribed")


async def says(client: RawClient, room: str, text: str = "hello") -> str:
    """What comes of saying something: `published`, or the code of the refusal."""
    answer = await client.command("room_message", {"room": room, "text": text})
    return str(answer["type"] if answer["type"] == "published" else answer["data"]["code"])


async def next_of(client: RawClient, kind: str) -> Any:
    """The next message of a type; what comes before it is passed over."""
    while (message := await client.receive_json())["type"] != kind:
        pass
    return message


@asynccontextmanager
async def rooms_site(config: Config) -> AsyncIterator[RoomsSite]:
    """A server on a free port of 127.0.0.1, that keeps rooms in a database."""
    async with listening_site(config) as site:
        peers = Peers(site)
        try:
            yield RoomsSite(site, peers)
        finally:
            await peers.aclose()
        await quiet(site)


def inline_server(config: Config) -> Server:
    """A server whose tables are read and written in place, without threads."""
    server = Server(config, apps=())
    records = InlineRecords(Path(config.server.data_dir), migrations_of(config, server.apps))
    relay = Relay(records, server.context.push)
    server._records, server._relay = records, relay
    server.context.push.tables = Tables(records, relay.wake)
    return server


@asynccontextmanager
async def inline_site(config: Config) -> AsyncIterator[RoomsSite]:
    """The same in memory, with its tables in place: for virtual time."""
    server = inline_server(config)
    records, relay = server._records, server._relay
    assert records is not None
    assert relay is not None
    async with trio.open_nursery() as nursery:
        server.start_parts(nursery)
        server._service.prepare()
        await nursery.start(records.run)
        nursery.start_soon(relay.run)
        running = RunningApps(server.apps, server.context.push)
        assert await nursery.start(running.run) is None
        site = Site(server, nursery)
        peers = Peers(site)
        try:
            yield RoomsSite(site, peers)
        finally:
            await peers.aclose()
            running.end()
            with trio.CancelScope(shield=True):
                await running.wait_left()
            nursery.cancel_scope.cancel()
