"""The README's programs, run as they stand there; only the port is the test's."""

import sys
from pathlib import Path

import trio
from support.process import PATIENCE, running, serve
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


async def test_the_listening_program_prints_what_is_published(tmp_path: Path) -> None:
    """The Trio program prints an event of the room as it comes."""
    async with running(*serve(), folder=tmp_path) as server:
        program = python_of("Listen from Python").replace(":8000", f":{server.port}")
        token = _authenticator.issue("alice", ttl=600)
        admin = await server.connect(_authenticator.issue("root", roles=["admin"], ttl=600))
        source = f"{program}\nimport sys\ntrio.run(main, sys.argv[1])\n"
        async with trio.open_nursery() as nursery:

            async def run(*, task_status: trio.TaskStatus[trio.Process]) -> None:
                await trio.run_process(
                    [sys.executable, "-W", "error", "-u", "-c", source, token],
                    stdout=-1,
                    check=False,
                    task_status=task_status,
                )

            with trio.fail_after(PATIENCE):
                listener = await nursery.start(run)
                assert listener.stdout is not None
                while True:
                    await admin.command(
                        "publish", {"channel": "room:lobby", "event": "news", "payload": {"n": 1}}
                    )
                    with trio.move_on_after(0.2):
                        line = await listener.stdout.receive_some()
                        break
            assert line.splitlines()[0] == b"news {'n': 1}"
            listener.kill()
        await admin.aclose()
