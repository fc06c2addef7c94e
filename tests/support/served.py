"""A server put together by the test itself, with handlers or a clock of its own, on memory streams."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

from support.site import Site, configured
from tidings.server.app import Server
from tidings.server.apps.rooms import rooms_app
from tidings.server.auth import Authenticator
from tidings.server.config import Config
from tidings.server.edge.calls import app_handlers
from tidings.server.edge.commands import Commands
from tidings.server.edge.context import Context
from tidings.server.edge.dispatch import Dispatcher
from tidings.server.edge.session import Handler
from tidings.server.http import HttpHandler

EPOCH = 1_800_000_000
"""What a `WallClock` shows at first, in Unix seconds."""


def with_handler(command: str, handler: Handler, config: Config | None = None) -> Server:
    """A server whose `command` is handled by `handler`; everything else is the real thing."""
    config = config or configured()

    def messages(context: Context) -> Dispatcher:
        ours = {**Commands(context).handlers, **app_handlers(context, [rooms_app(config.rooms)])}
        handlers = {**ours, command: handler}
        return Dispatcher(handlers, handler_timeout=config.heartbeat.handler_timeout)

    return Server(config, messages=messages)


def with_http(handler: HttpHandler, config: Config | None = None) -> Server:
    """A server whose plain HTTP is answered by `handler`; everything else is the real thing."""
    server = Server(config or configured())
    server.front._http = handler
    return server


@asynccontextmanager
async def served(server: Server) -> AsyncIterator[Site]:
    """Serve memory streams: `memory_site` for a server that is there already."""
    async with trio.open_nursery() as nursery:
        server.start_parts(nursery)
        yield Site(server, nursery)
        nursery.cancel_scope.cancel()


class WallClock:
    """A wall clock that goes with trio's until it is set; it drives one server's tokens."""

    def __init__(self, site: Site) -> None:
        self._ahead = EPOCH - trio.current_time()
        site.server.context.wall_clock = self
        context = site.server.context
        context.authenticator = Authenticator(
            context.config.auth, clock=self, revocations=context.authenticator.revocations
        )

    def __call__(self) -> float:
        """Unix seconds."""
        return trio.current_time() + self._ahead

    def set_forward(self, seconds: float) -> None:
        """Move it, as an administrator or NTP does; negative moves it back."""
        self._ahead += seconds


def beat_at_once(site: Site, jitter: Callable[[], float] = lambda: 0.0) -> Site:
    """Take the randomness out of the heartbeat: every interval is whole."""
    site.server.context.jitter = jitter
    return site
