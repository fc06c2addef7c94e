"""The clients of one process: connecting them, what they got, and the load they make."""

import random
import ssl
import time
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

from tidings.bench.client import Client, State
from tidings.bench.eventloop import EventLoop
from tidings.bench.ledger import Batch, Ledger
from tidings.bench.observe import cpu_seconds
from tidings.bench.profiles import ROOM, Profile
from tidings.bench.quantiles import quantiles
from tidings.bench.replies import ClientState, FleetState, Joined, Left, Quantiles
from tidings.bench.rooms import Room, rooms_named

# Handshakes under way at once: enough to keep the server busy, too few to overflow its listen queue.
HANDSHAKES_AT_ONCE = 64

# After the last of them the server may still have a turn to end; its time counts.
TAIL_SECONDS = 0.02

# Whoever has not come in by then counts as refused; within `ASK_SECONDS`, so that a server at which some never get
# in still has a figure.
HANDSHAKE_SECONDS = 100.0

# Clients of one source address; the server's default limit per address is 1,024.
CLIENTS_PER_ADDRESS = 500

# More than the server's `close_timeout`: a closing handshake that takes longer has failed.
LEAVE_SECONDS = 10.0

# Clients looked at before all of them are: nearly always the first may speak.
_DRAWS = 20


class Fleet:
    """Thousands of clients on one loop."""

    def __init__(
        self, loop: EventLoop, profile: Profile, *, rooms: int = 1, tls: ssl.SSLContext | None = None
    ) -> None:
        """Divide the clients over so many rooms, in turn; `tls` verifies the server, where it encrypts."""
        self.loop = loop
        self.profile = profile
        self.tls = tls
        self.rooms = rooms_named(ROOM, rooms)
        self.notes = Ledger()
        """What has been added up so far; `ledger` is complete."""
        self.clients: list[Client] = []
        self.host = "127.0.0.1"
        self.sources: list[str] = []
        """The addresses to connect from, in place of those of 127/8."""
        self.answers = 0
        """Publications that were said to be accepted."""
        self._acknowledged = 0
        self._late = 0.0
        self._phase = "all"
        self._latencies: defaultdict[str, array[float]] = defaultdict(lambda: array("d"))
        self._samples = self._latencies[self._phase]
        self._on_changed: Callable[[Client], None] | None = None
        self._asked = (time.monotonic(), time.process_time())

    # --- as the clients see it -----------------------------------------------------------------------

    def delivered(self, room: Room, count: int, sents: list[float]) -> None:
        """Take note of publications that a client got, and of when those that count were due."""
        now = time.monotonic()
        self._samples.extend([now - sent - self._late for sent in sents])
        room.folded += count
        self.notes.received += count

    def turned(self, room: Room, batch: Batch) -> None:
        """Make a batch the room's present one; what the clients stamped on the one before is added up."""
        self._fold(room)
        room.batch = batch

    def changed(self, client: Client) -> None:
        """Take note of a client that joined or is gone."""
        if client.state is State.JOINED:
            client.room.members += 1
        elif not client.why:
            client.room.members -= 1
        if self._on_changed is not None:
            self._on_changed(client)

    def acknowledged(self, offset: int) -> None:
        """Take note of an accepted publication."""
        self.answers += 1
        self._acknowledged = max(self._acknowledged, offset)

    # --- what the clients' notes come to ---------------------------------------------------------------

    def _fold(self, room: Room) -> None:
        batch = room.batch
        stamps = batch.stamps
        if stamps:
            for sent in batch.sents:
                due = sent + self._late
                self._samples.extend([stamp - due for stamp in stamps])
            room.folded += len(stamps) * batch.count
            self.notes.received += len(stamps) * batch.count
            del stamps[:]

    def _settle(self) -> None:
        for room in self.rooms:
            self._fold(room)

    @property
    def ledger(self) -> Ledger:
        """The sums over all clients."""
        self._settle()
        return self.notes

    @property
    def published(self) -> int:
        """Publications sent, in all rooms."""
        return sum(room.published for room in self.rooms)

    @property
    def behind(self) -> int:
        """Deliveries that are still to come."""
        return sum(room.due - room.received for room in self.rooms)

    # --- coming and going ----------------------------------------------------------------------------

    def make(self, number: int, room: Room) -> Client:
        """A new client, which is to be in that room."""
        return Client(self, self.profile, number, room.published, room)

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
        timeline: bool = False,
    ) -> None:
        """Connect `count` clients, users `GROUP-0` and on, from 127.NETWORK.*.*; the first few as by Ethernet.

        `done` is called when each has joined or failed, told of the CPU time of the process `server` too, and
        with `timeline` of when each joined. Raises ValueError for a negative count.
        """
        if count < 0:
            raise ValueError(f"{count} clients cannot connect")
        if not count:
            done(Joined(0, {}, 0.0, 0.0, 0.0))
            return
        first = len(self.clients)
        self.profile.prepare(f"{group}-{number}" for number in range(first, first + count))
        started, cpu = time.monotonic(), time.process_time()
        server_cpu = 0.0 if server is None else cpu_seconds(server)
        waiting = count
        refused: Counter[str] = Counter()
        arrivals: list[float] = []
        resent = 0
        is_late = False

        def connect_next() -> None:
            number = len(self.clients)
            if is_late or number == first + count:
                return
            room = self.rooms[number % len(self.rooms)]
            client = self.make(number, room)
            self.clients.append(client)
            at = number // CLIENTS_PER_ADDRESS
            source = self.sources[at] if self.sources else f"127.{network}.{at // 250}.{1 + at % 250}"
            client.connect(
                port, source, f"{group}-{number}", ethernet=number - first < ethernet, host=self.host
            )

        def changed(client: Client) -> None:
            nonlocal waiting, resent
            if client.state is State.GONE and not client.why:
                return  # it had joined, and left again
            if client.state is State.GONE:
                refused[client.why] += 1
            elif timeline:
                arrivals.append(time.monotonic() - started)
                resent += client.retransmissions() > 0
            waiting -= 1
            connect_next()
            end_if_all()

        def late() -> None:
            nonlocal waiting, is_late
            if not waiting:
                return
            is_late = True
            begun, never = self.clients[first:], first + count - len(self.clients)
            if never:
                refused["its turn never came"] = never
                waiting -= never
            for client in begun:
                if client.state in (State.CONNECTING, State.JOINING):
                    client.give_up(f"not in after {HANDSHAKE_SECONDS:g} s")

        def end_if_all() -> None:
            if not waiting:
                self._on_changed = None
                joined = count - refused.total()
                seconds, load_cpu = time.monotonic() - started, time.process_time() - cpu

                def settled() -> None:
                    spent = 0.0 if server is None else cpu_seconds(server) - server_cpu
                    done(Joined(joined, dict(refused), seconds, load_cpu, spent, arrivals, resent))

                # The server may still have a turn to end; its time counts.
                self.loop.call_at(time.monotonic() + TAIL_SECONDS, settled)

        self._on_changed = changed
        self.loop.call_at(started + HANDSHAKE_SECONDS, late)
        for _ in range(min(count, at_once)):
            connect_next()

    def leave(self, done: Callable[[Left], None]) -> None:
        """Close all clients with closing handshakes, within LEAVE_SECONDS."""
        dropped = 0

        def end() -> None:
            self._on_changed = None
            done(Left(dropped))

        # Not `joined()`, which looks at all there ever were: for each of thousands that is seconds.
        leaving = set(self.joined())

        def changed(client: Client) -> None:
            leaving.discard(client)
            if not leaving:
                end()

        def late() -> None:
            nonlocal dropped
            if self._on_changed is changed:
                self._on_changed = None
                dropped = len(leaving)
                for client in leaving:
                    client.drop()
                end()

        if not leaving:
            end()
            return
        self._on_changed = changed
        self.loop.call_at(time.monotonic() + LEAVE_SECONDS, late)
        for client in list(leaving):
            client.leave()

    def drop(self, *, reset: bool) -> int:
        """Close all sockets abruptly and forget the clients, so that the next take their numbers; how many."""
        remaining = self.joined()
        for client in remaining:
            client.drop(reset=reset)
        self.clients.clear()
        return len(remaining)

    def joined(self) -> list[Client]:
        """The clients that are in the room."""
        return [client for client in self.clients if client.state is State.JOINED]

    # --- load ----------------------------------------------------------------------------------------

    def speaker(self, room: Room, draw: random.Random) -> Client | None:
        """A member of the room that may speak, drawn; None when there is none."""
        members = self.clients if len(self.rooms) == 1 else self.clients[room.number :: len(self.rooms)]
        for _ in range(_DRAWS if members else 0):
            client = draw.choice(members)
            if _may_speak(client):
                return client
        able = [client for client in members if _may_speak(client)]
        return draw.choice(able) if able else None

    def publish(self, client: Client, sent: float, text: str, *, acknowledged: bool = False) -> None:
        """Let a client send a publication to its room."""
        client.send(self.write(client, sent, text, 1, acknowledged=acknowledged))

    def write(
        self, client: Client, sent: float, text: str, count: int, *, acknowledged: bool = False
    ) -> bytes:
        """So many publications by a client, for one write; they count as published from here on."""
        room = client.room
        first = room.published + 1
        room.published += count
        room.due += room.members * count
        publish = self.profile.publish
        return b"".join(
            publish(sent, text, number, room=room.name, acknowledged=acknowledged)
            for number in range(first, first + count)
        )

    def sent_late(self, seconds: float) -> None:
        """Count latencies, from here on, from so long after the moments that the publications bear."""
        self._settle()
        self._late = seconds

    # --- what there is to tell -----------------------------------------------------------------------

    def phase(self, name: str) -> None:
        """Keep the latencies from here on under a name of their own."""
        self._settle()
        self._phase = name
        self._samples = self._latencies[name]

    def latency(self, phase: str, *, forget: bool = False) -> Quantiles:
        """The latencies of a phase; `forget` drops them, where there are ever more phases."""
        self._settle()
        found = quantiles(self._latencies[phase])
        if forget:
            del self._latencies[phase]
        return found

    def write_samples(self, phase: str, path: str) -> None:
        """Write the latencies of a phase to a file: seconds, 8-byte floats of this machine's order."""
        self._settle()
        with Path(path).open("wb") as file:
            self._latencies[phase].tofile(file)

    def forget_latencies(self) -> None:
        """Drop the samples of the present phase, as after a warm-up."""
        self._settle()
        del self._samples[:]

    def state(self) -> FleetState:
        """All clients together."""
        now, cpu = time.monotonic(), time.process_time()
        then, cpu_then = self._asked
        self._asked = now, cpu
        joined = self.joined()
        reading = [client.last for client in joined if not client.stalled]
        ledger = self.ledger
        return FleetState(
            joined=len(joined),
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
            answers=self.answers,
            expected=sum(room.due for room in self.rooms),
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


def _may_speak(client: Client) -> bool:
    return client.state is State.JOINED and client.is_regular and client.told is None
