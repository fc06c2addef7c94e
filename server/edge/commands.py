"""The built-in commands: what each one does."""

import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import cast

import msgspec

from tidings.protocol.channels import room_channel
from tidings.protocol.close_codes import CloseCode
from tidings.protocol.dialects.base import Command
from tidings.protocol.errors import ErrorCode, Refusal
from tidings.protocol.messages import answers, commands
from tidings.server.auth import TokenRefusal
from tidings.server.edge.context import Context
from tidings.server.edge.session import Answer, Outcome, Session

Handler = Callable[[Session, Command], Awaitable[Outcome]]

_NOT_A_MEMBER = "join the room before speaking in it"


class Commands:
    """Handlers of the built-in commands. They run one after another in each connection's read task."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.handlers: Mapping[str, Handler] = {
            "authenticate": self._authenticate,
            "ping": self._ping,
            "subscribe": self._subscribe,
            "unsubscribe": self._unsubscribe,
            "join_room": self._join_room,
            "leave_room": self._leave_room,
            "room_subscribe": self._join_room,
            "room_unsubscribe": self._leave_room,
            "room_message": self._room_message,
            "publish": self._publish,
            "refresh": self._refresh,
            "stats": self._stats,
        }

    async def _authenticate(self, session: Session, command: Command) -> Outcome:
        data = cast(commands.Authenticate, command.data)
        if session.is_authenticated:
            return Refusal(ErrorCode.FORBIDDEN, "this connection is authenticated: use refresh")
        identity = self._context.authenticator.verify(data.token)
        if isinstance(identity, TokenRefusal):
            session.answer(
                Answer("error", answers.Error(ErrorCode.UNAUTHORIZED, identity.message)), command.id
            )
            session.close(CloseCode.INVALID_TOKEN)
            return None
        return await session.welcome(identity)

    async def _ping(self, session: Session, command: Command) -> Outcome:  # noqa: ARG002
        return Answer("pong", answers.Pong())

    async def _subscribe(self, session: Session, command: Command) -> Outcome:
        return await self._subscribe_to(session, cast(commands.Subscribe, command.data).channel)

    async def _unsubscribe(self, session: Session, command: Command) -> Outcome:
        return self._unsubscribe_from(session, cast(commands.Unsubscribe, command.data).channel)

    async def _join_room(self, session: Session, command: Command) -> Outcome:
        return await self._subscribe_to(session, room_channel(cast(commands.JoinRoom, command.data).room))

    async def _leave_room(self, session: Session, command: Command) -> Outcome:
        return self._unsubscribe_from(session, room_channel(cast(commands.LeaveRoom, command.data).room))

    async def _subscribe_to(self, session: Session, channel: str) -> Outcome:
        context = self._context
        if not context.permissions.may_subscribe(session.identity, channel):
            return Refusal(ErrorCode.FORBIDDEN, f"{channel}: this token may not subscribe")
        limit = context.config.limits.channels_per_connection
        subscribed = context.hub.channels_of(session)
        if channel not in subscribed and len(subscribed) >= limit:
            return Refusal(ErrorCode.LIMIT_REACHED, f"a connection may have {limit} channels")
        with context.hub.holding([channel]):
            position = await context.broker.open(channel)
            # No await from here on: the position told is the one after which publications follow.
            position = context.hub.subscribe(session, channel, position)
        return Answer(
            "subscribed", answers.Subscribed(channel, position.epoch, position.offset), at_once=True
        )

    def _unsubscribe_from(self, session: Session, channel: str) -> Outcome:
        if not self._context.hub.unsubscribe(session, channel):
            return Refusal(ErrorCode.NOT_FOUND, f"{channel}: not subscribed")
        return Answer("unsubscribed", answers.Unsubscribed(channel), at_once=True)

    async def _room_message(self, session: Session, command: Command) -> Outcome:
        data = cast(commands.RoomMessage, command.data)
        channel = room_channel(data.room)
        if not self._context.hub.is_subscribed(session, channel):
            return Refusal(ErrorCode.FORBIDDEN, f"{channel}: {_NOT_A_MEMBER}")
        identity = session.identity
        # What the server knows stands last, so that no field of the client's can take its place.
        payload = command.extra | {
            "id": secrets.token_hex(8),
            "room": data.room,
            "user_id": identity.user_id,
            "username": identity.username,
            "text": data.text,
        }
        return await self._publish_to(channel, "room_message", payload)

    async def _publish(self, session: Session, command: Command) -> Outcome:
        data = cast(commands.Publish, command.data)
        if not self._context.permissions.may_publish(session.identity, data.channel):
            return Refusal(ErrorCode.FORBIDDEN, f"{data.channel}: this token may not publish")
        return await self._publish_to(data.channel, data.event, data.payload, data.idempotency_key)

    async def _publish_to(
        self, channel: str, event: str, payload: dict[str, object], idempotency_key: str | None = None
    ) -> Outcome:
        outcome = await self._context.push.submit(channel, event, payload, idempotency_key=idempotency_key)
        if isinstance(outcome, Refusal):
            return outcome
        return Answer("published", answers.Published(channel, outcome.offset))

    async def _refresh(self, session: Session, command: Command) -> Outcome:
        identity = self._context.authenticator.verify(cast(commands.Refresh, command.data).token)
        if isinstance(identity, TokenRefusal):
            return Refusal(ErrorCode.UNAUTHORIZED, identity.message)
        if identity.user_id != session.identity.user_id:
            return Refusal(ErrorCode.FORBIDDEN, "the new token is another user's")
        await session.renew(identity)
        return Answer("refreshed", answers.Refreshed(identity.expires_at))

    async def _stats(self, session: Session, command: Command) -> Outcome:  # noqa: ARG002
        server = None
        if self._context.permissions.may_see_server_statistics(session.identity):
            figures = self._context.hub.statistics()
            server = answers.ServerStats(
                **(
                    msgspec.structs.asdict(figures)
                    | {"closes": {str(k): v for k, v in figures.closes.items()}}
                )
            )
        return Answer("stats", answers.Stats(session.connection_stats(), server))
