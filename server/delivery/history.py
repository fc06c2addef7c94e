"""Reading histories for those who come back: thousands who return to one channel share each reading."""

from collections.abc import Sequence

from tidings.server.brokers.base import Broker
from tidings.server.delivery.hub import Hub
from tidings.server.delivery.recent import Entry

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
        found = recent.page(after, until, most=PAGE_PUBLICATIONS, most_bytes=PAGE_BYTES)
        if not found:
            async with recent.reading:
                found = recent.page(after, until, most=PAGE_PUBLICATIONS, most_bytes=PAGE_BYTES)
                if not found:
                    self.reads += 1
                    forgotten = recent.forgotten
                    history = await self._broker.history(
                        channel, after, limit=PAGE_PUBLICATIONS, most_bytes=PAGE_BYTES
                    )
                    # Deleted while it was read, or begun anew: what was found must not come back.
                    if history.position.epoch != epoch or recent.forgotten != forgotten:
                        return None
                    for publication in history.publications:
                        recent.add(publication)
                    # What is no longer kept is not there now either; and what did not fit, as one larger
                    # than all of `recent` may be, is handed on past it.
                    found = recent.page(after, until, most=PAGE_PUBLICATIONS, most_bytes=PAGE_BYTES)
                    if not found and history.publications and history.publications[0].offset == after + 1:
                        found = [Entry(history.publications[0])]
        self.pages += 1
        return found or None

    def forget(self, channel: str) -> None:
        """A channel's history was deleted: what of it is at hand must not come back."""
        recent = self._hub.recent(channel, make=False)
        if recent is not None:
            recent.forget()
