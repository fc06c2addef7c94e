"""One channel: its subscribers by dialect and framing, what is pending for them, and the fan-out under way."""

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from tidings.protocol.close_codes import CloseCode
from tidings.protocol.dialects.base import Dialect
from tidings.protocol.frames import Framing
from tidings.protocol.messages.answers import ConnectionStats
from tidings.protocol.positions import Position
from tidings.protocol.publications import Publication
from tidings.server.delivery.hold import Allowance, Hold
from tidings.server.delivery.recent import Recent
from tidings.server.identity import Identity

# Frames of one channel are joined up to this many bytes for one send. More would not save system calls
# worth counting, and a joined piece that a slow peer half takes stays in its outbox as a whole.
FLUSH_BYTES = 65536

# A producer that never yields must not pile up publications without end: past this many the channel is
# flushed in the producer's own step. The worst case for one channel is this many of the largest messages.
PENDING_PUBLICATIONS = 1_000

Offer = Callable[[bytes], None]

Push = Callable[[bytes], int | None]
"""The quickest way to one subscriber for whole frames: its socket's own `send` while nothing else waits to go
out, else its `offer`. A fan-out to thousands spends its time on what it has to fetch from memory for each of
them: so past the outbox a delivery costs little more than its system call."""


class Subscriber(Protocol):
    """A connection, as the hub and those who publish through it see it."""

    @property
    def connection_id(self) -> str:
        """Unique, also over restarts."""

    @property
    def peer(self) -> str:
        """The client's address."""

    @property
    def identity(self) -> Identity:
        """Who it is."""

    @property
    def device(self) -> str:
        """The device it named; empty without one."""

    @property
    def dialect(self) -> Dialect:
        """How it wants its messages."""

    @property
    def framing(self) -> Framing:
        """How it wants them framed: plain, or compressed for the window that it negotiated."""

    @property
    def offer(self) -> Offer:
        """Takes whole frames. Never blocks, never raises, and never changes a subscriber list."""

    @property
    def direct(self) -> Callable[[bytes], int] | None:
        """Its socket's own `send`, where it has one; always the same. To be used only while it is not queueing."""

    @property
    def is_queueing(self) -> bool:
        """Whether something waits to go out first. Who changes that tells `Hub.rerouted`."""

    def fell_short(self, data: bytes, sent: int | None) -> None:
        """Take over what `direct` left of whole frames, having taken `sent` bytes; None: it is broken."""

    @property
    def pending_bytes(self) -> int:
        """Bytes that wait in its outbox."""

    @property
    def took_all(self) -> bool:
        """Whether the kernel has taken everything that was offered."""

    @property
    def has_room(self) -> bool:
        """Whether at most half of what may wait in its outbox does."""

    async def wait_room(self) -> None:
        """Wait until it has room, or takes nothing any more. Cancelling loses nothing."""

    @property
    def bytes_sent(self) -> int:
        """Bytes that the kernel has taken from its outbox: not those that went past it."""

    def close(self, code: CloseCode, reason: str | None = None) -> bool:
        """Close with a code. Idempotent: the first close stands; False when there was one already."""

    def leave(self, channel: str) -> bool:
        """Unsubscribe it and tell the client; False when it was not subscribed."""

    def connection_stats(self) -> ConnectionStats:
        """Its figures."""


class Audience:
    """Those who get the same bytes, and how each is reached now."""

    __slots__ = ("changes", "gone", "pushes")

    def __init__(self) -> None:
        self.pushes: dict[Subscriber, Push] = {}
        self.changes = 0
        """How often somebody left or is reached otherwise: what was copied of `pushes` before is out of date."""
        self.gone: set[Push] = set()
        """How those were reached who left while a flush was in progress."""

    def __len__(self) -> int:
        """How many they are."""
        return len(self.pushes)

    def route(self, subscriber: Subscriber) -> None:
        """Reach a subscriber, new or not, as is right now."""
        direct = None if subscriber.is_queueing else subscriber.direct
        self.pushes[subscriber] = direct or subscriber.offer
        self.changes += 1

    def remove(self, subscriber: Subscriber, *, in_flush: bool) -> bool:
        """Remove; False when it was not there."""
        push = self.pushes.pop(subscriber, None)
        if push is None:
            return False
        self.changes += 1
        if in_flush:
            self.gone.add(push)
            if subscriber.direct is not None:
                # By which a copy may know it, from before it was rerouted.
                self.gone.add(subscriber.direct)
        return True


