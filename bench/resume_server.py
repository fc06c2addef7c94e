"""`tidings serve` in a directory of its own, to be killed and started again on the same port."""

import re
import secrets
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tidings.bench import certificate
from tidings.bench.processes import Child, ChildFailed, running

DEATH_SECONDS = 5.0

# Where durable channels are kept; "none" is for seeing the ledger not balance.
LOG = "sqlite"

_HOST = "127.0.0.1"


class Mortal:
    """A server as everybody starts it, whose data outlives it. Made by `mortal`."""

    def __init__(self, directory: Path, settings: Mapping[str, object], *, core: int, tls: bool) -> None:
        self.secret = secrets.token_urlsafe(48)
        self.api_key = secrets.token_urlsafe(32)
        self.port = 0
        """Where it listens; the same in each of its lives."""
        self.lives = 0
        self.tls = tls
        self.directory = directory
        self._settings = dict(settings)
        self._core = core
        self._life = AsyncExitStack()
        self._child: Child | None = None
        self._logs: list[Child] = []

    def url(self, scheme: str) -> str:
        """Its address; `scheme` is `http` or `ws`."""
        return f"{scheme}{'s' if self.tls else ''}://{_HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """The process of its present life. Raises ChildFailed when it is dead."""
        if self._child is None:
            raise ChildFailed("tidings serve is not running")
        return self._child.pid

    async def start(self) -> None:
        """Start it, and wait until it listens. Raises ChildFailed."""
        self.lives += 1
        program = [sys.executable, "-m", "tidings.server", "serve", "--port", str(self.port)]
        for key, value in self._settings.items():
            program += ["--set", f"{key}={value}"]
        child = await self._life.enter_async_context(
            running(
                f"tidings-serve-{self.lives}",
                program,
                core=self._core,
                directory=self.directory,
                environment={
                    "TIDINGS_AUTH_SECRET": self.secret,
                    "TIDINGS_AUTH_API_KEYS": f'["{self.api_key}"]',
                },
                greets=False,
            )
        )
        self._child = child
        self._logs.append(child)
        self.port = await _port(child)

    async def kill(self) -> None:
        """Kill it with SIGKILL, and wait until the kernel has done so. Raises ChildFailed."""
        assert self._child is not None
        child, self._child = self._child, None
        child.signal(signal.SIGKILL)
        status = await child.wait(DEATH_SECONDS)
        await self._life.aclose()
        if status != -signal.SIGKILL:
            raise ChildFailed(f"{child.name}: ended with {status}, not killed by us")

    async def aclose(self) -> None:
        """End it, if it lives."""
        self._child = None
        await self._life.aclose()

    def trust(self) -> ssl.SSLContext | None:
        """For its clients: trust its certificate and no other; None where it has none."""
        if not self.tls:
            return None
        return ssl.create_default_context(cafile=self.directory / certificate.CERTIFICATE)

    async def figures(self) -> dict[str, float]:
        """What it tells Prometheus: values by name, labels as in `tidings_closes_total{code="3008"}`.

        Raises ChildFailed.
        """
        try:
            async with httpx.AsyncClient(verify=self.trust() or False, trust_env=False) as http:
                headers = {"X-API-Key": self.api_key}
                answer = await http.get(f"{self.url('http')}/metrics", headers=headers)
                text = answer.raise_for_status().text
        except httpx.HTTPError as error:
            raise ChildFailed(f"tidings serve told no figures: {error}") from None
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = ",".join(f'{name}="{value}"' for name, value in sample.labels.items())
                found[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
        return found

    def errors(self) -> list[str]:
        """Lines of its logs, of all lives, that tell of a fault."""
        return [line for child in self._logs for line in child.errors()]


@asynccontextmanager
async def mortal(
    directory: Path, settings: Mapping[str, object], *, core: int, tls: bool = False
) -> AsyncIterator[Mortal]:
    """A running server with its data in `directory`; it ends with the block. Raises ChildFailed."""
    if tls:
        certificate.make(directory)
        settings = {**settings, "tls.cert": certificate.CERTIFICATE, "tls.key": certificate.KEY}
    server = Mortal(
        directory,
        {"server.data_dir": directory / "data", "history.log": LOG, **settings},
        core=core,
        tls=tls,
    )
    try:
        await server.start()
        yield server
    finally:
        await server.aclose()


async def _port(server: Child) -> int:
    """The port, from what the command tells a person."""
    for _ in range(20):
        found = re.search(r"wss?://127\.0\.0\.1:(\d+)/", await server.line())
        if found:
            return int(found[1])
    raise ChildFailed("tidings serve did not say where it listens")
