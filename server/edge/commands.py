"""The built-in commands: what each one does."""

from collections.abc import Mapping
from functools import partial
from typing import cast

import msgspec

from tidings.protocol.close_codes import CloseCode
from tidings.protocol.dialects.base import Command
from tidings.protocol.errors import ErrorCode, Refusal
from tidings.protocol.messages import answers, commands
from tidings.server.auth import TokenRefusal
from tidings.server.brokers.base import BrokerUnavailable, TooManyDevices
from tidings.server.delivery.inbox import skips
from tidings.server.edge.context import Context
from tidings.server.edge.presence_command import presence
from tidings.server.edge.session import Answer, Handler, Outcome, Session
from tidings.server.edge.subscribing import subscribe, unsubscribe

# A page of history is one frame, and must find room beside what else comes.
HISTORY_SHARE = 8


class Commands:
    """Handlers of the built-in commands. They run one after another in each connection's read task."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.handlers: Mapping[str, Handler] = {
            "authenticate": self._authenticate,
            "ping": self._ping,
            "subscribe": self._subscribe,
            "unsubscribe": self._unsubscribe,
            "publish": self._publish,
            "ack": self._ack,
            "history": self._history,
            "presence": partial(presence, context),
            "refresh": self._refresh,
            "stats": self._stats,
        }

    async def _authenticate(self, session: Session, command: Command) -> Outcome:
        data = cast(commands.Authenticate, command.data)
        if session.is_authenticated:
            return Refusal(ErrorCode.FORBIDDEN, "this connection is authenticated: use refresh")
        if data.device is not None:
            session.device = data.device
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
        data = cast(commands.Subscribe, command.data)
        return await subscribe(
            self._context, session, data.channel, since=data.since, presence=data.presence
        )

    async def _unsubscribe(self, session: Session, command: Command) -> Outcome:
        return unsubscribe(self._context, session, cast(commands.Unsubscribe, command.data).channel)

    async def _publish(self, session: Session, command: Command) -> Outcome:
        data = cast(commands.Publish, command.data)
        subscribed = self._context.hub.is_subscribed(session, data.channel)
        if not self._context.permissions.may_publish(session.identity, data.channel, subscribed=subscribed):
            return Refusal(ErrorCode.FORBIDDEN, f"{data.channel}: this token may not publish")
        outcome = await self._context.push.submit(
            data.channel,
            data.event,
            data.payload,
            idempotency_key=data.idempotency_key,
            publisher=session.identity.user_id,
        )
        if isinstance(outcome, Refusal):
            return outcome
        return Answer("published", answers.Published(data.channel, outcome.offset))

    async def _ack(self, session: Session, command: Command) -> Outcome:
        data = cast(commands.Ack, command.data)
        seat = self._context.inboxes.inbox_of(session)
        if seat is None or data.channel != seat[0]:
            return Refusal(ErrorCode.FORBIDDEN, f"{data.channel}: not the inbox of this connection's user")
        channel, device = seat
        sent = self._context.hub.sent_to(session, channel)
        if not 0 <= data.offset <= sent:
            return Refusal(
                ErrorCode.INVALID_DATA,
                f"Expected an offset of 0 to {sent}, up to which this connection was sent the channel"
                " - at `$.data.offset`",
            )
        try:
            noted = await self._context.broker.acknowledge(channel, device, data.offset)
        except TooManyDevices as error:
            return Refusal(ErrorCode.LIMIT_REACHED, str(error))
        except BrokerUnavailable as error:
            return Refusal(ErrorCode.UNAVAILABLE, str(error))
        return Answer("acked", answers.Acked(channel, noted))

    async def _history(self, session: Session, command: Command) -> Outcome:
        data = cast(commands.History, command.data)
        may_read = partial(self._context.permissions.may_subscribe, session.identity, data.channel)
        forbidden = Refusal(ErrorCode.FORBIDDEN, f"{data.channel}: this token may not read its history")
        if not may_read():
            return forbidden
        most = self._context.config.limits.outbox_bytes // HISTORY_SHARE
        outcome = await self._context.push.history(
            data.channel,
            data.since,
            limit=min(data.limit, self._context.config.history.page_limit),
            most_bytes=most,
            skips=skips(self._context.registry, session.identity),
        )
        if isinstance(outcome, Refusal):
            return outcome
        # Removed from a room while it was read: what was said since then is nothing to this user.
        return Answer("history", outcome) if may_read() else forbidden

    async def _refresh(self, session: Session, command: Command) -> Outcome:
        identity = self._context.authenticator.verify(cast(commands.Refresh, command.data).token)
        if isinstance(identity, TokenRefusal):
            return Refusal(ErrorCode.UNAUTHORIZED, identity.message)
        if identity.user_id != session.identity.user_id:
            return Refusal(ErrorCode.FORBIDDEN, "the new token is another user's")
        # What was not for this login has been passed over, and would be missing in another's.
        login = session.identity.session_id
        if login is not None and identity.session_id != login:
            return Refusal(
                ErrorCode.FORBIDDEN,
                "the new token is another login's: a refresh keeps its sid; connect anew",
            )
        try:
            await session.renew(identity)
        except BrokerUnavailable as error:
            return Refusal(ErrorCode.UNAVAILABLE, str(error))
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
