"""The HTTP API of a server process, as a back end uses it."""

from pathlib import Path
from typing import Any

import httpx
from support.process import Running, running, serve
from support.site import SECRET
from support.tokens import forged

ENVIRONMENT = {"TIDINGS_AUTH_SECRET": SECRET, "TIDINGS_AUTH_API_KEYS": "first-key,second-key"}


def _client(server: Running, **headers: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", verify=False, headers=headers)


async def test_a_back_end_pushes_to_a_user(tmp_path: Path) -> None:
    """With a key from the environment: who is online, a message to them, and the end of their session."""
    async with running(*serve(), folder=tmp_path, env=ENVIRONMENT) as server:
        alice = await server.connect(forged())
        async with _client(server, **{"X-API-Key": "second-key"}) as api:
            online = (await api.get("/api/v1/users/alice/connections")).json()
            assert (online["online"], len(online["connections"])) == (True, 1)
            body = {"channel": "user:alice", "event": "invoice", "payload": {"total": 12}}
            published = await api.post("/api/v1/publish", json=body)
            assert published.status_code == 200
            message = await alice.receive_json()
            assert (message["type"], message["data"]) == ("invoice", {"total": 12})
            assert message["offset"] == published.json()["offset"]
            ended = await api.post("/api/v1/users/alice/disconnect", json={"reason": "moved"})
            assert ended.json() == {"disconnected": 1}
        closed = await alice.closed()
        assert (closed.code, closed.reason) == (3503, "moved")
        await alice.aclose()
        assert "second-key" not in server.log


async def test_what_is_wrong_is_told_and_the_server_goes_on(tmp_path: Path) -> None:
    """One refusal after the other on one connection, then a request that works; nothing is logged as a fault."""
    async with running(*serve("http.body_bytes=5000"), folder=tmp_path, env=ENVIRONMENT) as server:
        async with _client(server) as stranger:
            key = {"X-API-Key": "first-key"}
            user = {"Authorization": f"Bearer {forged()}"}
            body = b'{"channel":"all","event":"e","payload":{}}'
            requests: list[tuple[int, str, str, dict[str, Any], bytes]] = [
                (401, "GET", "/api/v1/stats", {}, b""),
                (401, "GET", "/metrics", {"X-API-Key": "é".encode()}, b""),
                (403, "POST", "/api/v1/publish", user, body),
                (400, "POST", "/api/v1/publish", key, b"\xff"),
                (400, "POST", "/api/v1/publish", key, b"[" * 5000),
                (413, "POST", "/api/v1/publish", key, b"x" * 5001),
                (415, "POST", "/api/v1/publish", key | {"Content-Type": "text/plain"}, body),
                (404, "GET", "/api/v1/../../etc/passwd", key, b""),
                (404, "GET", "/lab/%2e%2e/%2e%2e/config", key, b""),
                (405, "PUT", "/api/v1/publish", key, body),
                (200, "POST", "/api/v1/publish", key, body),
            ]
            for status, method, path, headers, content in requests:
                response = await stranger.request(method, path, headers=headers, content=content)
                assert response.status_code == status, (path, response.text)
                if status != 200:
                    assert set(response.json()) == {"error"}
        assert '"level":"error"' not in server.log
        assert "Traceback" not in server.log
