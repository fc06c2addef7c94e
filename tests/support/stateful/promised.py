"""What one client of the model is promised, and whether the server may promise that."""

import itertools
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from typing import Any

import msgspec
import trio

from support.stateful.book import Book
from support.stateful.network import Line
from tidings.protocol.close_codes import CloseCode
from tidings.protocol.messages.answers import Passed
from tidings.protocol.positions import Position
from tidings.protocol.publications import Publication, iso_milliseconds
from tidings.protocol.recovery import judge
from tidings.server.delivery.hold import Hold
from tidings.server.edge.connection import Connection


@dataclass(frozen=True)
class Promise:
    """An answer that the hub was given, and how much of each channel the client must have got before it."""

    frame: bytes
    least: dict[str, int]
    exactly: dict[str, "Span"]


@dataclass(frozen=True)
class Span:
    """How much of a channel the client has got where an answer about it stands."""

    least: int
    most: int
    is_end: bool = True
    """Whether what it has not got by then never comes: a replay was broken off."""


@dataclass
class Held:
    """A client that is being sent what it missed of a channel."""

    hold: Hold
    limit: int
    cut: Position
    cleared: int
    """Up to here the history had been deleted when it began."""
    begins: int = 0
    """How much of the channel was for it before."""
    told: bool = False
    """Whether it has been told what follows."""
    weight: int = 0
    """Bytes that what came meanwhile has at most."""


#: What comes in a channel: a publication, or the position of one that is for others.
Item = Publication | Passed

# A frame is longer than its payload by at most this.
ENVELOPE = 400


@dataclass
class Truth:
    """What all clients of one example share."""

    seen: Counter[str] = field(default_factory=Counter)
    """How often something happened that the whole run must have met."""
    frames: dict[tuple[bool, str, str, int], bytes] = field(default_factory=dict)
    """The bytes of each publication, by encoding, channel and position."""


