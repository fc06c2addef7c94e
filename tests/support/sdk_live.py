"""Programs that use the browser's client: in Node, in a page and in a Worker, each told what to do from a test."""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, Protocol

import pytest
import trio

from support.node import SDK, CannotMake, sdk_installed
from tidings.server.testing.threaded import ThreadServer

PROGRAMS: Final = SDK / "test"

# For a program on a busy machine to do the next thing; nothing waits for it to pass.
PATIENCE: Final = 45

_TYPES: Final = {".js": "text/javascript", ".html": "text/html; charset=utf-8"}


class Program(Protocol):
    """One that does what client/js/test/live.js can do."""

    def do(self, command: str, /, **given: Any) -> Any:
        """Run a command; its value."""


class NodeProgram:
    """A program of client/js/test in Node: a line of JSON for each command, and one for its value."""

    def __init__(self, name: str, *arguments: str) -> None:
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  closed in `close`
        self._process = subprocess.Popen(
            ["node", str(PROGRAMS / name), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={"PATH": os.environ["PATH"]},
            text=True,
        )

    def start(self) -> None:
        """Wait until its modules are loaded."""
        assert self._line() == "ready"

    def do(self, command: str, /, **given: Any) -> Any:
        """Run a command; its value."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"command": command, "given": given}) + "\n")
        self._process.stdin.flush()
        return self._line(command, given)

    def end(self) -> None:
        """Let it end by itself, which it does when nothing of it is left, and without a word of complaint."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(PATIENCE) == 0, self._complaints()
        assert self._complaints() == ""

    def close(self) -> None:
        """Kill it if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            assert pipe is not None
            pipe.close()

    def _line(self, *asked: Any) -> Any:
        assert self._process.stdout is not None
        # A pipe has no time-out of its own.
        alarm = threading.Timer(PATIENCE, self._process.kill)
        alarm.start()
        line = self._process.stdout.readline()
        alarm.cancel()
        assert line, f"no answer to {asked}: {self._complaints()}"
        return json.loads(line)

    def _complaints(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode()


@contextmanager
def node_program(name: str, *arguments: str) -> Iterator[NodeProgram]:
    """A program until the end of the block, which it must survive; killed if the block raises."""
    program = NodeProgram(name, *arguments)
    try:
        program.start()
        yield program
        program.end()
    finally:
        program.close()


_IN_PAGE: Final = """async () => {
  const [sdk, { live }] = await Promise.all([import("/sdk/tidings.js"), import("/live/live.js")]);
  window.run = live(sdk);
}"""

_IN_WORKER: Final = """() => new Promise((resolve, reject) => {
  const worker = new Worker("/live/live_worker.js", { type: "module" });
  worker.onerror = (event) => reject(new Error(event.message || "the worker does not start"));
  window.run = (command, given) => new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = ({ data }) => resolve(data);
    worker.postMessage({ command, given }, [port2]);
  });
  // Its first answer says that its modules are there.
  window.run("journal", {}).then(resolve);
})"""

# The browser's driver waits for ever for a promise in the page.
_DO: Final = """([command, given, patience]) => Promise.race([
  window.run(command, given),
  new Promise((_, reject) => setTimeout(() => reject(new Error(`no answer to ${command}`)), patience)),
])"""


class PageProgram:
    """The same in a page of a browser, or in a Worker of the page."""

    def __init__(self, context: Any, origin: str, *, in_worker: bool = False) -> None:
        self.page = context.new_page()
        context.route("**/live/*", self._answer)
        self.page.goto(f"{origin}/live/page.html")
        self.page.evaluate(_IN_WORKER if in_worker else _IN_PAGE)

    def do(self, command: str, /, **given: Any) -> Any:
        """Run a command; its value."""
        return self.page.evaluate(_DO, [command, given, PATIENCE * 1000])

    @staticmethod
    def _answer(route: Any) -> None:
        """The files of the tests, as if they stood beside the server's own."""
        name = Path(route.request.url).name
        body = (
            "<!doctype html><title>live</title>" if name == "page.html" else (PROGRAMS / name).read_text()
        )
        route.fulfill(body=body, content_type=_TYPES[Path(name).suffix])


class ServeProcess:
    """`tidings serve` with what it keeps in a folder, on the same port each time it is started."""

    def __init__(self, folder: Path, secret: str, *settings: str) -> None:
        self._folder = folder
        self._secret = secret
        self._settings = [part for setting in settings for part in ("--set", setting)]
        self.port = 0
        self.start()

    @property
    def origin(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it listens."""
        env = {"PATH": "/usr/bin:/bin", "PYTHONWARNINGS": "error", "TIDINGS_AUTH_SECRET": self._secret}
        path = os.environ.get("PYTHONPATH")
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "tidings.server",
                    "serve",
                    "--port",
                    str(self.port),
                    *self._settings,
                ],
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=self._folder,
                env=env if path is None else env | {"PYTHONPATH": path},
                text=True,
            )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            _, found, rest = line.partition("http://127.0.0.1:")
            if found:
                self.port = int(rest.split("/")[0])
                return
        self.kill()
        raise AssertionError((self._folder / "log").read_text())

    def kill(self) -> None:
        """`kill -9`. Idempotent."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def inside(server: ThreadServer, user: str, channel: str) -> None:
    """Wait until a connection of the user's is in the channel: what is published from then on comes to it."""

    async def come_true() -> None:
        with trio.fail_after(PATIENCE):
            while not any(channel in each.channels for each in server.server.push.connections_of(user)):
                await trio.lowlevel.checkpoint()

    server.call(come_true)


def sdk_packages() -> None:
    """Have the packages of client/js installed; whoever lacks what that needs is told."""
    try:
        sdk_installed()
    except CannotMake as why:
        pytest.skip(f"packages of the SDK: {why}")


def linked(folder: Path, *packages: str) -> None:
    """Have programs in a folder find packages, and the SDK under its name, as if npm had installed them there."""
    sdk_packages()
    modules = folder / "node_modules"
    modules.mkdir()
    (modules / "tidings-client").symlink_to(SDK)
    for name in packages:
        (modules / name).symlink_to(SDK / "node_modules" / name)
