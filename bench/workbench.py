"""What every scenario needs: a directory, a secret, two cores, and processes that end with it."""

import secrets
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TypeVar

import msgspec
import trio

from tidings.bench import certificate
from tidings.bench.fleet import HANDSHAKES_AT_ONCE
from tidings.bench.observe import cores
from tidings.bench.peers import Peer
from tidings.bench.processes import Child, ChildFailed, running
from tidings.bench.progress import expect, progress
from tidings.bench.replies import Done, Joined
from tidings.bench.server import Settings

__all__ = ["Clients", "Workbench", "expect", "poll", "progress", "workbench"]

POLL_SECONDS = 0.05

_T = TypeVar("_T")


async def poll(look: Callable[[], Awaitable[_T]], until: Callable[[_T], bool], seconds: float) -> _T:
    """Look again and again until it is as wanted, for at most `seconds`; returns what was seen last."""
    deadline = trio.current_time() + seconds
    while True:
        seen = await look()
        if until(seen) or trio.current_time() >= deadline:
            return seen
        await trio.sleep(POLL_SECONDS)


class Workbench:
    """Starts the processes of one scenario."""

    def __init__(self, directory: Path, stack: AsyncExitStack, samples: Path | None) -> None:
        self._directory = directory
        self._stack = stack
        self._samples = samples
        self.secret = secrets.token_urlsafe(48)
        """Of the servers, for whoever makes tokens."""
        self._environment = {"TIDINGS_AUTH_SECRET": self.secret}
        self._server_core, self._load_core = cores()
        self._networks = 0

    @property
    def directory(self) -> Path:
        """Where all of them run."""
        return self._directory

    async def server(self, settings: Settings, name: str = "server") -> Child:
        """The product's server, with a way to look inside."""
        if settings.tls:
            certificate.make(self._directory)
        program = [sys.executable, "-m", "tidings.bench.server", msgspec.json.encode(settings).decode()]
        return await self._start(name, program, self._server_core)

    async def other(self, name: str, program: Sequence[str], settings: Settings) -> Child:
        """Another program that takes the same settings and requests as the product's server here does."""
        return await self._start(
            name, [*program, msgspec.json.encode(settings).decode()], self._server_core
        )

    async def command(self, settings: Mapping[str, object], *, tls: bool = False) -> Child:
        """The product's server as everybody starts it, `tidings serve`; its first line is still to be read."""
        if tls:
            certificate.make(self._directory)
            settings = {**settings, "tls.cert": certificate.CERTIFICATE, "tls.key": certificate.KEY}
        program = [sys.executable, "-m", "tidings.server", "serve", "--port", "0"]
        for key, value in settings.items():
            program += ["--set", f"{key}={value}"]
        return await self._start("tidings-serve", program, self._server_core, greets=False)

    async def peer(self, name: str, peer: Peer) -> Child:
        """Another server."""
        return await self._start(name, peer.program, self._server_core, environment=peer.environment)

    async def http_load(self) -> Child:
        """A process of HTTP publishers."""
        program = [sys.executable, "-m", "tidings.bench.http_load"]
        return await self._start("http-load", program, self._load_core)

    async def hostile(self) -> Child:
        """A process that sends a server what no client sends."""
        program = [sys.executable, "-m", "tidings.bench.hostile"]
        return await self._start("hostile", program, self._load_core)

    async def talkers(self) -> Child:
        """A process that sends messages to a server."""
        program = [sys.executable, "-m", "tidings.bench.talkers"]
        return await self._start("talkers", program, self._load_core)

    async def lines_crowd(self) -> Child:
        """A process of a line board's devices and dashboards."""
        program = [sys.executable, "-m", "tidings.bench.lines_crowd"]
        return await self._start("lines-crowd", program, self._load_core)

    async def timing(self, file: Path, sizes: str, expression: str) -> Child:
        """A process that times the parts of the server; it tells by itself how far it is (`micro/results.py`)."""
        program = [sys.executable, "-m", "tidings.bench.micro", str(file), sizes]
        return await self._start(
            "micro", [*program, *filter(None, [expression])], self._server_core, greets=False
        )

    def hold(self, context: AbstractContextManager[_T]) -> _T:
        """Enter a context that is left only when all that is started from now on has ended."""
        return self._stack.enter_context(context)

    async def clients(
        self,
        name: str,
        profile: str = "tidings",
        *,
        inside: Sequence[str] = (),
        rooms: int = 1,
        tls: bool = False,
    ) -> "Clients":
        """A process of light clients, from addresses of its own, divided over so many rooms.

        `inside`: a command that runs the program. `tls`: they trust the certificate of a server that was
        started with `Settings(tls=True)` before.
        """
        self._networks += 1
        divided = [str(rooms), "tls" if tls else "plain"]
        program = [*inside, sys.executable, "-m", "tidings.bench.light", profile, *divided]
        child = await self._start(name, program, self._load_core)
        return Clients(child, self._networks, self._samples)

    async def real_clients(self, name: str, *, tls: bool = False) -> "Clients":
        """A process of real clients, from addresses of their own; asked as light ones are. `tls`: as there."""
        self._networks += 1
        program = [sys.executable, "-m", "tidings.bench.real", "tls" if tls else "plain"]
        child = await self._start(name, program, self._load_core)
        return Clients(child, self._networks, self._samples)

    async def _start(
        self,
        name: str,
        program: Sequence[str],
        core: int,
        *,
        greets: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> Child:
        return await self._stack.enter_async_context(
            running(
                name,
                program,
                core=core,
                directory=self._directory,
                environment={**self._environment, **(environment or {})},
                greets=greets,
            )
        )


class Clients:
    """A process of light clients."""

    def __init__(self, child: Child, network: int, samples: Path | None) -> None:
        self.child = child
        self.ask = child.ask
        self.name = child.name
        self.addresses = f"127.{network}."
        """What all addresses begin with that they come from."""
        self._network = network
        self._samples = samples

    async def place(self, host: str, sources: Sequence[str] = ()) -> None:
        """Let them connect to another host than 127.0.0.1, and from some addresses of one block of 256."""
        await self.ask(Done, "place", host=host, sources=sources)
        if sources:
            self.addresses = f"{sources[0].rpartition('.')[0]}."

    async def keep_samples(self, phase: str, name: str) -> None:
        """Keep a phase's latencies, one by one, with the report; nothing where none is written."""
        if self._samples is not None:
            path = self._samples.absolute() / f"{name}.f64"
            await self.ask(Done, "samples", phase=phase, path=str(path))

    async def churn(self, port: int, *, rate: float, population: int, users: int, seed: int) -> None:
        """Let clients come and go, see `churn.Coming`, until `churn_end` is asked. Raises ChildFailed."""
        fields = {"port": port, "network": self._network, "group": self.name, "rate": rate, "seed": seed}
        await self.ask(Done, "churn", population=population, users=users, **fields)

    async def connect(
        self,
        port: int,
        count: int,
        *,
        ethernet: int = 0,
        at_once: int = HANDSHAKES_AT_ONCE,
        server: int | None = None,
        tell: bool = True,
        timeline: bool = False,
        all_must: bool = True,
    ) -> Joined:
        """Connect and join. Raises ChildFailed unless every one did, or not all of them must.

        `server`: the process whose CPU time is to be told. Without `tell` no progress is shown. `timeline`:
        with the moment at which each joined.
        """
        if tell:
            progress(f"{self.name}: connecting {count:,} clients")
        joined = await self.ask(
            Joined,
            "connect",
            port=port,
            count=count,
            group=self.name,
            network=self._network,
            ethernet=ethernet,
            at_once=at_once,
            server=server,
            timeline=timeline,
        )
        if all_must and joined.joined < count:
            raise ChildFailed(f"{self.name}: only {joined.joined} of {count} joined: {joined.refused}")
        return joined


@asynccontextmanager
async def workbench(samples: Path | None = None) -> AsyncIterator[Workbench]:
    """A workbench; whatever was started on it is killed at the end of the block.

    `samples`: where to keep the raw ones.
    """
    with tempfile.TemporaryDirectory(prefix="tidings-bench-") as directory:
        async with AsyncExitStack() as stack:
            yield Workbench(Path(directory), stack, samples)
