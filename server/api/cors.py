"""Which pages of other origins may read answers (the Fetch standard's CORS protocol)."""

from collections.abc import Sequence

from tidings.server.config.origins import parse_origin
from tidings.server.http import Headers, Request

# A browser asks again after this many seconds; a changed configuration is seen within them.
PREFLIGHT_SECONDS = 600

# What the API and the routes of apps understand; a browser sends nothing else without asking.
_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE"
_HEADERS = b"Authorization, Content-Type, If-None-Match, X-API-Key"
_EXPOSED = b"Allow, ETag, Retry-After, WWW-Authenticate"


class Cors:
    """Judges the `Origin` of requests by `auth.origins`.

    An origin that is listed may send credentials, so it is named and never `*`; where `*` is configured all
    others may read what anybody may read who has a token to show, but the browser adds nothing of its own.
    """

    def __init__(self, origins: Sequence[str]) -> None:
        """Take the configured origins, each well-formed or `*`."""
        self._any = "*" in origins
        self._listed = {parse_origin(origin) for origin in origins} - {None}

    def headers(self, request: Request) -> Headers:
        """What is added to the answer, whatever it is; nothing for an origin that is not welcome."""
        if not self._any and not self._listed:
            return []
        # Caches must keep the answers for different origins apart, that for none too.
        vary: Headers = [(b"Vary", b"Origin")] if self._listed else []
        origin = request.header(b"origin")
        if origin is None:
            return vary
        if self._listed and parse_origin(origin.decode("latin-1")) in self._listed:
            allowed = [
                (b"Access-Control-Allow-Origin", origin),
                (b"Access-Control-Allow-Credentials", b"true"),
            ]
        elif self._any:
            allowed = [(b"Access-Control-Allow-Origin", b"*")]
        else:
            return vary
        return [*vary, *allowed, (b"Access-Control-Expose-Headers", _EXPOSED)]

    def preflight(self, request: Request) -> Headers | None:
        """The answer to a browser that asks beforehand; None when this is no such question, or not welcome."""
        if request.method != "OPTIONS" or request.header(b"access-control-request-method") is None:
            return None
        headers = self.headers(request)
        if not any(name == b"Access-Control-Allow-Origin" for name, _ in headers):
            return None
        return [
            *headers,
            (b"Access-Control-Allow-Methods", _METHODS),
            (b"Access-Control-Allow-Headers", _HEADERS),
            (b"Access-Control-Max-Age", b"%d" % PREFLIGHT_SECONDS),
        ]
