"""From the wire to the subscribers: what is new, what is missing, and who gets it. Nothing here waits."""

from collections import deque
from collections.abc import Callable
from datetime import datetime
from itertools import chain
from weakref import WeakSet

import msgspec

from tidings.client.feed import Feed
from tidings.client.positions import Positions
from tidings.client.publications import Gap, PayloadTypes, Publication

# While subscriptions are made again, publications wait for the last of them. What comes beyond shows as
# a gap, as everything that is missed does.
HELD = 1000

Item = Publication | Gap


class Message(msgspec.Struct, frozen=True):
    """Everything the server sends."""

    type: str
    data: msgspec.Raw = msgspec.Raw(b"{}")
    timestamp: datetime | None = None
    id: str | None = None
    channel: str | None = None
    offset: int | None = None
    epoch: str | None = None
    user_id: str | None = None


class Inflow:
    """Hands publications to the feeds of their channel, each once, in order, with the gaps between them."""

    def __init__(self, types: PayloadTypes) -> None:
        self.types = types
        self.positions = Positions()
        self._by_channel: dict[str, list[Feed[Item]]] = {}
        # A feed of everything that nobody holds any more is nobody's: it must not fill for ever.
        self._everything: WeakSet[Feed[Item]] = WeakSet()
        self._held: deque[Message] | None = None
        self._told: dict[str, tuple[str, int]] = {}
        self._skipped: dict[str, int] = {}

    # --- who listens ---------------------------------------------------------------------------------

    def feeds(self, channel: str) -> list[Feed[Item]]:
        """The feeds that were attached to a channel."""
        return list(self._by_channel.get(channel, ()))

    def attach(self, feed: Feed[Item], channel: str | None) -> None:
        """Let a feed have a channel's publications, or (None) all of them."""
        if channel is None:
            self._everything.add(feed)
        else:
            self._by_channel.setdefault(channel, []).append(feed)

    def detach(self, feed: Feed[Item], channel: str | None) -> bool:
        """Take a feed out again; whether it was the last of its channel. Idempotent."""
        if channel is None:
            self._everything.discard(feed)
            return False
        feeds = self._by_channel.get(channel, [])
        if feed not in feeds:
            return False
        feeds.remove(feed)
        if feeds:
            return False
        del self._by_channel[channel]
        return True

    def end_channel(self, channel: str, error: Callable[[], Exception]) -> None:
        """The server took the channel away: its feeds end with `error`."""
        for feed in self._by_channel.pop(channel, []):
            feed.end(error)
        self.positions.forget(channel)

    def end(self, error: Callable[[], Exception] | None) -> None:
        """Nothing comes any more."""
        for feed in (*chain.from_iterable(self._by_channel.values()), *self._everything):
            feed.end(error)

    # --- what comes ----------------------------------------------------------------------------------

    def publication(self, message: Message) -> None:
        """A publication came."""
        if self._held is None:
            self._deliver(message)
        elif len(self._held) < HELD:
            self._held.append(message)
        else:
            assert message.channel is not None
            assert message.offset is not None
            self._skipped[message.channel] = message.offset

    def told(self, channel: str, epoch: str, offset: int) -> None:
        """The server told a channel's position: publications after it follow."""
        if self._held is not None:
            self._told[channel] = (epoch, offset)
            return
        gap = self.positions.told(channel, epoch, offset)
        if gap is not None:
            self._hand(channel, gap)

    def hold(self) -> None:
        """Keep what comes until `release`: a new connection's first words cannot be judged one by one."""
        self._held = deque()
        self._told = {}
        self._skipped = {}

    def release(self) -> tuple[Gap, ...]:
        """Hand over what was missed, then what was held; what was missed."""
        held, self._held = self._held or deque(), None
        first: dict[str, int] = {}
        for message in held:
            assert message.channel is not None
            assert message.offset is not None
            first.setdefault(message.channel, message.offset)
        gaps = []
        for channel, (epoch, offset) in self._told.items():
            gap = self.positions.told(channel, epoch, offset, first=first.get(channel))
            if gap is not None:
                gaps.append(gap)
                self._hand(channel, gap)
        gaps += [gap for message in held if (gap := self._deliver(message)) is not None]
        for channel, offset in self._skipped.items():
            gap = self.positions.skipped(channel, offset)
            if gap is not None:
                gaps.append(gap)
                self._hand(channel, gap)
        return tuple(gaps)

    def _deliver(self, message: Message) -> Gap | None:
        channel, offset = message.channel, message.offset
        assert channel is not None
        assert offset is not None
        new, gap = self.positions.passes(channel, offset, message.epoch)
        if not new:
            return None
        if gap is not None:
            self._hand(channel, gap)
        if channel in self._by_channel or self._everything:
            self._hand(channel, self._publication(message, channel, offset))
        return gap

    def _publication(self, message: Message, channel: str, offset: int) -> Publication:
        raw = bytes(message.data)
        payload, misfit = self.types.decode(message.type, raw)
        return Publication(
            channel=channel,
            event=message.type,
            payload=payload,
            offset=offset,
            epoch=self.positions.epoch(channel),
            timestamp=message.timestamp,
            user_id=message.user_id,
            misfit=misfit,
            raw=raw,
        )

    def _hand(self, channel: str, item: Item) -> None:
        for feed in (*self._by_channel.get(channel, ()), *self._everything):
            feed.put(item)
