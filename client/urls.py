"""Reading the server's URL, in whichever of its forms it was given."""

from urllib.parse import quote, urlsplit

import msgspec

#: Where a Tidings server speaks its native protocol unless it was configured otherwise.
WEBSOCKET_PATH = "/ws"

_TLS = {"http": False, "ws": False, "https": True, "wss": True}


class Address(msgspec.Struct, frozen=True):
    """Where a server is."""

    host: str
    port: int
    tls: bool
    path: str
    """Path and query of the WebSocket endpoint, or the prefix of the HTTP API without its final slash."""

    @property
    def authority(self) -> str:
        """Host and port as in a URL and in the Host header; the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


def websocket_address(url: str, *, device: str | None = None) -> Address:
    """The WebSocket endpoint of a server given as http, https, ws or wss URL; without a path, `/ws`.

    Raises ValueError for anything else, and for a token in the URL: URLs end up in logs.
    """
    address, query = _split(url)
    path = address.path if address.path not in ("", "/") else WEBSOCKET_PATH
    if device is not None:
        query += ("&" if query else "") + f"device={quote(device, safe='')}"
    return msgspec.structs.replace(address, path=path + (f"?{query}" if query else ""))


def http_base(url: str) -> str:
    """The URL under which a server's HTTP API stands, without a final slash; takes what `websocket_address` takes.

    Raises ValueError as that does.
    """
    address, _ = _split(url)
    path = address.path.rstrip("/").removesuffix(WEBSOCKET_PATH)
    return f"{'https' if address.tls else 'http'}://{address.authority}{path}"


def _split(url: str) -> tuple[Address, str]:
    parts = urlsplit(url.strip())
    tls = _TLS.get(parts.scheme)
    if tls is None or not parts.hostname:
        raise ValueError(f"{_without_query(url)!r}: expected http://host:port or ws://host:port/ws")
    if parts.username is not None or "token=" in parts.query:
        raise ValueError("credentials in a URL end up in logs: give the token as such")
    if not parts.path.isascii() or not parts.query.isascii() or any(c <= " " for c in url.strip()):
        raise ValueError(f"{_without_query(url)!r}: a URL is ASCII without blanks")
    port = parts.port  # raises ValueError outside 0 to 65535
    default = 443 if tls else 80
    return Address(parts.hostname, default if port is None else port, tls, parts.path), parts.query


def _without_query(url: str) -> str:
    return url.partition("?")[0].rpartition("@")[2]
