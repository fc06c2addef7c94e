"""What command handlers see of a connection."""

from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Any, Protocol, runtime_checkable

import msgspec

from tidings.protocol.dialects.base import Command
from tidings.protocol.errors import Refusal
from tidings.server.delivery.fanout import Subscriber
from tidings.server.delivery.replay import Replay
from tidings.server.edge.guests import Entrance
from tidings.server.edge.patience import Patience
from tidings.server.identity import Identity
from tidings.server.limits import Rate


class Answer(msgspec.Struct, frozen=True):
    """What a handler answers."""

    kind: str
    data: msgspec.Struct
    at_once: bool = False
    """Sent before any later publication, because it speaks about a subscription."""
    then: Callable[[], None] | None = None
    """What follows in the same step, once the answer is given. Synchronous; not called where it was not given."""


class Session(Subscriber, Protocol):
    """One connection, without its socket."""

    command_rate: Rate
    error_rate: Rate
    patience: Patience
    """Bounds how long a handler may wait."""
    device: str
    """The device it named; empty without one. Told at the latest by `authenticate`."""

    @property
    def is_authenticated(self) -> bool:
        """Whether `identity` may be asked for."""

    @property
    def is_closing(self) -> bool:
        """Whether a close is recorded: nothing sent now would arrive."""

    @property
    def entrance(self) -> Entrance | None:
        """By which app's door it comes in; None for one that has or brings a token."""

    async def come_in(self, credential: str) -> bool:
        """Let in who a first message says that it is, and greet them; False when that closed the connection."""

    async def welcome(self, identity: Identity) -> Answer | None:
        """Register under an identity and join its channels; None when that closed the connection."""

    async def renew(self, identity: Identity) -> None:
        """Replace the identity by the same user's newer one, and its channels with it."""

    def replay(self, replay: Replay) -> None:
        """Send the rest of what was missed, in a task that ends with the connection."""

    def answer(self, answer: Answer, command_id: str | None) -> None:
        """Send an answer."""


Outcome = Answer | Refusal | None
"""What a handler returns; None when it has answered itself, or the connection was closed instead."""


@runtime_checkable
class Turn(Protocol):
    """The handling of one command, to be awaited once; it may send the one answer before it ends."""

    answered: bool
    """Whether the answer is sent: whatever becomes of the rest, the command must not get a second one."""

    def __await__(self) -> Generator[Any, Any, Outcome]:
        """Handle the command."""


Handler = Callable[[Session, Command], Awaitable[Outcome]]
"""Handles one command. What it returns may be a `Turn`."""

ManyHandler = Callable[[Session, Sequence[Command]], Awaitable[Sequence[Outcome]]]
"""Handles several of one command that a message brought: as many outcomes, in their order."""

__all__ = ["Answer", "Command", "Handler", "ManyHandler", "Outcome", "Session", "Turn"]
