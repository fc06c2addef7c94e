"""From a whole message to the one answer it gets: rates, decoding, permission to speak, deadline, errors."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import structlog
import trio

from tidings.protocol.close_codes import CloseCode
from tidings.protocol.dialects.base import Batch, Command, Dialect
from tidings.protocol.errors import ErrorCode, Refusal
from tidings.protocol.frames import Opcode
from tidings.protocol.messages.answers import Error
from tidings.server.edge.session import Answer, Handler, ManyHandler, Outcome, Session, Turn
from tidings.server.limits import Rate, Verdict

# A client that is wrong once a second for ever is broken but harmless; one that is wrong forty times at
# once is not listening to the answers.
ERRORS_PER_SECOND = 1.0
ERRORS_AT_ONCE = 20

# A message costs a unit of the command rate for being one, and one for each of these: decoding it is work, too.
_CHARS_A_UNIT = 65_536

# Of an array of messages each unit pays for as many: what comes together is cheaper, and an array of the greatest
# length is within what may come at once.
_ENTRIES_A_UNIT = 10

# What may be said before it is known who speaks.
_BEFORE_AUTHENTICATION = frozenset({"authenticate", "ping"})

# The server's own troubles are not held against the client, and the command rate counts itself.
_NOT_COUNTED = frozenset({ErrorCode.RATE_LIMITED, ErrorCode.UNAVAILABLE, ErrorCode.INTERNAL})

_TEXT = frozenset({Opcode.TEXT})
_BINARY = frozenset({Opcode.BINARY})

_FAULT = "the server failed to do this; it was not your fault"

_LATE = "the server took too long; it may or may not have been done"

_NOT_BEGUN = "the server took too long with an earlier one; it was not done"

_log = structlog.get_logger("tidings.dispatch")


def error_rate(clock: Callable[[], float]) -> Rate:
    """A new connection's allowance of errors. `clock`: monotonic seconds."""
    return Rate(ERRORS_PER_SECOND, ERRORS_AT_ONCE, clock)


def _too_many(command_id: str | None, retry_after: float | None = None) -> Refusal:
    return Refusal(ErrorCode.RATE_LIMITED, "too many commands a second", command_id, retry_after)


def _rounded_up(seconds: float) -> float:
    # To milliseconds.
    return math.ceil(seconds * 1000) / 1000


def _is_answered(turn: object) -> bool:
    """Whether a client got its answer: it must not get another one for the same command."""
    return isinstance(turn, Turn) and turn.answered


class MessageHandler(Protocol):
    """What a connection hands its messages to."""

    def accepts(self, dialect: Dialect) -> frozenset[Opcode]:
        """Which kinds of messages are understood; others end the connection with 1003."""

    async def handle(self, session: Session, message: str | bytes) -> None:
        """Do what a message asks. Must not raise on anything a message holds."""


class _Together:
    """Commands of one message. What is wrong with them counts as one error, however many they were."""

    __slots__ = ("is_wrong", "of")

    def __init__(self, of: int) -> None:
        self.of = of
        self.is_wrong = False


class _Place(NamedTuple):
    """Where commands stood that came together."""

    first: int
    together: _Together

    def say(self, at: int) -> str:
        """What a refusal of the command at an index, counted from `first`, begins with: there may be no id."""
        return f"message {self.first + at + 1} of {self.together.of}: "


