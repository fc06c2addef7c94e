"""What waits in a server for clients that do not read, looked at again and again."""

from typing import NamedTuple

import msgspec
import trio

from tidings.bench.observe import resident_bytes
from tidings.bench.processes import Child
from tidings.bench.replies import ServerState, Waiting
from tidings.bench.workbench import POLL_SECONDS

SLOW_CONSUMER = "3008"


class Lot(NamedTuple):
    """The users NAME-0 and on, who are looked at."""

    name: str
    size: int


class Look(msgspec.Struct, frozen=True):
    """One look."""

    at: float
    """Seconds since the first."""
    stopped: int
    """How many have stopped reading: the lot, or nobody yet."""
    in_hub: int
    """How many of the lot the hub still has."""
    waiting: int
    """Bytes for the lot."""
    most: int
    """Bytes for the one of them for whom most waits."""
    outbox_bytes: int
    """Bytes for all connections, as `hub.statistics()` tells it."""
    resident: int
    closes: dict[str, int]


class Peak(msgspec.Struct, frozen=True):
    """The most that was seen of everything since some moment, and what came of it."""

    waiting: int
    most: int
    outbox_bytes: int
    resident: int
    closes: dict[str, int]
    """At the end."""
    first_sealed: float | None = None
    """Seconds until the first of the lot was out of the hub."""
    last_sealed: float | None = None
    closed: float | None = None
    """Seconds until as many closes as the lot has clients were counted as 3008."""


class Watch:
    """Looks at one server, and remembers."""

    def __init__(self, server: Child) -> None:
        self.lot = Lot("", 0)
        self.looks: list[Look] = []
        self.marks: list[tuple[float, str]] = []
        """Moments, in seconds since the first look, and what happened."""
        self.out_at: list[float | None] = []
        """When each of the lot that stopped was found out of the hub, on trio's clock."""
        self._server = server
        self._began: float | None = None
        self._stopped: float | None = None
        self._closed_at: float | None = None
        self._first = 0
        """The first look since the last mark of a stop."""

    async def look(self) -> Look:
        """Look once. Raises ChildFailed."""
        state = await self._server.ask(ServerState, "stats")
        told = await self._server.ask(Waiting, "waiting", group=self.lot.name, count=self.lot.size)
        now = trio.current_time()
        if self._began is None:
            self._began = now
        present = [pending for pending in told.pending if pending is not None]
        look = Look(
            at=now - self._began,
            stopped=self.lot.size if self._stopped is not None else 0,
            in_hub=len(present),
            waiting=sum(present),
            most=max(present, default=0),
            outbox_bytes=state.statistics["outbox_bytes"],
            resident=resident_bytes(self._server.pid),
            closes=state.closes,
        )
        self.looks.append(look)
        if self._stopped is not None:
            self._note(told.pending, now)
        return look

    async def during(self, seconds: float) -> Peak:
        """Look for a while at a lot that reads; the most that was seen."""
        self._stopped = None
        self._first = len(self.looks)
        end = trio.current_time() + seconds
        await self.look()
        while trio.current_time() < end:
            await trio.sleep(POLL_SECONDS)
            await self.look()
        return self._peak()

    def stopped(self) -> None:
        """From now on the lot does not read."""
        assert self._began is not None
        self._stopped = trio.current_time()
        self._closed_at = None
        self._first = len(self.looks)
        self.out_at = [None] * self.lot.size
        self.marks.append((self._stopped - self._began, f"{self.lot.size} stop"))

    def are_closed(self, before: dict[str, int]) -> bool:
        """Whether as many closes 3008 as the lot has clients were counted, beside those before."""
        closes = self.looks[-1].closes
        if closes.get(SLOW_CONSUMER, 0) - before.get(SLOW_CONSUMER, 0) < self.lot.size:
            return False
        if self._closed_at is None:
            self._closed_at = trio.current_time()
        return True

    def outcome(self, before: dict[str, int]) -> Peak:
        """The most that was seen since the lot stopped; `closes` without those before."""
        assert self._stopped is not None
        stopped, found = self._stopped, self._peak()
        out = [at - stopped for at in self.out_at if at is not None]
        everybody = len(out) == self.lot.size
        counts = {code: count - before.get(code, 0) for code, count in found.closes.items()}
        self._stopped = None
        return msgspec.structs.replace(
            found,
            closes={code: count for code, count in counts.items() if count},
            first_sealed=min(out, default=None),
            last_sealed=max(out) if everybody else None,
            closed=None if self._closed_at is None else self._closed_at - stopped,
        )

    def _note(self, pending: list[int | None], now: float) -> None:
        """Note who is out of the hub now."""
        was_complete = None not in self.out_at
        for number, bytes_ in enumerate(pending):
            if bytes_ is None and self.out_at[number] is None:
                self.out_at[number] = now
        if not was_complete and None not in self.out_at and self._began is not None:
            self.marks.append((now - self._began, f"{self.lot.size} sealed"))

    def _peak(self) -> Peak:
        looks = self.looks[self._first :]
        return Peak(
            waiting=max(look.waiting for look in looks),
            most=max(look.most for look in looks),
            outbox_bytes=max(look.outbox_bytes for look in looks),
            resident=max(look.resident for look in looks),
            closes=looks[-1].closes,
        )
