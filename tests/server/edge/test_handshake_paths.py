"""Paths that name a user: whose they are, what HTTP keeps of them, and how they are written."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import pytest
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from litestar import get, post
from litestar.params import FromPath
from support.served import served
from support.site import Site, configured

from tidings.protocol.channels import USER_ID
from tidings.server.app import Server
from tidings.server.config import Config, ConfigError
from tidings.server.edge.endpoints import Endpoints, check_path
from tidings.server.edge.endpoints import served as served_endpoints
from tidings.server.extension import App
from tidings.server.http import Request

PATH = "/api/v1/ws/{user_id}"


# --- the table ---------------------------------------------------------------------------------------


def found(table: Mapping[str, str], target: str) -> tuple[str, str | None] | None:
    """What a table says of a request's target."""
    return Endpoints(table).find(Request("GET", target, [], "1.1", "192.0.2.1", secure=False))


TABLE = {
    "/ws": "one",
    PATH: "two",
    "/api/v1/ws/exact": "three",
    "/{user_id}/ws": "four",
    "/ws/{user_id}": "five",
}


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/ws", ("one", None)),
        ("/%77s?x=/api/v1/ws/a", ("one", None)),
        ("/api/v1/ws/alice", ("two", "alice")),
        ("/api/v1/ws/alice?token=a/b", ("two", "alice")),
        ("/api/v1/ws/alice%40example.com", ("two", "alice@example.com")),
        ("/api/v1/ws/a+b@c", ("two", "a+b@c")),
        ("/api/v1/ws/a%2Bb", ("two", "a+b")),
        ("/api/v1/w%73/stats", ("two", "stats")),
        # Once, not twice.
        ("/api/v1/ws/a%2540b", ("two", "a%40b")),
        # A slash that is part of a name; no name at all; what is no UTF-8.
        ("/api/v1/ws/a%2Fb", ("two", "a/b")),
        ("/api%2Fv1/ws/a", None),
        ("/api/v1/ws/", ("two", "")),
        ("/api/v1/ws/%ff", ("two", "\ufffd")),
        ("/api/v1/ws/{user_id}", ("two", "{user_id}")),
        # An exact path comes first, then the first template.
        ("/api/v1/ws/exact", ("three", None)),
        ("/ws/ws", ("four", "ws")),
        ("/ws/bob", ("five", "bob")),
        ("/api/v1/ws", None),
        ("/api/v1/ws/a/b", None),
        ("/api/v2/ws/a", None),
        ("/API/v1/ws/a", None),
        ("/", None),
        ("*", None),
    ],
)
def test_a_target_is_matched_as_it_was_sent(target: str, expected: tuple[str, str | None] | None) -> None:
    """Segments are parted first and decoded then; only the path counts; exact paths come first."""
    assert found(TABLE, target) == expected


@given(st.from_regex(USER_ID, fullmatch=True), st.sampled_from(["", "@+:", "@:"]))
def test_any_user_id_comes_through(user: str, safe: str) -> None:
    """However much of it a client encodes, the id is the same."""
    assert found({PATH: "knowledge"}, "/api/v1/ws/" + quote(user, safe=safe)) == ("knowledge", user)


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40))
def test_any_target_is_matched_or_not(text: str) -> None:
    """No target makes it raise, and whoever is found in one is not decoded twice."""
    endpoint = found({PATH: "knowledge"}, "/api/v1/ws/" + text)
    segment = text.partition("?")[0]
    assert (endpoint is not None) is ("/" not in segment)
    if endpoint is not None and "%" not in segment:
        assert endpoint == ("knowledge", segment)


@pytest.mark.parametrize(
    "path",
    [
        "/ws/{user}",
        "/ws/{user_id}/{user_id}",
        "/ws/u-{user_id}",
        "/ws/{user_id",
        "/ws/user_id}",
        "/{}",
        "/{USER_ID}",
    ],
)
def test_other_braces_are_refused_with_the_cure(path: str) -> None:
    """At the start, naming the path and how one is written: it would fit nobody."""
    with pytest.raises(
        ConfigError, match=r"endpoints: .*whole segment, as in /api/v1/ws/\{user_id\}"
    ) as caught:
        Server(configured(endpoints={path: "native"}))
    assert path in str(caught.value)


def test_paths_without_braces_and_templates_are_taken() -> None:
    """The template may stand anywhere, be it the whole path."""
    for path in ("/", "/ws", PATH, "/{user_id}", "/{user_id}/ws", "/{user_id}/"):
        check_path(path)


