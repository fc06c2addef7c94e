"""What anybody may know of the server, who the caller is to it, and where old addresses lead."""

import httpx
import pytest
from support.site import Site

from tidings.server.api.application import package_version


async def test_anybody_may_know_what_there_is(stranger: httpx.AsyncClient) -> None:
    """Without credentials: the version, the apps that run, and the dialect of each path that is served."""
    told = (await stranger.get("/api/v1/about")).json()
    assert told["version"] == package_version()
    assert told["apps"] == ["rooms"]
    assert told["endpoints"]["/ws"] == "native"
    # An app lets in there which does not run.
    assert "/ws/device" not in told["endpoints"]


async def test_a_caller_is_told_who_it_is(stranger: httpx.AsyncClient, api_site: Site) -> None:
    """As the token says, roles in order; 401 without one."""
    token = api_site.token("4711", roles=("editor", "admin"), username="Ann", group_id="7")
    answer = await stranger.get("/api/v1/whoami", headers={"Authorization": f"Bearer {token}"})
    told = answer.json()
    assert told.pop("expires_at") > 1_700_000_000
    assert told == {
        "user_id": "4711",
        "username": "Ann",
        "roles": ["admin", "editor"],
        "kind": "user",
        "group_id": "7",
    }
    assert (await stranger.get("/api/v1/whoami")).status_code == 401


@pytest.mark.parametrize("path", ["/", "/console", "/?from=elsewhere"])
async def test_old_addresses_lead_to_the_console(stranger: httpx.AsyncClient, path: str) -> None:
    """By a relative address, so that it holds below a proxy's path too."""
    answer = await stranger.get(path)
    assert (answer.status_code, answer.headers["location"]) == (307, "console/")
