"""The README's programs, run as they stand there; only the port is the test's."""

import sys
from pathlib import Path

import trio
from support.process import PATIENCE, Running, running, serve
from support.readme import python_of
from support.site import SECRET

from tidings.server.auth import Authenticator
from tidings.server.config import Auth

_authenticator = Authenticator(Auth(secret=SECRET))


async def test_the_back_end_script_reaches_user_room_and_everybody(tmp_path: Path) -> None:
    """The synchronous script's three publications arrive, in order, at a user who is in the room."""
    async with running(*serve(), folder=tmp_path) as server:
        alice = await server.connect(_authenticator.issue("alice", ttl=600))
        await alice.command("join_room", {"room": "lobby"})
        script = python_of("Publish from your back end").replace(":8000", f":{server.port}")
        assert len(script.splitlines()) <= 10, "ten lines"
        token = _authenticator.issue("backend", roles=["admin"], ttl=600)
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
        program = python_of("Listen from Python").replace(":8000", f":{server.port}")
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
