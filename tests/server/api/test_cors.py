"""CORS: which pages of other origins may read answers."""

import httpx
import pytest
from support.site import SECRET, configured, listening_site

from tidings.server.api.cors import Cors
from tidings.server.config import Auth
from tidings.server.http import Headers, Request

ORIGIN = "https://app.example.com"
KEY = "a-key-of-the-tests"


def _request(origin: str | None, method: str = "GET", **more: str) -> Request:
    headers = [] if origin is None else [(b"origin", origin.encode("latin-1", "replace"))]
    headers += [(name.replace("_", "-").encode(), value.encode()) for name, value in more.items()]
    return Request(method, "/api/v1/stats", headers, "1.1", "192.0.2.1", False)


def _said(headers: Headers) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in headers}


def _allowed(origins: tuple[str, ...], origin: str | None) -> tuple[str | None, bool, bool]:
    """Which origin may read, whether with credentials, and whether caches keep origins apart."""
    said = _said(Cors(origins).headers(_request(origin)))
    credentials = said.get("Access-Control-Allow-Credentials") == "true"
    return said.get("Access-Control-Allow-Origin"), credentials, said.get("Vary") == "Origin"


@pytest.mark.parametrize(
    ("origins", "origin", "answer"),
    [
        ((), ORIGIN, (None, False, False)),
        ((), None, (None, False, False)),
        ((ORIGIN,), ORIGIN, (ORIGIN, True, True)),
        ((ORIGIN,), None, (None, False, True)),
        ((ORIGIN,), "https://app.example.com:443", ("https://app.example.com:443", True, True)),
        ((ORIGIN,), "http://app.example.com", (None, False, True)),
        ((ORIGIN,), "https://app.example.com:8443", (None, False, True)),
        ((ORIGIN,), "https://app.example.com.evil.example", (None, False, True)),
        ((ORIGIN,), "https://evilapp.example.com", (None, False, True)),
        ((ORIGIN,), "https://app.example.com@evil.example", (None, False, True)),
        ((ORIGIN,), "https://аpp.example.com", (None, False, True)),
        ((ORIGIN,), "null", (None, False, True)),
        ((ORIGIN,), "*", (None, False, True)),
        ((ORIGIN,), "", (None, False, True)),
        ((ORIGIN,), f"{ORIGIN}, {ORIGIN}", (None, False, True)),
        (("*",), ORIGIN, ("*", False, False)),
        (("*",), "null", ("*", False, False)),
        (("*",), None, (None, False, False)),
        (("*", ORIGIN), ORIGIN, (ORIGIN, True, True)),
        (("*", ORIGIN), "https://other.example", ("*", False, True)),
    ],
)
def test_who_may_read(
    origins: tuple[str, ...], origin: str | None, answer: tuple[str | None, bool, bool]
) -> None:
    """A listed origin is named and may send credentials; `*` is never said together with credentials."""
    assert _allowed(origins, origin) == answer


def test_a_preflight_is_answered_for_who_is_welcome() -> None:
    """With the methods and headers that the API knows; for anybody else it is no preflight."""
    asked = _request(ORIGIN, "OPTIONS", access_control_request_method="POST")
    answer = Cors((ORIGIN,)).preflight(asked)
    assert answer is not None
    said = _said(answer)
    assert said["Access-Control-Allow-Origin"] == ORIGIN
    assert "POST" in said["Access-Control-Allow-Methods"].split(", ")
    assert {"Authorization", "Content-Type", "X-API-Key"} <= set(
        said["Access-Control-Allow-Headers"].split(", ")
    )
    assert int(said["Access-Control-Max-Age"]) > 0
    stranger = _request("https://evil.example", "OPTIONS", access_control_request_method="POST")
    assert Cors((ORIGIN,)).preflight(stranger) is None
    assert Cors((ORIGIN,)).preflight(_request(ORIGIN, "OPTIONS")) is None
    assert Cors((ORIGIN,)).preflight(_request(ORIGIN, access_control_request_method="POST")) is None


async def test_refusals_bear_the_headers_too(stranger: httpx.AsyncClient) -> None:
    """A page must be able to read why it was refused, whatever refused it."""
    for method, path, status in [
        ("GET", "/api/v1/stats", 401),
        ("GET", "/nothing", 404),
        ("DELETE", "/api/v1/stats", 405),
        ("POST", "/healthz", 405),
        ("GET", "/%ff", 400),
        ("GET", "/healthz", 200),
        ("GET", "/openapi.json", 200),
    ]:
        response = await stranger.request(method, path, headers={"Origin": ORIGIN})
        assert response.status_code == status
        assert response.headers.get_list("access-control-allow-origin") == [ORIGIN], path
        assert response.headers["access-control-allow-credentials"] == "true"
        assert response.headers["vary"] == "Origin"


async def test_what_the_front_door_refuses_in_the_applications_place_can_be_read_too(
    stranger: httpx.AsyncClient,
) -> None:
    """413 comes from below the application, and still tells a listed page why; another page learns nothing."""
    for origin, allowed in ((ORIGIN, [ORIGIN]), ("https://evil.example", [])):
        headers = {"Origin": origin, "X-API-Key": KEY, "Content-Type": "application/json"}
        large = b"[" + b" " * 2**20 + b"]"
        response = await stranger.post("/api/v1/publish", headers=headers, content=large)
        assert (response.status_code, response.json()["error"]["code"]) == (413, "too_large")
        assert response.headers.get_list("access-control-allow-origin") == allowed


async def test_a_browsers_dance(stranger: httpx.AsyncClient) -> None:
    """The preflight needs no credentials; the request behind it is answered and may be read."""
    asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST",
             "Access-Control-Request-Headers": "content-type,x-api-key"}  # fmt: skip
    preflight = await stranger.options("/api/v1/publish", headers=asked)
    assert (preflight.status_code, preflight.content) == (204, b"")
    assert preflight.headers["access-control-allow-origin"] == ORIGIN
    body = {"channel": "all", "event": "e", "payload": {}}
    headers = {"Origin": ORIGIN, "X-API-Key": KEY}
    answer = await stranger.post("/api/v1/publish", json=body, headers=headers)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == ORIGIN


async def test_a_foreign_pages_preflight_gets_no_leave(stranger: httpx.AsyncClient) -> None:
    """No CORS header at all: the browser stops there."""
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    response = await stranger.options("/api/v1/publish", headers=asked)
    assert not any(name.startswith("access-control-") for name in response.headers)


async def test_any_origin_never_comes_with_credentials() -> None:
    """With `*` configured every answer may be read by all, and by none with the visitor's login."""
    config = configured(auth=Auth(secret=SECRET, origins=("*",)))
    async with listening_site(config) as site:
        url = f"http://127.0.0.1:{site.port}"
        async with httpx.AsyncClient(base_url=url, verify=False) as client:
            response = await client.get("/api/v1/stats", headers={"Origin": "https://any.example"})
    assert response.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in response.headers
