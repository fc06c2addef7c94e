"""A network of memory streams that can be cut, and servers on it that misbehave: for tests of clients."""

import errno
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import trio
import trio.testing
import trio_websocket

from support.site import Site
from tidings.client import Address, Client, Event, Reconnect, connect

Script = Callable[[trio_websocket.WebSocketRequest], Awaitable[None]]

WELCOME = (
    '{"type":"connected","data":{"connection_id":"1","user_id":"alice","username":"Alice",'
    '"ping_interval":20,"pong_timeout":10,"expires_at":2000000000}}'
)


class Network:
    """Where clients dial. Every connection is a memory stream, so that time may be virtual."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.down = False
        """Whether dialling is refused."""
        self.dialled: list[float] = []
        """When."""
        self.addresses: list[Address] = []
        self.streams: list[trio.abc.Stream] = []
        self.events: list[Event] = []
        self.scripts: list[Script] = []
        """Servers for the next connections, in place of the site."""

    async def dial(self, address: Address) -> trio.abc.Stream:
        """Open a connection."""
        self.dialled.append(trio.current_time())
        self.addresses.append(address)
        await trio.lowlevel.checkpoint()
        if self.down:
            raise OSError(errno.ECONNREFUSED, "Connection refused")
        stream: trio.abc.Stream
        if self.scripts:
            stream, theirs = trio.testing.memory_stream_pair()
            self.site.nursery.start_soon(_play, self.scripts.pop(0), theirs)
        else:
            stream = (await self.site.open()).stream
        self.streams.append(stream)
        return stream

    async def cut(self) -> None:
        """End the newest connection without a word."""
        await trio.aclose_forcefully(self.streams[-1])

    def connect(self, **options: Any) -> AbstractAsyncContextManager[Client]:
        """`connect`, as alice, with no randomness, by way of this network."""
        given: dict[str, Any] = {
            "token": self.site.token,
            "reconnect": Reconnect(uniform=lambda _low, high: high),
            "dial": self.dial,
            "on_event": self.events.append,
        }
        return connect("ws://push.example", **(given | options))

    def of(self, kind: type[Any]) -> list[Any]:
        """The events of a kind so far."""
        return [event for event in self.events if isinstance(event, kind)]


async def _play(script: Script, stream: trio.abc.Stream) -> None:
    """A server that does what a script says; the end of its connection is the script's end."""
    try:
        async with trio.open_nursery() as nursery:
            await script(await trio_websocket.wrap_server_stream(nursery, stream))
            nursery.cancel_scope.cancel()
    except* trio_websocket.ConnectionClosed:
        pass
    finally:
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(stream)


async def accept(request: trio_websocket.WebSocketRequest) -> trio_websocket.WebSocketConnection:
    """Accept and say `connected`."""
    websocket = await request.accept(subprotocol="tidings.v1.json")
    await websocket.send_message(WELCOME)
    return websocket


@asynccontextmanager
async def patience() -> AsyncIterator[None]:
    """Virtual time passes at once, so that whatever hangs fails at once."""
    with trio.fail_after(100_000):
        yield
