"""Presence over HTTP: members of channels, users online, devices, services with keys of their own."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import trio
from support.client import RawClient
from support.site import SECRET, Site, configured, listening_site

from tidings.server.brokers.base import BrokerUnavailable
from tidings.server.config import Auth, Http
from tidings.server.config.channels import ChannelRule, Presence

KEY = "a-key-of-the-tests"
BILLING, REPORTS = "key-of-billing", "key-of-reports"
ONLINE = "/api/v1/users/online"


@pytest.fixture
async def api_site() -> AsyncIterator[Site]:
    """A server on a real port, where rooms tell who joins and who has left leaves at once."""
    config = configured(
        auth=Auth(
            secret=SECRET, api_keys=(KEY,), service_keys=(f"billing={BILLING}", f"reports={REPORTS}")
        ),
        http=Http(channels_page=50),
        presence=Presence(grace=0.0),
        channels={"room:*": ChannelRule(join_leave=True)},
    )
    with trio.fail_after(30):
        async with listening_site(config) as site:
            yield site


def _refusal(response: httpx.Response) -> tuple[int, str, str]:
    error = response.json()["error"]
    return response.status_code, error["code"], error["message"]


async def _members(api: httpx.AsyncClient, channel: str) -> Any:
    return (await api.get(f"/api/v1/presence/{channel}")).json()


async def test_who_comes_in_by_a_key_is_not_revoked(api_site: Site, api: httpx.AsyncClient) -> None:
    """A revocation would end nothing: it is refused, and says what does."""
    response = await api.post("/api/v1/tokens/revoke", json={"user_id": "service:billing"})
    status, code, message = _refusal(response)
    assert (status, code) == (400, "invalid_data")
    assert "auth.service_keys" in message
    assert "`$.user_id`" in message
    assert len(api_site.server.context.authenticator.revocations) == 0


async def test_members_of_a_channel_are_listed(
    api_site: Site, api: httpx.AsyncClient, alice: RawClient
) -> None:
    """Each user once, by user id, with name and kind; a channel that nobody is in has none."""
    assert await _members(api, "room:a") == {"channel": "room:a", "members": []}
    await alice.command("join_room", {"room": "a"})
    async with aclosing(await api_site.connect("aaron", username="Aaron Ä.")) as aaron:
        await aaron.command("join_room", {"room": "a"})
        assert await _members(api, "room:a") == {
            "channel": "room:a",
            "members": [
                {"user_id": "aaron", "username": "Aaron Ä.", "kind": "user"},
                {"user_id": "alice", "username": "alice", "kind": "user"},
            ],
        }
    while len((await _members(api, "room:a"))["members"]) > 1:
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("channel", ["user:alice", "role:x", "group:g", "all"])
async def test_a_channel_without_presence_says_what_to_set(api: httpx.AsyncClient, channel: str) -> None:
    """403, and the key of the policy that would change it."""
    status, code, message = _refusal(await api.get(f"/api/v1/presence/{channel}"))
    assert (status, code) == (403, "forbidden")
    kind = channel.partition(":")[0]
    assert f'[channels."{kind}:*"]' in message or '[channels."all"]' in message
    assert "presence = true" in message


@pytest.mark.parametrize("channel", ["room", "room:", "room:a b", "é", "*", "room:" + "x" * 129, "a\n"])
async def test_what_is_no_channel_is_refused(api: httpx.AsyncClient, channel: str) -> None:
    """400 that names the parameter."""
    status, code, message = _refusal(await api.get(f"/api/v1/presence/{quote(channel)}"))
    assert (status, code) == (400, "invalid_data")
    assert message.startswith("channel: ")


async def test_a_broker_that_cannot_answer_is_503(
    api_site: Site, api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the broker's own words, for members as for devices."""

    async def fail(*_: object) -> Any:
        raise BrokerUnavailable("the connection is lost")

    broker = api_site.server.context.presence._broker
    monkeypatch.setattr(broker, "presence", fail)
    monkeypatch.setattr(broker, "devices", fail)
    for path in ("/api/v1/presence/room:a", "/api/v1/users/alice/presence"):
        response = await api.get(path)
        assert _refusal(response) == (503, "unavailable", "the connection is lost")
        assert "retry-after" in response.headers


