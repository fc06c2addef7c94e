"""What an application holds: subscriptions, commands, events."""

from collections.abc import Mapping
from typing import Any

import msgspec
import trio

from tidings.client.errors import CommandRefused
from tidings.client.publications import Publication
from tidings.client.queued import Queued, to_publish_soon, to_say_soon
from tidings.client.results import Published
from tidings.client.subscriptions import Events, Publications, Subscription
from tidings.client.upkeep import Upkeep
from tidings.protocol.channels import room_channel
from tidings.protocol.messages import answers
from tidings.protocol.positions import Position

# Events of the connection that nobody has read: some hours of reconnecting.
EVENTS = 1000


class Client:
    """What `connect` gives. Its methods may be called from any task of the same Trio run.

    While the connection is down a request waits until it is up again: bound that with a cancel scope.
    Raised by every request: CommandRefused, Disconnected once the client has ended, ConnectionLost when
    the connection went before the answer came. What can safely be done twice (subscribe, ping, stats, a
    publication with an idempotency key) is repeated instead. A request that is cancelled may still be
    carried out.
    """

    def __init__(self, upkeep: Upkeep, *, queue: int) -> None:
        self._upkeep = upkeep
        self._queue = queue

    # --- subscriptions -------------------------------------------------------------------------------

    async def subscribe(self, channel: str) -> Subscription:
        """Subscribe to a channel: an async iterator of its publications and gaps, and a context manager.

        It begins with what comes after the call; where `connect` was given a position, after that. On the
        user's own channel it begins with what waits in the inbox, and nobody listened to yet. Where the channel
        tells who comes and goes, `joined` and `left` are among them: see `Publication`. Raises CommandRefused.
        Closed, a channel that comes unasked goes on for `publications`. Cancelled, nothing stays subscribed.
        Several subscriptions to one channel each get everything.
        """
        return await self._subscribe(channel, "subscribe", {"channel": channel})

    async def join(self, room: str) -> Subscription:
        """Join a room, to hear and to speak in it. As `subscribe` to the room's channel."""
        return await self._subscribe(room_channel(room), "join_room", {"room": room})

    async def leave(self, room: str) -> None:
        """Leave a room: its subscriptions end. Nothing happens where it was not joined."""
        for feed in self._upkeep.inflow.feeds(room_channel(room)):
            if isinstance(feed, Subscription):
                await feed.aclose()

    def publications(self) -> Publications:
        """An async iterator of everything that comes, also on the channels that nobody subscribed to.

        The server sends a user's, group's and role's channels and `all` without being asked; after a cut they
        are gone on with like any other, and a Gap stands where that cannot be. A role that the token has no
        more just ends. Begins with what waits in the inbox and nobody listened to yet, and with what comes
        after the call. A context manager, for those who do not listen to the end.
        """
        feed = Publications(self._queue, self._upkeep.inflow)
        if self._upkeep.has_ended:
            feed.end(self._upkeep.end_error)
        return feed

    def events(self) -> Events:
        """An async iterator of what becomes of the connection, from now on."""
        feed = Events(EVENTS, self._upkeep.listeners)
        if self._upkeep.has_ended:
            feed.end(self._upkeep.end_error)
        return feed

    def positions(self) -> dict[str, Position]:
        """Where the application stands: `connect` takes it, so that a program that is started again goes on.

        Of each channel, the position up to which everybody who listens has finished: has taken the next one.
        So the publication that is just being handled is not counted; its own `position` is where to go on
        once it is handled.
        """
        return self._upkeep.inflow.snapshot()

    async def ack(self, publication: Publication) -> None:
        """Acknowledge everything on the user's own channel up to a publication; waits until the server knows.

        The server keeps it for this device no longer. Repeated over as many connections as it takes; several
        at a time become one command. Nothing happens where the server keeps no inbox, or has begun a new
        epoch. Raises ValueError for a publication of another channel, CommandRefused, Disconnected. Cancelled,
        it may be acknowledged all the same.
        """
        await self._upkeep.acknowledgements.acknowledge(publication)

    def register(self, event: str, struct: type[msgspec.Struct]) -> None:
        """Decode the payloads of `event` as `struct`; those that do not fit are handed over as dicts."""
        self._upkeep.inflow.types.register(event, struct)

    # --- commands ------------------------------------------------------------------------------------

    async def publish(
        self, channel: str, event: str, payload: Any = None, *, idempotency_key: str | None = None
    ) -> Published:
        """Publish an event; `payload` is a dict or a Struct that encodes as an object.

        With an idempotency key it is repeated when the answer was lost, and still published once: by the keys
        of the last 5 minutes, which outlive the server on disk where the channel is durable. Those of a
        channel in memory are gone when the server is restarted: what it answers and what it had published
        before may then be two.
        """
        data = {"channel": channel, "event": event, "payload": {} if payload is None else payload}
        if idempotency_key is not None:
            data["idempotency_key"] = idempotency_key
        reply = await self._upkeep.request("publish", data, repeat=idempotency_key is not None)
        return msgspec.json.decode(reply.data, type=Published)

    async def say(self, room: str, text: str, **fields: Any) -> Published:
        """Say something in a room that was joined; further fields reach its members too."""
        reply = await self._upkeep.request("room_message", {"room": room, "text": text, **fields})
        return msgspec.json.decode(reply.data, type=Published)

    # --- messages that wait for a connection -----------------------------------------------------------

    def publish_soon(
        self, channel: str, event: str, payload: Any = None, *, idempotency_key: str | None = None
    ) -> Queued:
        """Publish an event as soon as there is a connection, and return at once.

        What is sent so is sent in order, each message once the one before has been answered. It has an
        idempotency key, so that it is repeated when the answer was lost, for up to 4 minutes, and still
        published once: on a durable channel whatever happens, on a channel in memory unless the server was
        restarted in between, as it forgets those keys then. What is refused for good is told as `SendFailed`;
        being busy is waited for. Raises QueueFull when `outbox` messages wait, CommandRefused for one that is
        too long, Disconnected, and TypeError for a payload that is no JSON object.
        """
        return self._upkeep.outbox.put(to_publish_soon(channel, event, payload, idempotency_key))

    def say_soon(self, room: str, text: str, **fields: Any) -> Queued:
        """Say something in a room as soon as there is a connection; as `publish_soon`, but at most once.

        What is said has no idempotency key, whatever the room keeps. Where the answer was lost nobody knows
        whether it was heard: it is not repeated, but told as `SendFailed` with ConnectionLost, and saying it
        again may say it twice. For what must be heard once, `publish_soon` to a durable channel.
        """
        return self._upkeep.outbox.put(to_say_soon(room, text, fields))

    def unsent(self) -> list[Queued]:
        """What `publish_soon` and `say_soon` took in and has not been answered yet, in order; also after the end.

        To send it with another client, give `publish_soon` the same `idempotency_key`. On a channel in memory the
        first of them may be published a second time if the server was restarted since.
        """
        return self._upkeep.outbox.unsent

    async def flush(self) -> None:
        """Wait until nothing is unsent. Raises Disconnected when the client ends before."""
        await self._upkeep.outbox.flush()

    async def ping(self) -> float:
        """Seconds from the command to its answer."""
        begun = trio.current_time()
        await self._upkeep.request("ping", {}, repeat=True)
        return trio.current_time() - begun

    async def stats(self) -> answers.Stats:
        """Figures of this connection, and for administrators those of the server."""
        reply = await self._upkeep.request("stats", {}, repeat=True)
        return msgspec.json.decode(reply.data, type=answers.Stats)

    async def request(self, kind: str, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Give any command, and return the data of its answer. Never repeated by itself."""
        reply = await self._upkeep.request(kind, dict(data or {}))
        decoded: dict[str, Any] = msgspec.json.decode(reply.data)
        return decoded

    async def _subscribe(self, channel: str, kind: str, data: dict[str, Any]) -> Subscription:
        subscription = Subscription(self._queue, channel, self._upkeep.inflow, self._upkeep.unsubscribe)
        try:
            await self._upkeep.subscribe(channel, kind, data)
        except CommandRefused:
            if self._upkeep.inflow.detach(subscription, channel):
                self._upkeep.unsubscribe(channel)
            raise
        except BaseException:
            await subscription.aclose()
            raise
        return subscription
