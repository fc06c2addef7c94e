"""Reading histories for those who come back: thousands who return to one channel share each reading."""

import time
from collections.abc import Callable, Sequence
from typing import Final

import trio

from tidings.protocol.publications import Publication
from tidings.protocol.recovery import cut, missing
from tidings.server.brokers.base import Broker, BrokerUnavailable, History
from tidings.server.config.channels import History as HistoryConfig
from tidings.server.delivery.hub import Hub
from tidings.server.delivery.recent import Entry, Recent
from tidings.server.policies import Policies

# One reading. A page goes to the client in pieces, as its outbox has room for them; what a reading brings beyond
# one client's need is there for the next.
PAGE_PUBLICATIONS: Final = 256
PAGE_BYTES: Final = 262_144

# How long what was read stays at hand when nobody asks for it any more: those who were cut together come back
# within some seconds, most of them.
KEEP_SECONDS: Final = 5.0

# All channels together may keep so many times what one may.
CHANNELS_AT_HAND: Final = 8


class _Reading:
    """A reading that is under way, and what came of it: neither the one nor the other where it was cancelled."""

    __slots__ = ("after", "error", "history", "is_void", "over")

    def __init__(self, after: int) -> None:
        self.after = after
        self.over = trio.Event()
        self.history: History | None = None
        self.error: BrokerUnavailable | None = None
        self.is_void = False
        """Whether the history was deleted since it began: what it brings must not be used."""


class Histories:
    """Pages of the histories of channels that somebody is subscribed to. `run` is a task of the server's."""

    def __init__(
        self,
        hub: Hub,
        broker: Broker,
        policies: Policies | None = None,
        *,
        cache_bytes: int = HistoryConfig().cache_bytes,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take the wall clock (Unix seconds), by which publications grow too old."""
        self._hub = hub
        self._broker = broker
        self._policies = policies or Policies()
        self._cache_bytes = cache_bytes
        self._clock = clock
        self.reads = 0
        """How often the broker was asked."""
        self.pages = 0
        """How many pages were handed out."""
        self._reading: dict[str, _Reading] = {}
        """By channel: never two at a time."""
        self._at_hand: dict[str, Recent] = {}
        self._something = trio.Event()

    async def page(self, channel: str, epoch: str, after: int, until: int) -> Sequence[Entry] | None:
        """The next publications of (after, until], at least one; None where `after + 1` cannot be had any more.

        Somebody must be subscribed to the channel (or held back in it), or it is None as well. Of one channel
        at most one reading is under way: whoever needs one meanwhile waits for it, and mostly finds what was
        read. What is published while the channel is kept at hand is not read at all. Raises BrokerUnavailable.
        Cancelled, nothing is lost.
        """
        self.pages += 1
        while self._is_kept(channel, epoch):
            found = self._find(channel, after, until)
            if found:
                return found
            reading = self._reading.get(channel)
            if reading is None:
                reading = await self._read(channel, after)
            else:
                # Not a lock: its waiters would take it one after another, a turn of the loop each, and here
                # are thousands of them, who all find what they need once it was read.
                await reading.over.wait()
                if reading.error is not None:
                    raise BrokerUnavailable(str(reading.error)) from reading.error
            if reading.history is None or reading.is_void:
                continue
            read = reading.history.publications
            if reading.history.position.epoch != epoch or not self._is_kept(channel, epoch):
                return None
            if reading.after == after or (read and read[0].offset <= after + 1 <= read[-1].offset):
                return self._keep(channel, epoch, cut(read, after, until), read, after)
        return None

    def forget(self, channel: str) -> None:
        """A channel's history was deleted: what of it is at hand, or on its way here, must not come back."""
        self._drop(channel)
        reading = self._reading.get(channel)
        if reading is not None:
            reading.is_void = True

    async def run(self) -> None:
        """Let go of what nobody asks for any more, until cancelled."""
        while True:
            await self._something.wait()
            await trio.sleep(KEEP_SECONDS)
            now = trio.current_time()
            for channel, recent in list(self._at_hand.items()):
                if self._hub.recent(channel) is not recent or recent.asked_at + KEEP_SECONDS <= now:
                    self._drop(channel)
            if not self._at_hand:
                self._something = trio.Event()

    async def _read(self, channel: str, after: int) -> _Reading:
        self.reads += 1
        reading = self._reading[channel] = _Reading(after)
        try:
            reading.history = await self._broker.history(
                channel, after, limit=PAGE_PUBLICATIONS, most_bytes=PAGE_BYTES
            )
        except BrokerUnavailable as error:
            reading.error = error
            raise
        finally:
            del self._reading[channel]
            reading.over.set()
        return reading

    def _keep(
        self,
        channel: str,
        epoch: str,
        page: Sequence[Publication],
        read: Sequence[Publication],
        after: int,
    ) -> Sequence[Entry] | None:
        """A page of what was read, None where it does not follow; all of it at hand, where there are others."""
        if not page or missing(page, after, page[-1].offset) is not None:
            return None
        # An inbox with one device, mostly: nobody would share it, and it would take memory for a while.
        if self._hub.count(channel) > 1:
            recent = self._hub.recent(channel) or self._make(channel, epoch)
            for publication in read:
                recent.add(publication)
            self._make_room(recent)
            found = self._find(channel, after, page[-1].offset)
            if found:
                return found
        return [Entry(publication) for publication in page]

    def _find(self, channel: str, after: int, until: int) -> Sequence[Entry]:
        recent = self._hub.recent(channel)
        if recent is None:
            return ()
        recent.asked_at = trio.current_time()
        head = self._hub.position_of(channel)
        assert head is not None
        return recent.page(
            after,
            until,
            head=head.offset,
            now_ms=int(self._clock() * 1000),
            most=PAGE_PUBLICATIONS,
            most_bytes=PAGE_BYTES,
        )

    def _is_kept(self, channel: str, epoch: str) -> bool:
        """Whether a channel has a subscriber, is in this epoch, and keeps anything at all."""
        position = self._hub.position_of(channel)
        return (
            position is not None and position.epoch == epoch and self._policies.of(channel).history_size > 0
        )

    def _make(self, channel: str, epoch: str) -> Recent:
        recent = self._at_hand[channel] = Recent(epoch, self._policies.of(channel), self._cache_bytes)
        recent.asked_at = trio.current_time()
        self._hub.keep_recent(channel, recent)
        self._something.set()
        return recent

    def _make_room(self, newest: Recent) -> None:
        most = CHANNELS_AT_HAND * self._cache_bytes
        while sum(recent.cost for recent in self._at_hand.values()) > most and len(self._at_hand) > 1:
            others = [
                (recent.asked_at, name) for name, recent in self._at_hand.items() if recent is not newest
            ]
            self._drop(min(others)[1])

    def _drop(self, channel: str) -> None:
        if self._at_hand.pop(channel, None) is not None:
            self._hub.keep_recent(channel, None)
