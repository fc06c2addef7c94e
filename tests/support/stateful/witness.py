"""One client of the model: what it was promised, what it hears, and whether the one fits the other."""

import itertools
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from typing import Any

import msgspec
import trio

from support.client import masked
from support.stateful.book import Book
from support.stateful.network import Line
from tidings.protocol.close_codes import CloseCode, is_sendable
from tidings.protocol.frames import Opcode
from tidings.protocol.messages.answers import Passed
from tidings.protocol.positions import Position
from tidings.protocol.publications import Publication, iso_milliseconds
from tidings.protocol.recovery import judge
from tidings.server.delivery.hold import Hold
from tidings.server.edge.connection import Connection

# What the server says of a refused handshake.
REFUSALS = {400, 401, 404, 408, 426, 429, 503}


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


class Witness:
    """Everything that one client hears passes through here, and whatever is wrong with it fails the test."""

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
        self.answers_pings = True
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
        # What it has heard:
        self.status: int | None = None
        self.got: Counter[str] = Counter()
        self.told: set[str] = set()
        """Channels to which it has been told that it is subscribed."""
        self.at: dict[str, Position] = {}
        """Where it is in each channel, as far as it was told."""
        self.closed: tuple[int | None, str] | None = None
        self.over = False
        self._buffer = bytearray()
        # What it has said:
        self.asked: Counter[str] = Counter()
        """Commands that must be answered, by id."""
        self.fields: dict[str, dict[str, Any]] = {}
        """What they say."""
        self.pings: set[bytes] = set()
        self.wild = False
        """Whether it has sent bytes after which nobody can say what it has asked."""
        self.closing: int | None = None
        """The code of the close frame that it has sent."""
        self.was_slow = False
        """Whether it has ever left something unread for longer than a turn."""
        self.cancelled = False
        self.unsent = b""
        """The rest of a frame that it has begun."""
        self.said_at = trio.current_time()

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
        message = self._decode(frame)
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
        has = self.book.devices[channel][self.device][0]
        sure, low = self.book.first(channel)
        assert told["offset"] <= max(has, sure - 1), "what waits for this device is passed over"
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
        offsets = []
        for kept in data["publications"]:
            publication = log[kept["offset"] - 1]
            offsets.append(kept["offset"])
            assert kept == _as_told(publication) | {"channel": channel}, "as it was published"
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

    @property
    def is_open(self) -> bool:
        """Whether it is served and neither side has begun to end that."""
        return (
            self.status == 101
            and not self.over
            and self.closing is None
            and not self.line.client_ended
            and self.connection is not None
            and not self.connection.is_ending
        )

    def assert_complete(self) -> None:
        """It has got everything; only while it is open, and reads."""
        assert not self.held, f"{self.peer} is still behind"
        for channel, expected in self.expected.items():
            assert self.got[channel] == len(expected), f"{self.peer} misses some of {channel}"
        assert not self.promises, f"{self.peer} misses answers"
        assert not self._buffer, f"{self.peer} has half a frame"
        if not self.wild and not self.unsent:
            assert not +self.asked, f"{self.peer} got no answer to {self.asked}"

    # --- what it hears -------------------------------------------------------------------------------

    async def read(self) -> None:
        """Hear everything until the end."""
        while data := await self.line.read():
            self.hear(data)
        self.over = True
        # An HTTP answer tells its length, and may be cut off where it is not read; frames may not.
        # Nor is whoever says FIN sent the rest of what it has not read by then.
        whole = self.status == 101 and not (self.line.was_reset or self.line.client_ended)
        if whole and not self.cancelled:
            assert not self._buffer, f"half a frame: {bytes(self._buffer)!r}"
        if not self.line.client_ended:
            self.line.close_client()

    def hear(self, data: bytes) -> None:
        """Judge some bytes."""
        assert self.closed is None, f"bytes behind the close frame: {data!r}"
        self._buffer += data
        if self.status is None and not self._hear_head():
            return
        while self.status == 101:
            frame = self._next_frame()
            if frame is None:
                break
            assert self.closed is None, "a frame behind the close frame"
            self._hear_frame(frame)

    def _hear_head(self) -> bool:
        head, end, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        if not end:
            return False
        lines = head.decode("ascii").split("\r\n")
        status = int(lines[0].split(" ")[1])
        if status != 101:
            fields = dict(line.lower().split(": ", 1) for line in lines[1:])
            length = int(fields["content-length"])
            if len(rest) < length:
                return False
            assert len(rest) == length, "something behind the refusal"
            assert status in REFUSALS, status
            assert "code" in str(msgspec.json.decode(rest))
            rest = b""
        self.truth.seen[f"status {status}"] += 1
        self._buffer = bytearray(rest)
        self.status = status
        return True

    def _next_frame(self) -> bytes | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        assert buffer[0] & 0xF0 == 0x80, f"no whole frame begins with {bytes(buffer[:20])!r}"
        assert buffer[0] & 0x0F in (Opcode.TEXT, Opcode.BINARY, Opcode.CLOSE, Opcode.PING, Opcode.PONG)
        assert not buffer[1] & 0x80, "the server never masks"
        head = 2 + {126: 2, 127: 8}.get(buffer[1], 0)
        if len(buffer) < head:
            return None
        length = int.from_bytes(buffer[2:head]) if head > 2 else buffer[1]
        assert length < 1 << 20, f"no frame of ours is so long: {bytes(buffer[:20])!r}"
        if len(buffer) < head + length:
            return None
        frame = bytes(buffer[: head + length])
        del buffer[: head + length]
        return frame

    def _hear_frame(self, frame: bytes) -> None:
        opcode, payload = frame[0] & 0x0F, _payload(frame)
        match opcode:
            case Opcode.PING:
                if self.answers_pings:
                    self.say(masked(Opcode.PONG, payload))
            case Opcode.PONG:
                assert payload in self.pings, "a pong to no ping"
            case Opcode.CLOSE:
                self._hear_close(payload)
            case _:
                assert (opcode == Opcode.BINARY) is self.binary
                message = self._decode(frame)
                if "channel" in message:
                    self._hear_publication(message, frame)
                else:
                    self._hear_answer(message, frame)

    def _hear_publication(self, message: dict[str, Any], frame: bytes) -> None:
        channel = message["channel"]
        assert channel in self.told, f"{self.peer} hears {channel}, to which it is not subscribed"
        assert not channel.startswith("user:") or channel == f"user:{self.user}"
        publication = self._next(channel, message)
        assert isinstance(publication, Publication), "this is not for it"
        told = _as_told(publication) | {"channel": channel}
        if not publication.offset:
            del told["offset"]
        if publication.user_id is None:
            told.pop("user_id", None)
        assert message == told, "in order, once, as it was published"
        if publication.offset:
            key = (self.binary, channel, publication.epoch, publication.offset)
            assert self.truth.frames.setdefault(key, frame) == frame, (
                "the same bytes for all, live and replayed"
            )
        self.got[channel] += 1
        self._go_on(channel, Position(publication.epoch, publication.offset))
        self.truth.seen["publication"] += 1

    def _next(self, channel: str, message: object) -> Item:
        got, expected = self.got[channel], self.expected[channel]
        assert got < len(expected), f"{self.peer} gets of {channel} what was not for it: {message}"
        return expected[got]

    def _go_on(self, channel: str, position: Position) -> None:
        """By its own reckoning, nothing may be missing between where it was and here."""
        if not position.offset:
            return
        before = self.at.get(channel)
        if before is not None and before.epoch == position.epoch:
            assert position.offset == before.offset + 1, (channel, before, position)
        self.at[channel] = position

    def _hear_position(self, data: dict[str, Any]) -> None:
        channel = data["channel"]
        passed = self._next(channel, data)
        assert isinstance(passed, Passed)
        assert data == msgspec.to_builtins(passed)
        self.got[channel] += 1
        before = self.at.get(channel)
        if before is not None and before.epoch != passed.epoch:
            self.at[channel] = Position(passed.epoch, passed.offset)
        else:
            self._go_on(channel, Position(passed.epoch, passed.offset))
        self.truth.seen["position"] += 1

    def _hear_answer(self, message: dict[str, Any], frame: bytes) -> None:
        if message["type"] == "position" and not (self.promises and self.promises[0].frame == frame):
            self._hear_position(message["data"])
            return
        assert self.promises, f"an answer that nobody gave: {message}"
        promise = self.promises.popleft()
        assert frame == promise.frame, "answers come in the order in which they were given, none is lost"
        for channel, count in promise.least.items():
            assert self.got[channel] >= count, f"{message} overtook {channel}"
        for channel, span in promise.exactly.items():
            assert span.least <= self.got[channel] <= span.most, (
                f"{message} does not stand where {channel} is"
            )
            if span.is_end:
                self.got[channel] = span.most
        kind, data = message["type"], message["data"]
        fields = self.fields.get(message.get("id", ""), {})
        if "id" in message and not self.wild:
            assert self.asked[message["id"]] == 1, f"answered twice, or never asked: {message}"
            del self.asked[message["id"]]
        match kind:
            case "connected":
                assert data["user_id"] == self.user
                stands = dict(data["channels"])
                if data["inbox"] is not None:
                    stands[f"user:{self.user}"] = data["inbox"]
                assert stands.keys() >= {"all", f"user:{self.user}"}
                self.told |= stands.keys()
                self.at |= {name: Position(**told) for name, told in stands.items()}
            case "position":
                self.told.add(data["channel"])
                self.at[data["channel"]] = Position(data["epoch"], data["offset"])
                self.truth.seen["brought"] += 1
            case "subscribed":
                channel = data["channel"]
                self.told.add(channel)
                asked = fields.get("since", {})
                self.at[channel] = (
                    Position(**asked) if data["recovered"] else Position(data["epoch"], data["offset"])
                )
            case "unsubscribed":
                self.told.discard(data["channel"])
                self.at.pop(data["channel"], None)
            case "error":
                self.truth.seen[f"error {data['code']}"] += 1
            case _:
                self.truth.seen[kind] += 1

    def _hear_close(self, payload: bytes) -> None:
        assert len(payload) != 1
        code = int.from_bytes(payload[:2]) if payload else None
        assert code is None or is_sendable(code), code
        self.closed = code, payload[2:].decode()
        self.truth.seen[f"close {code}"] += 1
        if self.ending is not None and self.ending[0] == code:
            for channel, count in self.ending[1].items():
                assert self.got[channel] == count, f"closed with {code}, and {channel} is not complete"
        if self.answers_pings and self.closing is None:
            self.say(masked(Opcode.CLOSE, payload[:2]))
            self.closing = code

    # --- what it says --------------------------------------------------------------------------------

    def say(self, data: bytes, chop: int | None = None) -> None:
        """Write bytes, behind the rest of a frame that it has begun, in pieces of `chop` bytes.

        At most 40 pieces: each costs a turn of the loop.
        """
        data, self.unsent = self.unsent + data, b""
        size = max(chop or len(data), len(data) // 40, 1)
        self.said_at = trio.current_time()
        self.line.write([data[at : at + size] for at in range(0, len(data), size)])

    # --- inside --------------------------------------------------------------------------------------

    def _decode(self, frame: bytes) -> dict[str, Any]:
        codec = msgspec.msgpack if self.binary else msgspec.json
        message: dict[str, Any] = codec.decode(_payload(frame))
        assert {"type", "data", "timestamp"} <= message.keys()
        return message


def _as_told(publication: Publication) -> dict[str, Any]:
    told = {
        "type": publication.event,
        "data": msgspec.json.decode(publication.payload),
        "timestamp": iso_milliseconds(publication.time_ms),
        "offset": publication.offset,
    }
    return told if publication.user_id is None else told | {"user_id": publication.user_id}


def _payload(frame: bytes) -> bytes:
    return frame[2 + {126: 2, 127: 8}.get(frame[1], 0) :]
