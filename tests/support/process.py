"""The server as its owner starts it: a process of its own, with signals, an exit code and a log."""

import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from support.client import RawClient
from support.site import SECRET

# Enough for an interpreter to start on a busy machine; nothing below waits for it to pass.
PATIENCE = 40


@dataclass
class Running:
    """A process that listens."""

    process: trio.Process
    port: int
    banner: str
    """What it printed until it listened."""
    log_file: Path

    async def open(self) -> RawClient:
        """A TCP connection to it."""
        return RawClient(await trio.open_tcp_stream("127.0.0.1", self.port))

    async def connect(self, token: str) -> RawClient:
        """A client that has read `connected`."""
        client = await self.open()
        status, _, body = await client.handshake(token=token)
        assert status == 101, body
        assert (await client.receive_json())["type"] == "connected"
        return client

    def signal(self, number: int) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    async def ended(self) -> int:
        """Wait for its end; the exit code."""
        with trio.fail_after(PATIENCE):
            return await self.process.wait()

    async def printed(self, text: str) -> str:
        """Everything on standard output, once `text` is in it."""
        assert self.process.stdout is not None
        with trio.fail_after(PATIENCE):
            while text not in self.banner:
                data = await self.process.stdout.receive_some()
                assert data, f"it ended: {self.log}"
                self.banner += data.decode()
        return self.banner

    @property
    def log(self) -> str:
        """Everything it has logged."""
        return self.log_file.read_text()


def _environment(more: dict[str, str]) -> dict[str, str]:
    # Nothing of ours but what a test names: no secret, no colour. PYTHONPATH says which tree is tested.
    ours = {"PATH": "/usr/bin:/bin", "TERM": "dumb", "COLUMNS": "120", "PYTHONWARNINGS": "error"}
    path = os.environ.get("PYTHONPATH")
    return ours | ({} if path is None else {"PYTHONPATH": path}) | more


async def run(
    *arguments: str, folder: Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end. `folder` is the working directory, where no `.env` lies about."""
    with trio.fail_after(PATIENCE):
        done = await trio.run_process(
            [sys.executable, "-m", "tidings.server", *arguments],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            cwd=folder,
            env=_environment(env or {}),
        )
    return subprocess.CompletedProcess(
        arguments, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


@asynccontextmanager
async def running(
    *arguments: str, folder: Path, env: dict[str, str] | None = None
) -> AsyncIterator[Running]:
    """Run a command that listens on a free port, with `SECRET` unless `env` says otherwise; killed at the end."""
    log_file = folder / "log"
    with log_file.open("wb") as log:
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", "tidings.server", *arguments],
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=folder,
            env=_environment({"TIDINGS_AUTH_SECRET": SECRET} if env is None else env),
        )
    assert process.stdout is not None
    try:
        banner = ""
        with trio.fail_after(PATIENCE):
            while (found := re.search(r"://[^/:]+:(\d+)/.*\n", banner)) is None:
                data = await process.stdout.receive_some()
                assert data, f"it ended: {log_file.read_text()}"
                banner += data.decode()
        yield Running(process, int(found[1]), banner, log_file)
    finally:
        with trio.CancelScope(shield=True):
            if process.returncode is None:
                process.kill()
            await process.wait()
            await process.stdout.aclose()


def serve(*settings: str) -> list[str]:
    """The arguments of `tidings serve` on a free port, with `--set` for each setting."""
    return ["serve", "--port", "0", *(part for setting in settings for part in ("--set", setting))]


def demo(*settings: str) -> list[str]:
    """As `serve`, of a demo. It hashes passwords at every start, and what that costs is tried elsewhere."""
    return [*serve("accounts.hash_memory_kib=8", "accounts.hash_passes=1", *settings), "--demo"]
