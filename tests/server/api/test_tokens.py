"""Revoking tokens over HTTP, against a listening server and living connections."""

import time
from contextlib import aclosing
from typing import Any

import httpx
import pytest
from support.client import RawClient
from support.site import Site

from tidings.server.revocations import NotStored, Revocation

REVOKE = "/api/v1/tokens/revoke"
CONNECTIONS = "/api/v1/users/alice/connections"


def error(response: httpx.Response) -> tuple[int, str]:
    """Status and code of a refusal."""
    return response.status_code, response.json()["error"]["code"]


async def test_a_user_is_out_at_once_and_may_come_back(
    api_site: Site, api: httpx.AsyncClient, alice: RawClient, bob: RawClient
) -> None:
    """Connections are closed, the old token is refused, and a login right after the answer is not."""
    old = api_site.token("alice")
    before = time.time()
    response = await api.post(REVOKE, json={"user_id": "alice"})
    assert response.status_code == 200
    answer = response.json()
    assert answer["closed"] == 1
    assert before + 5 < answer["accepted_from"] <= time.time() + 6
    closed = await alice.closed()
    assert (closed.code, closed.reason) == (3500, "token revoked")
    async with aclosing(await api_site.open()) as client:
        assert (await client.handshake(token=old))[0] == 401
    async with aclosing(await api_site.connect("alice")) as again:
        assert (await again.command("ping"))["type"] == "pong"
    assert (await bob.command("ping"))["type"] == "pong"
    assert (await api.post(REVOKE, json={"user_id": "nobody"})).json()["closed"] == 0


async def test_one_token_and_one_login_are_out_for_good(api_site: Site, api: httpx.AsyncClient) -> None:
    """Only what is named, over HTTP as over WebSocket, and it never becomes good again."""
    auth = api_site.server.context.authenticator
    tokens = [api_site.token("root", roles=["admin"], session_id=sid) for sid in ("s1", "s1", "s2")]
    first: Any = auth.verify(tokens[0])

    async def statuses() -> list[int]:
        return [
            (await api.get(CONNECTIONS, headers={"Authorization": f"Bearer {token}"})).status_code
            for token in tokens
        ]

    assert await statuses() == [200, 200, 200]
    response = await api.post(REVOKE, json={"token_id": first.token_id, "expires_at": first.expires_at})
    assert response.json() == {"closed": 0, "accepted_from": None}
    assert await statuses() == [401, 200, 200]
    refused = await api.get(CONNECTIONS, headers={"Authorization": f"Bearer {tokens[0]}"})
    assert refused.json()["error"]["message"] == "the token was revoked"
    assert (await api.post(REVOKE, json={"session_id": "s1"})).status_code == 200
    assert await statuses() == [401, 401, 200]


async def test_what_was_issued_later_is_spared(api: httpx.AsyncClient, alice: RawClient) -> None:
    """`issued_before` in the past ends nobody who came after it."""
    body = {"user_id": "alice", "issued_before": time.time() - 100.5}
    assert (await api.post(REVOKE, json=body)).json()["closed"] == 0
    assert (await alice.command("ping"))["type"] == "pong"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "exactly one of token_id, session_id, user_id; got none"),
        ({"token_id": "a", "user_id": "b"}, "got token_id and user_id"),
        ({"token_id": "a", "session_id": "b", "user_id": "c"}, "got token_id and session_id and user_id"),
        ({"issued_before": 5}, "got none"),
        ({"token_id": ""}, "`$.token_id`"),
        ({"session_id": "x" * 129}, "`$.session_id`"),
        ({"user_id": "a b"}, "Expected a user id"),
        ({"user_id": None}, "`$.user_id`"),
        ({"user_id": 7}, "`$.user_id`"),
        ({"user_id": "a", "issued_before": -1}, "`$.issued_before`"),
        # Milliseconds.
        ({"user_id": "a", "issued_before": 1_800_000_000_000}, "`$.issued_before`"),
        ({"user_id": "a", "issued_before": "now"}, "`$.issued_before`"),
        ({"user_id": "a", "expires_at": 1.5}, "`$.expires_at`"),
        ({"user_id": "a", "expires_at": -1}, "`$.expires_at`"),
        ({"user": "a"}, "unknown field `user`"),
    ],
)
async def test_an_ill_formed_request_is_refused(
    api_site: Site, api: httpx.AsyncClient, body: dict[str, Any], said: str
) -> None:
    """The field is named, and nothing is revoked."""
    response = await api.post(REVOKE, json=body)
    assert error(response) == (400, "invalid_data")
    assert said in response.json()["error"]["message"]
    assert len(api_site.server.context.authenticator.revocations) == 0


async def test_a_token_that_has_ended_is_not_revoked(api_site: Site, api: httpx.AsyncClient) -> None:
    """An end in the past would be forgotten at once, and the token that it was meant for with it."""
    response = await api.post(REVOKE, json={"token_id": "a", "expires_at": 5})
    assert error(response) == (409, "conflict")
    assert "expires_at lies in the past" in response.json()["error"]["message"]
    assert len(api_site.server.context.authenticator.revocations) == 0


async def test_only_admins_revoke(api_site: Site, stranger: httpx.AsyncClient, alice: RawClient) -> None:
    """Not even their own tokens: without credentials 401, with a user's 403, and nobody is closed."""
    assert error(await stranger.post(REVOKE, json={"user_id": "alice"})) == (401, "unauthorized")
    headers = {"Authorization": f"Bearer {api_site.token('alice')}"}
    assert error(await stranger.post(REVOKE, json={"user_id": "alice"}, headers=headers)) == (
        403,
        "forbidden",
    )
    assert (await alice.command("ping"))["type"] == "pong"


async def test_an_admin_may_revoke_the_very_token_in_hand(api_site: Site, api: httpx.AsyncClient) -> None:
    """The answer comes; the next request with it is refused."""
    headers = {"Authorization": f"Bearer {api_site.token('root', roles=['admin'])}"}
    assert (await api.post(REVOKE, json={"user_id": "root"}, headers=headers)).status_code == 200
    assert error(await api.post(REVOKE, json={"user_id": "root"}, headers=headers)) == (401, "unauthorized")


class _Full:
    """A store whose disk is full."""

    async def add(self, revocation: Revocation) -> None:
        raise NotStored(f"no room for {revocation.kind}")

    async def load(self) -> list[Revocation]:
        return []


async def test_what_cannot_be_stored_is_no_promise(
    api_site: Site, api: httpx.AsyncClient, alice: RawClient
) -> None:
    """503, to be repeated; the connection is closed all the same."""
    api_site.server.messaging.revoker._store = _Full()
    response = await api.post(REVOKE, json={"user_id": "alice"})
    assert error(response) == (503, "unavailable")
    assert "no room for user" in response.json()["error"]["message"]
    assert response.headers["Retry-After"]
    assert (await alice.closed()).code == 3500
