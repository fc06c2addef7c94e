"""The two ways to make load: wait for everybody before the next message, or keep to a schedule."""

import time
from collections.abc import Callable

from tidings.bench.fleet import TAIL_SECONDS, Fleet
from tidings.bench.observe import cpu_seconds
from tidings.bench.replies import Rounds

ROUND_SECONDS = 20.0


class ClosedLoop:
    """Rounds: one message, and wait until all clients have it. The publisher is another one each time."""

    def __init__(
        self,
        fleet: Fleet,
        *,
        rounds: int,
        payload: int,
        server: int,
        done: Callable[[Rounds], None],
        failed: Callable[[str], None],
    ) -> None:
        """Take the number of rounds, the bytes of text in a message, and the process id of the server."""
        self._fleet = fleet
        self._clients = fleet.joined()
        self._rounds = rounds
        self._text = "x" * payload
        self._server = server
        self._done = done
        self._failed = failed
        self._completion: list[float] = []
        self._cpu: list[float] = []
        self._round = -1
        self._sent = 0.0
        self._waiting = 0

    def start(self) -> None:
        """Begin; `done` or `failed` is called at the end."""
        self._fleet.forget_latencies()
        self._fleet.on_delivered = self._delivered
        self._begun = time.monotonic(), time.process_time(), cpu_seconds(self._server)
        self._cpu_before = self._begun[2]
        self._next()

    def _next(self) -> None:
        self._round += 1
        self._waiting = len(self._clients)
        publisher = self._clients[self._round % len(self._clients)]
        this = self._round
        self._sent = time.monotonic()
        self._fleet.loop.call_at(self._sent + ROUND_SECONDS, lambda: self._late(this))
        self._fleet.publish(publisher, self._sent, self._text)

    def _delivered(self, count: int) -> None:
        self._waiting -= count
        if self._waiting > 0:
            return
        self._completion.append(time.monotonic() - self._sent)
        now = cpu_seconds(self._server)
        self._cpu.append(now - self._cpu_before)
        self._cpu_before = now
        if len(self._completion) < self._rounds:
            self._next()
        else:
            self._fleet.on_delivered = None
            self._fleet.loop.call_at(time.monotonic() + TAIL_SECONDS, self._end)

    def _late(self, round_: int) -> None:
        if self._round == round_ and len(self._completion) == round_:
            self._fleet.on_delivered = None
            self._failed(f"round {round_}: {self._waiting} of {len(self._clients)} clients have nothing")

    def _end(self) -> None:
        begun, load_cpu, server_cpu = self._begun
        self._done(
            Rounds(
                completion=self._completion,
                cpu=self._cpu,
                latency=self._fleet.latency("all"),
                deliveries=self._rounds * len(self._clients),
                server_cpu=cpu_seconds(self._server) - server_cpu,
                load_share=(time.process_time() - load_cpu) / (time.monotonic() - begun),
            )
        )


class OpenLoop:
    """Publications at a set rate, whatever becomes of them.

    Latency counts from when a publication was due: a server that stalls is charged for those that had to
    wait, and cannot hide behind a load generator that waited with it.
    """

    def __init__(self, fleet: Fleet, *, rate: float, payload: int) -> None:
        """Take publications a second, and bytes of text in each."""
        self._fleet = fleet
        self._rate = rate
        self._text = "x" * payload
        self._count = 0
        self._running = False

    def start(self) -> None:
        """Begin, now."""
        self._running = True
        self._begun = time.monotonic()
        self._tick()

    def stop(self) -> None:
        """Send nothing more."""
        self._running = False

    def _tick(self) -> None:
        while self._running:
            due = self._begun + self._count / self._rate
            if due > time.monotonic():
                self._fleet.loop.call_at(due, self._tick)
                return
            publishers = [
                client for client in self._fleet.joined() if client.is_regular and client.told is None
            ]
            if not publishers:
                self._running = False
                return
            publisher = publishers[self._count % len(publishers)]
            self._fleet.publish(publisher, due, self._text, acknowledged=True)
            self._count += 1
