"""A server that keeps what a test tells it to, for tests of the client: histories, an inbox, refusals."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import trio_websocket

from support.network import Network
from tidings.client import Publication

OWN = "user:alice"


@dataclass
class ScriptedChannel:
    """One channel's history, as `(offset, is excluded)`."""

    epoch: str = "e0"
    offset: int = 0
    kept: list[tuple[int, bool]] = field(default_factory=list)

    def publish(self, *, excluded: bool = False) -> int:
        """One more publication; its offset."""
        self.offset += 1
        self.kept.append((self.offset, excluded))
        return self.offset

    def after(self, offset: int) -> list[tuple[int, bool]]:
        """What is kept after an offset."""
        return [entry for entry in self.kept if entry[0] > offset]

    def has_all_after(self, offset: int) -> bool:
        """Whether nothing after an offset was trimmed."""
        return len(self.after(offset)) == self.offset - offset


class ScriptedServer:
    """Serves one connection after another: give `serve` to a network's `scripts`."""

    def __init__(self, *, inbox: bool = True, tells: bool = True) -> None:
        self.channels: dict[str, ScriptedChannel] = {}
        self.acknowledged = 0
        self.inbox = inbox
        self.tells = tells
        """Whether `connected` says where the channels stand that come unasked: an older server's does not."""
        self.automatic = ["all"]
        """Channels that come unasked, beside the user's own."""
        self.pages: list[int] = []
        """How many of what waits in the inbox are sent at once, after each connection; else all of it."""
        self.device_epoch = "e0"
        self.commands: list[dict[str, Any]] = []
        """Every command that came, over all connections."""
        self.refuse: Callable[[dict[str, Any]], dict[str, Any] | None] = lambda _: None
        """An error's data in place of an answer; `{}` for no answer at all."""
        self.end_before_answer: Callable[[dict[str, Any]], bool] = lambda _: False
        """Whether the connection ends where an answer should come, with the command carried out."""
        self.published: list[dict[str, Any]] = []
        """The data of `publish` and `room_message` that was carried out, each key once."""
        self.position_words = 0
        """How many `position` words were sent."""
        self.closes: list[str] = []
        self._subscribed: set[str] = set()
        self._websocket: trio_websocket.WebSocketConnection | None = None
        self._pieces: list[str] = []
        self._sent = 0
        """Up to where this connection was sent the inbox."""

    def channel(self, name: str) -> ScriptedChannel:
        """A channel, made where it is not there."""
        return self.channels.setdefault(name, ScriptedChannel())

    def given(self, kind: str) -> list[dict[str, Any]]:
        """The data of every command of a kind."""
        return [command["data"] for command in self.commands if command["type"] == kind]

    async def publish(self, name: str, *, excluded: bool = False) -> int:
        """Publish, and send it to whoever is connected and subscribed."""
        offset = self.channel(name).publish(excluded=excluded)
        if name in self._subscribed:
            self._say_publication(name, offset, excluded=excluded)
        await self.send()
        return offset

    async def renew(self, name: str) -> None:
        """Begin a new epoch, and forget what was kept."""
        channel = self.channel(name)
        channel.epoch = f"e{int(channel.epoch[1:]) + 1}"
        channel.offset, channel.kept = 0, []
        if name == OWN:
            self.acknowledged = self._sent = 0
        if name in self._subscribed:
            self._say_position(name, 0)
        await self.send()

    async def announce(self, name: str, event: str) -> None:
        """Send what has no place in its channel."""
        self._say(event, {}, channel=name)
        await self.send()

    async def send(self) -> None:
        """Send what was said."""
        pieces, self._pieces = self._pieces, []
        if self._websocket is None:
            return
        for piece in pieces:
            try:
                await self._websocket.send_message(piece)
            except trio_websocket.ConnectionClosed:
                return

    async def serve(self, request: trio_websocket.WebSocketRequest) -> None:
        """One connection."""
        self._pieces = []
        websocket = await request.accept(subprotocol="tidings.v1.json")
        self._websocket = websocket
        self._subscribed = set(self.automatic)
        self._welcome()
        try:
            await self.send()
            while True:
                command = msgspec.json.decode(await websocket.get_message())
                self.commands.append(command)
                if not self._answer(command):
                    return
                await self.send()
        except trio_websocket.ConnectionClosed:
            pass
        finally:
            if self._websocket is websocket:
                self._websocket = None
                self._subscribed = set()

    def _welcome(self) -> None:
        data: dict[str, Any] = {
            "connection_id": "1", "user_id": "alice", "username": "Alice",
            "ping_interval": 20, "pong_timeout": 10, "expires_at": 2_000_000_000,
        }  # fmt: skip
        own = self.channel(OWN)
        if self.tells:
            data["channels"] = {
                name: {"epoch": self.channel(name).epoch, "offset": self.channel(name).offset}
                for name in (*self.automatic, *(() if self.inbox else (OWN,)))
            }
        if not self.inbox:
            self._say("connected", data)
            self._subscribed.add(OWN)
            return
        data["inbox"] = {"epoch": own.epoch, "offset": self.acknowledged}
        self._sent = self.acknowledged
        self._say("connected", data)
        if self.pages:
            self._replay(OWN, self._sent, most=self.pages.pop(0))
        else:
            self._replay(OWN, self._sent)
            self._subscribed.add(OWN)

    async def go_on(self) -> None:
        """Send the rest of what waits in the inbox, where a page of it was."""
        self._replay(OWN, self._sent)
        self._subscribed.add(OWN)
        await self.send()

    async def bring(self, name: str) -> None:
        """A newer token brings a channel: it comes unasked from now on."""
        self._subscribed.add(name)
        self.automatic.append(name)
        self._say_position(name, self.channel(name).offset)
        await self.send()

    async def take(self, name: str) -> None:
        """A newer token does not allow a channel any more."""
        self._subscribed.discard(name)
        self.automatic.remove(name)
        self._say("unsubscribed", {"channel": name})
        await self.send()

    def _answer(self, command: dict[str, Any]) -> bool:
        kind, data = command["type"], command.get("data", {})
        error = self.refuse(command)
        if error is not None:
            if error:
                self._say("error", error, id=command["id"])
            return True
        answer: tuple[str, dict[str, Any]] = ("pong", {})
        replay_from: int | None = None
        if kind in ("subscribe", "join_room"):
            name = data.get("channel") or f"room:{data['room']}"
            assert not (self.inbox and name == OWN), "the inbox comes by itself"
            channel = self.channel(name)
            since = data.get("since")
            recovered = (
                since is not None
                and since["epoch"] == channel.epoch
                and since["offset"] <= channel.offset
                and channel.has_all_after(since["offset"])
            )
            self._subscribed.add(name)
            if recovered:
                replay_from = since["offset"]
            answer = (
                "subscribed",
                {"channel": name, "epoch": channel.epoch, "offset": channel.offset, "recovered": recovered},
            )
        elif kind == "unsubscribe":
            name = data["channel"]
            self._subscribed.discard(name)
            answer = ("unsubscribed", {"channel": name})
        elif kind == "ack":
            assert data["channel"] == OWN
            if data["offset"] > self._sent:
                message = f"Expected an offset of 0 to {self._sent}, up to which this connection was sent"
                self._say("error", {"code": "invalid_data", "message": message}, id=command["id"])
                return True
            self.acknowledged = max(self.acknowledged, data["offset"])
            answer = ("acked", {"channel": OWN, "offset": self.acknowledged})
        elif kind in ("publish", "room_message"):
            key = data.get("idempotency_key")
            if key is None or key not in [done.get("idempotency_key") for done in self.published]:
                self.published.append(data)
            answer = ("published", {"channel": data.get("channel", "room:x"), "offset": 1})
        if self.end_before_answer(command):
            return False
        self._say(answer[0], answer[1], id=command["id"])
        if replay_from is not None:
            self._replay(answer[1]["channel"], replay_from)
        return True

    def _replay(self, name: str, after: int, *, most: int | None = None) -> None:
        for offset, excluded in self.channel(name).after(after)[:most]:
            self._say_publication(name, offset, excluded=excluded)

    def _say_publication(self, name: str, offset: int, *, excluded: bool) -> None:
        if name == OWN:
            self._sent = offset
        if excluded:
            self._say_position(name, offset)
        else:
            epoch = self.channel(name).epoch
            self._say("news", {"epoch": epoch, "offset": offset}, channel=name, offset=offset)

    def _say_position(self, name: str, offset: int) -> None:
        self.position_words += 1
        if name == OWN:
            self._sent = offset
        self._say("position", {"channel": name, "epoch": self.channel(name).epoch, "offset": offset})

    def _say(self, kind: str, data: dict[str, Any], **more: Any) -> None:
        self._pieces.append(msgspec.json.encode({"type": kind, "data": data, **more}).decode())


def scripted(network: Network, *automatic: str, waiting: int = 0, **options: bool) -> ScriptedServer:
    """A server for every connection of a network: with so many publications waiting in its inbox, and with channels
    that come unasked beside `all`."""
    server = ScriptedServer(**options)
    server.automatic += automatic
    network.scripts = [server.serve] * 200
    for _ in range(waiting):
        server.channel(OWN).publish()
    return server


async def take(feed: Any) -> int:
    """The next publication's offset."""
    item = await anext(feed)
    assert isinstance(item, Publication)
    return item.offset
