"""The programs and commands of the README and the documents, run as they stand; only the port is the test's."""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from support.accounts import accounts_config, accounts_site
from support.process import PATIENCE, Running, running, serve
from support.readme import README, ROOT, commands_of, python_of, section
from support.site import SECRET, listening_site

from tidings.server.auth import Authenticator
from tidings.server.config import Auth

_authenticator = Authenticator(Auth(secret=SECRET))


async def test_the_back_end_script_reaches_user_room_and_everybody() -> None:
    """The synchronous script's three publications arrive, in order, at a user who is in the room."""
    async with listening_site() as site:
        alice = await site.connect("alice")
        await alice.command("join_room", {"room": "lobby"})
        script = python_of("Publish from your back end").replace(":8000", f":{site.port}")
        assert len(script.splitlines()) <= 10, "ten lines"
        token = site.token("backend", roles=["admin"])
        with trio.fail_after(PATIENCE):
            await trio.run_process(
                [sys.executable, "-W", "error", "-c", script], env={"TIDINGS_TOKEN": token, "PATH": ""}
            )
            got = [await alice.receive_json() for _ in range(3)]
        assert [(message["type"], message["channel"]) for message in got] == [
            ("notification", "user:alice"),
            ("news", "room:lobby"),
            ("system_message", "all"),
        ]
        await alice.aclose()


async def test_the_listening_program_goes_on_after_a_restart(tmp_path: Path) -> None:
    """The Trio program prints an event of the room as it comes, what it missed, and what comes after that."""
    token = _authenticator.issue("alice", ttl=600)
    async with running(*serve(), folder=tmp_path) as server, trio.open_nursery() as nursery:
        program = python_of("Listen from Python", "docs/python.md").replace(":8000", f":{server.port}")
        assert len(program.splitlines()) <= 20, "short"
        listener = await nursery.start(
            _started, f"{program}\nimport sys\ntrio.run(main, sys.argv[1])\n", token
        )
        await _publish_until(server, 1, listener, b"news {'n': 1}\n")
        server.process.kill()
        await server.ended()
        async with running("serve", "--port", str(server.port), folder=tmp_path) as again:
            text = await _publish_until(again, 2, listener, b"news {'n': 2}\n")
        assert b"missed Gap(channel='room:lobby'" in text
        assert listener.returncode is None
        listener.kill()


async def test_the_second_login_ends_the_first(tmp_path: Path) -> None:
    """Five commands: a server, a user, a login that listens, a second one; the first is told, ends and is dead."""
    start, first_login, second_login, *_ = commands_of("Try it", "docs/accounts.md")
    made = re.fullmatch(r"make serve ARGS='(.*)'\n", start)
    assert made is not None, "what `make serve` is given"
    assert sum(text.count("\n") for text in (start, first_login, second_login)) == 5, "commands"
    [check] = re.findall(r"`(curl .*api/auth/check)`", section("Try it", "docs/accounts.md"))
    arguments = ("serve", "--demo", "--port", "0", *shlex.split(made[1]))
    async with running(*arguments, folder=tmp_path, env={}) as server:
        await server.printed("Ctrl-C")
        async with _shell(tmp_path, _shell_environment(f"http://127.0.0.1:{server.port}")) as shell:
            said = ""
            for commands, until in (
                (first_login, "listening to user:carol\n"),
                (second_login, "the server ended it: 3508: logged in elsewhere\n"),
                (f"wait\n{check}\n", '"unauthorized"'),
            ):
                said += await _typed(shell, _here(commands, server.port), until)
            assert "tidings: added carol, id carol\n" in said
            assert re.search(r'user:carol  force_logout  {"reason":"other_device_login",', said)
            assert "trying again" not in said
            assert '"must_change_password":true' in said, "the second login is there"
            assert "HTTP/1.1 401 " in said


async def test_what_a_device_says_is_heard(tmp_path: Path) -> None:
    """Five commands: a server, a token, a group's code, a listener, and a device that comes, reports and goes."""
    start, prepare, device = commands_of("Try it", "docs/lines.md")
    assert sum(text.count("\n") for text in (start, prepare, device)) == 5, "commands"
    program, *arguments = shlex.split(start)
    assert program == ".venv/bin/tidings"
    async with running(*arguments, "--port", "0", folder=tmp_path) as server:
        environment = _shell_environment(f"http://127.0.0.1:{server.port}")
        async with _shell(tmp_path, environment | {"TIDINGS_AUTH_SECRET": SECRET}) as shell:
            said = await _typed(shell, _here(prepare, server.port), "listening to group:1\n")
            # It speaks no longer than its input lasts: here until it has been heard, however long that takes.
            assert device.count("; sleep 5)") == 1
            os.mkfifo(go := tmp_path / "go")
            device = device.replace("; sleep 5)", "; read _ <go)")
            said += await _typed(shell, _here(device, server.port), '"incoming_received"')
            with trio.fail_after(PATIENCE):
                await trio.to_thread.run_sync(go.write_text, "\n", abandon_on_cancel=True)
            assert shell.stdout is not None
            said += await _said(shell.stdout, '"online_status":"offline"')
    events = re.findall(r"group:1  (incoming|account_status_change)  (.*)", said)
    assert [event for event, _ in events] == ["account_status_change", "incoming", "account_status_change"]
    assert '"incoming_line_id":"customer-1"' in events[1][1]
    assert said.index('"incoming_received"') < said.index('"online_status":"offline"')


