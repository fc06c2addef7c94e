"""What a back end may ask of the server: publish, see who is connected, and end connections.

The HTTP API, the commands of clients and the apps all come through here, so that they mean the same.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from tidings.protocol.channels import (
    ALL,
    group_channel,
    is_channel,
    role_channel,
    room_channel,
    user_channel,
)
from tidings.protocol.close_codes import CloseCode
from tidings.protocol.errors import ErrorCode, Refusal
from tidings.protocol.messages.answers import HistoryPage
from tidings.protocol.messages.fields import EVENT, IDEMPOTENCY_KEY_EXPECTED, is_idempotency_key
from tidings.protocol.messages.registry import Registry
from tidings.protocol.payloads import check_payload
from tidings.protocol.positions import Position
from tidings.protocol.publications import Publication
from tidings.server.brokers.base import Broker, BrokerUnavailable, Durability, IdempotencyConflict, Receipt
from tidings.server.delivery.history_page import read_page
from tidings.server.delivery.hub import Hub
from tidings.server.delivery.presence import Presence
from tidings.server.directory import UserDirectory
from tidings.server.identity import Identity
from tidings.server.tables import Tables

Payload = msgspec.Struct | Mapping[str, Any]


# The largest publication is this part of an outbox: a healthy client may be between two reads when the
# next few come, and must not be taken for a slow one.
OUTBOX_SHARE = 4

# A page of history is one answer, held in memory as a whole while it is read and sent.
HISTORY_BYTES = 4 * 1024 * 1024

# As long as the ids of logins that tokens may name.
SESSION_CHARS = 128

_USER = user_channel("")
_ROLE = role_channel("")

_is_event = re.compile(EVENT).fullmatch


class Checked(msgspec.Struct, frozen=True):
    """An event that may be published, to any channel."""

    event: str
    payload: bytes
    """As `check_payload` makes it."""


class PublishRefused(Exception):
    """The publication was not accepted; nobody got it."""

    def __init__(self, refusal: Refusal) -> None:
        """Take why."""
        super().__init__(f"{refusal.code}: {refusal.message}")
        self.refusal = refusal


class ConnectionInfo(msgspec.Struct, frozen=True):
    """One connection of a user."""

    connection_id: str
    username: str
    dialect: str
    peer: str
    """The client's address."""
    connected_seconds: float
    channels: list[str]
    outbox_bytes: int
    """Bytes that wait for it."""


