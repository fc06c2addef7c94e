"""Which web pages may connect: the `Origin` of a browser's handshake, against a list."""

import re
from collections.abc import Sequence

_DEFAULT_PORTS = {"http": 80, "https": 443}

# RFC 6454 section 6.2: scheme, host, port and nothing else. A user name, path or blank in it is no
# browser's, and neither is a letter outside ASCII: browsers send the punycode of a name, so that a
# homoglyph looks like what it is.
_HOST_AND_PORT = r"(?P<host>[A-Za-z0-9_.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::(?P<port>[1-9][0-9]{0,4}))?"
_parse_origin = re.compile(rf"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]{{0,31}})://{_HOST_AND_PORT}").fullmatch
_parse_host = re.compile(_HOST_AND_PORT).fullmatch

_Origin = tuple[str, str, int | None]


class OriginPolicy:
    """The configured origins, beside which a page may always connect to the host that it came from.

    `allowed` holds origins as browsers send them (`https://app.example.com`, `http://localhost:5173`), or
    `*` for any, which is safe only while nothing but a token says who a client is.

    Raises ValueError for an entry that could never match, saying why.
    """

    def __init__(self, allowed: Sequence[str]) -> None:
        self._any = "*" in allowed
        self._allowed = {_configured(entry) for entry in allowed if entry != "*"}

    def allows(self, origin: str | None, host: str | None) -> bool:
        """Whether a handshake with these `Origin` and `Host` headers may go on; `None` is an absent header.

        Never raises. Without an Origin it is not a page in a browser: nobody's cookies or network are
        abused.
        """
        if origin is None or self._any:
            return True
        parsed = _parse(origin)
        # `null` (a sandboxed frame, a file, some redirects) does not parse: it is the origin of anybody.
        return parsed is not None and (parsed in self._allowed or _is_same_host(parsed, host))


def _parse(origin: str) -> _Origin | None:
    match = _parse_origin(origin)
    if match is None:
        return None
    scheme = match["scheme"].lower()
    port = int(match["port"]) if match["port"] else _DEFAULT_PORTS.get(scheme)
    return scheme, match["host"].lower(), port


def _is_same_host(origin: _Origin, host: str | None) -> bool:
    """Whether the page came from this server.

    Only host and port are compared: behind a proxy that ends TLS the server cannot know its own scheme.
    """
    match = _parse_host(host) if host is not None else None
    scheme, name, port = origin
    if match is None or scheme not in ("http", "https"):
        return False
    own_port = int(match["port"]) if match["port"] else _DEFAULT_PORTS[scheme]
    return (name, port) == (match["host"].lower(), own_port)


def _configured(entry: str) -> _Origin:
    parsed = _parse(entry)
    if parsed is None:
        raise ValueError(
            f"auth.origins: {entry!r} is not an origin: write scheme://host[:port],"
            " without a path, a slash at the end or a user name, and in punycode (xn--…) what is not ASCII"
        )
    return parsed
