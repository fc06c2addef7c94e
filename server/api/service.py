"""Everything that is answered over plain HTTP: fixed pages by exact path, the application for the rest.

`Service` is the `HttpHandler` that the front door is given.
"""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import msgspec
import trio
from litestar import Litestar
from litestar.types import ControllerRouterHandler

from tidings.server.answers import RETRY_SECONDS
from tidings.server.api.application import Parts, application
from tidings.server.api.asgi import BadPath, Call, http_scope
from tidings.server.api.cors import Cors
from tidings.server.api.openapi import document
from tidings.server.api.static import REDIRECTS, StaticFile, static_files
from tidings.server.http import Exchange, PeerGone, Request, Response, refusal, respond

# The status in metrics of a request whose client left before it was answered; never sent.
CLIENT_GONE = 499

# Methods that change nothing, and are answered as long as anybody is.
_READING = ("GET", "HEAD", "OPTIONS")

_OPENAPI = "/openapi.json"

_OK = Response(200, msgspec.json.encode({"status": "ok"}))
_READY = Response(200, msgspec.json.encode({"status": "ready"}))
_DRAINING = refusal(
    503, "unavailable", "the server is shutting down", [(b"Retry-After", b"%d" % RETRY_SECONDS)]
)
_GET_ONLY = refusal(405, "bad_request", "this path takes GET, HEAD", [(b"Allow", b"GET, HEAD")])
_BAD_PATH = refusal(400, "bad_request", "the path is not UTF-8")

# `{user_id:str}` as others write it.
_typed_parameter = re.compile(r":[a-z]+(?=})")


class Service:
    """Answers requests. Belongs to one server."""

    def __init__(
        self,
        parts: Parts,
        *,
        origins: Sequence[str],
        is_ready: Callable[[], bool],
        handlers: Sequence[ControllerRouterHandler] = (),
    ) -> None:
        """Take what the routes stand on, `auth.origins`, whether new connections are welcome, and apps' routes.

        Raises ImproperlyConfiguredException where two routes claim one path and method.
        """
        self._metrics = parts.metrics
        self._build = partial(application, parts, handlers)
        self._application: Litestar | None = None
        if handlers:
            self.prepare()
        self._cors = Cors(origins)
        self._is_ready = is_ready
        self._files = static_files()
        self._describe = partial(_describe, parts, handlers)
        self._document: StaticFile | None = None
        self._describing = trio.Lock()

    def prepare(self) -> None:
        """Put the application together, some tens of milliseconds: before the first request, not at it."""
        if self._application is None:
            self._application = self._build()

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request. Raises PeerGone, and what is a fault of ours."""
        began = time.perf_counter()
        seen = _Seen()
        try:
            await self._handle(exchange, seen)
        except PeerGone:
            # As proxies log it: nobody was there to be answered.
            seen.status = seen.status or CLIENT_GONE
            raise
        except trio.Cancelled:
            # The front door's bound on a handler; it answers this.
            seen.status = seen.status or 503
            raise
        finally:
            seconds = time.perf_counter() - began
            self._metrics.observe_request(exchange.request.method, seen.route, seen.status or 500, seconds)

    async def _handle(self, exchange: Exchange, seen: "_Seen") -> None:
        request = exchange.request
        path = request.target.partition("?")[0]
        exchange.always = self._cors.headers(request)
        page = await self._page(request, path)
        if page is not None:
            seen.route = path
        elif (preflight := self._cors.preflight(request)) is not None:
            page, exchange.always = Response(204, b"", headers=preflight), []
        elif request.method not in _READING and not self._is_ready():
            # Every listener has been told to go: what is published now would be acknowledged and lost.
            page = _DRAINING
        if page is not None:
            seen.status = page.status
            await respond(exchange, page)
        else:
            await self._apply(exchange, seen)

    async def _page(self, request: Request, path: str) -> Response | None:
        """What stands at exactly this path; None where the application is to be asked."""
        if path == "/healthz":
            page = _OK  # the process runs and its loop turns
        elif path == "/readyz":
            page = _READY if self._is_ready() else _DRAINING
        elif path == _OPENAPI:
            page = _file(await self._openapi(), request)
        elif path in self._files:
            page = _file(self._files[path], request)
        elif path in REDIRECTS:
            page = Response(307, b"", headers=[(b"Location", REDIRECTS[path])])
        else:
            return None
        if request.method in ("GET", "HEAD"):
            return page
        # A preflight, too, is the application's: so its answer is the same for every path.
        return None if request.method == "OPTIONS" else _GET_ONLY

    async def _openapi(self) -> StaticFile:
        """Made when first asked for, in a thread: it takes the time of a thousand publications."""
        async with self._describing:
            if self._document is None:
                self._document = await trio.to_thread.run_sync(self._describe)
        return self._document

    async def _apply(self, exchange: Exchange, seen: "_Seen") -> None:
        call = Call(exchange)
        try:
            scope = http_scope(exchange.request)
        except BadPath:
            seen.status = _BAD_PATH.status
            await respond(exchange, _BAD_PATH)
            return
        try:
            self.prepare()
            assert self._application is not None
            await call.run(self._application, scope)
        finally:
            seen.status = call.status
            # Litestar notes here which route it was; a path that is no route leaves it out.
            template = cast(dict[str, object], scope).get("path_template")
            if template is not None:
                seen.route = _typed_parameter.sub("", str(template))


@dataclass(slots=True)
class _Seen:
    """What the metrics say of one request."""

    route: str | None = None
    """The path's template, where there is such a path."""
    status: int | None = None


def _describe(parts: Parts, handlers: Sequence[ControllerRouterHandler]) -> StaticFile:
    return document(lambda config: application(parts, handlers, documented=config), parts.version)


def _file(file: StaticFile, request: Request) -> Response:
    if file.is_known_to(request.text(b"if-none-match")):
        return Response(304, b"", file.content_type, file.headers)
    body, headers = file.encoded(request.text(b"accept-encoding"))
    return Response(200, body, file.content_type, headers)
