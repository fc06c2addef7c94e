"""What takes a walk over everybody to know: how much waits for whom, and where the crowds are."""

import heapq
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter, itemgetter
from typing import TypeVar

import msgspec
import trio

from tidings.server.delivery.fanout import Subscriber
from tidings.server.delivery.hub import Hub

# A third of a millisecond of walking: what is published meanwhile waits no longer than for a small fan-out.
WALKED_PER_TURN = 1_000

# Whoever asks again within this many seconds is told the same: so ten operators cost as much as one.
FRESH_SECONDS = 1.0

# Called by `map`: the first takes most of the walk's time.
_sent: Callable[[Subscriber], int] = attrgetter("bytes_sent")
_pending: Callable[[Subscriber], int] = attrgetter("pending_bytes")

T = TypeVar("T")


class WaitingOutbox(msgspec.Struct, frozen=True):
    """A connection that bytes wait for."""

    connection_id: str
    user_id: str
    device: str
    peer: str
    dialect: str
    outbox_bytes: int


class Crowd(msgspec.Struct, frozen=True):
    """A channel and how many are subscribed to it."""

    channel: str
    subscribers: int


class Survey(msgspec.Struct, frozen=True):
    """What a walk found. It takes some turns of the loop, so its parts are not of the very same moment."""

    outbox_bytes: int
    bytes_sent: int
    """Handed to the kernel, also for connections that have ended. Never falls."""
    waiting: int
    """Connections that bytes wait for."""
    deepest: list[WaitingOutbox]
    """Those that the most bytes wait for, the deepest first."""
    largest: list[Crowd]
    """The channels with the most subscribers, the largest first."""


class Surveyor:
    """Walks when asked, and not again before `FRESH_SECONDS`. Belongs to one server."""

    def __init__(self, hub: Hub, *, most: int, clock: Callable[[], float] = trio.current_time) -> None:
        """Take the hub, and how many of the deepest and the largest are told."""
        self._hub = hub
        self._most = most
        self._clock = clock
        self._walking = trio.Lock()
        self._last: Survey | None = None
        self._walked_at = 0.0

    async def survey(self) -> Survey:
        """The figures, at most `FRESH_SECONDS` old. Cancelling leaves those of before."""
        async with self._walking:
            if self._last is None or self._clock() - self._walked_at >= FRESH_SECONDS:
                self._last = await walk(self._hub, most=self._most)
                self._walked_at = self._clock()
            return self._last


async def walk(hub: Hub, *, most: int) -> Survey:
    """Walk all connections, and the channels that have more than one, some at a turn."""
    # Taken first: who ends while this walks is counted by its outbox, and must not be among the ended, too.
    sent = hub.flow.bytes_sent
    for subscribers in _turns(hub.everybody()):
        sent += sum(map(_sent, subscribers))
        await trio.lowlevel.checkpoint()
    waiting: list[tuple[int, Subscriber]] = []
    for subscribers in _turns(hub.queueing()):
        waiting += [each for each in zip(map(_pending, subscribers), subscribers, strict=True) if each[0]]
        await trio.lowlevel.checkpoint()
    largest: list[tuple[int, str]] = []
    for channels in _turns(hub.shared_channels(least=most)):
        # By name where they are alike: the list must not dance while nothing changes.
        largest = heapq.nsmallest(
            most, [*largest, *((-len(channel), channel.name) for channel in channels)]
        )
        await trio.lowlevel.checkpoint()
    return Survey(
        outbox_bytes=sum(pending for pending, _ in waiting),
        bytes_sent=sent,
        waiting=len(waiting),
        deepest=[_told(*each) for each in heapq.nlargest(most, waiting, key=itemgetter(0))],
        largest=[Crowd(name, -size) for size, name in largest if size],
    )


def _turns(everything: Sequence[T]) -> Iterator[Sequence[T]]:
    for begin in range(0, len(everything), WALKED_PER_TURN):
        yield everything[begin : begin + WALKED_PER_TURN]


def _told(pending: int, subscriber: Subscriber) -> WaitingOutbox:
    return WaitingOutbox(
        connection_id=subscriber.connection_id,
        user_id=subscriber.identity.user_id,
        device=subscriber.device,
        peer=subscriber.peer,
        dialect=subscriber.dialect.name,
        outbox_bytes=pending,
    )
