"""One client of the model: what it hears, whether that fits what it was promised, and what it says."""

from collections import Counter
from typing import Any

import msgspec
import trio

from support.client import masked
from support.stateful.promised import Item, Promised, as_told, payload_of
from tidings.protocol.close_codes import is_sendable
from tidings.protocol.frames import Opcode
from tidings.protocol.messages.answers import Passed
from tidings.protocol.positions import Position
from tidings.protocol.publications import Publication

# What the server says of a refused handshake.
REFUSALS = {400, 401, 404, 408, 426, 429, 503}


class Witness(Promised):
    """Everything that one client hears passes through here, and whatever is wrong with it fails the test."""

    def __init__(self, *parts: Any, **more: Any) -> None:
        """Take what Promised takes."""
        super().__init__(*parts, **more)
        self.answers_pings = True
        # What it has heard:
        self.status: int | None = None
        self.got: Counter[str] = Counter()
        self.told: set[str] = set()
        """Channels to which it has been told that it is subscribed."""
        self.closed: tuple[int | None, str] | None = None
        self.over = False
        self._buffer = bytearray()
        # What it has said:
        self.asked: Counter[str] = Counter()
        """Commands that must be answered, by id."""
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
        opcode, payload = frame[0] & 0x0F, payload_of(frame)
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
                message = self.decode(frame)
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
        told = as_told(publication) | {"channel": channel}
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
