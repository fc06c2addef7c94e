"""`App`: what an app declares. Nothing happens until a server takes it in."""

import inspect
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from litestar.types import ControllerRouterHandler

from tidings.protocol.errors import Refusal
from tidings.protocol.messages.answers import Published
from tidings.protocol.messages.registry import NameConflict, Registry
from tidings.server.extension.call import Call
from tidings.server.extension.doors import Door
from tidings.server.permissions import RoomRules
from tidings.server.push import Push

T = TypeVar("T", bound=msgspec.Struct)

Reply = msgspec.Struct | None
"""What a handler returns: a declared answer, `Published`, a `Refusal`; None when `call.subscribe` or
`call.unsubscribe` has answered already."""

CommandHandler = Callable[[Call[T]], Awaitable[Reply]]
ManyHandler = Callable[[Sequence[Call[T]]], Awaitable[Sequence[Reply]]]
Lifespan = Callable[[Push], AbstractAsyncContextManager[object]]
Task = Callable[[Push], Awaitable[None]]

M = TypeVar("M", bound=Callable[..., Awaitable[Sequence[Reply]]])
L = TypeVar("L", bound=Lifespan)
K = TypeVar("K", bound=Task)

OURS: Final = "tidings"
"""The owner of what the server itself says; no app has this name."""

# Names stand in the configuration, in lists separated by commas, and in logs.
_APP_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
# The same as EventName: it is a message's type either way.
_MESSAGE_NAME: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


class DeclaredCommand(msgspec.Struct, frozen=True):
    """One command of an app."""

    name: str
    payload: type[msgspec.Struct]
    handler: CommandHandler[Any]
    open_fields: bool


