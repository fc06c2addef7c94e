"""One command, as the app's handler sees it."""

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

import msgspec

from tidings.protocol.errors import Refusal
from tidings.protocol.messages.answers import Published
from tidings.protocol.positions import Position
from tidings.server.identity import Identity
from tidings.server.push import Push

T_co = TypeVar("T_co", bound=msgspec.Struct, covariant=True)


class Call(Protocol[T_co]):
    """A command that one connection sent. A Protocol, so that an app's own tests can pass a double."""

    @property
    def data(self) -> T_co:
        """The payload, checked against the command's Struct."""

    @property
    def extra(self) -> Mapping[str, object]:
        """Fields that the Struct does not name; empty unless the command was declared with `open_fields`."""

    @property
    def identity(self) -> Identity:
        """Who sent it, as of now: a refreshed token replaces it."""

    @property
    def connection_id(self) -> str:
        """Which connection sent it; unique, also over restarts."""

    @property
    def push(self) -> Push:
        """The server, to publish and to see who is there."""

    def is_subscribed(self, channel: str) -> bool:
        """Whether the calling connection is subscribed to a channel."""

    async def subscribe(
        self,
        channel: str,
        *,
        permitted: bool = False,
        since: Position | None = None,
        presence: bool = False,
    ) -> Refusal | None:
        """Subscribe the calling connection, and tell it `subscribed` with its position.

        The answer leaves in the step that subscribes: every publication after the position told follows it,
        and none overtakes it, whatever the handler awaits afterwards. It is the command's answer: a
        handler that subscribes returns None. A second one in the same command is told without an id.

        With `since`, the position that the caller heard last, what it missed follows the answer where all of it is
        still kept (`recovered`), else nothing of it. With `presence` the answer tells who is there.

        Without `permitted` the server's rules and the token decide; with it the app vouches. The limit of
        channels a connection may have stands either way. The app vouches for who the caller is now: a `refresh`
        leaves the channels that the new token alone does not allow, the client is told `unsubscribed`, and may
        ask the app again. A refusal is returned, not sent: a handler
        usually returns it. Idempotent. Cancelled, it has not subscribed.
        """

    def unsubscribe(self, channel: str) -> Refusal | None:
        """Unsubscribe the calling connection, and tell it `unsubscribed`; nothing of the channel follows.

        The command's answer, as with `subscribe`. A refusal (it was not subscribed) is returned, not sent.
        """

    async def publish(
        self, channel: str, event: str, payload: msgspec.Struct | Mapping[str, Any]
    ) -> Published | Refusal:
        """Publish, and return what answers the command, or why nothing was published.

        May this caller publish there? That is the handler's to decide: nothing else asks. Cancelled
        before it returns, it may or may not have been done.
        """
