"""The hub: channels and their subscribers, and the fan-out between them.

Everything here is synchronous but the flusher's own loop, and runs in one thread, so each method is one
indivisible step. The rules that make the order hold (each is a test):

- A publication is appended to its channel's pending ones and leaves with the next flush, joined with
  what the same tick brought. A channel has at most one flush in progress.
- Whoever changes a channel's subscribers, or closes a connection that shall still see what was published,
  first finishes the flush in progress and flushes what is pending, without an await in between. So a
  new subscriber gets exactly the publications after the position it was told, nothing comes twice, and
  nothing comes after the answer to `unsubscribe`.
- Who comes back from an earlier position is held back: in the same step everything up to the cut is settled,
  and whatever comes later waits for it in order (`Hold`), until it has been sent what it missed (`replay`).
- Answers to commands wait for the end of the tick too, behind the channels' flush; an answer that speaks
  about a subscription is sent at once, behind the connection's earlier answers.
"""

import heapq
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from itertools import islice

import trio

from tidings.protocol.close_codes import CloseCode
from tidings.protocol.dialects.base import Dialect
from tidings.protocol.frames import Framing
from tidings.protocol.positions import Position
from tidings.protocol.publications import Publication
from tidings.server.delivery.encoding import encoded, framed, position_frames
from tidings.server.delivery.fanout import (
    PENDING_PUBLICATIONS,
    Channel,
    Flush,
    Push,
    Subscriber,
    join_frames,
)
from tidings.server.delivery.figures import ChannelState, Flow, Statistics
from tidings.server.delivery.hold import Allowance, Hold
from tidings.server.delivery.recent import Recent
from tidings.server.delivery.watching import Unwatched, Watcher

# Channels whose publications are counted at a time. More may be published to between two looks: the loud ones among
# them, for whom this is counted, come early.
COUNTED_CHANNELS = 10_000

# About 4 ms of work: long enough to be worth the switch, short enough for everybody else.
OFFERS_PER_TURN = 1_000


class _Holding:
    """The block of `Hub.holding`: a generator would cost every handshake three times as much."""

    __slots__ = ("_hub", "_names")

    def __init__(self, hub: "Hub", names: Collection[str]) -> None:
        self._hub = hub
        self._names = names

    def __enter__(self) -> None:
        self._hub.hold(self._names)

    def __exit__(self, *_exception: object) -> None:
        self._hub.let_go(self._names)


