"""Tokens on living connections: revoked, refreshed and ended, over real sockets and a restart."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import trio
from support.process import Running, running, serve
from support.site import SECRET, Site, configured, listening_site
from support.tasks import unharmed
from support.tokens import forged

from tidings.server.auth import Authenticator
from tidings.server.config import Auth, Server
from tidings.server.identity import Identity

KEY = "a-key-of-the-tests"
REVOKE = "/api/v1/tokens/revoke"


@asynccontextmanager
async def back_end(port: int) -> AsyncIterator[httpx.AsyncClient]:
    """A back end with an API key."""
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}", verify=False, headers={"X-API-Key": KEY}
    ) as client:
        yield client


async def test_revoked_and_killed_it_stays_revoked(tmp_path: Path) -> None:
    """What was answered is in force again after kill -9, for handshakes, HTTP and messages alike."""
    issuer = Authenticator(Auth(secret=SECRET))
    out = issuer.issue("alice", ttl=600, session_id="stolen", roles=["admin"])
    kept = issuer.issue("alice", ttl=600, session_id="kept", roles=["admin"])
    env = {
        "TIDINGS_AUTH_SECRET": SECRET,
        "TIDINGS_AUTH_API_KEYS": KEY,
        "TIDINGS_SERVER_DATA_DIR": str(tmp_path / "data"),
    }
    async with running(*serve(), folder=tmp_path, env=env) as server:
        thief, owner = await server.connect(out), await server.connect(kept)
        async with back_end(server.port) as api:
            answer = (await api.post(REVOKE, json={"session_id": "stolen"})).json()
        assert answer == {"closed": 1, "accepted_from": None}
        closed = await thief.closed()
        assert (closed.code, closed.reason) == (3500, "token revoked")
        assert (await owner.command("ping"))["type"] == "pong"
        server.process.kill()
        await server.process.wait()
        await thief.aclose()
        await owner.aclose()
    async with running(*serve(), folder=tmp_path, env=env) as server:
        await _is_out(server, out)
        again = await server.connect(kept)
        answer = await again.command("refresh", {"token": out})
        assert (answer["type"], answer["data"]["code"]) == ("error", "unauthorized")
        assert (await again.command("ping"))["type"] == "pong"
        await again.aclose()


async def _is_out(server: Running, token: str) -> None:
    client = await server.open()
    status, _, body = await client.handshake(token=token)
    assert (status, body["error"]["message"]) == (401, "the token was revoked")
    await client.aclose()
    async with back_end(server.port) as api:
        bearer = {"Authorization": f"Bearer {token}"}
        assert (await api.get("/api/v1/stats", headers=bearer)).status_code == 401
    client = await server.open()
    assert (await client.handshake())[0] == 101
    answer = await client.command("authenticate", {"token": token})
    assert answer["data"]["message"] == "the token was revoked"
    assert (await client.closed()).code == 3500
    await client.aclose()


def identity_of(site: Site, user: str = "alice") -> Identity:
    """Of a user's only connection."""
    (connection,) = site.server.context.hub.connections_of(user)
    return connection.identity


async def test_a_refresh_keeps_the_login(live_site: Site) -> None:
    """The newer token of the same login is taken, and says when that was; another login's is refused."""
    async with unharmed(live_site) as peers:
        client = await peers.connect("alice", session_id="s1")
        before = identity_of(live_site)
        renewed = live_site.token(
            "alice", session_id="s1", ttl=7200, logged_in_ms=before.logged_in_ms, roles=["editor"]
        )
        answer = await client.command("refresh", {"token": renewed})
        assert answer["type"] == "refreshed"
        after = identity_of(live_site)
        assert after.expires_at == answer["data"]["expires_at"] > before.expires_at
        assert (after.logged_in_ms, after.session_id) == (before.logged_in_ms, "s1")
        assert after.token_id != before.token_id
        for token in (
            live_site.token("alice", session_id="s2"),
            live_site.token("bob", session_id="s1"),
            _without_sid(live_site),
        ):
            answer = await client.command("refresh", {"token": token})
            assert (answer["type"], answer["data"]["code"]) == ("error", "forbidden")
            assert identity_of(live_site) == after


async def test_a_connection_without_a_login_may_get_one(live_site: Site) -> None:
    """An issuer that begins to name logins ends nobody by it; what was got is kept."""
    async with unharmed(live_site) as peers:
        client = await peers.open()
        assert (await client.handshake(token=_without_sid(live_site)))[0] == 101
        assert (await client.receive_json())["type"] == "connected"
        for session, kind in (("s1", "refreshed"), ("s2", "error"), ("s1", "refreshed")):
            token = live_site.token("alice", session_id=session)
            assert (await client.command("refresh", {"token": token}))["type"] == kind
        assert identity_of(live_site).session_id == "s1"


def _without_sid(site: Site) -> str:
    """A good token of alice's that names no login."""
    return forged(sub="alice", iat=int(site.server.context.wall_clock()))


async def test_the_old_token_may_be_revoked_once_it_was_replaced(live_site: Site) -> None:
    """The connection lives by the newer one: revoking the older ends nobody, revoking the newer does."""
    async with unharmed(live_site) as peers:
        client = await peers.connect("alice", session_id="s1")
        old = identity_of(live_site).token_id
        await client.command("refresh", {"token": live_site.token("alice", session_id="s1")})
        revoker = live_site.server.messaging.revoker
        assert msgspec.to_builtins(await revoker.revoke("token", str(old))) == {
            "closed": 0,
            "accepted_from": None,
        }
        assert (await client.command("ping"))["type"] == "pong"
        new = identity_of(live_site).token_id
        assert msgspec.to_builtins(await revoker.revoke("token", str(new)))["closed"] == 1
        assert (await client.closed()).code == 3500


async def test_a_token_ends_as_the_wire_says(live_site: Site) -> None:
    """In real time: `token_expiring` at once where the end is near, `disconnect` and 3005 at the end itself."""
    async with unharmed(live_site) as peers:
        client = await peers.connect("alice", ttl=4)
        expires_at = identity_of(live_site).expires_at
        warning = await client.receive_json()
        assert (warning["type"], warning["data"]) == ("token_expiring", {"expires_at": expires_at})
        said, closed = await client.until_closed()
        assert [message["type"] for message in said] == ["disconnect"]
        assert said[0]["data"] | {"delay": 0} == {
            "code": 3005,
            "reason": "token expired",
            "reconnect": True,
            "delay": 0,
        }
        assert closed.code == 3005
        assert live_site.server.context.wall_clock() >= expires_at, "before its end"


async def test_hundreds_of_a_user_go_while_others_talk() -> None:
    """Mass revocation holds nobody up: everybody concerned is closed, everybody else is answered meanwhile."""
    config = configured(
        server=Server(port=0),
        limits=msgspec.structs.replace(configured().limits, connections_per_user=1000),
    )
    with trio.fail_after(60):
        async with listening_site(config) as site, unharmed(site) as peers:
            crowd = [await peers.connect("alice") for _ in range(300)]
            other = await peers.connect("bob")
            answered = 0

            async def talk() -> None:
                nonlocal answered
                while True:
                    await other.command("ping")
                    answered += 1

            async with trio.open_nursery() as nursery:
                nursery.start_soon(talk)
                while not answered:
                    await trio.lowlevel.checkpoint()
                before = answered
                outcome: Any = await site.server.messaging.revoker.revoke("user", "alice")
                meanwhile = answered - before
                assert outcome.closed == 300
                for client in crowd:
                    assert (await client.closed()).code == 3500
                nursery.cancel_scope.cancel()
            assert meanwhile > 0
