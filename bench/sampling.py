"""One server looked at every so often: what it holds, what it costs, and what a room of it feels."""

import time
from collections.abc import Awaitable, Callable

import msgspec
import trio

from tidings.bench.observe import anonymous_bytes, cpu_seconds, descriptors, proportional_bytes
from tidings.bench.processes import Child
from tidings.bench.replies import Done, Quantiles, ServerState
from tidings.bench.workbench import Clients


class Sample(msgspec.Struct, frozen=True):
    """One look."""

    at: float
    """Seconds since the first."""
    connections: int
    sockets: int
    tasks: int
    descriptors: int
    memory: int
    """Bytes of pages of its own (anonymous ones)."""
    proportional: int
    """Bytes of all pages, those that several processes share counted in proportion."""
    cpu_share: float
    """CPU time against wall time since the look before."""
    deliveries: int
    """Of the room since the look before."""
    p99: float
    """Seconds; of these deliveries."""
    closes: dict[str, int]


class Sampler:
    """Takes samples until it is stopped."""

    def __init__(
        self, server: Child, stats: Callable[[], Awaitable[ServerState]], room: Clients, every: float
    ) -> None:
        """Look every so many seconds. `stats` asks the server, when nobody else does."""
        self.samples: list[Sample] = []
        self._server = server
        self._stats = stats
        self._room = room
        self._every = every
        self._stopped = False

    def stop(self) -> None:
        """Take no more than one further sample."""
        self._stopped = True

    async def run(self) -> None:
        """Take samples. Raises ChildFailed. Not to be cancelled: children would be left with half a question."""
        began = due = trio.current_time()
        wall, cpu = time.monotonic(), cpu_seconds(self._server.pid)
        # Phases that follow each other: no delivery is in two of them, nor in none.
        await self._room.ask(Done, "phase", name=_phase(0))
        while not self._stopped:
            due += self._every
            await trio.sleep_until(due)
            number = len(self.samples)
            await self._room.ask(Done, "phase", name=_phase(number + 1))
            latency = await self._room.ask(Quantiles, "latency", phase=_phase(number), forget=True)
            state = await self._stats()
            wall_before, cpu_before = wall, cpu
            wall, cpu = time.monotonic(), cpu_seconds(self._server.pid)
            self.samples.append(
                Sample(
                    at=trio.current_time() - began,
                    connections=state.statistics["connections"],
                    sockets=state.sockets,
                    tasks=state.tasks,
                    descriptors=descriptors(self._server.pid),
                    memory=anonymous_bytes(self._server.pid),
                    proportional=proportional_bytes(self._server.pid),
                    cpu_share=(cpu - cpu_before) / max(wall - wall_before, 1e-9),
                    deliveries=latency.count,
                    p99=latency.p99,
                    closes=state.closes,
                )
            )


def _phase(number: int) -> str:
    return f"sample {number}"
