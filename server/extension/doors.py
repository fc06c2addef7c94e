"""Doors: an app that says who comes in through one dialect's connections, and what they hear.

Most connections are users with a token, who hear what concerns them. A protocol may have other guests, such as
devices that a code lets in, and pools of connections that hear only each other's news.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from tidings.protocol.close_codes import CloseCode
from tidings.protocol.errors import Refusal
from tidings.server.http import Request
from tidings.server.identity import Identity


class Guest(Protocol):
    """A connection that has come in by a door, as the app sees it. Hashable; gone for good once `left` was told."""

    @property
    def connection_id(self) -> str:
        """Unique, also over restarts."""

    @property
    def identity(self) -> Identity:
        """Who it is."""

    @property
    def device(self) -> str:
        """What the client calls its device (`?device=`); empty where it has not said."""

    @property
    def peer(self) -> str:
        """The client's address, for logs."""

    @property
    def is_closing(self) -> bool:
        """Whether a close is recorded: nothing told now arrives."""

    @property
    def has_room(self) -> bool:
        """Whether at most half of what may wait for it does."""

    async def wait_room(self) -> None:
        """Wait until it has room, or takes nothing any more. Ends at the latest with the connection."""

    def tell(self, *said: msgspec.Struct) -> None:
        """Send what the app has declared as answers or events, to this connection alone and unasked, in one go.

        It comes behind all that was published or told before, and before what will be. Whoever tells more than a
        few at once waits for room in between: what does not fit into `limits.outbox_bytes` closes the connection.
        """

    def hears(self, channel: str) -> bool:
        """Whether it is subscribed to a channel."""

    async def hear(self, channel: str) -> None:
        """Subscribe it to one channel more, without a word. Raises PublishRefused where no broker answers."""

    def close(self, code: CloseCode, reason: str | None = None) -> bool:
        """Close it; False when it was closing already."""


class Door(Protocol):
    """Who comes in through the connections of one dialect. Nothing here may wait, or raise."""

    @property
    def expects(self) -> str:
        """What somebody is told who says anything before it is known who they are: the field, and the cure."""

    @property
    def silence_seconds(self) -> float | None:
        """After how long without a message a connection is closed (3012); None: as long as it answers pings."""

    @property
    def message_bytes(self) -> int | None:
        """The longest message of who is in, in bytes; None for `limits.message_bytes`, as of all others."""

    def identify(self, request: Request) -> Identity | Refusal | None:
        """Who a handshake without a token lets in; None where it bears no credential of this door's.

        Asked only of a dialect that does not need a token. A refusal is answered before the upgrade: 429 for
        `rate_limited`, 401 for all else.
        """

    def recognize(self, credential: str, peer: str) -> Identity | Refusal:
        """Who is let in by what a first message says of its sender. A refusal closes the connection (3500)."""

    def check(self, identity: Identity, credential: str) -> Refusal | None:
        """What is against a later message of somebody who is in, by what it says of its sender."""

    def admit(self, identity: Identity) -> Refusal | None:
        """What is against letting somebody in, now: asked at the handshake (403), and in the step that lets in."""

    def replaces(self, identity: Identity, device: str) -> int:
        """How many connections of theirs `entered` would close for a new one that calls its device so.

        They do not count towards `limits.connections_per_user`.
        """

    def channels(self, identity: Identity) -> Sequence[str]:
        """All that the connection hears, in place of what users hear by being connected."""

    def entered(self, guest: Guest) -> msgspec.Struct:
        """Somebody is in. Returns what greets them, declared as an answer.

        It is sent in the same step. What is told here would come before it: let a task tell it.
        """

    def left(self, guest: Guest) -> None:
        """They hear nothing any more. Called once for each who entered; what they asked may be under way."""
