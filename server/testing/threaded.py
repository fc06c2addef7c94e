"""The same server for tests without Trio: in a thread of its own, with calls that block."""

import inspect
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Generic, ParamSpec, TypeVar, overload

import trio

from tidings.server.testing.client import Closed, Message, RawClient
from tidings.server.testing.proxy import Proxy
from tidings.server.testing.site import GRACE_SECONDS, ServerEnded, TestServer, serving

P = ParamSpec("P")
T = TypeVar("T")

# Seconds to listen, on a busy machine; a server takes a few hundredths.
START_SECONDS = 40.0

# Seconds that a call may take. What it waits for has bounds of its own; this one is for a loop that an
# app blocks, and longer than those.
CALL_SECONDS = 60.0


class BlockingClient:
    """A `RawClient` whose methods block, for at most its `patience`. See there."""

    def __init__(self, server: "ThreadServer", client: RawClient) -> None:
        self._server = server
        self.raw = client
        """The client itself; its methods are for `ThreadServer.call`."""

    @property
    def connected(self) -> Message:
        """What the server's `connected` said."""
        return self.raw.connected

    def command(self, kind: str, data: Mapping[str, Any] | None = None, **fields: Any) -> Message:
        """Send a command and return its answer."""
        return self._server.call(self.raw.command, kind, data, **fields)

    def subscribe(self, channel: str) -> Message:
        """Subscribe, and return what `subscribed` said."""
        return self._server.call(self.raw.subscribe, channel)

    def send(self, message: Any) -> None:
        """Send anything as a message."""
        self._server.call(self.raw.send, message)

    def publication(self, channel: str | None = None, event: str | None = None) -> Message:
        """The next publication, or the next of a channel or event."""
        return self._server.call(self.raw.publication, channel, event)

    def message(self, kind: str | None = None) -> Message:
        """The next message of any kind, or of one type."""
        return self._server.call(self.raw.message, kind)

    def received(self) -> list[Message]:
        """Everything that was meant for this client until now and that nobody has taken."""
        return self._server.call(self.raw.received)

    def closed(self) -> Closed:
        """Read until the server closes, and return how it did."""
        return self._server.call(self.raw.closed)

    def close(self, code: int = 1000, reason: str = "") -> Closed:
        """Close in an orderly way; return the server's answer."""
        return self._server.call(self.raw.close, code, reason)

    def reset(self) -> None:
        """End TCP with RST."""
        self._server.call(self.raw.reset)