class Hub:
    """Channels, their subscribers, and the connections of each user."""

    def __init__(self, *, release: Callable[[str], None] = lambda _channel: None) -> None:
        """Take the broker's `release`; it may be set later, since the broker is made with `deliver`."""
        self.release = release
        """Called when a channel has lost its last subscriber."""
        self.watcher: Watcher = Unwatched()
        self._channels: dict[str, Channel] = {}
        self._subscribers: dict[Subscriber, set[str]] = {}
        self._users: dict[str, dict[Subscriber, None]] = {}
        self._owners: dict[Push, Subscriber] = {}
        """Whose socket a `direct` is."""
        self._queueing: set[Subscriber] = set()
        """Those behind whose outboxes frames must queue."""
        self._shared: dict[str, Channel] = {}
        """Channels that somebody subscribed to while others were: all that have two subscribers are among them."""
        self._subscriptions = 0
        """How many names `_subscribers` has in all: a sum over 50,000 connections would take a turn of 17 ms."""
        self._held: Counter[str] = Counter()
        """Channels that somebody is about to subscribe to."""
        self._passed: dict[str, Position] = {}
        """Of held channels without subscribers: the position of the last publication that came by."""
        self._dirty: deque[Channel] = deque()
        self._allowances: dict[Subscriber, Allowance] = {}
        """Of those who are, or were, held back: what may wait for them in all channels together."""
        self._overrun: list[tuple[Subscriber, Hold]] = []
        """Who cannot be sent the rest of what it is held back for. Closed outside of any fan-out."""
        self._replies: dict[Subscriber, list[bytes]] = {}
        self._leaving: dict[Subscriber, list[bytes]] = {}
        """Answers that the flusher is sending in this round; empty between rounds."""
        self._wake = trio.Event()
        self._publications = 0
        self._deliveries = 0
        self._encodings = 0
        self._bytes_sent = 0
        """Past outboxes, and from those of connections that have ended."""
        self._closes: Counter[int] = Counter()
        self._traffic: dict[str, int] = {}
        self.observe_fanout: Callable[[float], None] = lambda _seconds: None
        """Told how many seconds each round of fan-out took."""

    # --- connections ---------------------------------------------------------------------------------

    def connect(self, subscriber: Subscriber) -> None:
        """Register an authenticated connection."""
        self._subscribers[subscriber] = set()
        if subscriber.direct is not None:
            self._owners[subscriber.direct] = subscriber
        if subscriber.is_queueing:
            self._queueing.add(subscriber)
        self._users.setdefault(subscriber.identity.user_id, {})[subscriber] = None
        self.watcher.connected(subscriber)

    def disconnect(self, subscriber: Subscriber) -> None:
        """Forget a connection and all its subscriptions. Idempotent.

        For one that is closed already: nothing is flushed, since it takes nothing any more. Who closes a
        living connection calls `settle` first.
        """
        names = self._subscribers.pop(subscriber, None)
        if names is None:
            return
        self._subscriptions -= len(names)
        if subscriber.direct is not None:
            del self._owners[subscriber.direct]
        self._queueing.discard(subscriber)
        for name in names:
            self._remove(self._channels[name], subscriber)
            self.watcher.unsubscribed(subscriber, name)
        self._allowances.pop(subscriber, None)
        self._take_replies(subscriber)
        self._bytes_sent += subscriber.bytes_sent
        user_id = subscriber.identity.user_id
        connections = self._users[user_id]
        del connections[subscriber]
        if not connections:
            del self._users[user_id]
        self.watcher.disconnected(subscriber)

    def rerouted(self, subscriber: Subscriber) -> None:
        """Take note that a subscriber has begun to queue, or has ceased to. Also in the middle of a fan-out."""
        names = self._subscribers.get(subscriber)
        if names is None:
            return
        if subscriber.is_queueing:
            self._queueing.add(subscriber)
        else:
            self._queueing.discard(subscriber)
        for name in names:
            self._channels[name].reroute(subscriber)

    def count_close(self, code: CloseCode | int) -> None:
        """Note why a connection ended."""
        self._closes[int(code)] += 1

    def connections_of(self, user_id: str) -> tuple[Subscriber, ...]:
        """The connections of one user, oldest first."""
        return tuple(self._users.get(user_id, ()))

    def online_users(self) -> list[str]:
        """Everybody who has a connection, in no order."""
        return list(self._users)

    def subscribers_of(self, name: str) -> list[Subscriber]:
        """Who is subscribed to a channel, in no order."""
        channel = self._channels.get(name)
        return [] if channel is None else channel.subscribers()

    def size_of(self, name: str) -> int:
        """How many are subscribed to a channel."""
        channel = self._channels.get(name)
        return 0 if channel is None else len(channel)

    # --- subscriptions -------------------------------------------------------------------------------

    def subscribe(self, subscriber: Subscriber, name: str, position: Position) -> Position:
        """Subscribe, and return the position after which publications follow. Idempotent.

        `position` is the broker's, and used when the channel is new here; asked for and used within one
        `holding` block. A subscriber that has been disconnected meanwhile is not subscribed.
        """
        if subscriber not in self._subscribers:
            return position
        channel = self._channels.get(name)
        if channel is None:
            channel = self._channels[name] = Channel(name, self._passed.get(name, position))
        else:
            self._shared[name] = channel
        self._settle(channel)
        if subscriber not in channel:
            channel.add(subscriber)
            self._subscribers[subscriber].add(name)
            self._subscriptions += 1
            self.watcher.subscribed(subscriber, name)
        hold = channel.holds.get(subscriber)
        # What it misses is still to come: a client that was told the channel's own position would take it for old.
        return channel.position if hold is None else Position(hold.head.epoch, hold.sent)

    def hold_back(
        self, subscriber: Subscriber, name: str, position: Position, *, limit: int
    ) -> Hold | None:
        """Subscribe, or subscribe anew, and keep back what comes from now on.

        As `subscribe`; the cut is the position in the Hold, up to which the hub has been given everything. What
        comes waits until `join`, at most `limit` bytes for all channels of a subscriber together: where more
        comes it is closed with 3010. None for a subscriber that has been disconnected meanwhile.
        """
        if subscriber not in self._subscribers:
            return None
        channel = self._channels.get(name)
        if channel is None:
            channel = self._channels[name] = Channel(name, self._passed.get(name, position))
        else:
            self._shared[name] = channel
        self._settle(channel)
        allowance = self._allowances.setdefault(subscriber, Allowance(limit))
        hold = channel.hold(subscriber, allowance)
        if name not in self._subscribers[subscriber]:
            self._subscribers[subscriber].add(name)
            self._subscriptions += 1
            self.watcher.subscribed(subscriber, name)
        return hold

    def join(self, subscriber: Subscriber, hold: Hold) -> bool:
        """Let who was held back go live; False while frames wait for it, or it is not held back any more."""
        if hold.is_over:
            return False
        channel = self._channels[hold.channel]
        # What is pending is in nobody's hands yet: it must not come by both ways, nor by neither.
        self._settle(channel)
        if hold.frames or hold.is_lost:
            return False
        del channel.holds[subscriber]
        hold.is_over = True
        channel.add(subscriber)
        return True

    def sent_to(self, subscriber: Subscriber, name: str) -> int:
        """The offset up to which a subscriber has been sent a channel; 0 where it is not subscribed."""
        channel = self._channels.get(name)
        if channel is None or subscriber not in channel:
            return 0
        hold = channel.holds.get(subscriber)
        if hold is not None:
            return hold.sent
        # What is pending is in nobody's hands, and what is being fanned out not in everybody's: whose connection
        # ends now may never get it.
        waiting = (0 if channel.flush is None else channel.flush.first) or _first(channel.pending)
        return waiting - 1 if waiting else channel.position.offset

    def position_of(self, name: str) -> Position | None:
        """Of the last publication given to the hub; None for a channel that nobody is subscribed to."""
        channel = self._channels.get(name)
        return None if channel is None else channel.position

    def count(self, name: str) -> int:
        """How many are subscribed to a channel."""
        channel = self._channels.get(name)
        return 0 if channel is None else len(channel)

    def recent(self, name: str) -> Recent | None:
        """What is at hand of a channel's history, and is kept up to date while it is."""
        channel = self._channels.get(name)
        return None if channel is None else channel.recent

    def keep_recent(self, name: str, recent: Recent | None) -> None:
        """Add to this what is published from now on; or (None) let go of it."""
        channel = self._channels.get(name)
        if channel is not None:
            channel.recent = recent

    def holding(self, names: Collection[str]) -> AbstractContextManager[None]:
        """Keep channels listened to while the broker is asked for them and until somebody is subscribed.

        Without it the last subscriber could leave between the broker's `open` and our `subscribe`, and
        the newcomer would be subscribed to a channel that the broker no longer listens to; and what is
        published in between would be behind the newcomer's position, yet never reach it.
        """
        return _Holding(self, names)

    def hold(self, names: Collection[str]) -> None:
        """Begin what `holding` does."""
        for name in names:
            self._held[name] += 1

    def let_go(self, names: Collection[str]) -> None:
        """End what `holding` does."""
        for name in names:
            self._held[name] -= 1
            if not self._held[name]:
                del self._held[name]
                self._passed.pop(name, None)
                if name not in self._channels:
                    self.release(name)

    def unsubscribe(self, subscriber: Subscriber, name: str) -> bool:
        """Unsubscribe; False when it was not subscribed. Nothing of the channel is offered afterwards."""
        channel = self._channels.get(name)
        if channel is None or subscriber not in channel:
            return False
        self._settle(channel)
        self._subscribers[subscriber].remove(name)
        self._subscriptions -= 1
        self._remove(channel, subscriber)
        self.watcher.unsubscribed(subscriber, name)
        return True

    def is_subscribed(self, subscriber: Subscriber, name: str) -> bool:
        """Whether the connection is subscribed to the channel."""
        return name in self._subscribers.get(subscriber, ())

    def is_held(self, subscriber: Subscriber, name: str) -> bool:
        """Whether the connection is still being sent what it missed of the channel."""
        channel = self._channels.get(name)
        return channel is not None and subscriber in channel.holds

    def channels_of(self, subscriber: Subscriber) -> frozenset[str]:
        """The channels a connection is subscribed to."""
        return frozenset(self._subscribers.get(subscriber, ()))

    # --- publications --------------------------------------------------------------------------------

    def deliver(self, publication: Publication) -> None:
        """Take a publication from the broker. Never raises; called in offset order per channel."""
        self._publications += 1
        channel = self._channels.get(publication.channel)
        if channel is None:
            if publication.channel in self._held and publication.offset:
                self._passed[publication.channel] = Position(publication.epoch, publication.offset)
            return
        if publication.offset:
            channel.last = publication
            if channel.recent is not None:
                channel.recent.add(publication)
        if publication.excluded_session is not None:
            self._deliver_apart(channel, publication)
            return
        if not channel.pending:
            self._dirty.append(channel)
            self._wake.set()
        channel.pending.append(publication)
        if len(channel.pending) >= PENDING_PUBLICATIONS:
            self._settle(channel)

    def moved(self, name: str, position: Position) -> None:
        """A channel goes on from another position (a new epoch): everybody who listens is told. Never raises.

        Who is being sent what it missed of the old epoch cannot be sent the rest of it: it is closed with 3010.
        """
        if name in self._held:
            self._passed[name] = position
        channel = self._channels.get(name)
        if channel is None:
            return
        self._settle(channel)
        channel.move_to(position)
        now_ms = int(time.time() * 1000)
        for (dialect, framing), audience in channel.audiences.items():
            for frame in position_frames(dialect, framing, name, position, now_ms):
                for subscriber in list(audience.pushes):
                    subscriber.offer(frame)
        for subscriber, hold in channel.holds.items():
            # At once: a reading may come back before the flusher closes it.
            hold.spoil()
            self._overran(subscriber, hold)

    def reply(self, subscriber: Subscriber, frame: bytes) -> None:
        """Offer an answer at the end of this tick, behind the channels' flush."""
        waiting = self._replies.get(subscriber)
        if waiting is None:
            self._replies[subscriber] = [frame]
            self._wake.set()
        else:
            waiting.append(frame)

    def reply_now(self, subscriber: Subscriber, frame: bytes) -> None:
        """Offer an answer behind the connection's earlier ones, before any later publication."""
        if subscriber in self._replies or subscriber in self._leaving:
            # Those earlier answers come behind what was published before them, here as at a tick's end.
            self.settle(subscriber)
        subscriber.offer(frame)

    def settle(self, subscriber: Subscriber) -> None:
        """Offer everything that was published so far to this connection's channels, and its answers.

        Who closes a living connection calls this first, so that the event that explains the close, and
        the answers to what it asked, leave before the close frame.
        """
        for name in self._subscribers.get(subscriber, ()):
            self._settle(self._channels[name])
        waiting = self._take_replies(subscriber)
        if waiting:
            subscriber.offer(b"".join(waiting))

    async def run_flusher(self) -> None:
        """Flush what each tick brought, until cancelled. The one task that fans out."""
        while True:
            await self._wake.wait()
            # One turn for everybody who is runnable now: what they publish joins this flush.
            await trio.lowlevel.checkpoint()
            self._wake = trio.Event()
            # One round: the channels that are dirty now, then the answers that wait now. What comes
            # meanwhile is for the next round: so neither can hold back the other for ever, and an
            # answer still comes behind all that was published before it was given.
            self._leaving, self._replies = self._replies, self._leaving
            spent = 0
            dirty, began = len(self._dirty), time.perf_counter()
            for _ in range(dirty):
                channel = self._dirty.popleft()
                self._begin(channel)
                # A large room takes several turns; whoever changes its subscribers meanwhile finishes
                # the flush in our place.
                while channel.flush is not None and not self._advance(channel, OFFERS_PER_TURN):
                    await trio.lowlevel.checkpoint()
                # Many small channels are as much work as a large one.
                spent += 1 + len(channel)
                if spent >= OFFERS_PER_TURN:
                    spent = 0
                    await trio.lowlevel.checkpoint()
            while self._overrun:
                overrun, hold = self._overrun.pop()
                # Who has left meanwhile, or begun anew from where it was, needs nothing more of this.
                if not hold.is_over:
                    overrun.close(CloseCode.INSUFFICIENT_STATE)
                del overrun, hold
            if dirty:
                self.observe_fanout(time.perf_counter() - began)
            while self._leaving:
                # Taken out one by one: what `_take_replies` finds missing has been offered.
                subscriber, frames = self._leaving.popitem()
                for piece in join_frames(frames):
                    subscriber.offer(piece)
                # This task may wait for long now, and must not keep a connection alive that ends meanwhile.
                del subscriber, frames
                spent += 1
                if spent >= OFFERS_PER_TURN:
                    spent = 0
                    await trio.lowlevel.checkpoint()

    @property
    def connections(self) -> int:
        """Registered connections."""
        return len(self._subscribers)

    @property
    def users(self) -> int:
        """Users with at least one connection."""
        return len(self._users)

    def statistics(self) -> Statistics:
        """Counts and gauges. Walks all connections for the outboxes, so it is not for every message."""
        return Statistics(
            connections=len(self._subscribers),
            users=len(self._users),
            channels=len(self._channels),
            subscriptions=self._subscriptions,
            publications=self._publications,
            deliveries=self._deliveries,
            encodings=self._encodings,
            outbox_bytes=sum(subscriber.pending_bytes for subscriber in self._subscribers),
            bytes_sent=self._bytes_sent + sum(subscriber.bytes_sent for subscriber in self._subscribers),
            closes=dict(self._closes),
        )

    @property
    def flow(self) -> Flow:
        """What can be told without a walk."""
        return Flow(
            connections=len(self._subscribers),
            channels=len(self._channels),
            publications=self._publications,
            deliveries=self._deliveries,
            encodings=self._encodings,
            bytes_sent=self._bytes_sent,
            closes=dict(self._closes),
        )

    @property
    def traffic(self) -> Mapping[str, int]:
        """Publications by channel since `take_traffic`, of channels that somebody was subscribed to."""
        return self._traffic

    def take_traffic(self) -> dict[str, int]:
        """The traffic so far; it is counted anew from here on."""
        traffic, self._traffic = self._traffic, {}
        return traffic

    def everybody(self) -> list[Subscriber]:
        """All registered connections, oldest first."""
        return list(self._subscribers)

    def queueing(self) -> list[Subscriber]:
        """Those among them that bytes may wait for, in no order."""
        return list(self._queueing)

    def shared_channels(self, *, least: int) -> list[Channel]:
        """Every channel with several subscribers; of the others as many as it takes to be `least` in all.

        For looking: who changes a channel does it by the methods above.
        """
        shared = list(self._shared.values())
        if len(shared) < least:
            others = (channel for name, channel in self._channels.items() if name not in self._shared)
            shared += islice(others, least - len(shared))
        return shared

    @property
    def subscriptions(self) -> int:
        """Of all connections together."""
        return self._subscriptions

    def channel_states(self, *, prefix: str = "", after: str = "", most: int) -> list[ChannelState]:
        """At most `most` channels whose names begin with `prefix` and come after `after`, by name."""
        names = heapq.nsmallest(
            most, (name for name in self._channels if name > after and name.startswith(prefix))
        )
        states = []
        for name in names:
            channel = self._channels[name]
            position = channel.position
            states.append(ChannelState(name, len(channel), position.epoch, position.offset))
        return states

    # --- inside --------------------------------------------------------------------------------------

    def _take_replies(self, subscriber: Subscriber) -> list[bytes]:
        """Take out the answers that wait for a connection, oldest first."""
        return self._leaving.pop(subscriber, []) + self._replies.pop(subscriber, [])

    def _settle(self, channel: Channel) -> None:
        """Finish the flush in progress, then flush what is pending."""
        while channel.flush is not None and not self._advance(channel, OFFERS_PER_TURN):
            pass
        if channel.pending:
            self._begin(channel)
            while channel.flush is not None and not self._advance(channel, OFFERS_PER_TURN):
                pass

    def _begin(self, channel: Channel) -> None:
        """Make the channel's pending publications its flush in progress."""
        if not channel.pending:
            return
        pending, channel.pending = channel.pending, []
        self._count_traffic(channel.name, len(pending))
        rounds = []
        messages: dict[Dialect, list[bytes]] = {}
        for (dialect, framing), audience in channel.audiences.items():
            if dialect not in messages:
                messages[dialect] = self._encode(dialect, pending)
            frames = framed(dialect, framing, messages[dialect])
            if frames:
                rounds.append((audience, join_frames(frames), len(frames)))
        if channel.holds:
            self._hold(channel, pending, messages)
        channel.flush = Flush(rounds, self._owners, first=_first(pending))

    def _hold(
        self, channel: Channel, pending: list[Publication], messages: dict[Dialect, list[bytes]]
    ) -> None:
        """Keep what is pending for those who are held back."""
        shared: dict[tuple[Dialect, Framing], list[bytes]] = {}
        for subscriber, hold in channel.holds.items():
            dialect, framing = key = subscriber.dialect, subscriber.framing
            if dialect not in messages:
                messages[dialect] = self._encode(dialect, pending)
            if key not in shared:
                shared[key] = framed(dialect, framing, messages[dialect])
            frames = shared[key]
            offsets = [publication.offset for publication in pending]
            if len(frames) < len(offsets):
                # Some have no message in this dialect: which, nobody has noted. Behind the last one it has all.
                offsets = [0] * (len(frames) - 1) + offsets[-1:]
            if frames and not hold.add(frames, offsets):
                self._overran(subscriber, hold)

    def _overran(self, subscriber: Subscriber, hold: Hold) -> None:
        # Not here: this may be in the middle of a fan-out, and a close begins others.
        self._overrun.append((subscriber, hold))
        self._wake.set()

    def _deliver_apart(self, channel: Channel, publication: Publication) -> None:
        """Deliver at once what one login does not get: that one is told the position that it has passed.

        For channels of few subscribers: a user's own, and those of roles.
        """
        self._settle(channel)
        self._count_traffic(channel.name, 1)
        position = Position(publication.epoch, publication.offset)
        messages: dict[Dialect, list[bytes]] = {}
        for subscriber in channel.subscribers():
            dialect, framing = subscriber.dialect, subscriber.framing
            frames: list[bytes] = []
            if subscriber.identity.session_id != publication.excluded_session:
                if dialect not in messages:
                    messages[dialect] = self._encode(dialect, [publication])
                frames = framed(dialect, framing, messages[dialect])
            elif publication.offset:
                frames = position_frames(dialect, framing, channel.name, position, publication.time_ms)
            hold = channel.holds.get(subscriber)
            if hold is None:
                for frame in frames:
                    subscriber.offer(frame)
                self._deliveries += len(frames)
            elif not hold.add(frames, [publication.offset] * len(frames)):
                self._overran(subscriber, hold)

    def _count_traffic(self, name: str, publications: int) -> None:
        counted = self._traffic.get(name)
        if counted is not None:
            self._traffic[name] = counted + publications
        elif len(self._traffic) < COUNTED_CHANNELS:
            self._traffic[name] = publications

    def _advance(self, channel: Channel, offers: int) -> bool:
        flush = channel.flush
        assert flush is not None
        if not flush.advance(offers):
            return False
        channel.flush = None
        self._deliveries += flush.deliveries
        self._bytes_sent += flush.pushed_bytes
        return True

    def _encode(self, dialect: Dialect, publications: list[Publication]) -> list[bytes]:
        """Each publication as a message, once for all subscribers of a dialect."""
        messages = encoded(dialect, publications)
        self._encodings += len(messages)
        return messages

    def _remove(self, channel: Channel, subscriber: Subscriber) -> None:
        channel.remove(subscriber)
        if not channel.audiences and not channel.holds:
            # Nobody is left to flush to. The flusher may still hold the channel in its queue: with
            # nothing pending it passes over it.
            channel.pending.clear()
            channel.flush = None
            del self._channels[channel.name]
            self._shared.pop(channel.name, None)
            if channel.name in self._held:
                self._passed[channel.name] = channel.position
            else:
                self.release(channel.name)


def _first(publications: Iterable[Publication]) -> int:
    """The offset of the first that has one; 0 where none has."""
    return next((each.offset for each in publications if each.offset), 0)
