"""Presence of a server process that is set up by a file, as people and services meet it."""

from contextlib import aclosing
from pathlib import Path

import httpx
import trio
from support.process import running, serve
from support.site import SECRET
from support.tokens import forged

CONFIG = """
[auth]
api_keys = ["admin-key"]
service_keys = ["billing=billing-key"]

[presence]
grace = 0.2

[channels."room:*"]
join_leave = true
"""


async def test_people_and_services_see_each_other(tmp_path: Path) -> None:
    """Joined, members, left over the WebSocket; online, devices, last seen over HTTP; no key in the log."""
    file = tmp_path / "tidings.toml"
    file.write_text(CONFIG)
    env = {"TIDINGS_AUTH_SECRET": SECRET}
    async with running(*serve(), "--config", str(file), folder=tmp_path, env=env) as server:
        with trio.fail_after(20):
            alice = await server.connect(forged())
            await alice.command("join_room", {"room": "ops"})
            assert (await alice.receive_json())["type"] == "joined"
            billing = await server.open()
            async with aclosing(billing):
                status, _, _ = await billing.handshake(
                    "/ws?device=w1", headers={"X-API-Key": "billing-key"}
                )
                assert status == 101
                assert (await billing.receive_json())["data"]["user_id"] == "service:billing"
                told = await billing.command("join_room", {"room": "ops", "presence": True})
                member = {"user_id": "service:billing", "username": "billing", "kind": "service"}
                assert told["data"]["members"] == [{"user_id": "alice", "username": "alice"}, member]
                joined = await alice.receive_json()
                assert (joined["type"], joined["data"]) == ("joined", {"channel": "room:ops"} | member)
                url = f"http://127.0.0.1:{server.port}/api/v1"
                key = {"X-API-Key": "admin-key"}
                async with httpx.AsyncClient(base_url=url, verify=False, headers=key) as api:
                    members = (await api.get("/presence/room:ops")).json()["members"]
                    assert [one["user_id"] for one in members] == ["alice", "service:billing"]
                    users = (await api.get("/users/online")).json()["users"]
                    assert [(one["user_id"], one["connections"], one["devices"]) for one in users] == [
                        ("alice", 1, []),
                        ("service:billing", 1, ["w1"]),
                    ]
            left = await alice.receive_json()
            assert (left["type"], left["user_id"]) == ("left", "service:billing")
            async with httpx.AsyncClient(base_url=url, verify=False, headers=key) as api:
                gone = (await api.get("/users/service:billing/presence")).json()
                assert (gone["online"], gone["last_seen"] is not None) == (False, True)
                await api.get("/stats", headers={"X-API-Key": "billing-key"})
                assert (await api.get("/users/service:billing/presence")).json()["online"] is True
            await alice.aclose()
        assert "billing-key" not in server.log
        assert "Traceback" not in server.log
