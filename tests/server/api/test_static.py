"""The static files: exact names, nothing else, under one policy."""

import gzip
import json
import re
from html.parser import HTMLParser
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urljoin

import pytest

from tidings.protocol.close_codes import REASONS, CloseCode
from tidings.server.api.static import StaticFile, static_files

ROOT = Path(__file__).parents[3]
FILES = static_files()


class _References(HTMLParser):
    """The addresses in a page, and whether anything in it needs a laxer policy."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.inline: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.found += [value for name in ("href", "src") if (value := given.get(name)) is not None]
        self.inline += [f"{tag} {name}" for name in given if name == "style" or name.startswith("on")]
        if tag == "style" or (tag == "script" and "src" not in given):
            self.inline.append(tag)


def _read(page: str) -> _References:
    references = _References()
    references.feed(FILES[page].body.decode())
    return references


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/console",
        "/console/index.html",
        "/docs/",
        "/docs/index.html",
        "/console/lib",
        "/console/lib/",
        "/console/../static.py",
        "/console/..",
        "/console//app.js",
        "/console/./app.js",
        "/CONSOLE/app.js",
        "/console/app.js\0",
        "console/app.js",
        "/static.py",
        "/sdk/",
        "/sdk/package.json",
        "/sdk/README.md",
        "/sdk/test/",
    ],
)
def test_only_exact_names_exist(path: str) -> None:
    """A path that is not exactly a file's is not there, however near it comes."""
    assert {
        "/console/",
        "/console/app.js",
        "/console/lib/dom.js",
        "/sdk/tidings.js",
        "/docs",
    } <= FILES.keys()
    assert path not in FILES


def test_what_is_for_developers_is_not_served() -> None:
    """Of the SDK's folder the modules alone: not its tests, nor what npm has put there."""
    assert {path for path in FILES if path.startswith("/sdk/")} == {
        f"/sdk/{file.name}" for file in (ROOT / "client" / "js").glob("*.js")
    }


@pytest.mark.parametrize("page", ["/console/", "/docs"])
def test_a_page_is_complete(page: str) -> None:
    """Whatever a page refers to on this server is served: as a static file, or at a path of the HTTP API."""
    references = _read(page)
    assert references.inline == []
    paths = {urljoin(page, address) for address in references.found if not address.startswith("#")}
    assert paths <= {*FILES.keys(), "/", "/openapi.json", "/metrics"}


@pytest.mark.parametrize("path", [path for path in FILES if path.endswith(".js")])
def test_a_module_imports_what_is_served(path: str) -> None:
    """Every import of every module is a file of ours; the SDK's adapters import their frameworks, too."""
    imports = set(
        re.findall(r'^(?:import|export)\b[^;]*?from "([^"]+)"', FILES[path].body.decode(), re.MULTILINE)
    )
    frameworks = {"/sdk/react.js": {"react"}, "/sdk/vue.js": {"vue"}}.get(path, set())
    assert {urljoin(path, name) for name in imports - frameworks} <= FILES.keys()


def test_a_browser_asks_for_all_modules_at_once() -> None:
    """The console's page names what its first module imports, and what that does."""
    page = FILES["/console/"].body.decode()
    named = {urljoin("/console/", href) for href in re.findall(r'rel="modulepreload" href="([^"]+)"', page)}
    needed = {"/console/app.js"}
    while (
        more := {
            urljoin(path, name)
            for path in needed
            for name in re.findall(r'^import[^;]*?"(\.[^"]+)";$', FILES[path].body.decode(), re.MULTILINE)
        }
        - needed
    ):
        needed |= more
    assert named == needed - {"/console/app.js"}
    assert len(named) > 10


@pytest.mark.parametrize("path", FILES)
def test_nothing_comes_from_elsewhere(path: str) -> None:
    """No file names another host, but for the XML namespace, which is a name and no address."""
    body = FILES[path].body.replace(b"http://www.w3.org/2000/svg", b"")
    assert re.findall(rb"(?:https?:)?//[a-z0-9-]+\.[a-z]", body) == []


