"""The built-in commands: what each one does."""

from collections.abc import Mapping
from typing import cast

import msgspec

from tidings.protocol.close_codes import CloseCode
from tidings.protocol.dialects.base import Command
from tidings.protocol.errors import ErrorCode, Refusal
from tidings.protocol.messages import answers, commands
from tidings.server.auth import TokenRefusal
from tidings.server.edge.context import Context
from tidings.server.edge.session import Answer, Handler, Outcome, Session
from tidings.server.edge.subscribing import subscribe, unsubscribe


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
        return await subscribe(self._context, session, cast(commands.Subscribe, command.data).channel)

    async def _unsubscribe(self, session: Session, command: Command) -> Outcome:
        return unsubscribe(self._context, session, cast(commands.Unsubscribe, command.data).channel)

    async def _publish(self, session: Session, command: Command) -> Outcome:
        data = cast(commands.Publish, command.data)
        if not self._context.permissions.may_publish(session.identity, data.channel):
            return Refusal(ErrorCode.FORBIDDEN, f"{data.channel}: this token may not publish")
        outcome = await self._context.push.submit(
            data.channel, data.event, data.payload, idempotency_key=data.idempotency_key
        )
        if isinstance(outcome, Refusal):
            return outcome
        return Answer("published", answers.Published(data.channel, outcome.offset))

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
