"""The files of the lab page and of the API docs page: read once, answered by exact name.

What is served is a dictionary made at start. A path that is no key of it does not exist, so no `..`, no
encoded slash and no symbolic link made later can reach anything.
"""

import hashlib
from functools import cache
from importlib.metadata import version
from importlib.resources import files

import msgspec

from tidings.server.http import Headers

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}

# Folder, and where its index.html stands. The paths of the other files begin with the folder's name.
_PAGES = {"lab": "/", "docs": "/docs"}

# 'self' covers the WebSocket of the same host since Chrome 71, Firefox 62 and Safari 15.4; `ws: wss:`
# beside it would let a page that holds a token speak to any host. Trusted Types make the browser itself
# refuse what a script would insert as HTML.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)

_SECURITY: Headers = [
    (b"Content-Security-Policy", _POLICY.encode()),
    (b"X-Content-Type-Options", b"nosniff"),
    (b"Referrer-Policy", b"no-referrer"),
    (b"Cross-Origin-Opener-Policy", b"same-origin"),
    (b"Cross-Origin-Resource-Policy", b"same-origin"),
]


class StaticFile(msgspec.Struct, frozen=True):
    """A file as it is answered to GET; to HEAD, without the body."""

    body: bytes
    content_type: str
    etag: str
    headers: Headers
    """Beside Content-Type and Content-Length: the ETag, and what the browser may do with the file."""

    def is_known_to(self, if_none_match: str | None) -> bool:
        """Whether `If-None-Match` names this file, so that 304 is enough (RFC 9110 section 13.1.2)."""
        if if_none_match is None:
            return False
        tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
        return self.etag in tags or tags == ["*"]


@cache
def static_files() -> dict[str, StaticFile]:
    """Every file by its path. Reads them all (some 90 KiB) when first called, at start, and keeps them.

    Raises OSError when the installation lacks one of the pages.
    """
    found: dict[str, StaticFile] = {}
    for folder, index in _PAGES.items():
        source = files("tidings.server.api") / folder
        found[index] = _file("index.html", (source / "index.html").read_bytes())
        for entry in source.iterdir():
            # An editor's backup or a compiler's cache is nobody's business.
            if entry.name != "index.html" and _suffix(entry.name) in _TYPES and entry.is_file():
                found[f"/{folder}/{entry.name}"] = _file(entry.name, entry.read_bytes())
    return found


def _file(name: str, body: bytes) -> StaticFile:
    if name == "index.html":
        body = body.replace(b"{{version}}", version("tidings").encode())
    etag = f'"{hashlib.sha256(body).hexdigest()[:24]}"'
    # no-cache: kept, but asked about each time, so that a new version of the server is a new page at once.
    caching = [(b"ETag", etag.encode()), (b"Cache-Control", b"no-cache")]
    return StaticFile(body, _TYPES[_suffix(name)], etag, [*caching, *_SECURITY])


def _suffix(name: str) -> str:
    return name[name.rfind(".") :]