@pytest.mark.parametrize("path", FILES)
def test_every_file_has_the_policy(path: str) -> None:
    """A browser runs our files alone, talks to this host alone, shows them in nobody's frame and sniffs no type."""
    headers = dict(FILES[path].headers)
    policy = dict(
        part.strip().partition(" ")[::2] for part in headers[b"Content-Security-Policy"].decode().split(";")
    )
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert policy["form-action"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert headers[b"X-Content-Type-Options"] == b"nosniff"
    assert headers[b"Referrer-Policy"] == b"no-referrer"
    assert headers[b"Cache-Control"] == b"no-cache"
    assert headers[b"Vary"] == b"Accept-Encoding"
    # Pages of other hosts may import the SDK, and nothing else.
    sharing = b"cross-origin" if path.startswith("/sdk/") else b"same-origin"
    assert headers[b"Cross-Origin-Resource-Policy"] == sharing


@pytest.mark.parametrize("page", ["/console/", "/docs"])
def test_the_version_is_filled_in(page: str) -> None:
    """A page says which version of the server it came with."""
    text = FILES[page].body.decode()
    assert f">{version('tidings')}<" in text
    assert "{{" not in text


def test_an_etag_names_the_content() -> None:
    """Two contents never share an ETag, and whoever reads the files anew, as another server does, gets the same."""
    tags = {file.etag for file in FILES.values()}
    assert len(tags) == len({file.body for file in FILES.values()})
    assert {path: file.etag for path, file in static_files.__wrapped__().items()} == {
        path: file.etag for path, file in FILES.items()
    }


@pytest.mark.parametrize(
    ("if_none_match", "known"),
    [
        (None, False),
        ("", False),
        ('"other"', False),
        ("{tag}", True),
        ("W/{tag}", True),
        ('"other", {tag}', True),
        ("*", True),
        ("{tag}x", False),
    ],
)
def test_a_browser_that_has_the_file_is_recognised(if_none_match: str | None, known: bool) -> None:
    """`If-None-Match` with the file's tag, strong or weak, alone or among others, or `*`."""
    file: StaticFile = FILES["/console/"]
    given = None if if_none_match is None else if_none_match.replace("{tag}", file.etag)
    assert file.is_known_to(given) is known


def test_the_lab_knows_every_close_code() -> None:
    """The page's table has the server's codes and their names, no more and no less."""
    text = FILES["/console/pages/lab/codes.js"].body.decode()
    rows = re.findall(r'^  (\d{4}): (\["[^"]*"), ', text, re.MULTILINE)
    table = {int(code): json.loads(name + "]")[0] for code, name in rows}
    assert table == {int(code): REASONS[code] for code in CloseCode}


@pytest.mark.parametrize(
    ("accept", "compressed"),
    [
        (None, False),
        ("", False),
        ("identity", False),
        ("br", False),
        ("gzip", True),
        ("GZIP", True),
        ("deflate, gzip;q=0.5", True),
        ("*", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000, br", False),
    ],
)
def test_who_accepts_gzip_gets_it(accept: str | None, compressed: bool) -> None:
    """By `Accept-Encoding`, a weight of 0 being a no; unpacked it is the same file."""
    file = FILES["/console/app.js"]
    body, headers = file.encoded(accept)
    assert (dict(headers).get(b"Content-Encoding") == b"gzip") is compressed
    assert (gzip.decompress(body) if compressed else body) == file.body


def test_small_files_are_not_compressed() -> None:
    """What gzip would hardly make shorter is sent as it is, and the rest shorter by a third at least."""
    for path, file in FILES.items():
        if file.gzipped is not None:
            assert len(file.gzipped) < 0.67 * len(file.body), path
        else:
            assert len(file.body) <= 512, path
