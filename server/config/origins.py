"""The grammar of web origins: what a browser's `Origin` may look like, and with it what may be configured."""

import re
from typing import Final

DEFAULT_PORTS: Final = {"http": 80, "https": 443}

# RFC 6454 section 6.2: scheme, host, port and nothing else. A user name, path or blank in it is no
# browser's, and neither is a letter outside ASCII: browsers send the punycode of a name, so that a
# homoglyph looks like what it is.
_HOST_AND_PORT = r"(?P<host>[A-Za-z0-9_.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::(?P<port>[1-9][0-9]{0,4}))?"
_match_origin = re.compile(rf"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]{{0,31}})://{_HOST_AND_PORT}").fullmatch
_match_host = re.compile(_HOST_AND_PORT).fullmatch
_MOST_PORTS = 65535

Origin = tuple[str, str, int | None]
"""Scheme and host in lower case, and the port; None where the scheme has no default."""


def parse_origin(text: str) -> Origin | None:
    """An origin as browsers send it, or None for anything else."""
    match = _match_origin(text)
    if match is None or int(match["port"] or 0) > _MOST_PORTS:
        return None
    scheme = match["scheme"].lower()
    port = int(match["port"]) if match["port"] else DEFAULT_PORTS.get(scheme)
    return scheme, match["host"].lower(), port


def parse_host(text: str) -> tuple[str, int | None] | None:
    """A `Host` header's name in lower case and its port, if it names one; None for anything else."""
    match = _match_host(text)
    if match is None:
        return None
    return match["host"].lower(), int(match["port"]) if match["port"] else None