class Channel:
    """What the hub knows of one channel that has subscribers."""

    __slots__ = ("_position", "audiences", "flush", "holds", "last", "name", "pending", "recent")

    def __init__(self, name: str, position: Position) -> None:
        self.name = name
        self._position = position
        """Where it stood when it came here."""
        self.last: Publication | None = None
        """The last one given to the hub."""
        self.audiences: dict[tuple[Dialect, Framing], Audience] = {}
        self.pending: list[Publication] = []
        """Given to the hub, not yet to any subscriber. A channel with pending ones is in the flusher's queue."""
        self.flush: Flush | None = None
        """The one fan-out in progress."""
        self.holds: dict[Subscriber, Hold] = {}
        """Subscribers that are in no audience yet: they are still being sent what they missed."""
        self.recent: Recent | None = None
        """What is at hand for those who come back, while some do."""

    @property
    def position(self) -> Position:
        """Of the last publication given to the hub, or where the broker said that it stood."""
        last = self.last
        return self._position if last is None else Position(last.epoch, last.offset)

    def add(self, subscriber: Subscriber) -> bool:
        """Add to its audience; False when it was there."""
        key = subscriber.dialect, subscriber.framing
        audience = self.audiences.get(key)
        if audience is None:
            audience = self.audiences[key] = Audience()
        elif subscriber in audience.pushes:
            return False
        audience.route(subscriber)
        return True

    def reroute(self, subscriber: Subscriber) -> None:
        """Reach one of its subscribers as is right now."""
        if subscriber not in self.holds:
            self.audiences[subscriber.dialect, subscriber.framing].route(subscriber)

    def move_to(self, position: Position) -> None:
        """Go on from another position."""
        self._position = position
        self.last = None
        self.recent = None

    def hold(self, subscriber: Subscriber, allowance: Allowance) -> Hold:
        """Keep for a subscriber, new or not, what comes from now on; nothing may be pending."""
        self.remove(subscriber)
        hold = self.holds[subscriber] = Hold(self.name, self.position, allowance)
        return hold

    def remove(self, subscriber: Subscriber) -> bool:
        """Remove; False when it was not there."""
        hold = self.holds.pop(subscriber, None)
        if hold is not None:
            hold.end()
            return True
        key = subscriber.dialect, subscriber.framing
        audience = self.audiences.get(key)
        if audience is None or not audience.remove(subscriber, in_flush=self.flush is not None):
            return False
        if not audience:
            del self.audiences[key]
        return True

    def subscribers(self) -> list[Subscriber]:
        """Its subscribers of all audiences."""
        live = [subscriber for audience in self.audiences.values() for subscriber in audience.pushes]
        return live + list(self.holds)

    def __len__(self) -> int:
        """How many subscribers it has."""
        return sum(map(len, self.audiences.values())) + len(self.holds)

    def __contains__(self, subscriber: Subscriber) -> bool:
        if subscriber in self.holds:
            return True
        audience = self.audiences.get((subscriber.dialect, subscriber.framing))
        return audience is not None and subscriber in audience.pushes


class Flush:
    """A fan-out of some publications, as a cursor.

    It can be left after any offer, so that the flusher may yield, and finished at once by whoever is
    about to change the channel's subscribers. It offers to those who were subscribed when it began, and
    have not left since.

    Between two turns anybody's outbox may have come to hold something, behind which frames must queue: then
    the rest of the copy that a piece is sent by is looked up again.
    """

    __slots__ = (
        "_at",
        "_audience",
        "_changes",
        "_owners",
        "_piece",
        "_pushes",
        "_rounds",
        "deliveries",
        "first",
        "pushed_bytes",
    )

    def __init__(
        self,
        rounds: list[tuple[Audience, list[bytes], int]],
        owners: Mapping[Push, Subscriber],
        *,
        first: int = 0,
    ) -> None:
        """Take, for each audience: who gets, the joined frames, and how many frames they are in all.

        `owners` tells whose socket a `direct` is; who is disconnected is not in it.
        """
        self.first = first
        """The lowest offset in it; 0 where nothing in it has one."""
        self._rounds: Iterator[tuple[Audience, bytes]] = iter(
            [(audience, piece) for audience, pieces, _ in rounds for piece in pieces]
        )
        self._owners = owners
        self.deliveries = sum(len(audience) * frames for audience, _, frames in rounds)
        self.pushed_bytes = 0
        """What sockets took past their outboxes."""
        for audience, _, _ in rounds:
            audience.gone.clear()
        self._audience = Audience()
        self._changes = 0
        self._pushes: list[Push] = []
        self._piece = b""
        self._at = 0

    def advance(self, most: int) -> bool:
        """Make at most `most` further offers; True when none is left. Never raises."""
        while most:
            if self._at == len(self._pushes):
                following = next(self._rounds, None)
                if following is None:
                    return True
                self._audience, self._piece = following
                self._pushes = list(self._audience.pushes.values())
                self._changes = self._audience.changes
                self._at = 0
            elif self._changes != self._audience.changes:
                self._look_up()
            turn = self._pushes[self._at : self._at + most]
            most -= len(turn)
            self._at += len(turn)
            self._send(turn)
        return False

    def _send(self, turn: list[Push]) -> None:
        """Push the piece to some. No await: how each is reached must be as it was looked up."""
        piece = self._piece
        size = len(piece)
        short = 0
        for push in turn:
            try:
                sent = push(piece)
            except OSError as error:
                sent = 0 if isinstance(error, BlockingIOError) else -1
            if sent != size:
                short += 1
                if sent is not None:  # else it was an `offer`, which sees to everything
                    self._fell_short(push, sent)
        self.pushed_bytes += size * (len(turn) - short)

    def _fell_short(self, push: Push, sent: int) -> None:
        owner = self._owners.get(push)
        if owner is not None:  # else its connection has ended
            owner.fell_short(self._piece, None if sent < 0 else sent)

    def _look_up(self) -> None:
        """How those are reached now who have not got the piece yet."""
        audience = self._audience
        rest = []
        for push in self._pushes[self._at :]:
            if push not in audience.gone:
                owner = self._owners.get(push)
                # An `offer` does right at any time, and nobody who is gone minds one.
                rest.append(push if owner is None else audience.pushes.get(owner, push))
        self._pushes = rest
        self._at = 0
        self._changes = audience.changes


def join_frames(frames: list[bytes], most: int = FLUSH_BYTES) -> list[bytes]:
    """The frames in order, joined into pieces of at most `most` bytes (a longer frame stays alone)."""
    if len(frames) == 1:
        return frames
    pieces: list[bytes] = []
    begun: list[bytes] = []
    size = 0
    for frame in frames:
        if begun and size + len(frame) > most:
            pieces.append(b"".join(begun))
            begun, size = [], 0
        begun.append(frame)
        size += len(frame)
    pieces.append(b"".join(begun))
    return pieces
