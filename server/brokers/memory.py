"""The broker of a single process: positions in memory, delivery by a function call."""

import itertools
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable

from tidings.protocol.positions import Position
from tidings.protocol.publications import Publication
from tidings.server.brokers.base import Deliver
from tidings.server.brokers.recent import RecentKeys

# A channel that nobody listens to keeps its offset for a while, so that a publisher sees it rise. Past
# this many the longest unused is forgotten; its next publication begins a new epoch, which is what an
# epoch is for. About 300 bytes each.
IDLE_CHANNELS = 10_000


# Two lives of one channel must not share an epoch: 48 random bits tell processes apart, a number the lives
# in one, without asking the system for randomness at every new channel.
_RUN = secrets.token_urlsafe(6)
_lives = itertools.count(1)


class _Channel:
    __slots__ = ("epoch", "offset")

    def __init__(self) -> None:
        self.epoch = f"{_RUN}.{next(_lives):x}"
        self.offset = 0


class MemoryBroker:
    """Publications reach the hub within `publish`, in the publisher's own step.

    `publish` and `open` never yield: a task that handles a burst of commands publishes them all in one
    tick, and the hub sends them together.
    """

    def __init__(
        self,
        deliver: Deliver,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        idle_channels: int = IDLE_CHANNELS,
    ) -> None:
        """Take the hub's delivery callback and the wall clock that stamps publications (Unix seconds).

        `monotonic`, in seconds, measures how long an idempotency key is kept.
        """
        self._deliver = deliver
        self._clock = clock
        self._idle_channels = idle_channels
        self._listened: dict[str, _Channel] = {}
        self._idle: OrderedDict[str, _Channel] = OrderedDict()
        self._keys = RecentKeys(monotonic)

    async def publish(
        self,
        channel: str,
        event: str,
        payload: bytes,
        *,
        user_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> Position:
        """Number the publication and deliver it; a known key's publication is there already."""
        if idempotency_key is not None:
            known = self._keys.find(channel, idempotency_key, event, payload)
            if known is not None:
                return known
        state = self._listened.get(channel)
        if state is None:
            state = self._rested(channel)
            self._rest(channel, state)
        state.offset += 1
        self._deliver(
            Publication(
                channel, event, payload, state.offset, state.epoch, int(self._clock() * 1000), user_id
            )
        )
        position = Position(state.epoch, state.offset)
        if idempotency_key is not None:
            self._keys.add(channel, idempotency_key, event, payload, position)
        return position

    async def open(self, channel: str) -> Position:
        """Begin to listen; the channel keeps its state for as long."""
        state = self._listened.get(channel)
        if state is None:
            state = self._listened[channel] = self._rested(channel)
        return Position(state.epoch, state.offset)

    @property
    def forgotten_keys(self) -> int:
        """How many idempotency keys were forgotten before their time, for want of room."""
        return self._keys.forgotten

    def release(self, channel: str) -> None:
        """Stop listening; the channel's state may now be forgotten."""
        state = self._listened.pop(channel, None)
        if state is not None:
            self._rest(channel, state)

    def _rested(self, channel: str) -> _Channel:
        return self._idle.pop(channel) if channel in self._idle else _Channel()

    def _rest(self, channel: str, state: _Channel) -> None:
        self._idle[channel] = state
        if len(self._idle) > self._idle_channels:
            self._idle.popitem(last=False)
