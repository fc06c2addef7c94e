"""From a whole message to the one answer it gets: rates, decoding, permission to speak, deadline, errors."""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Protocol

import structlog
import trio

from tidings.protocol.close_codes import CloseCode
from tidings.protocol.dialects.base import Command, Dialect
from tidings.protocol.errors import ErrorCode, Refusal
from tidings.protocol.frames import Opcode
from tidings.protocol.messages.answers import Error
from tidings.server.edge.session import Answer, Handler, Outcome, Session, Turn
from tidings.server.limits import Rate, Verdict

# A client that is wrong once a second for ever is broken but harmless; one that is wrong forty times at
# once is not listening to the answers.
ERRORS_PER_SECOND = 1.0
ERRORS_AT_ONCE = 20

# What may be said before it is known who speaks.
_BEFORE_AUTHENTICATION = frozenset({"authenticate", "ping"})

# The server's own troubles are not held against the client, and the command rate counts itself.
_NOT_COUNTED = frozenset({ErrorCode.RATE_LIMITED, ErrorCode.UNAVAILABLE, ErrorCode.INTERNAL})

_TEXT = frozenset({Opcode.TEXT})
_BINARY = frozenset({Opcode.BINARY})

_FAULT = "the server failed to do this; it was not your fault"

_LATE = "the server took too long; it may or may not have been done"

_log = structlog.get_logger("tidings.dispatch")


def error_rate(clock: Callable[[], float]) -> Rate:
    """A new connection's allowance of errors. `clock`: monotonic seconds."""
    return Rate(ERRORS_PER_SECOND, ERRORS_AT_ONCE, clock)


def _is_answered(turn: object) -> bool:
    """Whether a client got its answer: it must not get another one for the same command."""
    return isinstance(turn, Turn) and turn.answered


class MessageHandler(Protocol):
    """What a connection hands its messages to."""

    def accepts(self, dialect: Dialect) -> frozenset[Opcode]:
        """Which kinds of messages are understood; others end the connection with 1003."""

    async def handle(self, session: Session, message: str | bytes) -> None:
        """Do what a message asks. Must not raise on anything a message holds."""


class Dispatcher:
    """Runs commands, one at a time for each connection. Nothing a message holds makes `handle` raise."""

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        *,
        handler_timeout: float,
        refusals: Counter[tuple[str, str]] | None = None,
    ) -> None:
        """Take the handlers by command type, how many seconds one may run, and where refusals are counted."""
        self._handlers = handlers
        self._handler_timeout = handler_timeout
        self._refusals: Counter[tuple[str, str]] = Counter() if refusals is None else refusals

    def accepts(self, dialect: Dialect) -> frozenset[Opcode]:
        """What the dialect's messages travel in."""
        return _BINARY if dialect.binary else _TEXT

    async def handle(self, session: Session, message: str | bytes) -> None:
        """Do what a message asks and answer it. A cancelled handler was cancelled with its connection."""
        verdict = session.command_rate.spend()
        if verdict is Verdict.EXHAUSTED:
            session.close(CloseCode.TOO_MANY_REQUESTS)
            return
        command = session.dialect.decode(message)
        outcome: Outcome
        if verdict is Verdict.REFUSED:
            outcome = Refusal(ErrorCode.RATE_LIMITED, "too many commands a second", command.id)
        elif isinstance(command, Refusal):
            outcome = command
        else:
            outcome = await self._run(session, command)
        if isinstance(outcome, Refusal):
            self._refuse(session, outcome, command.id)
        elif outcome is not None:
            self._answer(session, outcome, command.id)

    async def _run(self, session: Session, command: Command) -> Outcome:
        if not session.is_authenticated and command.type not in _BEFORE_AUTHENTICATION:
            return Refusal(ErrorCode.UNAUTHORIZED, "authenticate first")
        handler = self._handlers.get(command.type)
        if handler is None:
            # Registered as a message, but nobody handles it: a fault of the composition root.
            _log.error("no handler", command=command.type)
            return Refusal(ErrorCode.UNKNOWN_TYPE, f"type: nobody handles {command.type!r}")
        turn = None
        try:
            turn = handler(session, command)
            return await session.patience.run(turn, self._handler_timeout)
        except Exception:
            # A fault of the handler: it must cost this one command, not the connection.
            _log.exception("handler failed", command=command.type)
            return None if _is_answered(turn) else Refusal(ErrorCode.INTERNAL, _FAULT)
        except BaseException as error:
            if not session.patience.is_over:
                raise
            cancelled = self._timed_out(command, error)
            if not _is_answered(turn):
                self._refuse(session, Refusal(ErrorCode.UNAVAILABLE, _LATE), command.id)
            # On to the scope of the session's patience, which ends there.
            raise cancelled from None

    def _timed_out(self, command: Command, error: BaseException) -> BaseException:
        """Log that, and with what it failed on its way out; the cancellation, alone."""
        _log.warning("handler timed out", command=command.type, seconds=self._handler_timeout)
        if isinstance(error, BaseExceptionGroup):
            cancelled, rest = error.split(trio.Cancelled)
            if rest is not None:
                _log.error("handler failed", command=command.type, exc_info=rest)
            if cancelled is not None:
                return cancelled
        return error

    def _answer(self, session: Session, answer: Answer, command_id: str | None) -> None:
        try:
            session.answer(answer, command_id)
        except Exception:
            # An app's Struct may hold what no encoding can carry; encoding comes first, so nothing was sent.
            _log.exception("answer cannot be encoded", answer=answer.kind)
            self._refuse(session, Refusal(ErrorCode.INTERNAL, _FAULT), command_id)

    def _refuse(self, session: Session, refusal: Refusal, command_id: str | None) -> None:
        self._refusals["command", refusal.code] += 1
        retry_after = refusal.retry_after
        if refusal.code is ErrorCode.RATE_LIMITED and retry_after is None:
            # Rounded up: who waits exactly that long must not be refused again.
            retry_after = math.ceil(session.command_rate.retry_after() * 1000) / 1000
        session.answer(Answer("error", Error(refusal.code, refusal.message, retry_after)), command_id)
        if refusal.code not in _NOT_COUNTED and session.error_rate.spend() is Verdict.EXHAUSTED:
            session.close(CloseCode.TOO_MANY_ERRORS)
