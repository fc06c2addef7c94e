"""A broker under test, with a node around it that watches what it does."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import trio

from tidings.protocol.positions import Position
from tidings.protocol.publications import Publication
from tidings.server.brokers.base import Broker, Receipt
from tidings.server.config.channels import ChannelRule
from tidings.server.policies import Policies

PAYLOAD: Final = '{"text":"héllo \\u0000 ✓"}'.encode()
EVERYTHING: Final = {"limit": 10_000, "most_bytes": 1 << 30}

SMALL: Final = 5
"""Publications that `room:small…` and inboxes keep."""
AGE: Final = 3600.0
"""Seconds that `room:short…` and inboxes keep them."""
DEVICES: Final = 4
DEVICE_AGE: Final = 30 * 86400.0


def policies(*, durable_rooms: bool, durable_inboxes: bool) -> Policies:
    """The channels of the contract: `room:…` keeps 100, `room:small…` 5, `room:none…` nothing, `user:…` 5."""
    return Policies(
        {
            "*": ChannelRule(history_size=100, history_age=7 * 86400.0, durable=durable_rooms),
            "room:small*": ChannelRule(history_size=SMALL),
            "room:short*": ChannelRule(history_age=AGE),
            "room:none*": ChannelRule(history_size=0, durable=False),
            "user:*": ChannelRule(history_size=SMALL, history_age=AGE, durable=durable_inboxes),
        }
    )


@dataclass
class Node:
    """This node's end: its hub, and what other nodes tell. Notes what may never happen, as `faults`."""

    publications: list[Publication] = field(default_factory=list)
    told: list[tuple[str, bytes]] = field(default_factory=list)
    moves: list[tuple[str, Position]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    _at: dict[str, Position] = field(default_factory=dict)
    _bytes: dict[tuple[str, str, int], Publication] = field(default_factory=dict)
    _arrived: trio.Event = field(default_factory=trio.Event)

    def deliver(self, publication: Publication) -> None:
        """The hub's end: synchronous."""
        self.publications.append(publication)
        if publication.offset:
            self._check(publication)
        self._arrived.set()

    def moved(self, channel: str, position: Position) -> None:
        """The channel goes on from another position."""
        self.moves.append((channel, position))
        if channel in self._at:
            self._at[channel] = position

    def tell(self, sender: str, message: bytes) -> None:
        """A message of a node."""
        self.told.append((sender, message))
        self._arrived.set()

    def listens(self, channel: str, position: Position) -> None:
        """From now on everything after this position has to come, and nothing else."""
        self._at[channel] = position

    def released(self, channel: str) -> None:
        """From now on nothing has to come."""
        self._at.pop(channel, None)

    def same(self, publication: Publication) -> None:
        """The same position has the same bytes, wherever they come from."""
        place = publication.channel, publication.epoch, publication.offset
        if self._bytes.setdefault(place, publication) != publication:
            self.faults.append(f"{publication} and {self._bytes[place]}")

    def _check(self, publication: Publication) -> None:
        self.same(publication)
        at = self._at.get(publication.channel)
        if at is None:
            return
        expected = Position(at.epoch, at.offset + 1)
        if Position(publication.epoch, publication.offset) != expected:
            self.faults.append(f"{publication}, where {expected} had to come")
        self._at[publication.channel] = Position(publication.epoch, publication.offset)

    def of(self, channel: str) -> list[Publication]:
        """What has come of a channel so far."""
        return [publication for publication in self.publications if publication.channel == channel]

    async def wait(self, channel: str, count: int) -> list[Publication]:
        """The publications of a channel, once there are so many. Fails on more, and after twenty seconds."""
        await self.until(lambda: len(self.of(channel)) >= count)
        assert len(self.of(channel)) == count
        return self.of(channel)

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait for what has to come."""
        with trio.fail_after(20):
            while not reached():
                self._arrived = trio.Event()
                await self._arrived.wait()
        await trio.testing.wait_all_tasks_blocked()


@dataclass
class Case:
    """What a check gets. It calls the broker through these, so that the node knows what to expect."""

    broker: Broker
    node: Node
    advance: Callable[[float], None] | None = None
    """Moves the broker's clocks ahead, by seconds; None where they are not ours to move."""
    lose: Callable[[str], Awaitable[None]] | None = None
    """Makes the broker lose what it knows of a channel that nobody listens to."""
    durable_only: bool = False
    """Whether the broker has no channels that keep nothing."""

    async def open(self, channel: str) -> Position:
        """Listen."""
        position = await self.broker.open(channel)
        self.node.listens(channel, position)
        return position

    def release(self, channel: str) -> None:
        """Stop listening."""
        self.broker.release(channel)
        self.node.released(channel)

    async def publish(self, channel: str, count: int = 1, payload: bytes = PAYLOAD) -> list[Receipt]:
        """Publish the same thing so many times."""
        return [await self.broker.publish(channel, "news", payload) for _ in range(count)]

    async def kept(self, channel: str, after: int = 0) -> list[int]:
        """The offsets that the history has behind one."""
        history = await self.broker.history(channel, after, **EVERYTHING)
        for publication in history.publications:
            self.node.same(publication)
        return [publication.offset for publication in history.publications]

    def pass_time(self, seconds: float) -> None:
        """Where checks need it, they say so; this is for those."""
        assert self.advance is not None
        self.advance(seconds)


Check = Callable[[Case], Awaitable[None]]


@dataclass(frozen=True)
class Promise:
    """One check, and what a broker's case must offer for it."""

    check: Check
    needs: frozenset[str]

    def fits(self, case: Case) -> bool:
        """Whether the case offers what is needed."""
        return not (
            ("advance" in self.needs and case.advance is None)
            or ("lose" in self.needs and case.lose is None)
            or ("nothing kept" in self.needs and case.durable_only)
            or ("whole" in self.needs and not hasattr(case.broker, "enter"))
        )


PROMISES: dict[str, Promise] = {}


def promise(*needs: str) -> Callable[[Check], Check]:
    """Register a check under its name."""

    def register(check: Check) -> Check:
        name = getattr(check, "__name__", "")
        assert name not in PROMISES, name
        PROMISES[name] = Promise(check, frozenset(needs))
        return check

    return register


async def run(made: Promise, case: Case) -> None:
    """Run a check; also fails on what the node noted."""
    await made.check(case)
    assert not case.node.faults, case.node.faults[0]