class Promised:
    """What one client is to get: each word that the server gives it is judged here, before the client hears it."""

    def __init__(
        self,
        truth: Truth,
        book: Book,
        line: Line,
        peer: str,
        user: str,
        *,
        binary: bool,
        session: str = "",
        logged_in_ms: int = 0,
        device: str = "",
        is_steady: bool = True,
    ) -> None:
        self.truth = truth
        self.book = book
        self.line = line
        self.peer = peer
        self.user = user
        self.session = session
        self.logged_in_ms = logged_in_ms
        self.device = device
        self.left_at: dict[str, float] = {}
        """When it last left a channel."""
        self.hub_is_dead = False
        self.is_steady = is_steady
        """Whether nothing happens between what the server finds out and what it says of it."""
        self.binary = binary
        # What the server has done for it, as told by the hub and the connection:
        self.connection: Connection | None = None
        self.registered = False
        self.subscribed: set[str] = set()
        self.expected: defaultdict[str, list[Item]] = defaultdict(list)
        self.held: dict[str, Held] = {}
        self.broken_off: dict[str, int] = {}
        """Channels of which a replay was broken off: how much there was before it."""
        self.holds = 0
        """How often it was held back."""
        self.doomed = False
        """Whether what it was being sent is of an epoch that is over."""
        self.promises: deque[Promise] = deque()
        self.ending: tuple[int, dict[str, int]] | None = None
        """The close that the server has recorded, and how much of each channel must come before it."""
        # What it has said, and where that has brought it:
        self.fields: dict[str, dict[str, Any]] = {}
        """What commands say, by id."""
        self.at: dict[str, Position] = {}
        """Where it is in each channel, as far as it was told."""

    # --- what it is to get ---------------------------------------------------------------------------

    def counts(self) -> dict[str, int]:
        """How much of each channel has been published for it so far, but where it is still being sent older."""
        return {
            channel: len(expected)
            for channel, expected in self.expected.items()
            if channel not in self.held and channel not in self.broken_off
        }

    def expect(self, publication: Publication) -> None:
        """Something is published in one of its channels."""
        channel = publication.channel
        excluded = publication.excluded_session
        if excluded is not None and excluded == self.session:
            if publication.offset:
                self.expected[channel].append(Passed(channel, publication.epoch, publication.offset))
        else:
            self.expected[channel].append(publication)
        held = self.held.get(channel)
        if held is not None:
            held.weight += len(publication.payload) + ENVELOPE

    def hold(self, channel: str, held: Held) -> None:
        """It is held back at the cut."""
        self._break_off(channel)
        self.holds += 1
        held.begins = len(self.expected[channel])
        self.held[channel] = held

    def leave(self, channel: str) -> None:
        """Its subscription ends."""
        self._break_off(channel)
        if channel in self.subscribed:
            self.left_at[channel] = trio.current_time()
        self.subscribed.discard(channel)

    def gone(self) -> None:
        """Its connection is out of the hub."""
        self.registered = False
        for channel in list(self.subscribed):
            self.leave(channel)

    def _break_off(self, channel: str) -> None:
        held = self.held.pop(channel, None)
        if held is not None:
            self.broken_off.setdefault(channel, held.begins)

    def promise(self, frame: bytes, *, at_once: bool) -> None:
        """The hub was given an answer: at the end of the tick, behind all that was published before, or at once."""
        message = self.decode(frame)
        kind, data = message["type"], message["data"]
        self._judge(kind, data, self.fields.get(message.get("id", ""), {}))
        if not at_once:
            self.promises.append(Promise(frame, self.counts(), {}))
            return
        spans = {}
        if kind in ("subscribed", "unsubscribed"):
            channel = data["channel"]
            spans[channel] = self._span(channel)
            if kind == "subscribed":
                self._subscribed(channel, data, self.fields.get(message.get("id", ""), {}))
        elif kind == "connected":
            self._seated(data)
            for name, told in data["channels"].items():
                assert Position(**told) == self.book.heads[name], name
        elif kind == "position":
            # Of a channel that a newer token brings.
            channel = data["channel"]
            assert Position(data["epoch"], data["offset"]) == self.book.heads[channel], channel
            spans[channel] = self._span(channel)
        elif kind == "disconnect":
            spans = {channel: Span(count, count) for channel, count in self.counts().items()}
        self.promises.append(Promise(frame, {}, spans))

    def _span(self, channel: str) -> Span:
        held = self.held.get(channel)
        if held is not None and held.told:  # once more, while it is being sent what it missed
            return Span(held.begins, len(self.expected[channel]), is_end=False)
        count = len(self.expected[channel]) if held is None else held.begins
        return Span(self.broken_off.pop(channel, count), count)

    def _subscribed(self, channel: str, data: dict[str, Any], asked: dict[str, Any]) -> None:
        """It is told what follows: judge whether that is right, and expect it."""
        held, told = self.held.get(channel), Position(data["epoch"], data["offset"])
        if held is None or held.told:
            assert not data["recovered"], "nobody asked for it"
            assert held is not None or told == self.book.heads[channel]
            return
        held.told = True
        cut, since = held.cut, Position(**asked["since"])
        assert told == cut, "what it is told is where it was cut"
        recovered = data["recovered"]
        self.truth.seen[f"recovered {recovered}"] += 1
        if judge(since, cut, since.offset + 1) != "recoverable":
            assert not recovered, "that position never was"
        elif since.offset == cut.offset:
            assert recovered, "nothing was missed"
        elif self.book.heads[channel].epoch == cut.epoch:
            sure, _ = self.book.first(channel)
            assert recovered or since.offset + 1 < sure, "all that was missed is kept"
            assert not recovered or since.offset >= held.cleared, "what was deleted is back"
        if recovered:
            self._replay(channel, held, since.offset)

    def _seated(self, data: dict[str, Any]) -> None:
        channel, told = f"user:{self.user}", data["inbox"]
        assert (told is not None) == self.book.is_inbox(channel)
        if told is None:
            return
        held, head = self.held.get(channel), self.book.heads[channel]
        assert told["epoch"] == head.epoch
        # Up to here it has everything, as it said or as nobody can help any more.
        has = self.book.has(channel, self.device)
        sure, low = self.book.first(channel)
        most = self.book.has(channel, self.device, surely=self.is_steady)
        assert told["offset"] <= max(most, sure - 1), "what waits for this device is passed over"
        if self.is_steady:
            assert told["offset"] >= max(has, low - 1), "what this device has comes again"
        if held is None:
            assert told["offset"] == head.offset
            return
        held.told = True
        self.truth.seen["inbox"] += told["offset"] < held.cut.offset
        self._replay(channel, held, told["offset"])

    def _replay(self, channel: str, held: Held, since: int) -> None:
        missed: list[Item] = []
        for publication in self.book.between(channel, held.cut.epoch, since, held.cut.offset):
            earlier_only = publication.event == "user:password-changed"
            if (
                publication.excluded_session is not None and publication.excluded_session == self.session
            ) or (earlier_only and self.logged_in_ms > publication.time_ms):
                missed.append(Passed(channel, publication.epoch, publication.offset))
            else:
                missed.append(publication)
        assert len(missed) == held.cut.offset - since
        self.truth.seen["replayed"] += bool(missed)
        # What was published since waits behind it.
        self.expected[channel][held.begins : held.begins] = missed

    def _judge(self, kind: str, data: dict[str, Any], asked: dict[str, Any]) -> None:
        """What is said about history and acknowledgements."""
        if "acked_at_most" not in asked and kind != "history":
            return
        if kind == "history":
            self._judge_history(data, asked)
        elif kind == "acked":
            last = [item.offset for item in self.expected[data["channel"]] if item.offset][-1:]
            told = self.at.get(data["channel"])
            most = max(*last, told.offset if told else 0, 0, asked["acked_at_most"])
            assert 0 <= asked["offset"] <= most, "acknowledged, and never sent"
            self.truth.seen["acked"] += 1
        elif kind == "error" and data["code"] == "invalid_data" and asked["channel"] == f"user:{self.user}":
            assert not 0 <= asked["offset"] <= asked["acked_at_most"], (
                "what it was sent may be acknowledged"
            )

    def _judge_history(self, data: dict[str, Any], asked: dict[str, Any]) -> None:
        channel, epoch = asked["channel"], data["epoch"]
        log = self.book.logs[channel, epoch]
        assert data["channel"] == channel
        assert 0 <= data["offset"] <= len(log)
        since = None if asked.get("since") is None else Position(**asked["since"])
        head = Position(epoch, data["offset"])
        fits = since is None or judge(since, head, since.offset + 1) == "recoverable"
        assert fits or not data["complete"], "that position never was"
        # When it was looked at it may not have been yet, and what was read for that is of a moment later.
        fits = fits and (data["complete"] or not asked.get("was_ahead"))
        offsets = []
        for kept in data["publications"]:
            publication = log[kept["offset"] - 1]
            offsets.append(kept["offset"])
            assert kept == as_told(publication) | {"channel": channel}, "as it was published"
        after = since.offset if since is not None and fits else 0
        if since is not None and data["complete"]:
            offsets.insert(0, after)
        for before, offset in itertools.pairwise(offsets):
            assert before < offset
            for between in log[before : offset - 1]:
                assert between.excluded_session == self.session or between.event == "user:password-changed"
        assert all(offset > after for offset in offsets[bool(offsets and offsets[0] == after) :])
        if self.is_steady and head == self.book.heads.get(channel):
            sure, _ = self.book.first(channel)
            assert data["complete"] or not fits or after + 1 < sure, "all that was asked for is kept"
        self.truth.seen["history"] += bool(data["publications"])

    def assert_insufficient(self) -> None:
        """The server closes it because it cannot be sent the rest: so it must be."""
        for channel, held in self.held.items():
            if held.weight > held.limit:
                return
            if self.book.heads[channel].epoch != held.cut.epoch:
                return
            sure, _ = self.book.first(channel)
            if held.hold.sent + 1 < sure:
                return
        assert self.doomed or self.broken_off or self.hub_is_dead, (
            f"{self.peer} could have been sent the rest"
        )

    def recorded(self, code: int, *, by_peer: bool) -> None:
        """Its connection has recorded why it ends."""
        if not by_peer and code not in (CloseCode.SLOW_CONSUMER, CloseCode.INTERNAL_ERROR):
            self.ending = (code, self.counts())

    # --- inside --------------------------------------------------------------------------------------

    def decode(self, frame: bytes) -> dict[str, Any]:
        """The message in a frame."""
        codec = msgspec.msgpack if self.binary else msgspec.json
        message: dict[str, Any] = codec.decode(payload_of(frame))
        assert {"type", "data", "timestamp"} <= message.keys()
        return message


def as_told(publication: Publication) -> dict[str, Any]:
    """A publication as its message says it, but for the channel."""
    told = {
        "type": publication.event,
        "data": msgspec.json.decode(publication.payload),
        "timestamp": iso_milliseconds(publication.time_ms),
        "offset": publication.offset,
    }
    return told if publication.user_id is None else told | {"user_id": publication.user_id}


def payload_of(frame: bytes) -> bytes:
    """What a frame of the server's carries."""
    return frame[2 + {126: 2, 127: 8}.get(frame[1], 0) :]
