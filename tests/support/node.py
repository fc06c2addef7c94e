"""Node: its packages, and a way to drive a page with a document's own client code in it.

`python -m support.node`, in the tests' folder, installs the packages.
"""

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

import trio

from tidings.bench.peers.making import CannotMake, missing_programs, run

__all__ = ["CannotMake", "Page", "installed", "page", "sdk_installed"]

ROOT: Final = Path(__file__).resolve().parents[2]
DOCUMENTS: Final = ROOT / "tests" / "documents"
SDK: Final = ROOT / "client" / "js"
BUILD: Final = ROOT / "build"
PACKAGE_JSON: Final = "package.json"

# A registry that cannot be reached is found out soon: npm would try for minutes.
_NPM: Final = (
    "--no-audit",
    "--no-fund",
    "--no-package-lock",
    "--ignore-scripts",
    "--loglevel=error",
    "--prefer-offline",
    "--fetch-retries=2",
    "--fetch-retry-mintimeout=500",
    "--fetch-retry-maxtimeout=5000",
)

# For a page on a busy machine to do the next thing; nothing waits for it to pass.
PATIENCE: Final = 40


def installed() -> Path:
    """The folder of the documents' packages, installed if they are not, or are not the ones pinned.

    Once, however many processes ask. Raises CannotMake with the reason, and the cure where there is one.
    """
    return _installed(DOCUMENTS / PACKAGE_JSON, BUILD / "documents")


def sdk_installed() -> Path:
    """The folder of the packages that the SDK is developed with, beside its sources. As `installed`."""
    return _installed(SDK / PACKAGE_JSON, SDK)


def _installed(source: Path, home: Path) -> Path:
    """Install what `source` pins into a folder, unless that has been done."""
    if lacking := missing_programs("node", "npm", packages="nodejs npm"):
        raise CannotMake(lacking)
    pins = source.read_bytes()
    modules = home / "node_modules"
    # Written last: what is half installed has none.
    stamp = modules / ".made-from.json"
    home.mkdir(parents=True, exist_ok=True)
    BUILD.mkdir(exist_ok=True)
    # Not among the modules, which are taken away under it, nor among sources.
    with (BUILD / f".{home.name}-packages.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_bytes() != pins:
            shutil.rmtree(modules, ignore_errors=True)
            if home != source.parent:
                (home / PACKAGE_JSON).write_bytes(pins)
            run(["npm", "install", *_NPM], cwd=home)
            modules.mkdir(exist_ok=True)
            stamp.write_bytes(pins)
    return modules


@dataclass
class Page:
    """A program of the harness: it takes commands, and tells what happens on the page."""

    process: trio.Process
    errors: IO[bytes]
    """Its standard error."""
    _buffer: bytearray = field(default_factory=bytearray)
    _unread: list[dict[str, Any]] = field(default_factory=list)

    async def do(self, command: str, **given: Any) -> Any:
        """What a person, or the page itself, does; the command's answer."""
        assert self.process.stdin is not None
        await self.process.stdin.send_all(json.dumps({"command": command, **given}).encode() + b"\n")
        return (await self.event("done"))["value"]

    async def event(self, kind: str, /, **fields: Any) -> dict[str, Any]:
        """The next event of that kind and with those fields, each event once; others stay for whoever asks."""

        def fits(event: dict[str, Any]) -> bool:
            return event["event"] == kind and all(event.get(key) == fields[key] for key in fields)

        for place, event in enumerate(self._unread):
            if fits(event):
                return self._unread.pop(place)
        with trio.fail_after(PATIENCE):
            while not fits(event := await self._next()):
                self._unread.append(event)
        return event

    async def message(self, kind: str) -> dict[str, Any]:
        """The next message of that type that the document's code was given."""
        while (message := (await self.event("message"))["message"])["type"] != kind:
            pass
        return dict(message)

    def unread(self, kind: str) -> list[dict[str, Any]]:
        """The events of that kind that have come before the last one read, and that nobody asked for."""
        return [event for event in self._unread if event["event"] == kind]

    def complaints(self) -> str:
        """What it has written to standard error: warnings of Vue's, and what it died of."""
        self.errors.seek(0)
        return self.errors.read().decode()

    async def _next(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        while (end := self._buffer.find(b"\n")) < 0:
            data = await self.process.stdout.receive_some()
            assert data, f"it ended: {self.complaints()}"
            self._buffer += data
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        event: dict[str, Any] = json.loads(line)
        return event


@asynccontextmanager
async def page(modules: Path, program: str, *arguments: str | int) -> AsyncIterator[Page]:
    """Run a program of the harness until the block ends, which it must have survived without a warning."""
    with tempfile.TemporaryFile() as errors:
        process = await trio.lowlevel.open_process(
            ["node", str(DOCUMENTS / "harness" / program), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={"PATH": os.environ["PATH"], "NODE_PATH": str(modules)},
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            opened = Page(process, errors)
            await opened.event("ready")
            yield opened
            await process.stdin.aclose()
            with trio.fail_after(PATIENCE):
                # What is still to be said is read: a full pipe would keep the program.
                async for _ in process.stdout:
                    pass
                assert await process.wait() == 0, opened.complaints()
            assert opened.complaints() == ""
        finally:
            with trio.CancelScope(shield=True):
                if process.returncode is None:
                    process.kill()
                await process.wait()
                for pipe in (process.stdin, process.stdout):
                    with contextlib.suppress(OSError):
                        await pipe.aclose()


def main() -> None:
    """Install all packages, and say so; with a reason, where that is not possible, and exit status 1."""
    failed = False
    for whose, install in (("the documents", installed), ("the SDK", sdk_installed)):
        try:
            print(f"packages of {whose}: {install()}")  # noqa: T201
        except (CannotMake, OSError) as error:
            failed = True
            print(f"packages of {whose}: {error}", file=sys.stderr)  # noqa: T201
    sys.exit(failed)


if __name__ == "__main__":
    main()
