"""Which web pages may connect: the `Origin` of a browser's handshake, against a list."""

from collections.abc import Sequence

from tidings.server.config.origins import DEFAULT_PORTS, Origin, parse_host, parse_origin


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
        parsed = parse_origin(origin)
        # `null` (a sandboxed frame, a file, some redirects) does not parse: it is the origin of anybody.
        return parsed is not None and (parsed in self._allowed or _is_same_host(parsed, host))


def _is_same_host(origin: Origin, host: str | None) -> bool:
    """Whether the page came from this server.

    Only host and port are compared: behind a proxy that ends TLS the server cannot know its own scheme.
    """
    own = parse_host(host) if host is not None else None
    scheme, name, port = origin
    if own is None or scheme not in DEFAULT_PORTS:
        return False
    own_name, own_port = own
    return (name, port) == (own_name, DEFAULT_PORTS[scheme] if own_port is None else own_port)


def _configured(entry: str) -> Origin:
    parsed = parse_origin(entry)
    if parsed is None:
        raise ValueError(
            f"auth.origins: {entry!r} is not an origin: write scheme://host[:port],"
            " without a path, a slash at the end or a user name, and in punycode (xn--…) what is not ASCII"
        )
    return parsed
