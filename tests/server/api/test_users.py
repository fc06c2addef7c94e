"""A user's connections over HTTP: seeing them, closing them, taking them out of a channel."""

from typing import Any
from urllib.parse import quote

import httpx
import pytest
from support.client import RawClient
from support.site import Site

USERS = "/api/v1/users"


async def test_a_users_connections_are_listed(
    api_site: Site, api: httpx.AsyncClient, alice: RawClient
) -> None:
    """Each with what an operator asks first: since when, from where, in which channels, how far behind."""
    await alice.command("join_room", {"room": "lobby"})
    answer = (await api.get(f"{USERS}/alice/connections")).json()
    assert (answer["user_id"], answer["online"], len(answer["connections"])) == ("alice", True, 1)
    (connection,) = answer["connections"]
    (living,) = api_site.server.context.hub.connections_of("alice")
    assert connection["connection_id"] == living.connection_id
    assert (connection["dialect"], connection["peer"]) == ("native", "127.0.0.1")
    assert {"all", "user:alice", "room:lobby"} <= set(connection["channels"])
    assert connection["connected_seconds"] >= 0
    assert connection["outbox_bytes"] == 0


async def test_nobody_is_unknown(api: httpx.AsyncClient) -> None:
    """A user without a connection is offline, which is no error: the server keeps no list of users."""
    answer = await api.get(f"{USERS}/nobody/connections")
    assert answer.status_code == 200
    assert answer.json() == {"user_id": "nobody", "online": False, "connections": []}


async def test_disconnecting_a_user_closes_all_their_connections(
    api_site: Site, api: httpx.AsyncClient, alice: RawClient, bob: RawClient
) -> None:
    """With 3503 and its meaning by default, behind what was published before; nobody else is touched."""
    await api.post("/api/v1/publish", json={"channel": "user:alice", "event": "last", "payload": {}})
    answer = await api.post(f"{USERS}/alice/disconnect")
    assert answer.json() == {"disconnected": 1}
    messages, closed = await alice.until_closed()
    assert [message["type"] for message in messages] == ["last", "disconnect"]
    assert closed.code == 3503
    assert (await bob.command("ping"))["type"] == "pong"
    assert (await api.post(f"{USERS}/alice/disconnect")).json() == {"disconnected": 0}


async def test_the_close_code_and_reason_can_be_chosen(api: httpx.AsyncClient, alice: RawClient) -> None:
    """The close frame bears what the operator says."""
    await api.post(f"{USERS}/alice/disconnect", json={"code": 3508, "reason": "one login only"})
    closed = await alice.closed()
    assert (closed.code, closed.reason) == (3508, "one login only")


@pytest.mark.parametrize(
    "body",
    [
        {"code": 1005},  # never stands in a close frame
        {"code": 1006},
        {"code": 99},
        {"code": "3503"},
        {"code": 3503.5},
        {"code": None},
        {"reason": "x" * 124},
        {"reason": "é" * 62},  # 124 bytes of UTF-8
        {"reason": 5},
        [],
    ],
    ids=str,
)
async def test_what_no_close_frame_holds_is_refused(
    api: httpx.AsyncClient, alice: RawClient, body: Any
) -> None:
    """400, and the connection goes on."""
    response = await api.post(f"{USERS}/alice/disconnect", json=body)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_data")
    assert (await alice.command("ping"))["type"] == "pong"


async def test_a_reason_of_123_bytes_fits(api: httpx.AsyncClient, alice: RawClient) -> None:
    """The longest reason that a close frame holds is one."""
    await api.post(f"{USERS}/alice/disconnect", json={"reason": "x" * 123})
    assert (await alice.closed()).reason == "x" * 123


async def test_a_user_is_taken_out_of_a_channel(
    api: httpx.AsyncClient, alice: RawClient, bob: RawClient
) -> None:
    """They are told, and nothing of the channel reaches them any more; the others stay."""
    for client in (alice, bob):
        await client.command("join_room", {"room": "lobby"})
    answer = await api.post(f"{USERS}/alice/unsubscribe", json={"channel": "room:lobby"})
    assert answer.json() == {"unsubscribed": 1}
    for channel in ("room:lobby", "all"):
        await api.post("/api/v1/publish", json={"channel": channel, "event": "news", "payload": {}})
    assert (await alice.receive_json())["type"] == "unsubscribed"
    assert (await alice.receive_json())["channel"] == "all"
    assert (await bob.receive_json())["channel"] == "room:lobby"
    again = await api.post(f"{USERS}/alice/unsubscribe", json={"channel": "room:lobby"})
    assert again.json() == {"unsubscribed": 0}


@pytest.mark.parametrize("user_id", ["a b", "élise", "*", "x" * 129, "a\n", "a\x00", "a;b", "a\\b"])
@pytest.mark.parametrize("path", ["connections", "disconnect", "unsubscribe"])
async def test_a_user_id_outside_the_grammar_is_refused(
    api: httpx.AsyncClient, user_id: str, path: str
) -> None:
    """400 that names the parameter, on every route of a user."""
    target = f"{USERS}/{quote(user_id)}/{path}"
    if path == "connections":
        response = await api.get(target)
    else:
        body = {"channel": "all"} if path == "unsubscribe" else {}
        response = await api.post(target, json=body)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_data")
    assert "user_id" in response.json()["error"]["message"]


async def test_a_user_id_may_be_an_address(api_site: Site, api: httpx.AsyncClient) -> None:
    """`@` and `+` belong to the grammar, percent-encoded or not."""
    client = await api_site.connect("al+work@example.com")
    try:
        for written in ("al+work@example.com", "al%2Bwork%40example.com"):
            answer = (await api.get(f"{USERS}/{written}/connections")).json()
            assert (answer["user_id"], answer["online"]) == ("al+work@example.com", True)
    finally:
        await client.aclose()


@pytest.mark.parametrize("user_id", ["a%2Fb", "..%2F..%2Fetc", "%2e%2e"])
async def test_an_encoded_slash_is_no_way_to_another_path(api: httpx.AsyncClient, user_id: str) -> None:
    """What decodes to more segments, or to dots, is no user and no other file."""
    response = await api.get(f"{USERS}/{user_id}/connections")
    assert response.status_code in {200, 404}
    if response.status_code == 200:
        assert response.json()["online"] is False
