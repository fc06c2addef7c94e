"""Commands of apps: each becomes a handler like the built-in ones, wrapped once when the server starts."""

from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any

import msgspec
import structlog

from tidings.protocol.channels import is_channel
from tidings.protocol.errors import ErrorCode, Refusal
from tidings.protocol.messages.answers import Published
from tidings.protocol.positions import Position
from tidings.server.edge.context import Context
from tidings.server.edge.session import Answer, Command, Handler, ManyHandler, Outcome, Session
from tidings.server.edge.subscribing import subscribe, unsubscribe
from tidings.server.extension import App
from tidings.server.extension.app import CommandHandler, Reply
from tidings.server.extension.app import ManyHandler as AppManyHandler
from tidings.server.identity import Identity
from tidings.server.push import Push
from tidings.server.store.errors import StoreUnavailable

_log = structlog.get_logger("tidings.apps")


class HandlerFault(Exception):
    """An app's handler broke its contract; the message says how."""


class AppCall:
    """One call of an app's handler. It is the handler's `Call` and the dispatcher's `Turn`."""

    __slots__ = ("_app", "_command", "_context", "_handler", "_over", "_session", "answered")

    def __init__(
        self, context: Context, app: App, handler: CommandHandler[Any], session: Session, command: Command
    ) -> None:
        self._context = context
        self._app = app
        self._handler = handler
        self._session = session
        self._command = command
        self.answered = False
        self._over = False
        """Whether the handler has ended. It may have kept the call: what it does now answers nothing."""

    # --- as the dispatcher sees it -------------------------------------------------------------------

    def __await__(self) -> Generator[Any, Any, Outcome]:
        return self._run().__await__()

    async def _run(self) -> Outcome:
        try:
            reply = await self._handler(self)
        except StoreUnavailable as error:
            reply = _no_database(self._app, error)
        finally:
            self._over = True
        return self.outcome(reply)

    def end(self) -> None:
        """Note that the handler has ended."""
        self._over = True

    def outcome(self, reply: Reply) -> Outcome:
        """What the handler's reply is to the dispatcher. Raises HandlerFault for one that it may not give."""
        app = self._app
        if self.answered:
            if reply is not None:
                _log.error(
                    "handler answered twice",
                    app=app.name,
                    command=self._command.type,
                    dropped=type(reply).__name__,
                )
            return None
        if isinstance(reply, Refusal):
            return reply
        if reply is None:
            if self._session.is_closing:
                return None
            raise HandlerFault(f"app {app.name!r}: it returned None, and nothing was answered")
        name = app.answer_names.get(type(reply))
        if name is None:
            raise HandlerFault(f"app {app.name!r}: no answer is declared for {type(reply).__name__}")
        return Answer(name, reply)

    # --- as the handler sees it ----------------------------------------------------------------------

    @property
    def data(self) -> Any:
        """The payload."""
        return self._command.data

    @property
    def extra(self) -> Mapping[str, object]:
        """Fields that the payload's Struct does not name."""
        return self._command.extra

    @property
    def identity(self) -> Identity:
        """Who sent the command."""
        return self._session.identity

    @property
    def connection_id(self) -> str:
        """Which connection sent it."""
        return self._session.connection_id

    @property
    def push(self) -> Push:
        """The server."""
        return self._context.push

    def is_subscribed(self, channel: str) -> bool:
        """Whether the connection is subscribed to the channel."""
        return self._context.hub.is_subscribed(self._session, channel)

    async def subscribe(
        self,
        channel: str,
        *,
        permitted: bool = False,
        since: Position | None = None,
        presence: bool = False,
    ) -> Refusal | None:
        """Subscribe the connection, and answer in the same step; what it missed since a position follows."""
        if not is_channel(channel):
            return Refusal(ErrorCode.INVALID_DATA, "channel: not a channel name")
        # No await between the two: a publication may not come before the position it follows.
        return self._tell(
            await subscribe(
                self._context,
                self._session,
                channel,
                permitted=permitted,
                since=since,
                presence=presence,
            )
        )

    def unsubscribe(self, channel: str) -> Refusal | None:
        """Unsubscribe the connection, and answer in the same step."""
        return self._tell(unsubscribe(self._context, self._session, channel))

    async def publish(
        self, channel: str, event: str, payload: msgspec.Struct | Mapping[str, Any]
    ) -> Published | Refusal:
        """Publish."""
        is_struct = isinstance(payload, msgspec.Struct)
        fields: Any = msgspec.to_builtins(payload, str_keys=True) if is_struct else payload
        outcome = await self._context.push.submit(channel, event, fields)
        return outcome if isinstance(outcome, Refusal) else Published(channel, outcome.offset)

    def _tell(self, outcome: Answer | Refusal) -> Refusal | None:
        if isinstance(outcome, Refusal):
            return outcome
        if self.answered or self._over:
            self._session.answer(outcome, None)
        else:
            self._session.answer(outcome, self._command.id)
            self.answered = True
        return None


def app_handlers(context: Context, apps: Iterable[App]) -> dict[str, Handler]:
    """The handlers of all apps' commands, by command. Their names are known to be distinct."""
    return {
        command.name: _handler(context, app, command.handler)
        for app in apps
        for command in app.commands.values()
    }


def _handler(context: Context, app: App, handler: CommandHandler[Any]) -> Handler:
    def handle(session: Session, command: Command) -> AppCall:
        return AppCall(context, app, handler, session, command)

    return handle


def many_handlers(context: Context, apps: Iterable[App]) -> dict[str, ManyHandler]:
    """What handles several of a command at once, by command."""
    return {name: _many(context, app, name, many) for app in apps for name, many in app.together.items()}


def _many(context: Context, app: App, name: str, many: AppManyHandler[Any]) -> ManyHandler:
    single = app.commands[name].handler

    async def handle(session: Session, commands: Sequence[Command]) -> list[Outcome]:
        calls = [AppCall(context, app, single, session, command) for command in commands]
        replies: Sequence[Reply]
        try:
            replies = await many(calls)
        except StoreUnavailable as error:
            replies = [_no_database(app, error)] * len(calls)
        finally:
            for call in calls:
                call.end()
        if len(replies) != len(calls):
            raise HandlerFault(
                f"app {app.name!r}: {len(replies)} replies to {len(calls)} calls of {name!r}"
            )
        return [call.outcome(reply) for call, reply in zip(calls, replies, strict=True)]

    return handle


def _no_database(app: App, error: StoreUnavailable) -> Refusal:
    # Why is for the log: it names hosts and users.
    _log.warning("the database does not answer", app=app.name, error=str(error))
    return Refusal(ErrorCode.UNAVAILABLE, "the database does not answer: try again soon")
