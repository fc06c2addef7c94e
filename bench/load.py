"""The two ways to make load: wait for everybody before the next message, or keep to a schedule."""

import math
import random
import string
import time
from collections.abc import Callable

from tidings.bench.client import Client
from tidings.bench.fleet import TAIL_SECONDS, Fleet
from tidings.bench.observe import cpu_seconds
from tidings.bench.replies import OpenRun, Rounds
from tidings.bench.rooms import Room

# A round of many bursts is seconds of work for a slow server.
ROUND_SECONDS = 60.0

# How often an open loop looks whether its server still keeps up.
_LOOK_SECONDS = 0.01

# Publications that an open loop sends before it reads again, when it is late.
_AT_ONCE = 16


def drawn_text(draw: random.Random, payload: int) -> str:
    """So many bytes of text."""
    return "".join(draw.choices(string.ascii_letters, k=payload))


class ClosedLoop:
    """Rounds: in each room somebody drawn speaks, and the next round begins when all clients have everything."""

    def __init__(
        self,
        fleet: Fleet,
        *,
        rounds: int,
        payload: int,
        server: int,
        done: Callable[[Rounds], None],
        failed: Callable[[str], None],
        seed: str = "",
        burst: int = 1,
        acknowledged: bool = False,
    ) -> None:
        """Take the number of rounds, the bytes of text in a message, and the process id of the server.

        `burst`: messages that a speaker sends in one write; `seed`: of the text and of who speaks.
        """
        self._fleet = fleet
        self._rooms = [room for room in fleet.rooms if room.members]
        self._rounds = rounds
        self._draw = random.Random(seed)
        self._text = drawn_text(self._draw, payload)
        self._burst = burst
        self._acknowledged = acknowledged
        self._server = server
        self._done = done
        self._failed = failed
        self._completion: list[float] = []
        self._cpu: list[float] = []
        self._round = -1
        self._load_cpu = 0.0
        self._sent = 0.0
        self._waiting: list[Room] = []

    def start(self) -> None:
        """Begin; `done` or `failed` is called at the end."""
        self._fleet.forget_latencies()
        self._before = self._fleet.published, sum(room.due for room in self._rooms)
        self._unanswered_before = self._unanswered
        self._begun = self._cpu_before = cpu_seconds(self._server)
        self._next()

    def _next(self) -> None:
        self._round += 1
        this = self._round
        speakers = [self._fleet.speaker(room, self._draw) for room in self._rooms]
        found = [speaker for speaker in speakers if speaker is not None]
        if not found or len(found) < len(speakers):
            self._end_with(f"round {this}: a room in which nobody can speak")
            return
        # Made before the clock runs: what it takes to compose thousands of messages is not the server's.
        stamped = time.monotonic()
        writes = [
            self._fleet.write(speaker, stamped, self._text, self._burst, acknowledged=self._acknowledged)
            for speaker in found
        ]
        self._sent, self._load_before = time.monotonic(), time.process_time()
        self._fleet.sent_late(self._sent - stamped)
        for speaker, write in zip(found, writes, strict=True):
            speaker.send(write)
        self._waiting = self._rooms[::-1]
        self._fleet.loop.call_at(time.monotonic() + ROUND_SECONDS, lambda: self._late(this))
        self._fleet.loop.after_turn = self._look

    def _look(self) -> None:
        waiting = self._waiting
        while waiting and waiting[-1].received >= waiting[-1].due:
            waiting.pop()
        if waiting or self._unanswered > self._unanswered_before:
            return
        self._completion.append(time.monotonic() - self._sent)
        self._load_cpu += time.process_time() - self._load_before
        now = cpu_seconds(self._server)
        self._cpu.append(now - self._cpu_before)
        self._cpu_before = now
        self._fleet.loop.after_turn = None
        if len(self._completion) < self._rounds:
            self._next()
        else:
            self._fleet.loop.call_at(time.monotonic() + TAIL_SECONDS, self._end)

    def _late(self, round_: int) -> None:
        if self._round == round_ and len(self._completion) == round_:
            missing = sum(room.due - room.received for room in self._waiting)
            unanswered = self._unanswered - self._unanswered_before
            self._end_with(
                f"round {round_}: {missing} deliveries are missing in {len(self._waiting)} rooms after "
                f"{ROUND_SECONDS:g} s" + f", and {unanswered} answers" * (unanswered > 0)
            )

    @property
    def _unanswered(self) -> int:
        """Messages without an answer; none where none is asked for."""
        return self._fleet.published - self._fleet.answers if self._acknowledged else 0

    def _end_with(self, why: str) -> None:
        self._fleet.loop.after_turn = None
        self._fleet.sent_late(0.0)
        self._failed(why)

    def _end(self) -> None:
        published, due = self._before
        rounds = Rounds(
            completion=self._completion,
            cpu=self._cpu,
            latency=self._fleet.latency("all"),
            deliveries=sum(room.due for room in self._rooms) - due,
            server_cpu=cpu_seconds(self._server) - self._begun,
            load_share=self._load_cpu / sum(self._completion),
            load_cpu=self._load_cpu,
            messages=self._fleet.published - published,
        )
        self._fleet.sent_late(0.0)
        self._done(rounds)