def test_a_path_of_an_unknown_dialect_is_refused_with_the_nearest() -> None:
    """One that is there only where its app runs is no mistake: the defaults name such paths."""
    with pytest.raises(ConfigError, match=r"/x: no dialect 'line_bord'; did you mean 'line_board'"):
        Server(configured(endpoints={"/x": "line_bord"}))
    Server(configured(endpoints={"/x": "line_board", "/y/{user_id}": "line_board_device"}))


def test_what_is_served_is_what_has_an_app() -> None:
    """Paths of a dialect that an app lets in are there where one of the apps keeps its door."""
    server = Server(configured())
    table, dialects = Config().endpoints, server.context.dialects
    device, dashboard = {"/ws/device": "line_board_device"}, {"/ws/dashboard": "line_board"}
    others = {"/ws": "native", PATH: "knowledge"}
    assert table == others | device | dashboard
    assert served_endpoints(table, dialects, ()) == others
    assert served_endpoints(table, dialects, {"line_board"}) == others | dashboard
    assert served_endpoints(table, dialects, {"line_board", "line_board_device"}) == table


# --- handshakes --------------------------------------------------------------------------------------

app = App("pages")


@get("/api/v1/ws/stats")
async def stats() -> dict[str, str]:
    """What HTTP answers beside the template."""
    return {"said": "stats"}


@post("/api/v1/ws/notify/{user_id:str}")
async def notify(user_id: FromPath[str]) -> dict[str, str]:
    """Below it."""
    return {"said": user_id}


app.routes(stats, notify)


@asynccontextmanager
async def serving(endpoints: Mapping[str, str] | None = None) -> AsyncIterator[Site]:
    """A server with HTTP routes below the path of the template."""
    config = configured() if endpoints is None else configured(endpoints=endpoints)
    async with served(Server(config, apps=[app])) as site:
        yield site


@pytest.fixture
async def pages(autojump_clock: trio.testing.MockClock) -> AsyncIterator[Site]:
    """The same with the built-in endpoints, in virtual time."""
    async with serving() as site:
        yield site


async def asked(site: Site, path: str, *, token: str | None = None, **more: Any) -> tuple[int, Any]:
    """How a handshake is answered: the status and, of a refusal, the code."""
    client = await site.open()
    status, headers, body = await client.handshake(path, token=token, **more)
    assert (status == 401) is ("www-authenticate" in headers)
    return status, None if body is None else body["error"]["code"]


async def test_the_paths_user_is_the_tokens(pages: Site) -> None:
    """By default on S2's path: one's own opens; another's is refused before the upgrade, and nobody's token is."""
    token = pages.token("alice@example.com")
    for name in ("alice@example.com", "alice%40example.com", "%61lice@example.com"):
        assert await asked(pages, f"/api/v1/ws/{name}", token=token) == (101, None)
    for name in ("bob", "Alice@example.com", "alice", "alice@example.com."):
        assert await asked(pages, f"/api/v1/ws/{name}", token=token) == (403, "forbidden"), name
    assert await asked(pages, "/api/v1/ws/bob", token=pages.token("root", roles=["admin"])) == (
        403,
        "forbidden",
    )
    assert await asked(pages, "/api/v1/ws/bob") == (401, "unauthorized")
    assert await asked(pages, "/api/v1/ws/bob?token=") == (401, "unauthorized")
    assert await asked(pages, "/api/v1/ws/bob", token="no-token") == (401, "unauthorized")
    assert not pages.server.context.hub.connections_of("bob")


async def test_its_dialect_is_knowledge(pages: Site) -> None:
    """Its first word is in S2's envelope, and about the path's user."""
    client = await pages.open()
    assert (await client.handshake("/api/v1/ws/alice", token=pages.token("alice")))[0] == 101
    connected = await client.receive_json()
    assert connected["type"] == "connected"
    assert connected["data"]["user_id"] == "alice"
    assert "inbox" not in connected["data"]
    assert len(connected["timestamp"]) == len("2026-02-09T21:00:00Z")


