"""Clients that come and go for as long as it lasts, and leave in the ways in which clients leave."""

import random
import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from tidings.bench.client import Client, State
from tidings.bench.fleet import LEAVE_SECONDS, Fleet
from tidings.bench.ledger import TOLD
from tidings.bench.replies import Churned, Joined

# So many seconds' newcomers come together.
WAVE_SECONDS = 0.5

# How one leaves: with a closing handshake, by a reset (SO_LINGER 0), or as one whose process was killed: the
# kernel sends FIN, or a reset where something was unread.
CLOSED, RESET, KILLED = "closed", "reset", "killed"
WAYS = (CLOSED, RESET, KILLED)


class Coming(NamedTuple):
    """Who comes, and how many."""

    port: int
    network: int
    group: str
    rate: float
    """Newcomers a second."""
    population: int
    """How many stay: whoever is more than that leaves, drawn by lot."""
    users: int
    """Waves after which the same users come again, so that the server meets a bounded number of names."""
    seed: int


class Churn:
    """Comings and goings on one loop. Each wave is a fleet of its own, forgotten with its last client."""

    def __init__(self, new_fleet: Callable[[], Fleet], coming: Coming) -> None:
        self._new_fleet = new_fleet
        self._loop = new_fleet().loop
        self._coming = coming
        self._random = random.Random(coming.seed)
        self._waves: list[Fleet] = []
        self._number = 0
        self._living: list[Client] = []
        self._leaving: list[tuple[Client, float]] = []
        """Who has begun a closing handshake, and when it must be over."""
        self._ways: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._received = self._problem_count = self._late = self._came = 0
        self._problems: list[str] = []
        self._on_end: Callable[[Churned], None] | None = None

    def start(self) -> None:
        """Begin, until `end`."""
        self._due = time.monotonic()
        self._wave()

    def end(self, done: Callable[[Churned], None]) -> None:
        """Let nobody come any more, and all leave in order; `done` is called when the last is gone."""
        self._on_end = done

    def _wave(self) -> None:
        """One turn: newcomers, unless it is over; then whoever is too many leaves."""
        self._tidy()
        if self._on_end is not None:
            for client in self._living:
                self._leave(client, CLOSED)
            self._living.clear()
            self._wait_empty(self._on_end)
            return
        coming = self._coming
        fleet = self._new_fleet()
        self._waves.append(fleet)
        group = f"{coming.group}-{self._number % coming.users}"
        self._number += 1
        count = max(1, round(coming.rate * WAVE_SECONDS))

        def joined(answer: Joined) -> None:
            self._came += answer.joined
            self._refused.update(answer.refused)
            self._living += fleet.joined()
            self._random.shuffle(self._living)
            while len(self._living) > coming.population:
                self._leave(self._living.pop(), self._random.choice(WAYS))
            # A server that is slow at handshakes gets fewer of them, and no queue without end.
            self._due = max(self._due + WAVE_SECONDS, time.monotonic())
            self._loop.call_at(self._due, self._wave)

        fleet.connect(coming.port, count, group, coming.network, 0, joined)

    def _leave(self, client: Client, way: str) -> None:
        if client.state is not State.JOINED:
            return  # the server has ended it: `_tidy` tells
        self._ways[way] += 1
        if way == CLOSED:
            self._leaving.append((client, time.monotonic() + LEAVE_SECONDS))
            client.leave()
        else:
            client.drop(reset=way == RESET)

    def _tidy(self) -> None:
        """Note whose leaving is over, whose should be, and who was not to leave; forget whole waves."""
        for client in [client for client in self._living if client.state is State.GONE]:
            self._living.remove(client)
            self._problem(f"client {client.number} was closed with {client.close_code}")
        still: list[tuple[Client, float]] = []
        for client, until in self._leaving:
            if client.state is State.GONE:
                if client.close_code != 1000:
                    self._problem(f"client {client.number} left, and got close {client.close_code}")
            elif time.monotonic() < until:
                still.append((client, until))
            else:
                self._late += 1
                client.drop()
        self._leaving = still
        for fleet in [fleet for fleet in self._waves if not fleet.joined()]:
            self._waves.remove(fleet)
            state = fleet.state()
            self._received += state.received
            self._problem_count += state.problem_count
            self._problems = (self._problems + state.problems)[:TOLD]

    def _problem(self, text: str) -> None:
        self._problem_count += 1
        if len(self._problems) < TOLD:
            self._problems.append(text)

    def _wait_empty(self, done: Callable[[Churned], None]) -> None:
        self._tidy()
        if self._leaving:
            self._loop.call_at(time.monotonic() + WAVE_SECONDS / 5, lambda: self._wait_empty(done))
            return
        done(
            Churned(
                came=self._came,
                refused=dict(self._refused),
                ways={way: self._ways[way] for way in WAYS},
                late=self._late,
                received=self._received,
                problem_count=self._problem_count,
                problems=self._problems,
            )
        )
