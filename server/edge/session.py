"""What command handlers see of a connection."""

from typing import Protocol

import msgspec

from tidings.protocol.dialects.base import Command
from tidings.protocol.errors import Refusal
from tidings.server.delivery.fanout import Subscriber
from tidings.server.identity import Identity
from tidings.server.limits import Rate


class Answer(msgspec.Struct, frozen=True):
    """What a handler answers."""

    kind: str
    data: msgspec.Struct
    at_once: bool = False
    """Sent before any later publication, because it speaks about a subscription."""


class Session(Subscriber, Protocol):
    """One connection, without its socket."""

    command_rate: Rate
    error_rate: Rate

    @property
    def is_authenticated(self) -> bool:
        """Whether `identity` may be asked for."""

    @property
    def is_closing(self) -> bool:
        """Whether a close is recorded: nothing sent now would arrive."""

    async def welcome(self, identity: Identity) -> Answer | None:
        """Register under an identity and join its channels; None when that closed the connection."""

    async def renew(self, identity: Identity) -> None:
        """Replace the identity by the same user's newer one, and its channels with it."""

    def answer(self, answer: Answer, command_id: str | None) -> None:
        """Send an answer."""


Outcome = Answer | Refusal | None
"""What a handler returns; None when the connection was closed instead."""

__all__ = ["Answer", "Command", "Outcome", "Session"]
