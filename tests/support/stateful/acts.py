"""What a client may do, and what may be done to it, one operation each."""
# ruff: noqa: ARG002  an operation need not use all that it is given

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import trio

from support.client import KEY, masked
from support.stateful.operations import Operation
from support.stateful.setting import CANARY, LIMITS, logged_in_ms, token
from support.stateful.watched import pause
from support.stateful.witness import Witness
from support.stateful.world import World
from tidings.protocol.close_codes import CloseCode
from tidings.protocol.frames import Opcode


def ask(
    world: World, witness: Witness, kind: str, data: dict[str, Any], known: dict[str, Any] | None = None
) -> bytes:
    """A command's frame; its answer is awaited from now on. `known` is what to judge the answer by, too."""
    name = f"c{next(world.serial)}"
    witness.asked[name] += 1
    witness.fields[name] = data | (known or {})
    message = {"type": kind, "data": data, "id": name}
    if witness.binary:
        return masked(Opcode.BINARY, msgspec.msgpack.encode(message))
    return masked(Opcode.TEXT, msgspec.json.encode(message))


def since(world: World, witness: Witness | None, channel: str, choice: str) -> dict[str, Any]:
    """The field of a command that says where somebody was, if it says so."""
    if not choice:
        return {}
    own = None if witness is None else witness.at.get(channel)
    position = world.position(channel, choice, own)
    return {"since": {"epoch": position.epoch, "offset": position.offset}}


@dataclass(frozen=True)
class Connect(Operation):
    """Somebody comes, and says the first thing at once."""

    user: str
    binary: bool
    over_tls: bool
    room: int
    login: Literal["query", "header", "message", "bad", "bad message", "short", "none", "half"]
    group: str | None
    chop: int | None
    rooms: tuple[str, ...]
    joins: bool
    """Whether it joins rooms without waiting for any answer."""
    since: str
    """Where it says that it was in them."""
    device: str
    session: str
    late: bool
    """Whether the login is of a moment after the server began."""

    async def happen(self, world: World) -> None:
        if len(world.living()) >= 6:
            return
        witness = world.open(
            self.user,
            binary=self.binary,
            over_tls=self.over_tls,
            room=self.room,
            session=self.session,
            late=self.late,
            device=self.device,
        )
        ttl = 90 if self.login == "short" else 86400
        secret = token(self.user, self.group, ttl, self.session, self.late)
        path, fields = f"/ws?device={self.device}", []
        match self.login:
            case "query" | "short":
                path += f"&token={secret}"
            case "header":
                fields = [f"Authorization: Bearer {secret}"]
            case "bad":
                path += f"&token={CANARY}.{CANARY}.{CANARY}"
        if self.binary:
            fields.append("Sec-WebSocket-Protocol: tidings.v1.msgpack")
        lines = [
            f"GET {path} HTTP/1.1", "Host: x", "Upgrade: websocket", "Connection: Upgrade",
            "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {KEY}", *fields,
        ]  # fmt: skip
        data = ("\r\n".join(lines) + "\r\n\r\n").encode()
        if self.login == "half":
            witness.say(data[:-3])
            return
        if self.login == "message":
            data += ask(world, witness, "authenticate", {"token": secret})
        if self.login == "bad message":
            data += ask(world, witness, "authenticate", {"token": f"{CANARY}.{CANARY}.{CANARY}"})
        if self.joins:
            for room in self.rooms:
                data += ask(
                    world,
                    witness,
                    "join_room",
                    {"room": room} | since(world, None, f"room:{room}", self.since),
                )
        witness.say(data, self.chop)


@dataclass(frozen=True)
class OfOne(Operation):
    """Something that one client does, or that happens to it."""

    client: int

    async def happen(self, world: World) -> None:
        living = world.living()
        if living:
            await self.happen_to(world, living[self.client % len(living)])

    @abstractmethod
    async def happen_to(self, world: World, witness: Witness) -> None:
        """Let it happen to a client that is served."""


@dataclass(frozen=True)
class Command(OfOne):
    """A command, or several in one piece, chopped or not."""

    kind: str
    channel: str
    chop: int | None
    times: int
    half: bool
    """Whether the end of the last frame is not sent yet."""
    since: str = ""

    async def happen_to(self, world: World, witness: Witness) -> None:
        if witness.closing is not None:
            return
        data = b"".join(self.ask(world, witness) for _ in range(self.times))
        if not self.half:
            witness.say(data, self.chop)
            return
        witness.say(data[:-5], self.chop)
        witness.unsent = data[-5:]

    def ask(self, world: World, witness: Witness) -> bytes:
        room = self.channel.removeprefix("room:")
        known: dict[str, Any] = {}
        data: dict[str, Any] = {}
        match self.kind:
            case "subscribe":
                data = {"channel": self.channel} | since(world, witness, self.channel, self.since)
            case "join_room":
                data = {"room": room} | since(world, witness, self.channel, self.since)
            case "unsubscribe" | "presence":
                data = {"channel": self.channel}
            case "history":
                data = {"channel": self.channel, "limit": 1 + len(self.since)}
                data |= since(world, witness, self.channel, self.since)
                known = {"was_ahead": self.since == "ahead"}
            case "ack":
                # Its own, or (with a room's name) a channel that is no inbox.
                channel = self.channel if self.channel == "room:a" else f"user:{witness.user}"
                position = world.position(channel, self.since or "own", witness.at.get(channel))
                data = {"channel": channel, "offset": position.offset}
                at = witness.at.get(channel)
                known = {"acked_at_most": -1 if at is None else at.offset}
            case "leave_room":
                data = {"room": room}
            case "room_message":
                data = {"room": room, "text": "hello"}
            case "publish":
                data = {"channel": self.channel, "event": "news", "payload": {}}
            case "authenticate" | "refresh":
                group = self.channel if self.channel in ("g", "h") else None
                late = witness.logged_in_ms == logged_in_ms(late=True)
                data = {"token": token(witness.user, group, session=witness.session, late=late)}
        return ask(world, witness, self.kind, data, known)


