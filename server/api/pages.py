"""The plain HTTP pages: health for machines, and a page that says what this is.

`Pages` is the `HttpHandler` that the front door is given.
"""

from collections.abc import Awaitable, Callable
from importlib.metadata import version
from importlib.resources import files

import msgspec

from tidings.server.http import Request, Response, refusal

_SECURITY = [
    (
        b"Content-Security-Policy",
        b"default-src 'none'; connect-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    ),
    (b"X-Content-Type-Options", b"nosniff"),
    (b"Referrer-Policy", b"no-referrer"),
]


class Pages:
    """Answers the paths there are; 404 and 405 for the others."""

    def __init__(self, is_ready: Callable[[], bool]) -> None:
        """Take what tells whether new connections are welcome."""
        self._is_ready = is_ready
        self._routes: dict[str, Callable[[], Awaitable[Response]]] = {
            "/": self._index,
            "/healthz": self._health,
            "/readyz": self._ready,
        }
        page = (files("tidings.server.api") / "index.html").read_text("utf-8")
        self._page = page.replace("{{version}}", version("tidings")).encode()

    async def __call__(self, request: Request) -> Response:
        """Answer one request."""
        route = self._routes.get(request.path)
        if route is None:
            return refusal(404, "not_found", "nothing at this path")
        if request.method not in ("GET", "HEAD"):
            return refusal(405, "bad_request", "this path takes GET and HEAD", [(b"Allow", b"GET, HEAD")])
        return await route()

    async def _index(self) -> Response:
        return Response(200, self._page, "text/html; charset=utf-8", list(_SECURITY))

    async def _health(self) -> Response:
        """The process runs and its loop turns."""
        return Response(200, msgspec.json.encode({"status": "ok"}))

    async def _ready(self) -> Response:
        """New connections are welcome: not while the server drains."""
        if self._is_ready():
            return Response(200, msgspec.json.encode({"status": "ready"}))
        return refusal(503, "unavailable", "the server is shutting down", [(b"Retry-After", b"5")])