class OpenLoop:
    """Publications at a set rate, whatever becomes of them, to each room in turn.

    Latency counts from when a publication was due: a server that stalls is charged for those that had to
    wait, and cannot hide behind a load generator that waited with it.
    """

    def __init__(
        self,
        fleet: Fleet,
        *,
        rate: float,
        payload: int,
        seed: str = "",
        backlog: float = math.inf,
        acknowledged: bool = True,
        steady: bool = False,
    ) -> None:
        """Take publications a second, and bytes of text in each.

        It ends by itself when more than `backlog` deliveries are still to come. `steady`: in each room one
        speaks, drawn, all the time. Peers without positions of their own need that: which of two messages on
        two sockets comes first is the server's to say, and only one sender's order is known beforehand.
        """
        self._fleet = fleet
        self._rate = rate
        self._draw = random.Random(seed)
        self._text = drawn_text(self._draw, payload)
        self._backlog = backlog
        self._acknowledged = acknowledged
        self._steady = steady
        self._speakers: dict[int, Client] = {}
        self._count = 0
        self._running = False
        self._overloaded = False
        self._seconds = 0.0
        self._looked = 0.0

    def start(self) -> None:
        """Begin, now."""
        self._running = True
        self._begun = time.monotonic()
        self._tick()

    def stop(self) -> OpenRun:
        """Send nothing more."""
        self._halt()
        return OpenRun(self._count, self._seconds, self._overloaded)

    def _halt(self) -> None:
        if self._running:
            self._running = False
            self._seconds = time.monotonic() - self._begun

    def _speaker(self, room: Room) -> Client | None:
        if not self._steady:
            return self._fleet.speaker(room, self._draw)
        if room.number not in self._speakers:
            drawn = self._fleet.speaker(room, self._draw)
            if drawn is None:
                return None
            self._speakers[room.number] = drawn
        return self._speakers[room.number]

    def _tick(self) -> None:
        rooms = self._fleet.rooms
        for _ in range(_AT_ONCE):
            if not self._running:
                return
            now = time.monotonic()
            due = self._begun + self._count / self._rate
            if due > now:
                self._fleet.loop.call_at(due, self._tick)
                return
            if now - self._looked > _LOOK_SECONDS:
                self._looked = now
                if self._fleet.behind > self._backlog:
                    self._overloaded = True
                    self._halt()
                    return
            publisher = self._speaker(rooms[self._count % len(rooms)])
            if publisher is None:
                self._halt()
                return
            self._fleet.publish(publisher, due, self._text, acknowledged=self._acknowledged)
            self._count += 1
        # Late: read what has come before sending more.
        self._fleet.loop.call_at(time.monotonic(), self._tick)