class Push:
    """The server, as a program that pushes sees it. Belongs to one server and its event loop."""

    def __init__(
        self,
        registry: Registry,
        hub: Hub,
        broker: Broker,
        *,
        outbox_bytes: int,
        forget: Callable[[str], None] = lambda _channel: None,
    ) -> None:
        """Take `limits.outbox_bytes`, of which a publication may take a quarter.

        `forget` drops what is kept at hand of a channel's history; it may be set later.
        """
        self.forget = forget
        self._registry = registry
        self._hub = hub
        self._broker = broker
        self._largest = outbox_bytes // OUTBOX_SHARE
        self.users: UserDirectory | None = None
        """Who the users are, where an app keeps them; set before the server runs."""
        self._tables: Tables | None = None

    @property
    def tables(self) -> Tables:
        """Where apps keep what is more than messages. Raises LookupError where no app of the server has tables."""
        if self._tables is None:
            raise LookupError("no tables: an app that has some declares them, by `app.tables(directory)`")
        return self._tables

    @tables.setter
    def tables(self, tables: Tables) -> None:
        self._tables = tables

    # --- publishing ----------------------------------------------------------------------------------

    def check(self, event: str, payload: Any, *, under: str = ".data.payload") -> Checked | Refusal:
        """Look whether an event may be published, or say why not: no payload makes this raise.

        `under` is the payload's path in what the publisher sent. It costs some 20 ms for the largest: who
        has many yields in between.
        """
        registered = self._registry.events.get(event)
        # What is registered has a good name, and no name of the server's own.
        if registered is None:
            if _is_event(event) is None:
                return Refusal(
                    ErrorCode.INVALID_DATA,
                    "event: expected a name of 1 to 64 characters A-Z a-z 0-9 _ . : -",
                )
            if self._registry.is_control(event):
                return Refusal(
                    ErrorCode.FORBIDDEN, f"{event}: only the server says this about a connection"
                )
        if type(payload) is not dict and not isinstance(payload, Mapping):
            return Refusal(
                ErrorCode.INVALID_DATA, f"payload: expected an object, got {type(payload).__name__}"
            )
        fields = payload if type(payload) is dict else dict(payload)
        checked = check_payload(fields, registered, most=self._largest, under=under)
        return checked if isinstance(checked, Refusal) else Checked(event, checked)

    async def put(
        self,
        channel: str,
        checked: Checked,
        *,
        idempotency_key: str | None = None,
        excluded_session: str | None = None,
        publisher: str | None = None,
    ) -> Receipt | Refusal:
        """Publish what was checked.

        Whether they may is the caller's to decide. `excluded_session` names the login of a user that a
        publication to them is not for, as the one that has caused it. `publisher` is the user whose key it is:
        each user has keys of their own, and nobody can use up another's. Cancelled before it returns, it may or
        may not have been done.
        """
        if not is_channel(channel):
            return Refusal(ErrorCode.INVALID_DATA, "channel: not a channel name")
        if excluded_session is not None:
            refusal = _judge_excluded(channel, excluded_session)
            if refusal is not None:
                return refusal
        if idempotency_key is not None and not is_idempotency_key(idempotency_key):
            return Refusal(ErrorCode.INVALID_DATA, f"idempotency_key: expected {IDEMPOTENCY_KEY_EXPECTED}")
        if idempotency_key is not None and publisher is not None:
            # No key that is given has a line break.
            idempotency_key = f"{publisher}\n{idempotency_key}"
        user_id = channel[len(_USER) :] if channel.startswith(_USER) else None
        try:
            return await self._broker.publish(
                channel,
                checked.event,
                checked.payload,
                user_id=user_id,
                idempotency_key=idempotency_key,
                excluded_session=excluded_session,
            )
        except IdempotencyConflict as conflict:
            return Refusal(ErrorCode.CONFLICT, str(conflict))
        except BrokerUnavailable as unavailable:
            return Refusal(ErrorCode.UNAVAILABLE, str(unavailable))

    def durability(self, channel: str) -> Durability:
        """What an acknowledged publication to a channel is worth; `memory` also for what is no channel."""
        return self._broker.durability(channel)

    async def submit(
        self,
        channel: str,
        event: str,
        payload: Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
        excluded_session: str | None = None,
        publisher: str | None = None,
        under: str = ".data.payload",
    ) -> Receipt | Refusal:
        """Check and publish what somebody outside asks to publish, or say why not."""
        checked = self.check(event, payload, under=under)
        if isinstance(checked, Refusal):
            return checked
        return await self.put(
            channel,
            checked,
            idempotency_key=idempotency_key,
            excluded_session=excluded_session,
            publisher=publisher,
        )

    async def publish(
        self,
        channel: str,
        event: str,
        payload: Payload,
        *,
        idempotency_key: str | None = None,
        excluded_session: str | None = None,
    ) -> Receipt:
        """Publish to a channel; returns where it stands, and what that is worth.

        Raises PublishRefused, which says what is wrong. `excluded_session` as in `put`.
        """
        outcome = await self.submit(
            channel,
            event,
            _fields(payload),
            idempotency_key=idempotency_key,
            excluded_session=excluded_session,
            under=".payload",
        )
        if isinstance(outcome, Refusal):
            raise PublishRefused(outcome)
        return outcome

    async def announce(
        self, channel: str, event: str, payload: Payload, *, excluded_session: str | None = None
    ) -> None:
        """Tell whoever is there now, on every node: nothing of it is kept, and nobody misses it.

        It is checked as a publication is. Raises PublishRefused. `excluded_session` as in `put`.
        """
        checked = self.check(event, _fields(payload), under=".payload")
        if isinstance(checked, Refusal):
            raise PublishRefused(checked)
        refusal = (
            Refusal(ErrorCode.INVALID_DATA, "channel: not a channel name")
            if not is_channel(channel)
            else _judge_excluded(channel, excluded_session)
        )
        if refusal is not None:
            raise PublishRefused(refusal)
        user_id = channel[len(_USER) :] if channel.startswith(_USER) else None
        try:
            await self._broker.announce(
                channel,
                checked.event,
                checked.payload,
                user_id=user_id,
                excluded_session=excluded_session,
            )
        except BrokerUnavailable as unavailable:
            raise PublishRefused(Refusal(ErrorCode.UNAVAILABLE, str(unavailable))) from unavailable

    async def to_user(
        self, user_id: str, event: str, payload: Payload, *, excluded_session: str | None = None
    ) -> Receipt:
        """Publish to all connections of a user, but for those of one login. Raises PublishRefused."""
        return await self.publish(user_channel(user_id), event, payload, excluded_session=excluded_session)

    async def to_group(self, group_id: str, event: str, payload: Payload) -> Receipt:
        """Publish to all members of a group. Raises PublishRefused."""
        return await self.publish(group_channel(group_id), event, payload)

    async def to_role(self, role: str, event: str, payload: Payload) -> Receipt:
        """Publish to everybody who has a role. Raises PublishRefused."""
        return await self.publish(role_channel(role), event, payload)

    async def to_room(self, room: str, event: str, payload: Payload) -> Receipt:
        """Publish to all who are in a room. Raises PublishRefused."""
        return await self.publish(room_channel(room), event, payload)

    async def broadcast(self, event: str, payload: Payload) -> Receipt:
        """Publish to everybody. Raises PublishRefused."""
        return await self.publish(ALL, event, payload)

    # --- what was published --------------------------------------------------------------------------

    async def history(
        self,
        channel: str,
        since: Position | None,
        *,
        limit: int,
        most_bytes: int = HISTORY_BYTES,
        skips: Callable[[Publication], bool] = lambda _publication: False,
    ) -> HistoryPage | Refusal:
        """What a channel keeps after a position, oldest first; without one, from the oldest.

        As `read_page` says. Whether they may read it is the caller's to decide.
        """
        if not is_channel(channel):
            return Refusal(ErrorCode.INVALID_DATA, "channel: not a channel name")
        try:
            return await read_page(
                self._broker, channel, since, limit=limit, most_bytes=most_bytes, skips=skips
            )
        except BrokerUnavailable as unavailable:
            return Refusal(ErrorCode.UNAVAILABLE, str(unavailable))

    async def clear_history(self, channel: str) -> Position | Refusal:
        """Forget what a channel keeps; returns its position, which stays. Cancelled, it may have been done."""
        if not is_channel(channel):
            return Refusal(ErrorCode.INVALID_DATA, "channel: not a channel name")
        try:
            return await self._broker.clear(channel)
        except BrokerUnavailable as unavailable:
            return Refusal(ErrorCode.UNAVAILABLE, str(unavailable))
        finally:
            # Also where nobody knows whether it was done: what is still kept is read again.
            self.forget(channel)

    # --- who is there --------------------------------------------------------------------------------

    def online_users(self) -> list[str]:
        """Everybody who has a connection, in no order."""
        return self._hub.online_users()

    def online_count(self) -> int:
        """How many users have a connection."""
        return self._hub.users

    def is_online(self, user_id: str) -> bool:
        """Whether a user has a connection."""
        return bool(self._hub.connections_of(user_id))

    def connection_count(self, user_id: str) -> int:
        """How many connections a user has."""
        return len(self._hub.connections_of(user_id))

    def connections_of(self, user_id: str) -> list[ConnectionInfo]:
        """A user's connections, oldest first."""
        return [
            ConnectionInfo(
                connection_id=connection.connection_id,
                username=connection.identity.username,
                dialect=connection.dialect.name,
                peer=connection.peer,
                connected_seconds=stats.connected_seconds,
                channels=stats.channels,
                outbox_bytes=stats.outbox_bytes,
            )
            for connection in self._hub.connections_of(user_id)
            for stats in [connection.connection_stats()]
        ]

    def members_of(self, channel: str) -> list[str]:
        """The users who are subscribed to a channel, each once, by id."""
        return sorted(self._users_in(channel))

    def member_count(self, channel: str) -> int:
        """How many users are subscribed to a channel on this node."""
        return len(self._users_in(channel))

    def _users_in(self, channel: str) -> set[str]:
        return {subscriber.identity.user_id for subscriber in self._hub.subscribers_of(channel)}

    @property
    def presence(self) -> Presence:
        """Who is present in channels, on any node. Raises LookupError in a server put together without it."""
        watcher = self._hub.watcher
        if not isinstance(watcher, Presence):
            raise LookupError("nobody notes who is present")  # noqa: TRY004  it is not there
        return watcher

    async def has_inbox(self, user_id: str) -> bool:
        """Whether a user's inbox knows a device: somebody of this name was here once. Raises BrokerUnavailable."""
        return bool(await self._broker.devices(user_channel(user_id)))

    # --- ending things -------------------------------------------------------------------------------

    def disconnect(
        self,
        user_id: str,
        code: CloseCode = CloseCode.DISCONNECTED,
        reason: str | None = None,
        *,
        connection_id: str | None = None,
    ) -> int:
        """Close a user's connections, or the one named; returns how many that were.

        What was published before reaches them first.
        """
        return sum(
            connection.close(code, reason)
            for connection in self._hub.connections_of(user_id)
            if connection_id in (None, connection.connection_id)
        )

    def unsubscribe(self, user_id: str, channel: str) -> int:
        """Take a user's connections out of a channel, and tell them; returns how many were in it."""
        return sum(connection.leave(channel) for connection in self._hub.connections_of(user_id))

    def expel(self, channel: str, may_stay: Callable[[Identity], bool]) -> int:
        """Take out of a channel, and tell, each connection that may not stay; returns how many those were.

        In one step, since nobody may hear what is published behind it: some 45 microseconds each, so that the
        server stands still for half a second where 10,000 have to go.
        """
        return sum(
            connection.leave(channel)
            for connection in self._hub.subscribers_of(channel)
            if not may_stay(connection.identity)
        )


def _judge_excluded(channel: str, session: str | None) -> Refusal | None:
    """What is against leaving one login out, if one is to be left out."""
    if session is None:
        return None
    # Of a role, too, whose members may be told of something that one of them has done. Whoever excludes a login
    # looks at each subscriber: not for channels of everybody.
    if not channel.startswith((_USER, _ROLE)):
        return Refusal(
            ErrorCode.FORBIDDEN,
            "excluded_session: only a user's own channel (user:<id>) and a role's (role:<name>) have logins to"
            f" leave out, not {channel}",
        )
    if not 1 <= len(session) <= SESSION_CHARS:
        return Refusal(
            ErrorCode.INVALID_DATA, f"excluded_session: expected 1 to {SESSION_CHARS} characters"
        )
    return None


def _fields(payload: Payload) -> Any:
    """A Struct's fields as its encoding has them; anything else as it is. Raises PublishRefused."""
    if not isinstance(payload, msgspec.Struct):
        return payload
    try:
        return msgspec.to_builtins(payload, str_keys=True)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        refusal = Refusal(ErrorCode.INVALID_DATA, f"{type(payload).__name__} cannot be encoded: {error}")
        raise PublishRefused(refusal) from error
