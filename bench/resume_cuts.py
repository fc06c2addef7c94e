"""What befalls the drill: lines cut in four ways at random moments, and the server killed."""

import random
import time
from collections import Counter
from collections.abc import Sequence

import trio

from tidings.bench.processes import ChildFailed
from tidings.bench.progress import progress
from tidings.bench.resume_client import DrillClient
from tidings.bench.resume_server import Mortal

# How a line ends, and how often of ten times.
WAYS = {"reset": 4, "closed": 3, "silent, then reset": 2, "silent for a while": 1}

# Of a silence: from one that nobody notices to one that the server has given up on (PING + PONG).
SILENT_SECONDS = (0.2, 8.0)

# The server's heartbeat in the drill, so that long silences are found out within it.
PING_SECONDS = 3.0
PONG_SECONDS = 2.0

# From a death to the next start, at most: a supervisor's.
DOWN_SECONDS = 1.0

# All clients must be back by then, a server's start and their own back-off included.
BACK_SECONDS = 30.0


class Kill:
    """One death of the server, and the return of everybody."""

    def __init__(self) -> None:
        self.at = 0.0
        """`time.monotonic()` of the SIGKILL."""
        self.up = 0.0
        """… at which the next life listened."""
        self.last_back = 0.0
        """… at which the last client had everything subscribed again."""


class Cutter:
    """Cuts lines, each client's once in `every` seconds or so."""

    def __init__(self, clients: Sequence[DrillClient], *, every: float, seed: int) -> None:
        self._clients = clients
        self._random = random.Random(f"cuts {seed}")
        self._pause = every / len(clients)
        self.cuts: Counter[str] = Counter()

    async def run(self, seconds: float) -> None:
        """Cut for so long; silences are over when it returns."""
        async with trio.open_nursery() as nursery:
            with trio.move_on_after(seconds):
                while True:
                    await trio.sleep(self._random.expovariate(1 / self._pause))
                    (way,) = self._random.choices(list(WAYS), list(WAYS.values()))
                    client = self._random.choice(self._clients)
                    silent = self._random.uniform(*SILENT_SECONDS)
                    nursery.start_soon(self._cut, client, way, silent)

    async def _cut(self, client: DrillClient, way: str, silent: float) -> None:
        if way in ("reset", "closed"):
            self.cuts[way] += await client.cut(reset=way == "reset")
            return
        line = client.silence()
        if line is None:
            return
        self.cuts[way] += 1
        await trio.sleep(silent)
        if way == "silent, then reset":
            await line.reset()
        else:
            line.release()


async def kill_often(
    server: Mortal, clients: Sequence[DrillClient], *, kills: int, seconds: float, seed: int
) -> list[Kill]:
    """Kill the server so often within so many seconds, each time in a part of its own; wait for all to be back."""
    chance = random.Random(f"kills {seed}")
    begun = trio.current_time()
    part = seconds / max(kills, 1)
    killed = []
    for number in range(kills):
        await trio.sleep_until(begun + part * (number + chance.uniform(0.2, 0.7)))
        kill = Kill()
        progress(f"kill -9, {number + 1} of {kills}")
        kill.at = time.monotonic()
        await server.kill()
        await trio.sleep(chance.uniform(0, DOWN_SECONDS))
        await server.start()
        kill.up = time.monotonic()
        kill.last_back = await _all_back(clients, kill.at)
        killed.append(kill)
    return killed


async def _all_back(clients: Sequence[DrillClient], since: float) -> float:
    """When the last client had been connected since then. Cuts may have taken some of them again."""
    first_back: dict[str, float] = {}
    with trio.move_on_after(BACK_SECONDS):
        while len(first_back) < len(clients):
            await trio.sleep(0.02)
            for client in clients:
                if client.name not in first_back and client.connected_at > since:
                    first_back[client.name] = client.connected_at
        return max(first_back.values())
    missing = [client.name for client in clients if client.name not in first_back]
    raise ChildFailed(
        f"{len(missing)} clients were not back {BACK_SECONDS:g} s after a kill, such as {missing[0]}"
    )