class Dispatcher:
    """Runs commands, one at a time for each connection. Nothing a message holds makes `handle` raise."""

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        *,
        handler_timeout: float,
        many: Mapping[str, ManyHandler] = {},
        refusals: Counter[tuple[str, str]] | None = None,
    ) -> None:
        """Take the handlers by command type, how many seconds one may run, and where refusals are counted.

        `many`: what handles several of a command that a message brought one behind the other, in their place.
        """
        self._handlers = handlers
        self._many = many
        self._handler_timeout = handler_timeout
        self._refusals: Counter[tuple[str, str]] = Counter() if refusals is None else refusals

    def accepts(self, dialect: Dialect) -> frozenset[Opcode]:
        """What the dialect's messages travel in."""
        return _BINARY if dialect.binary else _TEXT

    async def handle(self, session: Session, message: str | bytes) -> None:
        """Do what a message asks and answer it. A cancelled handler was cancelled with its connection."""
        verdict = session.command_rate.spend(1 + len(message) // _CHARS_A_UNIT)
        if verdict is Verdict.EXHAUSTED:
            session.close(CloseCode.TOO_MANY_REQUESTS)
            return
        command = session.dialect.decode(message)
        if isinstance(command, Batch):
            await self._handle_all(session, command.commands, verdict)
        elif verdict is Verdict.REFUSED:
            self._refuse(session, _too_many(command.id), command.id)
        elif isinstance(command, Refusal):
            self._refuse(session, command, command.id)
        else:
            await self._run(session, command)

    async def _handle_all(
        self, session: Session, commands: Sequence[Command | Refusal], verdict: Verdict
    ) -> None:
        """Handle what came together, in order, and answer each: all are within the rate, or none is."""
        # The first unit is drawn already.
        more = (len(commands) - 1) // _ENTRIES_A_UNIT
        if more:
            verdict = session.command_rate.spend(more)
        if verdict is Verdict.EXHAUSTED:
            session.close(CloseCode.TOO_MANY_REQUESTS)
            return
        together = _Together(len(commands))
        if verdict is Verdict.REFUSED:
            # All of it once more, as it is.
            seconds = _rounded_up(session.command_rate.retry_after(1 + more))
            commands = [_too_many(command.id, seconds) for command in commands]
        at = 0
        try:
            while at < len(commands) and not session.is_closing:
                command, place = commands[at], _Place(at, together)
                if isinstance(command, Refusal):
                    self._refuse(session, command, command.id, place)
                    at += 1
                    continue
                alike = self._alike(commands, at)
                at += len(alike)
                if len(alike) > 1:
                    await self._run_many(session, alike, place)
                else:
                    await self._run(session, command, place)
        except BaseException:
            if session.patience.is_over:
                for number, command in enumerate(commands[at:], at):
                    refusal = Refusal(ErrorCode.UNAVAILABLE, _NOT_BEGUN)
                    self._refuse(session, refusal, command.id, _Place(number, together))
            raise
        finally:
            # Behind the last answer, so that none of them is lost by it.
            if together.is_wrong:
                self._count_error(session)

    def _alike(self, commands: Sequence[Command | Refusal], at: int) -> list[Command]:
        """The command there, and what can be handled together with it."""
        first = commands[at]
        assert isinstance(first, Command)
        alike = [first]
        if first.type in self._many:
            for command in commands[at + 1 :]:
                if (
                    not isinstance(command, Command)
                    or command.type != first.type
                    or command.credential != first.credential
                ):
                    break
                alike.append(command)
        return alike

    async def _run(self, session: Session, command: Command, place: _Place | None = None) -> None:
        """Handle one command and answer it."""
        turn = None
        outcome: Outcome
        try:
            outcome = self._judge(session, command)
            handler = self._handlers.get(command.type)
            if outcome is None and handler is None:
                # Registered as a message, but nobody handles it: a fault of the composition root.
                _log.error("no handler", command=command.type)
                outcome = Refusal(ErrorCode.UNKNOWN_TYPE, f"type: nobody handles {command.type!r}")
            if outcome is None and handler is not None and await self._let_in(session, command):
                turn = handler(session, command)
                outcome = await session.patience.run(turn, self._handler_timeout)
        except Exception:
            # A fault of the handler: it must cost this one command, not the connection.
            _log.exception("handler failed", command=command.type)
            outcome = None if _is_answered(turn) else Refusal(ErrorCode.INTERNAL, _FAULT)
        except BaseException as error:
            if not session.patience.is_over:
                raise
            cancelled = self._timed_out(command, error)
            if not _is_answered(turn):
                self._give(session, [Refusal(ErrorCode.UNAVAILABLE, _LATE)], [command], place)
            # On to the scope of the session's patience, which ends there.
            raise cancelled from None
        if outcome is not None:
            self._give(session, [outcome], [command], place)

    async def _run_many(self, session: Session, commands: Sequence[Command], place: _Place) -> None:
        """Handle several of one command together, and answer each."""
        first = commands[0]
        outcomes: Sequence[Outcome]
        try:
            refusal = self._judge(session, first)
            outcomes = [refusal] * len(commands)
            if refusal is None and await self._let_in(session, first):
                turn = self._many[first.type](session, commands)
                outcomes = await session.patience.run(turn, self._handler_timeout)
        except Exception:
            _log.exception("handler failed", command=first.type)
            outcomes = [Refusal(ErrorCode.INTERNAL, _FAULT)] * len(commands)
        except BaseException as error:
            if not session.patience.is_over:
                raise
            cancelled = self._timed_out(first, error)
            self._give(session, [Refusal(ErrorCode.UNAVAILABLE, _LATE)] * len(commands), commands, place)
            raise cancelled from None
        self._give(session, outcomes, commands, place)

    def _judge(self, session: Session, command: Command) -> Refusal | None:
        """What is against handling a command, by who has sent it."""
        entrance = session.entrance
        if entrance is None:
            if session.is_authenticated or command.type in _BEFORE_AUTHENTICATION:
                return None
            return Refusal(ErrorCode.UNAUTHORIZED, "authenticate first")
        if command.credential is None:
            return (
                None if session.is_authenticated else Refusal(ErrorCode.UNAUTHORIZED, entrance.door.expects)
            )
        return (
            entrance.door.check(session.identity, command.credential) if session.is_authenticated else None
        )

    async def _let_in(self, session: Session, command: Command) -> bool:
        """Whether the command may be handled: of somebody unknown, whether what it says of them lets them in."""
        if command.credential is None or session.is_authenticated:
            return True
        return await session.patience.run(session.come_in(command.credential), self._handler_timeout)

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

    def _give(
        self,
        session: Session,
        outcomes: Sequence[Outcome],
        commands: Sequence[Command],
        place: _Place | None,
    ) -> None:
        """Answer commands."""
        for at, (outcome, command) in enumerate(zip(outcomes, commands, strict=True)):
            if isinstance(outcome, Refusal):
                self._refuse(session, outcome, command.id, place, at)
            elif outcome is not None:
                self._answer(session, outcome, command.id, place, at)

    def _answer(
        self, session: Session, answer: Answer, command_id: str | None, place: _Place | None, at: int
    ) -> None:
        try:
            session.answer(answer, command_id)
        except Exception:
            # An app's Struct may hold what no encoding can carry; encoding comes first, so nothing was sent.
            _log.exception("answer cannot be encoded", answer=answer.kind)
            self._refuse(session, Refusal(ErrorCode.INTERNAL, _FAULT), command_id, place, at)

    def _refuse(
        self,
        session: Session,
        refusal: Refusal,
        command_id: str | None,
        place: _Place | None = None,
        at: int = 0,
    ) -> None:
        self._refusals["command", refusal.code] += 1
        retry_after = refusal.retry_after
        if refusal.code is ErrorCode.RATE_LIMITED and retry_after is None:
            # Rounded up: who waits exactly that long must not be refused again.
            retry_after = _rounded_up(session.command_rate.retry_after())
        told = refusal.message if place is None else place.say(at) + refusal.message
        session.answer(Answer("error", Error(refusal.code, told, retry_after)), command_id)
        if refusal.code in _NOT_COUNTED:
            return
        if place is None:
            self._count_error(session)
        else:
            place.together.is_wrong = True

    def _count_error(self, session: Session) -> None:
        if session.error_rate.spend() is Verdict.EXHAUSTED:
            session.close(CloseCode.TOO_MANY_ERRORS)