async def test_users_online_are_listed(api_site: Site, api: httpx.AsyncClient, alice: RawClient) -> None:
    """With their connections and devices, page by page, by prefix and by kind."""
    phone = await api_site.open()
    assert (await phone.handshake("/ws?device=phone", token=api_site.token("alice")))[0] == 101
    async with aclosing(phone), aclosing(await api_site.connect("bob")):
        assert (await phone.receive_json())["type"] == "connected"
        first = (await api.get(ONLINE, params={"limit": 1})).json()
        assert first == {
            "users": [
                {
                    "user_id": "alice",
                    "username": "alice",
                    "kind": "user",
                    "connections": 2,
                    "devices": ["phone"],
                }
            ],
            "next": "alice",
        }
        second = (await api.get(ONLINE, params={"limit": 1, "after": "alice"})).json()
        assert ([one["user_id"] for one in second["users"]], second["next"]) == (["bob"], None)
        for query, expected in (({"prefix": "b"}, ["bob"]), ({"kind": "user"}, ["alice", "bob"])):
            found = (await api.get(ONLINE, params=query)).json()["users"]
            assert [one["user_id"] for one in found] == expected
        assert (await api.get(ONLINE, params={"kind": "device"})).json() == {"users": [], "next": None}


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("limit=0", "limit"),
        ("limit=51", "limit"),
        ("kind=person", "kind"),
        ("prefix=" + "x" * 257, "prefix"),
        ("after=" + "x" * 257, "after"),
    ],
)
async def test_a_wrong_parameter_of_the_list_is_named(
    api: httpx.AsyncClient, query: str, said: str
) -> None:
    """400, and which one it was."""
    status, code, message = _refusal(await api.get(f"{ONLINE}?{query}"))
    assert (status, code) == (400, "invalid_data")
    assert message.startswith(f"{said}: ")


async def test_online_may_be_a_users_id(api_site: Site, api: httpx.AsyncClient) -> None:
    """The list at /users/online hides nothing of a user of that name."""
    async with aclosing(await api_site.connect("online")):
        for path in ("connections", "presence"):
            answer = (await api.get(f"/api/v1/users/online/{path}")).json()
            assert (answer["user_id"], answer["online"]) == ("online", True)
        assert (await api.post("/api/v1/users/online/disconnect")).json() == {"disconnected": 1}
    assert (await api.get(ONLINE)).status_code == 200


async def test_a_users_presence_tells_devices_and_last_seen(api_site: Site, api: httpx.AsyncClient) -> None:
    """Now while connected; afterwards the time of going, and the device with what it has acknowledged."""
    path = "/api/v1/users/alice/presence"
    assert (await api.get(path)).json() == {
        "user_id": "alice", "online": False, "last_seen": None, "devices": []
    }  # fmt: skip
    client = await api_site.open()
    assert (await client.handshake("/ws?device=desk", token=api_site.token("alice")))[0] == 101
    async with aclosing(client):
        await client.receive_json()
        body = {"channel": "user:alice", "event": "news", "payload": {}}
        offset = (await api.post("/api/v1/publish", json=body)).json()["offset"]
        assert (await client.command("ack", {"channel": "user:alice", "offset": offset}))["type"] == "acked"
        answer = (await api.get(path)).json()
        assert answer["online"] is True
        (device,) = answer["devices"]
        assert (device["device"], device["connected"], device["acknowledged"]) == ("desk", True, offset)
        assert device["last_seen"] == answer["last_seen"]
    while (answer := (await api.get(path)).json())["online"]:
        await trio.lowlevel.checkpoint()
    assert answer["devices"][0]["connected"] is False
    seen = datetime.fromisoformat(answer["last_seen"])
    assert abs((datetime.now(UTC) - seen).total_seconds()) < 30


async def test_a_service_is_online_by_its_requests(
    api_site: Site, api: httpx.AsyncClient, stranger: httpx.AsyncClient
) -> None:
    """With its key it may do what any key may, and is listed by its name; a key without a name is nobody."""
    assert (await api.get(ONLINE, params={"kind": "service"})).json()["users"] == []
    own = {"X-API-Key": BILLING}
    body = {"channel": "all", "event": "news", "payload": {}}
    assert (await stranger.post("/api/v1/publish", json=body, headers=own)).status_code == 200
    assert (await api.get(ONLINE)).json()["users"] == [
        {"user_id": "service:billing", "username": "billing", "kind": "service", "connections": 0, "devices": []}
    ]  # fmt: skip
    answer = (await api.get("/api/v1/users/service:billing/presence")).json()
    assert answer["online"] is True
    assert (await api.get("/api/v1/users/service:reports/presence")).json()["online"] is False


async def test_a_service_may_connect_with_its_key(api_site: Site, api: httpx.AsyncClient) -> None:
    """A handshake with X-API-Key is the service's: present in rooms, and with the rights of a key."""
    client = await api_site.open()
    async with aclosing(client):
        status, _, _ = await client.handshake(headers={"X-API-Key": REPORTS})
        assert status == 101
        connected = await client.receive_json()
        assert connected["data"]["user_id"] == "service:reports"
        assert connected["data"]["username"] == "reports"
        await client.command("join_room", {"room": "a"})
        assert (await _members(api, "room:a"))["members"] == [
            {"user_id": "service:reports", "username": "reports", "kind": "service"}
        ]
        published = await client.command("publish", {"channel": "all", "event": "e", "payload": {}})
        assert published["type"] == "published"
        (listed,) = (await api.get(ONLINE)).json()["users"]
        assert (listed["user_id"], listed["kind"], listed["connections"]) == (
            "service:reports",
            "service",
            1,
        )