async def test_whatever_dialect_is_chosen_the_path_is_its_users(pages: Site) -> None:
    """By `?dialect=` or by subprotocol: another's token is refused, and it must come with the handshake."""
    native = {"Sec-WebSocket-Protocol": "tidings.v1.json"}
    token = pages.token("alice")
    for path, more in (
        ("/api/v1/ws/{}?dialect=native", {}),
        ("/api/v1/ws/{}?dialect=ginforge", {}),
        ("/api/v1/ws/{}", {"headers": native}),
    ):
        assert await asked(pages, path.format("alice"), token=token, **more) == (101, None)
        assert await asked(pages, path.format("bob"), token=token, **more) == (403, "forbidden")
    assert await asked(pages, "/api/v1/ws/alice?dialect=native") == (401, "unauthorized")
    assert await asked(pages, "/api/v1/ws/alice", headers=native) == (401, "unauthorized")


@pytest.mark.parametrize(
    "name", ["%ff", "a%2Fb", "a%20b", "%00", "", "a" * 129, "%C3%A9", "a%0D%0Ab", "{user_id}"]
)
async def test_what_can_be_nobodys_id_is_refused(pages: Site, name: str) -> None:
    """With 400, whoever asks."""
    assert await asked(pages, f"/api/v1/ws/{name}", token=pages.token("alice")) == (400, "bad_request")


async def test_strangers_do_not_learn_who_has_too_many_connections(autojump_clock: object) -> None:
    """403 comes before 429."""
    async with serving() as site:
        for _ in range(site.server.context.config.limits.connections_per_user):
            status, _ = await asked(site, "/api/v1/ws/alice", token=site.token("alice"))
            assert status == 101
            await trio.testing.wait_all_tasks_blocked()
        assert await asked(site, "/api/v1/ws/alice", token=site.token("alice")) == (429, "limit_reached")
        assert await asked(site, "/api/v1/ws/bob", token=site.token("alice")) == (403, "forbidden")


async def test_http_below_the_same_path_goes_on(pages: Site) -> None:
    """Only an upgrade is a WebSocket: a user called `stats` connects, and `stats` is answered by its route."""
    assert await asked(pages, "/api/v1/ws/stats", token=pages.token("stats")) == (101, None)
    for request, status, said in (
        (b"GET /api/v1/ws/stats HTTP/1.1\r\nHost: a\r\n\r\n", 200, {"said": "stats"}),
        (
            b"POST /api/v1/ws/notify/bob HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
            201,
            {"said": "bob"},
        ),
        (b"GET /api/v1/ws/alice HTTP/1.1\r\nHost: a\r\n\r\n", 404, None),
    ):
        client = await pages.open()
        await client.send(request)
        answered, _, body = await client.response()
        assert answered == status
        assert said is None or body == said
    # Below the template's path nothing is one.
    assert await asked(pages, "/api/v1/ws/notify/bob", token=pages.token("bob")) == (404, "not_found")


async def test_an_exact_path_takes_no_user(autojump_clock: object) -> None:
    """It comes first, and whoever has a token, or says so later, may connect there."""
    async with serving({PATH: "knowledge", "/api/v1/ws/all": "native"}) as site:
        assert await asked(site, "/api/v1/ws/all", token=site.token("alice")) == (101, None)
        assert await asked(site, "/api/v1/ws/all") == (101, None)
        assert await asked(site, "/api/v1/ws/all/", token=site.token("alice")) == (404, "not_found")


async def test_a_dialects_own_words_refuse_the_handshake(autojump_clock: object) -> None:
    """As document S4 writes them, for a missing token (an empty one is none) and a bad one, and nothing else."""
    async with serving({"/ws": "ginforge", PATH: "ginforge"}) as site:
        for path, told in (
            ("/ws", "未提供令牌"),
            ("/ws?token=", "未提供令牌"),
            ("/ws?token=bad", "令牌无效"),
            ("/ws?dialect=ginforge", "未提供令牌"),
            ("/api/v1/ws/alice", "未提供令牌"),
            ("/api/v1/ws/alice?token=bad", "令牌无效"),
        ):
            status, headers, body = await (await site.open()).handshake(path)
            assert (status, body) == (401, {"error": told})
            assert headers["www-authenticate"] == "Bearer"
            assert headers["content-type"] == "application/json"
        for scheme, told in (
            ("Bearer", "未提供令牌"),
            ("Basic eDp5", "未提供令牌"),
            ("Bearer bad", "令牌无效"),
        ):
            _, _, body = await (await site.open()).handshake("/ws", headers={"Authorization": scheme})
            assert body == {"error": told}
        assert await asked(site, "/ws?dialect=native&token=bad") == (401, "unauthorized")
        assert await asked(site, "/api/v1/ws/bob", token=site.token("alice")) == (403, "forbidden")
        assert await asked(site, "/ws", token=site.token("alice")) == (101, None)
