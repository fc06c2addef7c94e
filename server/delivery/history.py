"""Reading histories for those who come back: thousands who return to one channel share each reading."""

from collections.abc import Sequence

import trio

from tidings.protocol.publications import Publication
from tidings.server.brokers.base import Broker, History
from tidings.server.delivery.hub import Hub
from tidings.server.delivery.recent import Entry, Recent

# One reading. A page goes to the client in pieces, as its outbox has room for them; what a reading brings beyond
# one client's need is there for the next.
PAGE_PUBLICATIONS = 256
PAGE_BYTES = 262_144


class Histories:
    """Pages of the histories of channels that somebody is subscribed to."""

    def __init__(self, hub: Hub, broker: Broker) -> None:
        self._hub = hub
        self._broker = broker
        self.reads = 0
        """How often the broker was asked."""
        self.pages = 0
        """How many pages were handed out."""
        self._reading: dict[str, trio.Event] = {}
        """Channels whose history is being read; set when that is over."""

    async def page(self, channel: str, epoch: str, after: int, until: int) -> Sequence[Entry] | None:
        """The next publications of (after, until], at least one; None where `after + 1` cannot be had any more.

        Somebody must be subscribed to the channel (or held back in it), or it is None as well. Of one channel
        at most one reading is under way: whoever needs one meanwhile waits for it, and mostly finds what was
        read. What is published while the channel is kept at hand is not read at all. Raises BrokerUnavailable.
        Cancelled, nothing is lost.
        """
        recent = self._hub.recent(channel)
        if recent is None or recent.epoch != epoch:
            return None
        self.pages += 1
        while True:
            found = self._at_hand(recent, after, until)
            if found:
                return found
            under_way = self._reading.get(channel)
            if under_way is None:
                break
            # Not a lock: its waiters would take it one after another, a turn of the loop each, and here are
            # thousands of them, who all find what they need once it was read.
            await under_way.wait()
        while True:
            forgotten = recent.forgotten
            history = await self._read(channel, after)
            if history.position.epoch != epoch:
                return None
            # What was deleted meanwhile must not come back.
            if recent.forgotten == forgotten:
                return self._keep(recent, history.publications, after, until)

    async def _read(self, channel: str, after: int) -> History:
        self.reads += 1
        over = self._reading[channel] = trio.Event()
        try:
            return await self._broker.history(
                channel, after, limit=PAGE_PUBLICATIONS, most_bytes=PAGE_BYTES
            )
        finally:
            del self._reading[channel]
            over.set()

    def _keep(
        self, recent: Recent, publications: Sequence[Publication], after: int, until: int
    ) -> Sequence[Entry] | None:
        """Keep what was read at hand; what of it was asked for, None where that was not there."""
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
        """A channel's history was deleted: what of it is at hand must not come back."""
        recent = self._hub.recent(channel, make=False)
        if recent is not None:
            recent.forget()
