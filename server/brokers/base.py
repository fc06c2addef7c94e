"""The contract between publishers, brokers and the hub."""

from collections.abc import Callable
from typing import Protocol

from tidings.protocol.positions import Position
from tidings.protocol.publications import Publication

IDEMPOTENCY_SECONDS = 300.0
"""How long a key is remembered: longer than any publisher goes on trying."""


class IdempotencyConflict(Exception):
    """The key was used before in this channel, for another event or payload."""


#: Takes one publication into this node's hub. Synchronous and never raises; called in offset order.
Deliver = Callable[[Publication], None]


class Broker(Protocol):
    """Gives every publication its position, and brings it to the hub of every node that listens."""

    async def publish(
        self,
        channel: str,
        event: str,
        payload: bytes,
        *,
        user_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> Position:
        """Accept a publication and return its position.

        `payload` is a JSON object as `check_payload` makes it. When this returns, the publication has
        its place in the channel's order, and every node that listens to the channel gets it, once.
        When it raises, or is cancelled before it returns, nobody may assume either way: who wants to try
        again gives an `idempotency_key`. For IDEMPOTENCY_SECONDS the same key in the same channel, with
        the same event and payload, gives the same position and publishes nothing; with anything else it
        raises IdempotencyConflict. Counterexample: a publisher whose answer was lost sends again without
        a key, and everybody reads the message twice.
        """

    async def open(self, channel: str) -> Position:
        """Begin to listen to a channel on behalf of this node; returns the position it is at.

        Every publication after that position enters the hub. Counterexample: a broker that answers 3
        while publication 4 is already on its way past this node has lost 4 for the subscriber. Idempotent.
        """

    @property
    def forgotten_keys(self) -> int:
        """How many idempotency keys were forgotten before their time, for want of room."""

    def release(self, channel: str) -> None:
        """Stop listening: this node's last subscriber has gone. Idempotent."""
