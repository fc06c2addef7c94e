"""The static files: exact names, nothing else, under one policy."""

import json
import re
from html.parser import HTMLParser
from importlib.metadata import version
from urllib.parse import urljoin

import pytest

from tidings.protocol.close_codes import REASONS, CloseCode
from tidings.server.api.static import StaticFile, static_files

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
        "/lab",
        "/lab/",
        "/lab/index.html",
        "/docs/",
        "/docs/index.html",
        "/lab/../static.py",
        "/lab/..",
        "/lab//lab.js",
        "/LAB/lab.js",
        "/lab/lab.js\0",
        "lab/lab.js",
        "/static.py",
    ],
)
def test_only_exact_names_exist(path: str) -> None:
    """A path that is not exactly a file's is not there, however near it comes."""
    assert "/lab/lab.js" in FILES
    assert path not in FILES


@pytest.mark.parametrize("page", ["/", "/docs"])
def test_a_page_is_complete(page: str) -> None:
    """Whatever a page refers to on this server is served: as a static file, or at a path of the HTTP API."""
    references = _read(page)
    assert references.inline == []
    paths = {urljoin(page, address) for address in references.found if not address.startswith("#")}
    assert {path for path in paths if "/" in path[1:]} <= FILES.keys()
    assert {path for path in paths if "/" not in path[1:]} <= {"/", "/docs", "/openapi.json", "/metrics"}


@pytest.mark.parametrize("path", [path for path in FILES if path.endswith(".js")])
def test_a_module_imports_what_is_served(path: str) -> None:
    """Every import of every module is a file of ours."""
    imports = re.findall(r'from "([^"]+)"', FILES[path].body.decode())
    assert {urljoin(path, name) for name in imports} <= FILES.keys()


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


@pytest.mark.parametrize("page", ["/", "/docs"])
def test_the_version_is_filled_in(page: str) -> None:
    """A page says which version of the server it came with."""
    text = FILES[page].body.decode()
    assert f">{version('tidings')}<" in text
    assert "{{" not in text


def test_an_etag_names_the_content() -> None:
    """Two contents never share an ETag, and reading again gives the same ones."""
    tags = {file.etag for file in FILES.values()}
    assert len(tags) == len({file.body for file in FILES.values()})
    assert {path: file.etag for path, file in static_files().items()} == {
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
    file: StaticFile = FILES["/"]
    given = None if if_none_match is None else if_none_match.replace("{tag}", file.etag)
    assert file.is_known_to(given) is known


def test_the_lab_knows_every_close_code() -> None:
    """The page's table has the server's codes and their names, no more and no less."""
    text = FILES["/lab/codes.js"].body.decode()
    rows = re.findall(r'^  (\d{4}): (\["[^"]*"), ', text, re.MULTILINE)
    table = {int(code): json.loads(name + "]")[0] for code, name in rows}
    assert table == {int(code): REASONS[code] for code in CloseCode}
