"""Child processes: started on a core of their own, asked over pipes, and never left behind."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import trio

from tidings.bench.replies import Ready, Refused

# Nothing that is asked of a child takes longer; a benchmark that hangs is one that failed.
ASK_SECONDS = 120.0

_T = TypeVar("_T")


class ChildFailed(Exception):
    """A child that died, refused a request, or did not answer in time."""


class Child:
    """A process that answers lines with lines."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.name = name
        self.pid = process.pid
        self.log = log
        """What it wrote to standard error."""
        self.ready = Ready(ready=False)
        self._process = process
        # Duplicates, since both the stream and Popen want to close what they have.
        self._requests = trio.lowlevel.FdStream(os.dup(process.stdin.fileno()))
        self._answers = trio.lowlevel.FdStream(os.dup(process.stdout.fileno()))
        process.stdin.close()
        process.stdout.close()
        self._received = b""

    async def ask(self, reply: type[_T], do: str, **fields: Any) -> _T:
        """Ask for something. Raises ChildFailed. Not to be asked again after a cancellation."""
        try:
            with trio.fail_after(ASK_SECONDS):
                await self._requests.send_all(msgspec.json.encode({"do": do, **fields}) + b"\n")
                line = await self._line()
        except trio.BrokenResourceError:
            raise ChildFailed(self._obituary()) from None
        except trio.TooSlowError:
            raise ChildFailed(f"{self.name}: no answer to {do} in {ASK_SECONDS:g} s") from None
        refused = msgspec.json.decode(line, type=dict[str, Any]).get("error")
        if refused is not None:
            raise ChildFailed(f"{self.name}: {do}: {msgspec.json.decode(line, type=Refused).error}")
        return msgspec.json.decode(line, type=reply)

    async def line(self) -> str:
        """The next line of its output. Raises ChildFailed."""
        with trio.move_on_after(ASK_SECONDS):
            return (await self._line()).decode()
        raise ChildFailed(f"{self.name}: said nothing in {ASK_SECONDS:g} s")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    async def wait(self, seconds: float) -> int | None:
        """Its exit status, negative for a signal; None when it still runs after `seconds`."""
        if self._process.poll() is not None:
            return self._process.returncode  # reaped: there is no such process any more
        pidfd = os.pidfd_open(self.pid)
        try:
            with trio.move_on_after(seconds):
                await trio.lowlevel.wait_readable(pidfd)
        finally:
            os.close(pidfd)
        return self._process.poll()

    async def end(self) -> None:
        """Kill it, stopped or not, and free everything. Idempotent."""
        if self._process.poll() is None:
            self._process.kill()  # SIGKILL ends a stopped process too
            self._process.wait()
        with trio.CancelScope(shield=True):
            await self._requests.aclose()
            await self._answers.aclose()

    def errors(self) -> list[str]:
        """Lines of its log that tell of a fault."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        levels = ("error", "critical", "warning")
        marks = (
            *(f'"level":{gap}"{level}"' for level in levels for gap in ("", " ")),
            "Traceback",
            "Error: ",
        )
        return [line for line in lines if any(mark in line for mark in marks)]

    async def _line(self) -> bytes:
        while b"\n" not in self._received:
            data = await self._answers.receive_some(65536)
            if not data:
                raise ChildFailed(self._obituary())
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        return line

    def _obituary(self) -> str:
        said = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n  ".join([f"{self.name} has died ({self._process.poll()}):", *said[-15:]])


@asynccontextmanager
async def running(
    name: str,
    program: Sequence[str],
    *,
    core: int,
    directory: Path,
    environment: Mapping[str, str] | None = None,
    greets: bool = True,
) -> AsyncIterator[Child]:
    """A child, ready, for as long as the block lasts. `greets`: its first line is a `Ready`.

    `directory` is where it runs and where its log goes.
    """
    child = _start(name, program, core, directory, environment or {})
    try:
        if greets:
            child.ready = msgspec.json.decode(await child.line(), type=Ready)
        yield child
    finally:
        await child.end()


def _start(
    name: str, program: Sequence[str], core: int, directory: Path, environment: Mapping[str, str]
) -> Child:
    # From the main thread, and so without trio's own process functions: the kernel counts the death of
    # the thread that forked as the parent's, and trio forks in a short-lived one.
    log = directory / f"{name}.log"
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("TIDINGS_")}
    launcher = [sys.executable, "-m", "tidings.bench.launch", str(os.getpid()), str(core)]
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [*launcher, *program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=directory,
            env=inherited | dict(environment),
            process_group=0,  # Ctrl-C is for us; we end them
        )
    return Child(name, process, log)
