"""Reading histories for those who come back: thousands who return to one channel share each reading."""

from collections.abc import Sequence

import trio

from tidings.protocol.publications import Publication
from tidings.server.brokers.base import Broker, BrokerUnavailable, History
from tidings.server.delivery.hub import Hub
from tidings.server.delivery.recent import Entry, Recent

# One reading. A page goes to the client in pieces, as its outbox has room for them; what a reading brings beyond
# one client's need is there for the next.
PAGE_PUBLICATIONS = 256
PAGE_BYTES = 262_144


class _Reading:
    """A channel's history is being read."""

    __slots__ = ("failure", "is_stale", "over")

    def __init__(self) -> None:
        self.over = trio.Event()
        self.failure: str | None = None
        """Why the broker could not."""
        self.is_stale = False
        """Whether the history was deleted since it began."""


class Histories:
    """Pages of the histories of channels that somebody is subscribed to."""

    def __init__(self, hub: Hub, broker: Broker) -> None:
        self._hub = hub
        self._broker = broker
        self.reads = 0
        """How often the broker was asked."""
        self.pages = 0
        """How many pages were asked for."""
        self._readings: dict[str, _Reading] = {}
        """Those under way, by channel."""

    async def page(self, channel: str, epoch: str, after: int, until: int) -> Sequence[Entry] | None:
        """The next publications of (after, until], at least one; None where `after + 1` cannot be had any more.

        Somebody must be subscribed to the channel (or held back in it), or it is None as well. Of one channel
        at most one reading is under way: whoever needs one meanwhile waits for it, and mostly finds what was
        read, or fails with it. What is published while the channel is kept at hand is not read at all. Raises
        BrokerUnavailable. Cancelled, nothing is lost.
        """
        self.pages += 1
        while True:
            # Anew each time: since the last look it may have been dropped, and another begun.
            recent = self._hub.recent(channel)
            if recent is None or recent.epoch != epoch:
                return None
            found = self._at_hand(recent, after, until)
            if found:
                return found
            under_way = self._readings.get(channel)
            if under_way is not None:
                # Not a lock: its waiters would take it one after another, a turn of the loop each, and here
                # are thousands of them, who all find what they need once it was read.
                await under_way.over.wait()
                if under_way.failure is not None:
                    raise BrokerUnavailable(under_way.failure)
                continue
            history = await self._read(channel, after)
            # What was deleted meanwhile must not come back.
            if history is not None:
                return self._keep(channel, epoch, history, after, until)

    async def _read(self, channel: str, after: int) -> History | None:
        """Read; None where the history was deleted meanwhile."""
        self.reads += 1
        reading = self._readings[channel] = _Reading()
        try:
            history = await self._broker.history(
                channel, after, limit=PAGE_PUBLICATIONS, most_bytes=PAGE_BYTES
            )
        except BrokerUnavailable as error:
            reading.failure = str(error)
            raise
        finally:
            del self._readings[channel]
            reading.over.set()
        return None if reading.is_stale else history

    def _keep(
        self, channel: str, epoch: str, history: History, after: int, until: int
    ) -> Sequence[Entry] | None:
        """Keep what was read at hand; what of it was asked for, None where that was not there."""
        recent = self._hub.recent(channel)
        if recent is None or not recent.epoch == history.position.epoch == epoch:
            return None
        publications: Sequence[Publication] = history.publications
        for publication in publications:
            recent.add(publication)
        found = self._at_hand(recent, after, until)
        if not found and publications and publications[0].offset == after + 1:
            # Larger than all that is kept at hand.
            return [Entry(publications[0])]
        # What is no longer kept is not at hand either.
        return found or None

    @staticmethod
    def _at_hand(recent: Recent, after: int, until: int) -> Sequence[Entry]:
        return recent.page(after, until, most=PAGE_PUBLICATIONS, most_bytes=PAGE_BYTES)

    def forget(self, channel: str) -> None:
        """A channel's history was deleted: what of it is at hand, or being read, must not come back."""
        under_way = self._readings.get(channel)
        if under_way is not None:
            under_way.is_stale = True
        recent = self._hub.recent(channel, make=False)
        if recent is not None:
            recent.forget()