@dataclass(frozen=True)
class Return(OfOne):
    """It has missed much, comes back for it, and says something else in the same breath."""

    channel: str
    count: int
    size: int
    since: str
    then: Literal["", "unsubscribe", "again", "ack", "close", "leave"]
    """What it says behind it in one packet; or what becomes of it some turns later."""
    turns: int

    async def happen_to(self, world: World, witness: Witness) -> None:
        for _ in range(self.count):
            await world.publish(self.channel, self.size)
        if witness.closing is not None:
            return
        data = {"channel": self.channel} | since(world, witness, self.channel, self.since)
        frames = ask(world, witness, "subscribe", data)
        match self.then:
            case "unsubscribe":
                frames += ask(world, witness, "unsubscribe", {"channel": self.channel})
            case "again":
                frames += ask(world, witness, "subscribe", data)
            case "ack":
                channel = f"user:{witness.user}"
                head = world.position(channel, "ahead", None)
                at = witness.at.get(channel)
                known = {"acked_at_most": -1 if at is None else at.offset}
                frames += ask(world, witness, "ack", {"channel": channel, "offset": head.offset}, known)
        witness.say(frames)
        for _ in range(self.turns):
            await world.publish(self.channel, 10)
            await trio.lowlevel.checkpoint()
        if self.then == "close" and witness.connection is not None:
            witness.connection.close(CloseCode.TRY_AGAIN_LATER)
        if self.then == "leave" and witness.closing is None:
            # As it reads: so now and then room comes for the next piece and this in one turn.
            witness.say(ask(world, witness, "unsubscribe", {"channel": self.channel}))


@dataclass(frozen=True)
class Stall(OfOne):
    """It reads no more."""

    async def happen_to(self, world: World, witness: Witness) -> None:
        witness.was_slow = True
        witness.line.stall()


@dataclass(frozen=True)
class Resume(OfOne):
    """It reads again: all that waits, at once."""

    async def happen_to(self, world: World, witness: Witness) -> None:
        witness.line.resume()


@dataclass(frozen=True)
class Overflow(OfOne):
    """It does not read while more is published than may wait for it."""

    channel: str
    size: int
    resumes: bool

    async def happen_to(self, world: World, witness: Witness) -> None:
        witness.was_slow = True
        witness.line.stall()
        was_in = self.channel in witness.subscribed and self.channel not in witness.held
        holds = witness.holds
        room = witness.line.room if witness.line.room < 65536 else 0
        for _ in range(1 + (LIMITS.outbox_bytes + room) // self.size):
            await world.publish(self.channel, self.size)
            # One after another: nobody else shall be taken for slow.
            await pause(2)
        # It may have said before that it leaves, or begins anew from where it was, and be heard only now.
        if room and was_in and holds == witness.holds and self.channel in witness.subscribed:
            await pause(4)
            assert not witness.is_open, "more waits for it than may"
            world.truth.seen["overflow"] += 1
        if self.resumes:
            witness.line.resume()


@dataclass(frozen=True)
class Mute(OfOne):
    """It answers nothing unasked any more, neither pings nor closes."""

    async def happen_to(self, world: World, witness: Witness) -> None:
        witness.answers_pings = False


@dataclass(frozen=True)
class Drop(OfOne):
    """It goes, in one of the ways in which clients go."""

    how: Literal["fin", "close", "reset", "farewell", "reserved"]

    async def happen_to(self, world: World, witness: Witness) -> None:
        match self.how:
            case "fin":
                witness.line.end_writing()
            case "close":
                witness.line.close_client()
            case "reset":
                witness.line.reset()
            case "farewell" if witness.closing is None:
                witness.say(masked(Opcode.CLOSE, (1000).to_bytes(2) + f"Bearer {CANARY}".encode()))
                witness.closing = 1000
            case "reserved" if witness.closing is None:
                witness.say(masked(Opcode.CLOSE, (1006).to_bytes(2)))
                witness.closing = 1006


@dataclass(frozen=True)
class Cancel(OfOne):
    """Whoever serves it is cancelled, wherever it is at."""

    async def happen_to(self, world: World, witness: Witness) -> None:
        world.cancel(witness)


@dataclass(frozen=True)
class Disconnect(OfOne):
    """The server closes its user's connections, or only this one; or takes them out of a channel."""

    channel: str | None
    alone: bool

    async def happen_to(self, world: World, witness: Witness) -> None:
        push = world.context.push
        if self.channel is not None:
            push.unsubscribe(witness.user, self.channel)
        elif self.alone and witness.connection is not None:
            witness.connection.close(CloseCode.TRY_AGAIN_LATER)
        else:
            push.disconnect(witness.user, reason="because")


@dataclass(frozen=True)
class Garbage(OfOne):
    """Bytes that are wrong, or may be."""

    data: bytes
    chop: int | None
    times: int = 1

    async def happen_to(self, world: World, witness: Witness) -> None:
        witness.wild = True
        witness.say(self.data * self.times, self.chop)


@dataclass(frozen=True)
class Pings(OfOne):
    """Pings of the client's, a few or a flood."""

    count: int

    async def happen_to(self, world: World, witness: Witness) -> None:
        if witness.closing is None:
            witness.pings.add(b"p")
            witness.say(masked(Opcode.PING, b"p") * self.count)