class App:
    """A plug-in: commands, answers, events, HTTP routes, and what runs beside the connections.

    Made once, at import; a server reads it when it is put together. Declarations that cannot work raise
    at once (TypeError, ValueError, NameConflict), so that the line that is wrong stands in the traceback.
    What is declared after a server has taken the app in does not reach that server.
    """

    def __init__(self, name: str) -> None:
        """Take the app's name: as in `server.apps`, in the log, and as the owner of its message names."""
        if _APP_NAME.fullmatch(name) is None or name == OURS:
            raise ValueError(f"{name!r} is no name for an app: a letter, then letters, digits, _ and -")
        self.name = name
        self.commands: dict[str, DeclaredCommand] = {}
        self.together: dict[str, ManyHandler[Any]] = {}
        """What handles several of a command at once, where a message brings them."""
        self.doors: dict[str, Door] = {}
        """By the dialect whose connections come in by it."""
        self.answers: dict[str, type[msgspec.Struct]] = {}
        self.answer_names: dict[type[msgspec.Struct], str] = {Published: "published"}
        """By which name each Struct that a handler may return is sent."""
        self.events: dict[str, type[msgspec.Struct]] = {}
        self.route_handlers: list[ControllerRouterHandler] = []
        self.lifespans: list[Lifespan] = []
        self.tasks: list[Task] = []
        self.migrations: Path | None = None
        """The directory of the revisions of its tables; None for an app without any."""
        self.rooms: RoomRules | None = None
        """Who may enter which rooms, and speak there, where the app says so."""

    def __repr__(self) -> str:
        return f"App({self.name!r})"

    def command(
        self, name: str, payload: type[T], *, open_fields: bool = False
    ) -> Callable[[CommandHandler[T]], CommandHandler[T]]:
        """Declare the handler of a command; may be stacked, for a command of several names.

        The handler runs in its connection's task, one command after another, for at most
        `heartbeat.handler_timeout`. What it raises costs this one command (`internal`) and is logged.
        """
        self._check(name, payload)
        if name in self.commands:
            raise self._twice("command", name)

        def declare(handler: CommandHandler[T]) -> CommandHandler[T]:
            _check_async(handler, f"the handler of {name!r}")
            self.commands[name] = DeclaredCommand(name, payload, handler, open_fields)
            return handler

        return declare

    def many(self, name: str) -> Callable[[M], M]:
        """Declare what handles several of a command that came in one message, one behind another: a list of calls.

        It returns as many replies, in their order. Only dialects with batches bring several; without this they are
        handled one after another. Together they have `heartbeat.handler_timeout`. Raises ValueError for a name
        that is no command of the app's yet.
        """
        if name not in self.commands:
            raise ValueError(f"app {self.name!r}: {name!r} is no command of it: declare that first")
        if name in self.together:
            raise self._twice("handler of many", name)

        def declare(handler: M) -> M:
            _check_async(handler, f"the handler of many {name!r}")
            self.together[name] = handler
            return handler

        return declare

    def door(self, dialect: str, door: Door) -> None:
        """Declare who comes in through the connections of a dialect that asks an app. Raises NameConflict."""
        if dialect in self.doors:
            raise self._twice("door of", dialect)
        self.doors[dialect] = door

    def answer(self, name: str, payload: type[msgspec.Struct]) -> None:
        """Declare what a handler may return: an instance of `payload` is sent under this name."""
        self._check(name, payload)
        if issubclass(payload, Refusal):
            raise TypeError("a Refusal is answered as `error`, and needs no other name")
        if name in self.answers or name in self.events:
            raise self._twice("answer", name)
        if payload in self.answer_names:
            raise NameConflict(
                f"app {self.name!r}: {payload.__name__} is sent as {self.answer_names[payload]!r} and as"
                f" {name!r}: its type says the name, so it may have one"
            )
        self.answers[name] = payload
        self.answer_names[payload] = name

    def event(self, name: str, payload: type[msgspec.Struct]) -> None:
        """Declare what may be published under this name: whoever publishes it, the payload is checked."""
        self._check(name, payload)
        if name in self.events or name in self.answers:
            raise self._twice("event", name)
        self.events[name] = payload

    def routes(self, *handlers: ControllerRouterHandler) -> None:
        """Add Litestar's HTTP route handlers, controllers or routers.

        They may ask for `push: NamedDependency[Push]` and `caller: Caller`, and stand behind the guards
        `users_only` and `admins_only`. Two owners of one path and method keep the server from starting.
        """
        self.route_handlers.extend(handlers)

    def lifespan(self, function: L) -> L:
        """Declare a context in which the app lives, as its database: `@asynccontextmanager`, given the Push.

        Entered before the first connection is accepted, left after the last one has ended, in the reverse
        order. When it raises on the way in, the server does not start.
        """
        if inspect.isasyncgenfunction(function) or inspect.iscoroutinefunction(function):
            raise TypeError(
                f"app {self.name!r}: put @asynccontextmanager between @lifespan and the function"
            )
        self.lifespans.append(function)
        return function

    def task(self, function: K) -> K:
        """Declare what runs beside the connections, within the lifespans, until the server ends.

        When it raises, that is logged with the app's name and the server goes on without it; it is
        cancelled at the end.
        """
        _check_async(function, "a task")
        self.tasks.append(function)
        return function

    def tables(self, directory: Path) -> None:
        """Declare the app's tables: the directory of their Alembic revisions, `r0001_….py`, `r0002_….py` and so on.

        The server brings them up to date before it listens, as `tidings migrate` does; then `push.tables` reads
        and writes them. They are named after the app, as `polls_votes`. Raises ValueError where no revisions are.
        """
        if self.migrations is not None:
            raise ValueError(f"app {self.name!r} declares its tables twice")
        if not any(Path(directory).glob("r0001_*.py")):
            raise ValueError(f"app {self.name!r}: no revisions (r0001_….py) in {directory}")
        self.migrations = Path(directory)

    def room_rules(self, rules: RoomRules) -> None:
        """Declare who may enter which rooms, and speak there. Of one server, one app may."""
        self.rooms = rules

    def register(self, registry: Registry) -> None:
        """Claim the app's message names. Raises NameConflict, naming both owners."""
        for command in self.commands.values():
            registry.command(
                command.name, command.payload, owner=self.name, open_fields=command.open_fields
            )
        for name, payload in self.answers.items():
            registry.answer(name, payload, owner=self.name)
        for name, payload in self.events.items():
            registry.event(name, payload, owner=self.name)

    def _check(self, name: str, payload: object) -> None:
        if _MESSAGE_NAME.fullmatch(name) is None:
            raise ValueError(
                f"app {self.name!r}: {name!r} is no message name: 1 to 64 of A-Z a-z 0-9 _ . : -"
            )
        if not (isinstance(payload, type) and issubclass(payload, msgspec.Struct)):
            raise TypeError(f"app {self.name!r}: {name}: expected a msgspec.Struct class, got {payload!r}")
        # Raises TypeError or NameError, saying which field cannot be decoded.
        msgspec.json.Decoder(payload)

    def _twice(self, what: str, name: str) -> NameConflict:
        return NameConflict(f"app {self.name!r} declares the {what} {name!r} twice")


def _check_async(function: Any, what: str) -> None:
    called = getattr(function, "__call__", None)  # noqa: B004  to look at it, not to ask whether it is there
    if not (inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)):
        raise TypeError(f"{what} must be an async function, got {function!r}")
