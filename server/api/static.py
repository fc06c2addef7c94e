"""The files of the console, of the SDK and of the API docs page: read once, answered by exact name.

What is served is a dictionary made at start. A path that is no key of it does not exist, so no `..`, no
encoded slash and no symbolic link made later can reach anything.
"""

import gzip
import hashlib
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from importlib.resources.abc import Traversable
from importlib.util import find_spec
from pathlib import Path
from posixpath import relpath
from urllib.parse import urljoin

import msgspec

from tidings.server.http import Headers

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}

_INDEX = "index.html"

# Where pages stand that have moved, or that somebody types. Relative, so that they hold below a proxy's path too.
REDIRECTS = {"/": b"console/", "/console": b"console/"}

# Below this a gzip header and a second copy in memory are not worth it.
_WORTH_COMPRESSING = 512

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
]

# Nobody else's page loads ours; the SDK is for pages on other hosts, too.
_OWN = (b"Cross-Origin-Resource-Policy", b"same-origin")
_ANYBODYS = (b"Cross-Origin-Resource-Policy", b"cross-origin")


class StaticFile(msgspec.Struct, frozen=True):
    """A file as it is answered to GET; to HEAD, without the body."""

    body: bytes
    content_type: str
    etag: str
    headers: Headers
    """Beside Content-Type and Content-Length: the ETag, and what the browser may do with the file."""
    gzipped: bytes | None = None
    """The body for whoever accepts gzip; None where it would not be shorter by much."""

    def is_known_to(self, if_none_match: str | None) -> bool:
        """Whether `If-None-Match` names this file, so that 304 is enough (RFC 9110 section 13.1.2)."""
        if if_none_match is None:
            return False
        tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
        return self.etag in tags or tags == ["*"]

    def encoded(self, accept_encoding: str | None) -> tuple[bytes, Headers]:
        """The body as a client with this `Accept-Encoding` gets it (RFC 9110 section 12.5.3), with its headers."""
        if self.gzipped is None or not _accepts_gzip(accept_encoding or ""):
            return self.body, self.headers
        return self.gzipped, [*self.headers, (b"Content-Encoding", b"gzip")]


@cache
def static_files() -> dict[str, StaticFile]:
    """Every file by its path. Reads them all (some 300 KiB) when first called, at start, and keeps them.

    Raises OSError when the installation lacks one of the folders.
    """
    found: dict[str, StaticFile] = {}
    docs = files("tidings.server.api") / "docs"
    for name, entry in _entries(docs):
        found["/docs" if name == _INDEX else f"/docs/{name}"] = _file(name, entry.read_bytes())
    # Its folder alone: what is around it is a package for npm, with tests and dependencies of theirs.
    for entry in _sdk().glob("*.js"):
        found[f"/sdk/{entry.name}"] = _file(entry.name, entry.read_bytes(), anybodys=True)
    console = dict(_entries(files("tidings.server") / "console"))
    index = console.pop(_INDEX).read_bytes()
    for name, entry in console.items():
        found[f"/console/{name}"] = _file(name, entry.read_bytes())
    found["/console/"] = _file(_INDEX, index.replace(b"{{modules}}", _preloads(found, "/console/app.js")))
    return found


# The static imports of our modules: `import … from "…"`, and for what it does alone `import "…"`.
_imports = re.compile(rb'^import\b[^;"]*"(\.[^"]+)"', re.MULTILINE).findall


def _preloads(found: Mapping[str, StaticFile], start: str) -> bytes:
    """Links for all that a module needs before it can begin: else a browser asks for it step by step."""
    needed = [start]
    for path in needed:
        modules = [urljoin(path, name.decode()) for name in _imports(found[path].body)]
        needed += [each for each in dict.fromkeys(modules) if each not in needed]
    base = start.rpartition("/")[0]
    links = [f'<link rel="modulepreload" href="{relpath(path, base)}">' for path in needed[1:]]
    return "\n  ".join(links).encode()


def _sdk() -> Path:
    """Where the browser's client is: beside the Python one, which is found here but not imported."""
    found = find_spec("tidings.client")
    if found is None or not found.submodule_search_locations:
        raise FileNotFoundError("the package tidings.client is not installed")
    return Path(next(iter(found.submodule_search_locations))) / "js"


def _entries(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, Traversable]]:
    """The files of a folder and the folders in it that pages are made of, with their paths below it."""
    for entry in folder.iterdir():
        name = prefix + entry.name
        if entry.is_dir():
            yield from _entries(entry, f"{name}/")
        elif _suffix(entry.name) in _TYPES:
            # An editor's backup or a compiler's cache is nobody's business.
            yield name, entry


def _file(name: str, body: bytes, *, anybodys: bool = False) -> StaticFile:
    if name == _INDEX:
        body = body.replace(b"{{version}}", version("tidings").encode())
    etag = f'"{hashlib.sha256(body).hexdigest()[:24]}"'
    headers = [
        # Weak: the same tag for the file and for its gzip. No-cache: kept, but asked about each time, so that a new
        # version of the server is a new page at once.
        (b"ETag", b"W/" + etag.encode()),
        (b"Cache-Control", b"no-cache"),
        (b"Vary", b"Accept-Encoding"),
        *_SECURITY,
        _ANYBODYS if anybodys else _OWN,
    ]
    # Without the time of day, so that two servers answer with the same bytes.
    gzipped = gzip.compress(body, 9, mtime=0) if len(body) > _WORTH_COMPRESSING else None
    return StaticFile(body, _TYPES[_suffix(name)], etag, headers, gzipped)


def _accepts_gzip(accept_encoding: str) -> bool:
    """Whether a client takes gzip. One that gives it the weight 0 does not; other weights are not compared."""
    for each in accept_encoding.lower().split(","):
        coding, _, weight = each.partition(";")
        if coding.strip() in ("gzip", "x-gzip", "*"):
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def _suffix(name: str) -> str:
    return name[name.rfind(".") :]
