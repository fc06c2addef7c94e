"""Apps as their authors ship them: the one in the documentation, and one that is installed beside the server."""

import importlib
import os
import re
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
import trio
from support.client import RawClient
from support.process import Running, run, running, serve
from support.site import SECRET, Site, configured

from tidings.server.app import Server
from tidings.server.auth import Authenticator
from tidings.server.config import Auth
from tidings.server.config import Server as ServerSection
from tidings.server.extension import App
from tidings.server.testing.site import serving

GOOD = "from tidings.server.extension import App\napp = App('polls')\n"
DOCUMENT = Path(__file__).parents[2] / "docs" / "extending.md"


def documented(name: str = "polls") -> str:
    """The source of an app that the document shows."""
    for source in re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL):
        if f'\napp = App("{name}")\n' in source:
            return str(source)
    raise AssertionError(f"the document does not show {name}")


Documented = Callable[[str], ModuleType]


@pytest.fixture
def documented_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Documented]:
    """Imports a documented app anew, from a file that holds it. The working folder is a temporary one."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    names: list[str] = []

    def imported(name: str) -> ModuleType:
        names.append(f"documented_{name}")
        (tmp_path / f"{names[-1]}.py").write_text(documented(name))
        return importlib.import_module(names[-1])

    yield imported
    for name in names:
        del sys.modules[name]


@asynccontextmanager
async def listening(app: App) -> AsyncIterator[Site]:
    """A server with one app on a free port."""
    server = Server(configured(server=ServerSection(port=0)), apps=[app])
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            site = Site(server, nursery)
            site.listening = await nursery.start(partial(server.run, site.stop))
            yield site
            site.stop.abort.cancel()


async def _get(client: RawClient, path: str, token: str | None) -> tuple[int, Any]:
    """Ask over HTTP, on a connection of its own."""
    head = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close"]
    head += [f"Authorization: Bearer {token}"] if token else []
    await client.send(("\r\n".join(head) + "\r\n\r\n").encode())
    status, _, body = await client.response()
    await client.aclose()
    return status, body


async def _vote(watcher: RawClient, voter: RawClient) -> None:
    """What the document promises of its app."""
    assert (await watcher.command("watch_poll"))["type"] == "subscribed"
    voted = await voter.command("vote", {"choice": "tea"}, id="1")
    assert (voted["type"], voted["data"], voted["id"]) == ("voted", {"choice": "tea"}, "1")
    assert (await voter.command("vote", {"choice": "coffee"}))["data"]["code"] == "conflict"
    wrong = (await voter.command("vote", {"choice": "water"}))["data"]
    assert wrong["code"] == "invalid_data"
    assert "choice" in wrong["message"]
    while (tally := await watcher.receive_json())["type"] != "tally":
        pass
    assert (tally["channel"], tally["data"]) == ("room:poll", {"votes": {"tea": 1}})


async def test_the_documented_app_works_as_it_is_written(documented_module: Documented) -> None:
    """Commands, event, task and route of the document's example, over a real socket and real HTTP."""
    async with listening(documented_module("polls").app) as site:
        watcher, voter = await site.connect("alice"), await site.connect("bob")
        await _vote(watcher, voter)
        assert await _get(await site.open(), "/polls/tally", site.token("carol")) == (
            200,
            {"votes": {"tea": 1}},
        )
        assert (await _get(await site.open(), "/polls/tally", None))[0] == 401
        status, described = await _get(await site.open(), "/openapi.json", None)
        assert status == 200
        assert "/polls/tally" in described["paths"]
        # A payload that is not the event's is refused, whoever publishes it.
        admin = await site.connect("admin", roles=["admin"])
        published = {"channel": "room:poll", "event": "tally", "payload": {"votes": "many"}}
        assert (await admin.command("publish", published))["data"]["code"] == "invalid_data"
        for client in (watcher, voter, admin):
            await client.aclose()