async def test_the_documents_name_the_routes_of_accounts(tmp_path: Path) -> None:
    """docs/accounts.md has a row for each, with its method, and for nothing else."""
    async with accounts_site(accounts_config(tmp_path)) as site:
        described = (await site.ask("GET", "/openapi.json")).json()["paths"]
    served = {
        f"{method.upper()} {path.replace('{user_id}', '{id}')}"
        for path, methods in described.items()
        if path.startswith(("/api/auth/", "/api/users", "/api/admin/"))
        for method in methods
    }
    assert len(served) > 10
    document = (README.parent / "docs" / "accounts.md").read_text("utf-8")
    assert (
        set(re.findall(r"^\| `((?:GET|POST|PUT|DELETE) /api/(?!v1)\S+)` \|", document, re.MULTILINE))
        == served
    )


def _here(commands: str, port: int) -> str:
    """The commands for this Python's Tidings, and a port of the test's."""
    ours = f"{shlex.quote(sys.executable)} -m tidings.server"
    client = f"{shlex.quote(sys.executable)} -m websockets"
    commands = commands.replace(".venv/bin/tidings", ours).replace("| .venv/bin/websockets", f"| {client}")
    return commands.replace(":8000", f":{port}")


@asynccontextmanager
async def _shell(folder: Path, env: dict[str, str]) -> AsyncIterator[trio.Process]:
    """A shell to type commands into; killed at the end with all that it has started."""
    shell = await trio.lowlevel.open_process(
        ["/bin/sh"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=folder, env=env,
        start_new_session=True,
    )  # fmt: skip
    assert shell.stdin is not None
    assert shell.stdout is not None
    try:
        yield shell
    finally:
        with trio.CancelScope(shield=True):
            # The listener with it, which would look for its server for ever.
            os.killpg(shell.pid, signal.SIGKILL)
            await shell.wait()
            await shell.stdin.aclose()
            await shell.stdout.aclose()


async def _typed(shell: trio.Process, commands: str, until: str) -> str:
    """What is printed behind commands that are typed, up to `until`."""
    assert shell.stdin is not None
    assert shell.stdout is not None
    await shell.stdin.send_all(commands.encode())
    return await _said(shell.stdout, until)


def _shell_environment(url: str) -> dict[str, str]:
    path = {"PYTHONPATH": os.environ["PYTHONPATH"]} if "PYTHONPATH" in os.environ else {}
    return {"PATH": "/usr/bin:/bin", "TERM": "dumb", "PYTHONWARNINGS": "error", "TIDINGS_URL": url, **path}


async def _said(stream: trio.abc.ReceiveStream, until: str) -> str:
    text = ""
    with trio.move_on_after(PATIENCE):
        while until not in text:
            data = await stream.receive_some()
            assert data, f"it ended: {text}"
            text += data.decode()
        return text
    raise AssertionError((until, text))


async def _started(source: str, token: str, *, task_status: trio.TaskStatus[trio.Process]) -> None:
    await trio.run_process(
        [sys.executable, "-W", "error", "-u", "-c", source, token],
        stdout=-1,
        check=False,
        task_status=task_status,
    )


async def _publish_until(server: Running, number: int, listener: trio.Process, line: bytes) -> bytes:
    """Publish to the lobby again and again until the listener has printed `line`; what it printed."""
    assert listener.stdout is not None
    admin = await server.connect(_authenticator.issue("root", roles=["admin"], ttl=600))
    text = b""
    with trio.fail_after(PATIENCE):
        while line not in text:
            publication = {"channel": "room:lobby", "event": "news", "payload": {"n": number}}
            await admin.command("publish", publication)
            with trio.move_on_after(0.2):
                data = await listener.stdout.receive_some()
                assert data, "it ended"
                text += data
    await admin.aclose()
    return text


def test_every_link_leads_somewhere() -> None:
    """What the README and the documents link to, and the pictures that they show, is in the repository."""
    lost = [
        f"{document.relative_to(ROOT)}: {target}"
        for document in (README, *ROOT.glob("docs/**/*.md"), ROOT / "bench" / "README.md")
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text("utf-8"))
        if not (document.parent / target).exists()
    ]
    assert lost == []
