"""A whole server in a test's nursery: on a real port, or on memory streams under virtual time."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import trio
import trio.testing
from msgspec.structs import replace

from support import tokens
from support.client import RawClient
from tidings.server.app import Listening, Server
from tidings.server.config import Auth, Config, History
from tidings.server.config import Server as ServerSection
from tidings.server.edge.transport import StreamTransport
from tidings.server.shutdown import Stop

SECRET = tokens.SECRET


ENGINE: Any = ServerSection().engine
"""The engine of servers whose test names none: `pytest --engine`."""


def configured(**sections: Any) -> Config:
    """The defaults with a secret, and whole sections replaced: `configured(limits=Limits(…))`."""
    defaults = {
        "auth": Auth(secret=SECRET),
        "server": ServerSection(engine=ENGINE),
        # Nothing on disk: threads and virtual time do not go together.
        "history": History(log="none"),
    }
    config = Config(**(defaults | sections))
    if config.server.data_dir == ServerSection().data_dir:
        # Not that of a demo that was served here before the tests.
        return replace(config, server=replace(config.server, data_dir="build/no-data"))
    return config


@dataclass
class Site:
    """A running server and ways to reach it."""

    server: Server
    nursery: trio.Nursery
    stop: Stop = field(default_factory=Stop)
    listening: list[Listening] = field(default_factory=list)

    def token(self, user: str = "alice", *, roles: Sequence[str] = (), ttl: int = 3600, **more: Any) -> str:
        """A token for a user; those of one user are of one login, unless `session_id` says otherwise."""
        more.setdefault("session_id", f"login-of-{user}"[:128])
        return self.server.context.authenticator.issue(user, roles=roles, ttl=ttl, **more)

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.listening[0].port

    async def open(self) -> RawClient:
        """A client's end of a new connection, before any byte: TCP where it listens, else in memory."""
        if self.listening:
            return RawClient(await trio.open_tcp_stream("127.0.0.1", self.port))
        ours, theirs = trio.testing.memory_stream_pair()
        self.nursery.start_soon(self.server.front.serve, StreamTransport(theirs), "192.0.2.1")
        return RawClient(ours)

    async def connect(self, user: str = "alice", *, token: str | None = None, **more: Any) -> RawClient:
        """A client that is authenticated and has read `connected`. `more` goes to `token`."""
        client = await self.open()
        status, _, body = await client.handshake(token=token or self.token(user, **more))
        assert status == 101, (status, body)
        connected = await client.receive_json()
        assert connected["type"] == "connected", connected
        return client


@asynccontextmanager
async def memory_site(config: Config | None = None) -> AsyncIterator[Site]:
    """A server without a listener: its connections are memory streams, its clock may be virtual."""
    server = Server(config or configured())
    async with trio.open_nursery() as nursery:
        server.start_parts(nursery)
        yield Site(server, nursery)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def listening_site(config: Config | None = None) -> AsyncIterator[Site]:
    """A server on a free port of 127.0.0.1."""
    config = config or configured()
    server = Server(msgspec.structs.replace(config, server=msgspec.structs.replace(config.server, port=0)))
    async with trio.open_nursery() as nursery:
        site = Site(server, nursery)

        async def run(*, task_status: trio.TaskStatus[list[Listening]]) -> None:
            await server.run(site.stop, http_at_once=False, task_status=task_status)

        site.listening = await nursery.start(run)
        yield site
        site.stop.abort.cancel()
