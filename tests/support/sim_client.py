"""A light client: the protocol as a state machine of callbacks, without a task, that judges all it gets."""

import random
from collections.abc import Callable
from typing import Any

import msgspec
import trio

from support.frames import client_frame
from support.sim_ledger import READERS, Account, Ledger, Message
from support.sim_network import Link
from tidings.protocol.close_codes import CloseCode, may_reconnect
from tidings.protocol.frames import Opcode


class LightClient:
    """One connection after another of one user, each judged from its first byte to its last.

    `link` is the present connection; None while it is away.
    """

    def __init__(
        self, number: int, user: str, rooms: list[str], rng: random.Random, ledger: Ledger
    ) -> None:
        self.number = number
        self.user = user
        self.rooms = rooms
        """Where it wants to be."""
        self.random = rng
        self.binary = number % 4 == 3
        self.speaks_first = number % 8 == 5
        """Whether its token comes with the first message and not with the handshake."""
        self.token = ""
        self.past: dict[str, tuple[str, int]] = {}
        """Where it was in each room when its last connection ended."""
        self.acked = self.acking = 0
        """Up to where its device has acknowledged: as it was answered, and as it has said."""
        self.link: Link | None = None
        self.account: Account | None = None
        self.returns_in = 0.0
        """Seconds to stay away."""
        self.on_over: Callable[[LightClient], None] = lambda _client: None
        self._ledger = ledger
        self._reader = READERS[self.binary]
        self._codec: Any = msgspec.msgpack if self.binary else msgspec.json
        self._forget()

    def _forget(self) -> None:
        self.account = None
        self.since: dict[str, int] = {}
        """Where it said that it was, for channels that it is about to join."""
        self.behind: dict[str, int] = {}
        """Channels in which it is being sent what it missed, up to where they stood then."""
        self.got: dict[str, int] = {}
        """The last offset of each channel that it is in."""
        self.heard_at = trio.current_time()
        self.asked: dict[str, tuple[str, str]] = {}
        """Commands under way by id: what, and where or what was said."""
        self._ids = 0
        self._buffer = b""
        self._upgraded = False
        self.code: int | None = None
        """Of the server's close frame."""
        self._announced: int | None = None
        """Of the server's `disconnect`."""

    @property
    def name(self) -> str:
        """For complaints."""
        where = "away" if self.link is None else f"on connection {self.link.number}"
        return f"client {self.number} ({self.user}, {where})"

    @property
    def is_up(self) -> bool:
        """Whether it has been let in, and no close is under way."""
        return (
            self.account is not None and self.code is None and self.link is not None and not self.link.said
        )

    # --- what it does --------------------------------------------------------------------------------

    def dial(self, link: Link) -> None:
        """Begin a new connection with the handshake."""
        self._forget()
        self.link = link
        link.down.connect(self._received, self._ended)
        query = f"?device=d{self.number}" + ("&dialect=native_msgpack" if self.binary else "")
        token = "" if self.speaks_first else f"Authorization: Bearer {self.token}\r\n"
        head = (
            f"GET /ws{query} HTTP/1.1\r\nHost: push.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{token}\r\n"
        ).encode()
        if self.speaks_first:
            # At once: what stands behind the head must not be lost.
            head += self._frame(self._command("authenticate", {"token": self.token}, "-"))
        self._send(head)

    def do(self, *commands: tuple[str, dict[str, Any], str]) -> None:
        """Send commands in one piece: type, data, and what is to be remembered of each."""
        if commands and self.is_up:
            self._send(b"".join(self._frame(self._command(*command)) for command in commands))

    def say_goodbye(self) -> None:
        """Close with 1000."""
        if self.is_up:
            assert self.link is not None
            self.link.said = int(CloseCode.NORMAL)
            self._send(client_frame(Opcode.CLOSE, (1000).to_bytes(2), mask=self._key()))

    def hang_up(self) -> None:
        """Drop the connection without a word, as nothing comes from it."""
        if self.link is not None:
            self._ledger.saw(self.number, "hung up")
            self.link.leave()
            self._over(CloseCode.ABNORMAL)

    def _command(self, kind: str, data: dict[str, Any], about: str) -> bytes:
        self._ids += 1
        command_id = f"c{self._ids}"
        self.asked[command_id] = (kind, about)
        encoded: bytes = self._codec.encode({"type": kind, "data": data, "id": command_id})
        return encoded

    def _frame(self, message: bytes) -> bytes:
        return client_frame(Opcode.BINARY if self.binary else Opcode.TEXT, message, mask=self._key())

    def _key(self) -> bytes:
        return self.random.getrandbits(32).to_bytes(4)

    def _send(self, data: bytes) -> None:
        assert self.link is not None
        try:
            while data:
                data = data[self.link.up.send(data) :]
        except OSError:
            pass  # the end is on its way

    # --- what it gets --------------------------------------------------------------------------------

    def _received(self, data: bytes) -> None:
        link = self.link
        assert link is not None
        link.down.read(len(data))
        self.heard_at = trio.current_time()
        buffer = self._buffer + data if self._buffer else data
        if not self._upgraded:
            head, found, rest = buffer.partition(b"\r\n\r\n")
            if not found:
                self._buffer = buffer
                return
            self._upgraded = True
            buffer = rest
            if not head.startswith(b"HTTP/1.1 101 "):
                # The head was late, so that the server gave up before it came.
                late = head.startswith(b"HTTP/1.1 408 ") and link.up.blocked_until > 0
                if not late and not self._ledger.draining:
                    self._wrong(f"the handshake was answered {head[:60]!r}")
                self._buffer = b""
                return
        at, size = 0, len(buffer)
        while size - at >= 2:
            length = buffer[at + 1]
            body = at + 2
            if length > 125:
                if length > 126:
                    self._wrong(f"no frame begins with {buffer[at : at + 8]!r}")
                    break
                body = at + 4
                length = int.from_bytes(buffer[at + 2 : body])
            end = body + length
            if end > size or body > size:
                break
            self._frame_came(buffer[at], buffer[body:end])
            if self.link is not link:
                return
            at = end
        self._buffer = buffer[at:] if at else buffer

    def _frame_came(self, first: int, payload: bytes) -> None:
        if self.code is not None:
            self._wrong(f"a frame after the close frame: {first:#x} {payload!r}")
        elif first == (0x82 if self.binary else 0x81):
            try:
                message = self._reader(payload)
            except msgspec.MsgspecError as error:
                self._wrong(f"{error}: {payload!r}")
                return
            if message.channel is not None and message.offset is not None:
                self._publication(message, payload)
            else:
                self._answer(message)
        elif first == 0x89:
            self._send(client_frame(Opcode.PONG, payload, mask=self._key()))
        elif first == 0x88:
            self._close_came(payload)
        else:
            self._wrong(f"no frame begins with {first:#x}")

    def _publication(self, message: Message, raw: bytes) -> None:
        channel, offset = message.channel, message.offset
        assert channel is not None
        assert offset is not None
        last = self.got.get(channel)
        if last is None:
            self._wrong(f"{channel} {offset}, where it is not subscribed")
        elif offset != last + 1:
            self._wrong(f"{channel} {offset} came behind {last}")
        self.got[channel] = offset
        if offset >= self.behind.get(channel, 0) and not self._is_held(channel):
            self.behind.pop(channel, None)
        self._ledger.saw(self.number, channel, offset)
        self._ledger.check_publication(self.name, message, raw, binary=self.binary)

    def _answer(self, message: Message) -> None:
        data = self._codec.decode(message.data)
        self._ledger.saw(self.number, message.type)
        kind, about = self.asked.pop(message.id, ("", "")) if message.id is not None else ("", "")
        if message.id is not None and not kind:
            self._wrong(f"an answer that it did not ask for: {message}")
        match message.type:
            case "connected":
                self._connected(data)
            case "subscribed":
                self._subscribed(data)
            case "unsubscribed":
                self._unsubscribed(data)
            case "acked":
                self._acked(data)
            case "published":
                self._published(data, about)
            case "pong" if kind == "ping":
                pass
            case "disconnect":
                self._announced = data["code"]
            case _:
                self._wrong(f"{kind} {about} was answered {message.type} {data}")

    def _connected(self, data: dict[str, Any]) -> None:
        account = self._ledger.accounts.get(data["connection_id"])
        if account is None or account.link is not self.link or data["user_id"] != self.user:
            self._wrong(f"connected as {data}")
            return
        self.account = account
        # Joined by themselves: of the one it is told the position, since what it has not acknowledged comes again.
        inbox = data["inbox"]["offset"]
        told = {name: stands["offset"] for name, stands in data["channels"].items()}
        if told != {"all": account.open.get("all", 0)}:
            self._wrong(f"its channels stand at {account.open}, and it is told {told}")
        self.got = {f"user:{self.user}": inbox, **told}
        if inbox < self.acked or inbox > max(self.acking, self._ledger.most_acked[self.user]):
            self._wrong(f"it has {self.acked} to {self.acking} of its inbox, and is told {inbox}")
        self._ledger.counts["inboxes with something in them"] += inbox < account.open[f"user:{self.user}"]
        self.do(*(self.joining(room) for room in self.rooms))

    def joining(self, room: str) -> tuple[str, dict[str, Any], str]:
        """The command that joins a room: from where it was, if it was there."""
        channel = f"room:{room}"
        where = self.past.pop(channel, None)
        if where is None:
            return "join_room", {"room": room}, room
        self.since[channel] = where[1]
        return "join_room", {"room": room, "since": {"epoch": where[0], "offset": where[1]}}, room

    def acknowledging(self) -> tuple[str, dict[str, Any], str]:
        """The command that says what of its inbox it has."""
        channel = f"user:{self.user}"
        self.acking = max(self.acking, self.got[channel])
        self._ledger.most_acked[self.user] = max(self.acking, self._ledger.most_acked[self.user])
        return "ack", {"channel": channel, "offset": self.got[channel]}, ""

    def _acked(self, data: dict[str, Any]) -> None:
        self.acked = data["offset"]
        self._ledger.counts["acknowledged"] += 1
        if self.acked > self.acking:
            self._wrong(f"its device has {self.acking}, and the server noted {data}")

    def _subscribed(self, data: dict[str, Any]) -> None:
        channel = data["channel"]
        log = self._ledger.logs[channel]
        if channel in self.got or (log.epoch and data["epoch"] != log.epoch):
            self._wrong(f"subscribed twice, or to another epoch than {log.epoch}: {data}")
        since = self.since.pop(channel, None)
        if data["recovered"]:
            if since is None:
                self._wrong(f"recovered, and it was never there: {data}")
                return
            self._ledger.counts["recovered"] += 1
            self.got[channel] = since
            if since < data["offset"]:
                self.behind[channel] = data["offset"]
            return
        if since is not None:
            self._ledger.counts["told that something was missed"] += 1
            if self._ledger.must_recover(channel, since):
                self._wrong(f"it was at {since}, all since is kept, and it is told {data}")
        self.got[channel] = data["offset"]

    def _unsubscribed(self, data: dict[str, Any]) -> None:
        channel = data["channel"]
        last = self.got.pop(channel, None)
        assert self.account is not None
        # It may have joined again before this came: then the hub's door has forgotten where it left.
        must = self.account.left.get(channel)
        if last is None or (must is not None and last != must):
            self._wrong(f"left {channel} with {last} of {must}")

    def _published(self, data: dict[str, Any], about: str) -> None:
        channel, offset = data["channel"], data["offset"]
        records = self._ledger.logs[channel].records
        said = records[offset - 1].publication if 0 < offset <= len(records) else None
        if said is None or about.encode() not in said.payload:
            self._wrong(f"{about!r} is not {channel} {offset}")
        elif self.got.get(channel, offset) < offset and not self._is_behind(channel):
            self._wrong(
                f"{channel} {offset} was acknowledged before it came; {self.got[channel]} was the last"
            )

    def _is_behind(self, channel: str) -> bool:
        """Whether it is being sent what it missed: only then may answers overtake publications."""
        return channel in self.behind

    def _is_held(self, channel: str) -> bool:
        hub = self._ledger.server.context.hub
        return self.account is not None and hub.is_held(self.account.subscriber, channel)

    # --- its end -------------------------------------------------------------------------------------

    def _close_came(self, payload: bytes) -> None:
        assert self.link is not None
        self.code = int.from_bytes(payload[:2])
        self._ledger.saw(self.number, "close", self.code)
        if self._announced is not None and self._announced != self.code:
            self._wrong(f"told {self._announced}, closed with {self.code}")
        owed = self.account.owed if self.account is not None else {}
        for channel, must in owed.items():
            if self.got.get(channel, must) < must:
                self._wrong(f"closed with {self.code}, and had {self.got[channel]} of {must} of {channel}")
        if not self.link.said:
            self.link.said = self.code
            self._send(client_frame(Opcode.CLOSE, payload[:2], mask=self._key()))

    def _ended(self, reset: bool) -> None:
        link = self.link
        assert link is not None
        self._ledger.saw(self.number, "reset" if reset else "end")
        # A reset may lose the rest of a frame, but not where bytes have been flowing for a while.
        # Or the server gave up: a full outbox is more than a narrow way takes within `close_timeout`.
        config = self._ledger.server.context.config
        patience = config.heartbeat.close_timeout
        gone_at = self.account.gone_at if self.account is not None else None
        gave_up = (
            gone_at is not None
            and link.freed_at is not None
            and link.freed_at - gone_at >= patience
            and link.down.takes(patience) < config.limits.outbox_bytes
        )
        if self._buffer and link.cut_at is None and (not reset or (link.is_clear(1) and not gave_up)):
            self._wrong(f"half a frame at the end: {self._buffer[:80]!r}")
        link.leave()
        self._over(self.code or CloseCode.ABNORMAL)

    def _over(self, code: int) -> None:
        away = (0.5, 8.0) if may_reconnect(code) else (20.0, 60.0)
        self.returns_in = self.random.uniform(*away)
        for channel, offset in self.got.items():
            log = self._ledger.logs[channel]
            if channel.startswith("room:") and channel[5:] in self.rooms and log.epoch:
                self.past[channel] = log.epoch, offset
        self.link = self.account = None
        self.on_over(self)

    def _wrong(self, what: str) -> None:
        self._ledger.violation(f"{self.name}: {what}")
