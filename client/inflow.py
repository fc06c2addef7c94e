"""From the wire to the subscribers: what is new, what is missing, and who gets it. Nothing here waits."""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from itertools import chain
from weakref import WeakKeyDictionary, WeakSet

import msgspec

from tidings.client.feed import Dropped, Feed
from tidings.client.positions import Positions
from tidings.client.publications import Gap, PayloadTypes, Publication, Recovered
from tidings.protocol.positions import Position

# While subscriptions are made again, the publications of channels whose position the server has not told
# wait for it. What comes beyond shows as a gap, as everything that is missed does.
HELD = 1000

# Of an inbox, as many as the server keeps by default.
UNREAD = 1000

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


class _Held:
    """What came of one channel before the server has told where it stands."""

    __slots__ = ("items", "skipped")

    def __init__(self) -> None:
        self.items: list[Message | Position] = []
        self.skipped = 0
        """The last offset for which there was no room; 0 for none."""

    def first(self) -> int | None:
        """The offset of the first publication."""
        return next((item.offset for item in self.items if isinstance(item, Message)), None)


class Inflow:
    """Hands publications to the feeds of their channel, each once, in order, with the gaps between them."""

    def __init__(
        self,
        types: PayloadTypes,
        *,
        positions: Mapping[str, Position] | None = None,
        unread: int = UNREAD,
    ) -> None:
        self.types = types
        self.positions = Positions(positions)
        self.inbox: str | None = None
        """The channel that the server keeps for this device until it is acknowledged, where there is one."""
        self.on_finished: Callable[[], None] = lambda: None
        """Called when something of the inbox is finished. Does not block and never raises."""
        self.arrived: Position | None = None
        """Up to where the inbox came on this connection, also what was known already: no more of it may be
        acknowledged. None where there is no inbox."""
        self.on_arrived: Callable[[], None] = lambda: None
        """Called when that has changed. Does not block and never raises."""
        self._by_channel: dict[str, list[Feed[Item]]] = {}
        # A feed of everything that nobody holds any more is nobody's: it must not fill for ever.
        self._everything: WeakSet[Feed[Item]] = WeakSet()
        self._unread: Feed[Item] = Feed(unread)
        """What came of the inbox before anybody listened: the first who does gets it."""
        self._begins: WeakKeyDictionary[Feed[Item], Position | None] = WeakKeyDictionary()
        """After which position of the inbox each of its feeds has everything; None for the very beginning."""
        self._settling = False
        """Whether the server is still telling where the channels stand."""
        self._awaited: Collection[str] | None = ()
        """Channels whose position this connection's server is going to tell; None for all of them."""
        self._settled: set[str] = set()
        """Those of which it has."""
        self._stands: dict[str, Position] = {}
        """Where channels stood that come unasked, and of which the application brought a position along."""
        self._held: dict[str, _Held] = {}
        self._holding = 0
        """How many items are held."""
        self._missed: list[Gap] = []
        self._recovered: list[Recovered] = []

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
        feed.on_finished = self._finished
        if self.inbox is not None and channel in (None, self.inbox):
            unread = self._unread.withdraw(self.inbox)
            self._begins[feed] = None if unread else self.positions.since(self.inbox)
            feed.put_first(unread)

    def detach(self, feed: Feed[Item], channel: str | None) -> bool:
        """Take a feed out again; whether it was the last of its channel. Idempotent.

        What it has not handed over of the inbox, and no other has, waits for the next feed.
        """
        if self.inbox is not None and self._begins.pop(feed, feed) is not feed:
            others = list(self._begins.values())
            left = feed.withdraw(self.inbox)
            self._unread.put_first(entry for entry in left if not _is_after_any(entry, others))
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
        self._take_held(channel)

    def end(self, error: Callable[[], Exception] | None) -> None:
        """Nothing comes any more."""
        for feed in (*chain.from_iterable(self._by_channel.values()), *self._everything):
            feed.end(error)

    def handled(self, channel: str) -> Position | None:
        """Where the application stands: everything up to there is finished by all who listen."""
        now = stands = self.positions.since(channel)
        if now is None or stands is None:
            return None
        for feed in (*self._by_channel.get(channel, ()), *self._everything, self._unread):
            first = feed.unfinished(channel)
            at = None if first is None else _before(first)
            if at is None:
                continue
            # What is of another epoch than the channel is in now came earlier than anything of this one.
            if at.offset < stands.offset if at.epoch == stands.epoch else stands.epoch == now.epoch:
                stands = at
        return stands

    def snapshot(self) -> dict[str, Position]:
        """`handled` of every channel that has a position."""
        stands = {channel: self.handled(channel) for channel in self.positions.known}
        return {channel: position for channel, position in stands.items() if position is not None}

    def _finished(self, item: Item | Dropped[Item]) -> None:
        if self.inbox is not None and (
            self.inbox in item.channels if isinstance(item, Dropped) else item.channel == self.inbox
        ):
            self.on_finished()

    # --- what comes ----------------------------------------------------------------------------------

    def publication(self, message: Message) -> None:
        """A publication came."""
        assert message.channel is not None
        if not message.offset:
            # An announcement: it has no place in the channel, so that nothing has to be put before it.
            # Nobody misses one, so that it does not wait for those who come later either.
            for feed in self._feeds(message.channel):
                feed.put(self._publication(message, message.channel, 0))
        elif self._is_held(message.channel):
            self._hold(message.channel, message, message.offset)
        else:
            self._deliver(message)
        if message.offset and message.channel == self.inbox and self.arrived is not None:
            self._arrive(Position(self.arrived.epoch, message.offset))

    def moved(self, channel: str, epoch: str, offset: int) -> None:
        """The server told that a channel stands here, and that what lies between was not for us, or is lost."""
        if self._is_held(channel):
            self._hold(channel, Position(epoch, offset), offset)
        elif self._waits(channel) or (self.positions.is_given(channel) and channel not in self._stands):
            # What lies behind the application's position was not passed over: nobody has asked for it yet.
            if channel not in self._stands or self._stands[channel].epoch != epoch:
                self._stands[channel] = Position(epoch, offset)
            self._go_on_from_given(channel)
        else:
            self._go_on_from_given(channel)
            self._miss(self.positions.moved(channel, epoch, offset))
        if channel == self.inbox:
            self._arrive(Position(epoch, offset))

    def stands(self, channel: str, epoch: str, offset: int) -> bool:
        """The server told where a channel stands that it sends unasked, from there on.

        False where it has more than we have, and has to be asked for what lies between.
        """
        if self.positions.is_given(channel):
            # It waits for whoever listens, who is told what is missing then.
            self._stands[channel] = Position(epoch, offset)
            return True
        since = self.positions.since(channel)
        if since is not None and since.epoch == epoch and since.offset < offset:
            return False
        self.told(channel, epoch, offset)
        return True

    def told(self, channel: str, epoch: str, offset: int, *, recovered: bool = False) -> None:
        """The server told a channel's position: publications after it follow, or (recovered) after ours."""
        held = self._take_held(channel)
        self._settled.add(channel)
        self._stands.pop(channel, None)
        if recovered:
            follows = self.positions.follows(channel, epoch, offset)
            if follows is not None:
                # What was held is among them: it comes again, at its place.
                if follows.from_offset <= follows.to_offset:
                    self._recovered.append(follows)
                return
        last = self.positions.epoch(channel)
        for index, item in enumerate(held.items):
            if isinstance(item, Position) and last != item.epoch == epoch:
                # What stands before the beginning of this epoch counts in another one.
                held.items = held.items[index + 1 :]
                break
        self._miss(self.positions.told(channel, epoch, offset, first=held.first()))
        self._flush(channel, held)

    def attached(self, channel: str, epoch: str, offset: int) -> None:
        """The server serves an inbox to this device: everything after this position follows, unasked."""
        if self.inbox != channel:
            self.detached()
            self.inbox = channel
            for feed in self._feeds(channel):
                self._begins[feed] = None
        self._settled.add(channel)
        self.arrived = Position(epoch, offset)
        self._miss(self.positions.attached(channel, epoch, offset))

    def detached(self) -> None:
        """The server serves no inbox to this device, or another one than before."""
        if self.inbox is not None:
            self._unread.withdraw(self.inbox)
        self.inbox = self.arrived = None
        self._begins.clear()

    def hold(self) -> None:
        """A new connection: what comes of a channel is kept until the server has told where it stands."""
        self._settling = True
        self._awaited = None
        self._settled = set()
        self._stands = {}
        self._held = {}
        self._holding = 0
        self._missed = []
        self._recovered = []

    def await_only(self, channels: Collection[str]) -> None:
        """Of no other channel the server will be asked where it stands: theirs is handed over as it comes."""
        self._awaited = frozenset(channels)
        for channel in [channel for channel in self._held if not self._is_held(channel)]:
            self._flush(channel, self._take_held(channel))

    def release(self) -> tuple[tuple[Gap, ...], tuple[Recovered, ...]]:
        """Every position has been told that will be: what was missed, and what was but follows all the same."""
        self._awaited = ()
        for channel in list(self._held):
            self._flush(channel, self._take_held(channel))
        self._settling = False
        return tuple(self._missed), tuple(self._recovered)

    def _waits(self, channel: str) -> bool:
        """Whether a channel waits: whoever subscribes, or is about to, gets all after what the application gave."""
        return self.positions.is_given(channel) and (
            not self._listening(channel) or channel in self._by_channel
        )

    def _go_on_from_given(self, channel: str) -> None:
        """For those who listen to everything: what lies between what the application gave and now is missed."""
        if channel in self._stands and not self._waits(channel):
            stands = self._stands.pop(channel)
            self._miss(self.positions.told(channel, stands.epoch, stands.offset))

    def _arrive(self, position: Position) -> None:
        arrived = self.arrived
        if arrived is None or arrived.epoch != position.epoch or arrived.offset < position.offset:
            self.arrived = position
            self.on_arrived()

    def _is_held(self, channel: str) -> bool:
        return (self._awaited is None or channel in self._awaited) and channel not in self._settled

    def _hold(self, channel: str, item: Message | Position, offset: int) -> None:
        held = self._held.setdefault(channel, _Held())
        if self._holding < HELD:
            self._holding += 1
            held.items.append(item)
        else:
            held.skipped = offset

    def _take_held(self, channel: str) -> _Held:
        held = self._held.pop(channel, None) or _Held()
        self._holding -= len(held.items)
        return held

    def _flush(self, channel: str, held: _Held) -> None:
        for item in held.items:
            if isinstance(item, Position):
                self._miss(self.positions.moved(channel, item.epoch, item.offset))
            else:
                self._deliver(item)
        if held.skipped:
            self._miss(self.positions.skipped(channel, held.skipped))

    def _deliver(self, message: Message) -> None:
        channel, offset = message.channel, message.offset
        assert channel is not None
        assert offset is not None
        feeds = self._listening(channel)
        if self._waits(channel):
            return
        self._go_on_from_given(channel)
        new, gap = self.positions.passes(channel, offset, message.epoch)
        if new:
            self._miss(gap)
            if feeds:
                publication = self._publication(message, channel, offset)
                for feed in feeds:
                    feed.put(publication)

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

    def _miss(self, gap: Gap | None) -> None:
        if gap is not None:
            if self._settling:
                self._missed.append(gap)
            for feed in self._listening(gap.channel):
                feed.put(gap)

    def _feeds(self, channel: str) -> tuple[Feed[Item], ...]:
        return (*self._by_channel.get(channel, ()), *self._everything)

    def _listening(self, channel: str) -> tuple[Feed[Item], ...]:
        feeds = self._feeds(channel)
        return (self._unread,) if not feeds and channel == self.inbox else feeds


def _is_after_any(entry: Item | Dropped[Item], begins: Collection[Position | None]) -> bool:
    """Whether an entry came after somebody began to listen, so that it has it too."""
    if isinstance(entry, Dropped):
        ((first, _),) = entry.channels.values()
        entry = first
    at = _before(entry)
    return at is not None and any(
        begin is None or (begin.epoch == at.epoch and begin.offset <= at.offset) for begin in begins
    )


def _before(item: Item) -> Position | None:
    """The position at which an item has not been handed over yet."""
    if isinstance(item, Gap):
        return None if item.last_epoch is None else Position(item.last_epoch, item.from_offset - 1)
    return None if item.epoch is None else Position(item.epoch, item.offset - 1)
