"""The clients of one process: connecting them, what they got, and the load they make."""

import time
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

from tidings.bench.client import Client, State
from tidings.bench.eventloop import EventLoop
from tidings.bench.ledger import Batch, Ledger
from tidings.bench.observe import cpu_seconds
from tidings.bench.profiles import Profile
from tidings.bench.quantiles import quantiles
from tidings.bench.replies import ClientState, FleetState, Joined, Left, Quantiles

# Handshakes under way at once: enough to keep the server busy, too few to overflow its listen queue.
HANDSHAKES_AT_ONCE = 64

# After the last of them the server may still have a turn to end; its time counts.
TAIL_SECONDS = 0.02

# Clients of one source address; the server's default limit per address is 1,024.
CLIENTS_PER_ADDRESS = 500

# More than the server's `close_timeout`: a closing handshake that takes longer has failed.
LEAVE_SECONDS = 10.0


class Fleet:
    """Thousands of clients on one loop."""

    def __init__(self, loop: EventLoop, profile: Profile) -> None:
        self.loop = loop
        self.profile = profile
        self.ledger = Ledger()
        self.batch = Batch(b"")
        self.clients: list[Client] = []
        self.published = 0
        self.on_delivered: Callable[[int], None] | None = None
        """Told of each client's deliveries, by a closed loop that waits for the last of them."""
        self._acknowledged = 0
        self._phase = "all"
        self._latencies: defaultdict[str, array[float]] = defaultdict(lambda: array("d"))
        self._samples = self._latencies[self._phase]
        self._on_changed: Callable[[Client], None] | None = None
        self._asked = (time.monotonic(), time.process_time())

    # --- as the clients see it -----------------------------------------------------------------------

    def delivered(self, count: int, sents: list[float]) -> None:
        """Take note of publications that a client got, and of when those that count were due."""
        now = time.monotonic()
        for sent in sents:
            self._samples.append(now - sent)
        self.ledger.received += count
        if self.on_delivered is not None:
            self.on_delivered(count)

    def changed(self, client: Client) -> None:
        """Take note of a client that joined or is gone."""
        if self._on_changed is not None:
            self._on_changed(client)

    def acknowledged(self, offset: int) -> None:
        """Take note of an accepted publication."""
        self._acknowledged = max(self._acknowledged, offset)

    # --- coming and going ----------------------------------------------------------------------------

    def connect(
        self,
        port: int,
        count: int,
        group: str,
        network: int,
        ethernet: int,
        done: Callable[[Joined], None],
        *,
        at_once: int = HANDSHAKES_AT_ONCE,
        server: int | None = None,
    ) -> None:
        """Connect `count` clients, users `GROUP-0` and on, from 127.NETWORK.*.*; the first few as by Ethernet.

        `done` is called when each has joined or failed, told of the CPU time of the process `server` too.
        """
        first = len(self.clients)
        self.profile.prepare(f"{group}-{number}" for number in range(first, first + count))
        started, cpu = time.monotonic(), time.process_time()
        server_cpu = 0.0 if server is None else cpu_seconds(server)
        waiting = count
        refused: Counter[str] = Counter()

        def connect_next() -> None:
            number = len(self.clients)
            if number == first + count:
                return
            client = Client(self, self.profile, number, self.published)
            self.clients.append(client)
            at = number // CLIENTS_PER_ADDRESS
            source = f"127.{network}.{at // 250}.{1 + at % 250}"
            client.connect(port, source, f"{group}-{number}", ethernet=number - first < ethernet)

        def changed(client: Client) -> None:
            nonlocal waiting
            if client.state is State.GONE and not client.why:
                return  # it had joined, and left again
            if client.state is State.GONE:
                refused[client.why] += 1
            waiting -= 1
            connect_next()
            if not waiting:
                self._on_changed = None
                joined = count - refused.total()
                seconds, load_cpu = time.monotonic() - started, time.process_time() - cpu

                def settled() -> None:
                    spent = 0.0 if server is None else cpu_seconds(server) - server_cpu
                    done(Joined(joined, dict(refused), seconds, load_cpu, spent))

                # The server may still have a turn to end; its time counts.
                self.loop.call_at(time.monotonic() + TAIL_SECONDS, settled)

        self._on_changed = changed
        for _ in range(min(count, at_once)):
            connect_next()

    def leave(self, done: Callable[[Left], None]) -> None:
        """Close all clients with closing handshakes, within LEAVE_SECONDS."""
        dropped = 0

        def end() -> None:
            self._on_changed = None
            done(Left(dropped))

        def changed(_client: Client) -> None:
            if not self.joined():
                end()

        def late() -> None:
            nonlocal dropped
            if self._on_changed is changed:
                self._on_changed = None
                remaining = self.joined()
                dropped = len(remaining)
                for client in remaining:
                    client.drop()
                end()

        if not self.joined():
            end()
            return
        self._on_changed = changed
        self.loop.call_at(time.monotonic() + LEAVE_SECONDS, late)
        for client in self.joined():
            client.leave()

    def joined(self) -> list[Client]:
        """The clients that are in the room."""
        return [client for client in self.clients if client.state is State.JOINED]

    # --- load ----------------------------------------------------------------------------------------

    def publish(self, client: Client, sent: float, text: str, *, acknowledged: bool = False) -> None:
        """Let a client send a publication."""
        self.published += 1
        client.send(self.profile.publish(sent, text, self.published, acknowledged=acknowledged))

    # --- what there is to tell -----------------------------------------------------------------------

    def phase(self, name: str) -> None:
        """Keep the latencies from here on under a name of their own."""
        self._phase = name
        self._samples = self._latencies[name]

    def latency(self, phase: str) -> Quantiles:
        """The latencies of a phase."""
        return quantiles(self._latencies[phase])

    def write_samples(self, phase: str, path: str) -> None:
        """Write the latencies of a phase to a file: seconds, 8-byte floats of this machine's order."""
        with Path(path).open("wb") as file:
            self._latencies[phase].tofile(file)

    def forget_latencies(self) -> None:
        """Drop the samples of the present phase, as after a warm-up."""
        del self._samples[:]

    def state(self) -> FleetState:
        """All clients together."""
        now, cpu = time.monotonic(), time.process_time()
        then, cpu_then = self._asked
        self._asked = now, cpu
        reading = [client.last for client in self.joined() if not client.stalled]
        ledger = self.ledger
        return FleetState(
            joined=len(self.joined()),
            received=ledger.received,
            missing=ledger.missing,
            repeated=ledger.repeated,
            pings=ledger.pings,
            problem_count=ledger.problem_count,
            problems=ledger.problems,
            lowest=min(reading, default=0),
            highest=max(reading, default=0),
            published=self.published,
            acknowledged=self._acknowledged,
            load_share=(cpu - cpu_then) / max(now - then, 1e-9),
        )

    def client_states(self, numbers: list[int]) -> list[ClientState]:
        """Some clients, one by one; all, when none is named."""
        return [
            ClientState(
                number=client.number,
                received=client.received,
                last=client.last,
                is_gone=client.state is State.GONE,
                close_code=client.close_code,
                told_code=int(client.told.data.code) if client.told else None,
                told_delay=client.told.data.delay if client.told else None,
                told_reconnect=client.told.data.reconnect if client.told else None,
                reset=client.reset,
            )
            for client in ([self.clients[number] for number in numbers] or self.clients)
        ]
