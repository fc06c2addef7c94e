"""One channel: its subscribers by dialect and framing, what is pending for them, and the fan-out under way."""

from collections.abc import Callable, Iterator
from typing import Protocol

from tidings.protocol.close_codes import CloseCode
from tidings.protocol.dialects.base import Dialect
from tidings.protocol.frames import Framing
from tidings.protocol.messages.answers import ConnectionStats
from tidings.protocol.positions import Position
from tidings.protocol.publications import Publication
from tidings.server.identity import Identity

# Frames of one channel are joined up to this many bytes for one send. More would not save system calls
# worth counting, and a joined piece that a slow peer half takes stays in its outbox as a whole.
FLUSH_BYTES = 65536

# A producer that never yields must not pile up publications without end: past this many the channel is
# flushed in the producer's own step. The worst case for one channel is this many of the largest messages.
PENDING_PUBLICATIONS = 1_000

Offer = Callable[[bytes], None]


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
    def dialect(self) -> Dialect:
        """How it wants its messages."""

    @property
    def framing(self) -> Framing:
        """How it wants them framed: plain, or compressed for the window that it negotiated."""

    @property
    def offer(self) -> Offer:
        """Takes whole frames. Never blocks, never raises, and never changes a subscriber list."""

    @property
    def pending_bytes(self) -> int:
        """Bytes that wait in its outbox."""

    @property
    def bytes_sent(self) -> int:
        """Bytes that the kernel has taken for it."""

    def close(self, code: CloseCode, reason: str | None = None) -> bool:
        """Close with a code. Idempotent: the first close stands; False when there was one already."""

    def leave(self, channel: str) -> bool:
        """Unsubscribe it and tell the client; False when it was not subscribed."""

    def connection_stats(self) -> ConnectionStats:
        """Its figures."""


Audience = tuple[Dialect, Framing]
"""Those who get the same bytes."""


class Channel:
    """What the hub knows of one channel that has subscribers."""

    __slots__ = ("_position", "audiences", "flush", "last", "name", "pending")

    def __init__(self, name: str, position: Position) -> None:
        self.name = name
        self._position = position
        """Where it stood when it came here."""
        self.last: Publication | None = None
        """The last one given to the hub."""
        self.audiences: dict[Audience, dict[Subscriber, Offer]] = {}
        self.pending: list[Publication] = []
        """Given to the hub, not yet to any subscriber. A channel with pending ones is in the flusher's queue."""
        self.flush: Flush | None = None
        """The one fan-out in progress."""

    @property
    def position(self) -> Position:
        """Of the last publication given to the hub, or where the broker said that it stood."""
        last = self.last
        return self._position if last is None else Position(last.epoch, last.offset)

    def add(self, subscriber: Subscriber) -> bool:
        """Add to its audience; False when it was there."""
        audience = self.audiences.setdefault((subscriber.dialect, subscriber.framing), {})
        if subscriber in audience:
            return False
        audience[subscriber] = subscriber.offer
        return True

    def remove(self, subscriber: Subscriber) -> bool:
        """Remove; False when it was not there."""
        key = subscriber.dialect, subscriber.framing
        audience = self.audiences.get(key)
        if audience is None or audience.pop(subscriber, None) is None:
            return False
        if not audience:
            del self.audiences[key]
        return True

    def subscribers(self) -> list[Subscriber]:
        """Its subscribers of all audiences."""
        return [subscriber for audience in self.audiences.values() for subscriber in audience]

    def __len__(self) -> int:
        """How many subscribers it has."""
        return sum(map(len, self.audiences.values()))

    def __contains__(self, subscriber: Subscriber) -> bool:
        return subscriber in self.audiences.get((subscriber.dialect, subscriber.framing), ())


class Flush:
    """A fan-out of some publications, as a cursor.

    It can be left after any offer, so that the flusher may yield, and finished at once by whoever is
    about to change the channel's subscribers. It offers to those who were subscribed when it began.
    """

    __slots__ = ("_at", "_offers", "_piece", "_rounds", "deliveries")

    def __init__(self, rounds: list[tuple[list[Offer], list[bytes], int]]) -> None:
        """Take, for each audience: who gets, the joined frames, and how many frames they are in all."""
        self._rounds: Iterator[tuple[list[Offer], bytes]] = iter(
            [(offers, piece) for offers, pieces, _ in rounds for piece in pieces]
        )
        self.deliveries = sum(len(offers) * frames for offers, _, frames in rounds)
        self._offers: list[Offer] = []
        self._piece = b""
        self._at = 0

    def advance(self, most: int) -> bool:
        """Make at most `most` further offers; True when none is left. Never raises."""
        while most:
            if self._at == len(self._offers):
                following = next(self._rounds, None)
                if following is None:
                    return True
                self._offers, self._piece = following
                self._at = 0
            piece = self._piece
            turn = self._offers[self._at : self._at + most]
            for offer in turn:
                offer(piece)
            most -= len(turn)
            self._at += len(turn)
        return False


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