@contextmanager
def _locked() -> Iterator[None]:
    """The notes' database in the hands of another writer: whoever opens it waits."""
    with closing(sqlite3.connect("notes.sqlite", isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        yield


async def _until_busy(module: ModuleType, threads: int) -> None:
    """Until so many threads of the documented app are at work."""
    with trio.fail_after(20):
        while module.threads.borrowed_tokens != threads:  # noqa: ASYNC110  there is no event for it
            await trio.sleep(0.01)


async def test_the_documented_blocking_call_does_not_outlive_its_command(
    documented_module: Documented,
) -> None:
    """The command times out while the thread still waits for its database; its note is kept all the same."""
    module = documented_module("notes")
    async with serving({"heartbeat.handler_timeout": 1}, apps=[module.app]) as server:
        alice = await server.connect("alice")
        assert await trio.to_thread.run_sync(module.insert, "one") == 1
        with _locked():
            # Were it waited for, it would be `internal` after 5 s: the database is locked.
            assert (await alice.command("note", text="two"))["data"]["code"] == "unavailable"
            assert module.threads.borrowed_tokens == 1
        await _until_busy(module, 0)
        # Past the command, which must be over in a second.
        assert await trio.to_thread.run_sync(module.insert, "three") == 3


async def test_the_documented_blocking_call_does_not_outlive_the_drain(
    documented_module: Documented,
) -> None:
    """A shutdown ends before a thread that waits for its database."""
    module = documented_module("notes")
    async with serving({"server.drain_seconds": 0.1}, apps=[module.app]) as server:
        alice = await server.connect("alice")
        with _locked():
            await alice.send({"type": "note", "data": {"text": "one"}})
            await _until_busy(module, 1)
            await server.stop()
            assert module.threads.borrowed_tokens == 1
        await _until_busy(module, 0)


# --- installed beside the server ---------------------------------------------------------------------


def _install(folder: Path, source: str) -> dict[str, str]:
    """A distribution as an installer leaves it; the environment in which it is found."""
    packages = folder / "packages"
    info = packages / "my_polls-1.0.dist-info"
    info.mkdir(parents=True)
    (packages / "my_polls.py").write_text(source)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-polls\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[tidings.apps]\npolls = my_polls:app\n")
    path = [str(packages), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(path), "TIDINGS_AUTH_SECRET": SECRET}


def _token(user: str) -> str:
    return Authenticator(Auth(secret=SECRET)).issue(user, ttl=600)


def _apps_in(server: Running) -> list[str]:
    """The apps that its log tells."""
    lines = [msgspec.json.decode(line) for line in server.log.splitlines()]
    (names,) = [line["names"] for line in lines if line["event"] == "apps"]
    return [str(name) for name in names]


async def test_an_installed_app_is_served(tmp_path: Path) -> None:
    """A distribution beside the server is found by its entry point, runs, and stands in the log."""
    env = _install(tmp_path, documented())
    async with running(*serve(), folder=tmp_path, env=env) as server:
        watcher, voter = await server.connect(_token("alice")), await server.connect(_token("bob"))
        await _vote(watcher, voter)
        assert await _get(await server.open(), "/polls/tally", _token("carol")) == (
            200,
            {"votes": {"tea": 1}},
        )
        assert _apps_in(server) == ["rooms", "polls"]
        for client in (watcher, voter):
            await client.aclose()


async def test_an_installed_app_can_be_left_out(tmp_path: Path) -> None:
    """What `server.apps` does not name does not run, and is not even imported."""
    env = _install(tmp_path, "raise SystemExit('imported')")
    async with running(*serve("server.apps=rooms"), folder=tmp_path, env=env) as server:
        alice = await server.connect(_token("alice"))
        assert (await alice.command("vote", {"choice": "tea"}))["data"]["code"] == "unknown_type"
        assert (await alice.command("join_room", {"room": "r"}))["type"] == "subscribed"
        assert _apps_in(server) == ["rooms"]
        await alice.aclose()


@pytest.mark.parametrize(
    ("source", "settings", "says"),
    [
        (
            "import no_such_module_anywhere",
            [],
            ["'polls'", "my_polls:app", "my-polls 1.0", "ModuleNotFoundError"],
        ),
        ("app = None", [], ["'polls'", "my-polls 1.0", "expected an App, found NoneType"]),
        ("", ["server.apps=pols"], ["server.apps", "'pols'", "did you mean 'polls'?"]),
        (
            f"{GOOD}import msgspec\nclass Joined(msgspec.Struct):\n    pass\napp.event('connected', Joined)\n",
            [],
            ["'connected'", "'tidings'", "'polls'"],
        ),
    ],
    ids=["import fails", "not an App", "unknown name", "a taken name"],
)
async def test_what_keeps_the_server_from_starting_is_readable(
    tmp_path: Path, source: str, settings: list[str], says: list[str]
) -> None:
    """One line on standard error with all that its owner needs, exit 1, and no traceback."""
    done = await run(*serve(*settings), folder=tmp_path, env=_install(tmp_path, source))
    assert done.returncode == 1
    for words in says:
        assert words in done.stderr
    assert "Traceback" not in done.stderr
