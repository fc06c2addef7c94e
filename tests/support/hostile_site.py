"""Where hostile inputs are tried: a server in this process or in one of its own, on each engine."""

import os
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from support import hostile_probe
from support.hostile import MESSAGE_BYTES
from support.hostile_http import API_KEY, BODY_BYTES
from support.process import Running, running, serve
from support.site import SECRET, Site, listening_site
from support.tasks import Peers, quiet, unharmed
from tidings.server.app import ENGINES, Listening
from tidings.server.auth import Authenticator
from tidings.server.config import Auth, Config

Row = Callable[[Peers], Awaitable[None]]
"""One hostile input: what is done, and what the server must answer."""

# So long may one row take on a slow machine before it counts as a hang.
ROW_SECONDS = 20

# A server that one row has broken fails the others, too: after so many there is nothing more to learn.
ENOUGH = 5

SETTINGS: dict[str, dict[str, Any]] = {
    # The outbox must hold any message, in any encoding.
    "limits": {"message_bytes": MESSAGE_BYTES, "outbox_bytes": 8 * MESSAGE_BYTES},
    "http": {"body_bytes": BODY_BYTES},
}

every_engine = pytest.mark.parametrize("engine", sorted(ENGINES))

# An engine that can deflate must withstand all this whether it may or not.
every_variant = pytest.mark.parametrize(
    ("engine", "compression"),
    [(name, False) for name in sorted(ENGINES)]
    + [("native", True) for name in ENGINES if name == "native"],
)


def hostile_config(engine: str, *, compression: bool = False, **sections: dict[str, Any]) -> Config:
    """A configuration by keys, those of `SETTINGS` unless others are given."""
    given = {"auth": {"secret": SECRET, "api_keys": [API_KEY]}} | SETTINGS
    given |= {
        "server": {"engine": engine},
        "compression": {"enabled": compression},
        # Nothing on disk: threads and virtual time do not go together.
        "history": {"log": "none"},
    } | sections
    return msgspec.convert(given, Config)


@asynccontextmanager
async def hostile_site(engine: str = "reference", **more: Any) -> AsyncIterator[Site]:
    """A server on a real port; a test that hangs fails after a minute."""
    with trio.fail_after(60):
        async with listening_site(hostile_config(engine, **more)) as site:
            yield site


class Verdicts:
    """What has failed of many rows tried on one server, so that a run names all of them."""

    def __init__(self) -> None:
        self.failed: list[Exception] = []
        self.tried = 0

    @contextmanager
    def row(self, name: str) -> Iterator[None]:
        """Try one row. It fails alone, until there are too many of them."""
        self.tried += 1
        try:
            with trio.fail_after(ROW_SECONDS):
                yield
        except Exception as error:
            error.add_note(f"in row: {name}")
            self.failed.append(error)
            if len(self.failed) == ENOUGH:
                self.check()

    def check(self) -> None:
        """Raise what has failed, and see that anything was tried at all."""
        assert self.tried
        if self.failed:
            names = ", ".join(note for error in self.failed for note in error.__notes__)
            raise ExceptionGroup(f"{len(self.failed)} of {self.tried} rows failed ({names})", self.failed)


@asynccontextmanager
async def undisturbed(site: Site) -> AsyncIterator[Peers]:
    """As `unharmed`; and where it fails, what it left is waited for, so that the next row is judged alone."""
    try:
        async with unharmed(site) as peers:
            yield peers
    except BaseException:
        with trio.CancelScope(shield=True), suppress(Exception):  # bounded by itself
            await quiet(site)
        raise


async def try_rows(site: Site, rows: Mapping[str, Row]) -> None:
    """All rows, one after another: each leaves its own neighbour served, and nothing behind."""
    verdicts = Verdicts()
    for name, row in rows.items():
        with verdicts.row(name):
            async with undisturbed(site) as peers:
                await row(peers)
    verdicts.check()


class Elsewhere(Site):
    """A server in a process of its own, as rows see a site: to be reached, and not to be looked into."""

    def __init__(self, process: Running) -> None:
        self.process = process
        self.listening = [Listening("127.0.0.1", process.port, secure=False)]
        self.issued: list[str] = []
        """Every token that was made for it."""
        self._authenticator = Authenticator(Auth(secret=SECRET))
        self._said = b""

    def token(self, user: str = "alice", *, roles: Sequence[str] = (), ttl: int = 3600, **more: Any) -> str:
        """A token for a user."""
        token = self._authenticator.issue(user, roles=roles, ttl=ttl, **more)
        self.issued.append(token)
        return token

    @property
    def pid(self) -> int:
        """The process."""
        return self.process.process.pid

    async def footing(self) -> "Footing":
        """What the process holds at this moment, by its own word and the kernel's."""
        self.process.signal(signal.SIGUSR2)
        tasks = await self._told()
        return Footing(tasks, _descriptors(self.pid))

    async def settled(self, before: "Footing") -> "Footing":
        """The footing once it is as before, or the last one seen after long enough."""
        now = await self.footing()
        with trio.move_on_after(ROW_SECONDS):
            while now != before:  # each look is a round trip to the process, which is given its turns
                now = await self.footing()
        return now

    async def _told(self) -> tuple[str, ...]:
        assert self.process.process.stdout is not None
        while b"\n" not in self._said:
            data = await self.process.process.stdout.receive_some()
            assert data, f"it ended: {self.process.log}"
            self._said += data
        line, _, self._said = self._said.partition(b"\n")
        head, *names = line.decode().split(hostile_probe.BETWEEN)
        assert head == hostile_probe.HEAD, line
        return tuple(sorted(names))


def _descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


@dataclass(frozen=True)
class Footing:
    """What a process holds."""

    tasks: tuple[str, ...]
    """Names of the living tasks."""
    descriptors: int


@asynccontextmanager
async def process_site(engine: str, *settings: str, folder: Path) -> AsyncIterator[Elsewhere]:
    """`tidings serve` as its owner starts it, with nothing added but that it tells its tasks when asked."""
    probe = folder / "probe"
    probe.mkdir()
    shutil.copy(hostile_probe.__file__, probe / "sitecustomize.py")
    paths = [str(probe), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        "TIDINGS_AUTH_SECRET": SECRET,
        "TIDINGS_AUTH_API_KEYS": API_KEY,
        "PYTHONPATH": os.pathsep.join(paths),
    }
    chosen = [
        f"{section}.{key}={value}" for section, keys in SETTINGS.items() for key, value in keys.items()
    ]
    arguments = serve(f"server.engine={engine}", *chosen, *settings)
    async with running(*arguments, folder=folder, env=environment) as process:
        yield Elsewhere(process)


def peak_bytes(pid: int) -> int:
    """The most memory that a process has had since `forget_peak`."""
    (line,) = [
        line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")
    ]
    return int(line.split()[1]) * 1024


def forget_peak(pid: int) -> None:
    """Have the kernel begin anew with `peak_bytes`."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
