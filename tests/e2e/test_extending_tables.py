"""The app with a table that the documentation shows: a package, installed beside the server, and used."""

import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.client import RawClient
from support.commands import Commands
from support.process import Running, run, running, serve
from support.site import SECRET
from support.wheels import install_wheel

from tidings.server.auth import Authenticator
from tidings.server.config import Auth

DOCUMENT = Path(__file__).parents[2] / "docs" / "extending.md"


def _package() -> dict[str, str]:
    """The files of the package, as the document shows them."""
    text = DOCUMENT.read_text()
    shown = re.findall(
        r"^`(my_checklists/[\w/.]+)`[^\n]*:\n\n```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL
    )
    return {"my_checklists/migrations/__init__.py": "", **dict(shown)}


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which a server finds the installed package, which none of them changes."""
    entry_points = {"checklists": "my_checklists:app"}
    packages = install_wheel(tmp_path_factory.mktemp("dist"), "my_checklists", _package(), entry_points)
    path = [str(packages), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(path), "TIDINGS_AUTH_SECRET": SECRET}


def _token(user: str) -> str:
    return Authenticator(Auth(secret=SECRET)).issue(user, ttl=600)


@asynccontextmanager
async def _listening(folder: Path, env: dict[str, str], url: str) -> AsyncIterator[Running]:
    async with running(*serve(*([f"store.url={url}"] if url else [])), folder=folder, env=env) as server:
        yield server


async def _list(server: Running) -> Any:
    headers = {"Authorization": f"Bearer {_token('carol')}"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", headers=headers) as http:
        return (await http.get("/checklists/release")).json()


async def _told(client: RawClient) -> Any:
    """The next event of the app."""
    while (message := await client.receive_json())["type"] != "item_ticked":
        pass
    return message


@pytest.mark.slow  # pip installs it, and the server starts twice
async def test_the_documented_package_is_installed_and_used(
    tmp_path: Path, env: dict[str, str], records_url: str
) -> None:
    """Its command writes its table and tells who watches, also in another dialect; a killed server keeps it."""
    first = {"checklist": "release", "item": "changelog", "by": "alice"}
    async with _listening(tmp_path, env, records_url) as server:
        alice, bob = await server.connect(_token("alice")), await server.connect(_token("bob"))
        await bob.command("join_room", {"room": "checklist:release"})
        ticked = await alice.command("tick", {"checklist": "release", "item": "changelog"}, id="1")
        assert (ticked["type"], ticked["data"], ticked["id"]) == ("ticked", {"item": "changelog"}, "1")
        assert (await _told(bob))["data"] == first
        again = await bob.command("tick", {"checklist": "release", "item": "changelog"})
        assert again["data"]["code"] == "conflict"
        wrong = await bob.command("tick", {"checklist": "RELEASE", "item": "changelog"})
        assert (wrong["data"]["code"], "checklist" in wrong["data"]["message"]) == ("invalid_data", True)
        # A front end of another protocol says the same in its own envelope.
        other = await server.open()
        status, _, _ = await other.handshake(f"/api/v1/ws/dora?token={_token('dora')}")
        assert status == 101
        await other.send_json({"type": "tick", "data": {"checklist": "release", "item": "tag"}})
        while (answer := await other.receive_json())["type"] != "ticked":
            pass
        assert (answer["data"], set(answer)) == ({"item": "tag"}, {"type", "data", "timestamp"})
        assert (await _told(bob))["data"]["by"] == "dora"
        for client in (alice, bob, other):
            await client.aclose()
        server.signal(signal.SIGKILL)
        await server.ended()
    async with _listening(tmp_path, env, records_url) as server:
        assert await _list(server) == [first, {"checklist": "release", "item": "tag", "by": "dora"}]
        server.signal(signal.SIGTERM)
        await server.ended()


@pytest.mark.slow  # pip installs it, and alembic makes the tables
async def test_its_tables_are_made_by_hand_where_the_server_may_not(
    tmp_path: Path,
    env: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`tidings migrate --check` names what is to be done, and fails; `tidings migrate` does it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(env["PYTHONPATH"].partition(os.pathsep)[0])
    here = Commands(monkeypatch, capsys)
    try:
        code, out, _ = await here("migrate", "--check", env=env)
        assert (code, "checklists: no tables -> 0001" in out) == (1, True)
        done = await run("migrate", folder=tmp_path, env=env)
        assert (done.returncode, "checklists: no tables -> 0001" in done.stdout) == (0, True)
        assert await here("migrate", "--check", env=env) == (0, "nothing to do\n", "")
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "my_checklists"]:
            del sys.modules[name]