class _Job(Generic[T]):
    """A function on its way into the loop, and its outcome on the way back."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self.outcome: Future[T] = Future()

    async def run(self) -> None:
        try:
            result = self._function()
            self.outcome.set_result(await result if inspect.isawaitable(result) else result)
        except BaseException as error:
            self.outcome.set_exception(error if isinstance(error, Exception) else _gone(error))
            if not isinstance(error, Exception):
                raise


class ThreadServer:
    """A running server and ways to reach it, from any thread but its own. Made by `serving_in_thread`."""

    def __init__(self, settings: Mapping[str, Any] | None, parts: Mapping[str, Any]) -> None:
        self._settings = settings
        self._parts = parts
        self._ready: Future[None] = Future()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._main, name="tidings-test-server", daemon=True)
        self.server: TestServer
        """The server itself; its methods are for `call`."""
        self._nursery: trio.Nursery
        self._token: trio.lowlevel.TrioToken
        self._over: trio.Event

    # --- what is known of it -------------------------------------------------------------------------

    @property
    def settings(self) -> Any:
        """The whole configuration it runs with."""
        return self.server.settings

    @property
    def host(self) -> str:
        """The address it listens on."""
        return self.server.host

    @property
    def port(self) -> int:
        """The port it listens on; the same after a restart."""
        return self.server.port

    @property
    def url(self) -> str:
        """Its address for HTTP."""
        return self.server.url

    @property
    def ws_url(self) -> str:
        """Its native WebSocket endpoint."""
        return self.server.ws_url

    @property
    def api_key(self) -> str:
        """An API key for its HTTP API (`X-API-Key`)."""
        return self.server.api_key

    @property
    def faults(self) -> list[dict[str, Any]]:
        """Errors it has logged. What is left here at the end fails the test."""
        return self.server.faults

    # --- what can be done with it --------------------------------------------------------------------

    def token(self, user_id: str, roles: tuple[str, ...] | list[str] = (), **more: Any) -> str:
        """A token for a user; `more` is `ttl` and claims, as `TestServer.token` has them."""
        return self.call(self.server.token, user_id, roles, **more)

    def connect(self, user_id: str = "alice", **more: Any) -> BlockingClient:
        """A client that is connected as a user; `more` is what `TestServer.connect` takes."""
        return BlockingClient(self, self.call(self.server.connect, user_id, **more))

    def watch(self, *channels: str) -> BlockingClient:
        """An administrator who sees all that is published to some channels from now on."""
        return BlockingClient(self, self.call(self.server.watch, *channels))

    def publish(self, channel: str, event: str, payload: Mapping[str, Any]) -> None:
        """Publish. Raises PublishRefused."""
        # Looked up in the loop: a restart may have put another in its place.
        self.call(lambda: self.server.push.publish(channel, event, payload))

    def proxy(self, **faults: Any) -> Proxy:
        """A proxy in front of it, until the end of the test; its methods are for `call`."""
        proxy: Proxy = self.call(self.server.proxy, **faults)
        return proxy

    def stop(self, *, graceful: bool = True) -> None:
        """End the server, as `TestServer.stop` does."""
        self.call(self.server.stop, graceful=graceful)

    def start(self) -> None:
        """Begin again after `stop`."""
        self.call(self.server.start)

    def restart(self, *, graceful: bool = True) -> None:
        """Stop and start again."""
        self.call(self.server.restart, graceful=graceful)

    @overload
    def call(self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T: ...
    @overload
    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T: ...
    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run a function of either kind in the server's loop and return its result.

        Raises what it raises; ServerEnded when the server has crashed; TimeoutError when the loop does
        not get to it, or it is not done, within CALL_SECONDS.
        """
        job: _Job[Any] = _Job(partial(function, *args, **kwargs))
        self._enter(lambda: self._nursery.start_soon(job.run))
        try:
            return job.outcome.result(CALL_SECONDS)
        except FutureTimeout:
            if job.outcome.done():
                raise  # the function's own
            raise TimeoutError(f"the server's loop has not done this within {CALL_SECONDS:g} s") from None

    # --- its life ------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Start the thread; returns when the server listens. Raises what keeps it from starting."""
        self._thread.start()
        try:
            self._ready.result(START_SECONDS)
        except FutureTimeout:
            raise TimeoutError(f"the server does not listen after {START_SECONDS:g} s") from None

    def end(self) -> None:
        """Reset every connection and end the thread. Raises what the server failed with, if it has."""
        with suppress(ServerEnded):  # its failure is raised below
            self._enter(self._over.set)
        self._thread.join(GRACE_SECONDS)
        if self._thread.is_alive():
            raise TimeoutError(
                f"the server's thread has not ended within {GRACE_SECONDS:g} s: its loop is blocked"
            )
        if self._failure is not None:
            raise self._failure

    def _enter(self, function: Callable[[], object]) -> None:
        try:
            self._token.run_sync_soon(function)
        except trio.RunFinishedError:
            raise _gone(self._failure) from self._failure

    def _main(self) -> None:
        try:
            trio.run(self._serve)
        except BaseException as error:
            self._failure = error
            if not self._ready.done():
                self._ready.set_exception(error)
                self._failure = None

    async def _serve(self) -> None:
        self._token, self._over = trio.lowlevel.current_trio_token(), trio.Event()
        async with (
            serving(self._settings, **self._parts) as self.server,
            trio.open_nursery() as self._nursery,
        ):
            self._ready.set_result(None)
            await self._over.wait()
            self._nursery.cancel_scope.cancel()


def _gone(error: BaseException | None) -> ServerEnded:
    return ServerEnded(f"the test server has ended{f': {error!r}' if error is not None else ''}")


@contextmanager
def serving_in_thread(settings: Mapping[str, Any] | None = None, **parts: Any) -> Iterator[ThreadServer]:
    """Serve from a thread until the end of the block; otherwise as `serving`.

    The thread ends within GRACE_SECONDS, or TimeoutError is raised.
    """
    server = ThreadServer(settings, parts)
    server.begin()
    try:
        yield server
    finally:
        server.end()
