"""How a light client speaks to a server: ours, and peers that send to everybody whatever one client says.

What reaches the clients is the same in both: a peer is given, ready made, the very text that ours would
make of the command.
"""

from collections.abc import Iterable
from typing import Any, Protocol

import msgspec

from tidings.bench.wire import TEXT, client_frame
from tidings.server.auth import Authenticator
from tidings.server.config import Auth

ROOM = "bench"


def channel_of(room: str) -> str:
    """The channel of a room."""
    return f"room:{room}"


CHANNEL = channel_of(ROOM)

# A server closes whose token ends: no run may last longer.
TOKEN_SECONDS = 7 * 86_400

_encode = msgspec.json.Encoder().encode


class Data(msgspec.Struct):
    """The fields that a light client looks at, of all messages together."""

    sent: float = 0.0
    """`time.monotonic()` at which the publication was due to be sent."""
    offset: int = 0
    code: int | str = 0
    reconnect: bool = False
    delay: float = 0.0


class Message(msgspec.Struct):
    """A message of the server's."""

    type: str
    data: Data
    channel: str | None = None
    offset: int | None = None


class Profile(Protocol):
    """One way to speak."""

    joined_by: str
    """The message by which a client is where it wants to be; empty when it is by the 101 alone."""

    def prepare(self, users: Iterable[str]) -> None:
        """Make now what their handshakes need, before a clock runs."""

    def path(self, user: str, room: str = ROOM) -> str:
        """The request target of the handshake of a user who wants to be in a room."""

    def greeting(self, room: str = ROOM) -> bytes:
        """What to send after the handshake."""

    def publish(
        self, sent: float, text: str, number: int, *, room: str = ROOM, acknowledged: bool = False
    ) -> bytes:
        """The frame that makes the server send a publication to a room; its `number` there counts from 1.

        `acknowledged` asks a server that can to say that it has accepted it.
        """


class Tidings:
    """The native protocol. Tokens are made here: a server should not spend its time on the load's."""

    joined_by = "subscribed"

    def __init__(self, secret: str) -> None:
        self._authenticator = Authenticator(Auth(secret=secret))
        self._paths: dict[str, str] = {}

    def prepare(self, users: Iterable[str]) -> None:
        """Make their tokens."""
        self._paths = {user: self.path(user) for user in users}

    def path(self, user: str, room: str = ROOM) -> str:  # noqa: ARG002  the greeting names it
        """The native endpoint, with a token."""
        return (
            self._paths.pop(user, "") or f"/ws?token={self._authenticator.issue(user, ttl=TOKEN_SECONDS)}"
        )

    def greeting(self, room: str = ROOM) -> bytes:
        """Join the room."""
        return client_frame(TEXT, _encode({"type": "join_room", "data": {"room": room}}))

    def publish(
        self, sent: float, text: str, number: int, *, room: str = ROOM, acknowledged: bool = False
    ) -> bytes:
        """Speak in the room; with an id, where an answer is wanted."""
        data = {"room": room, "text": text, "sent": sent}
        command: dict[str, Any] = {"type": "room_message", "data": data}
        if acknowledged:
            command["id"] = str(number)
        return client_frame(TEXT, _encode(command))


class Away(Tidings):
    """In a room of its own, and back with the same token as often as it likes."""

    def __init__(self, secret: str) -> None:
        super().__init__(secret)
        self._kept: dict[str, str] = {}

    def prepare(self, users: Iterable[str]) -> None:
        """Make the tokens of those who have none yet."""
        for user in users:
            self.path(user)

    def path(self, user: str, room: str = ROOM) -> str:
        """The native endpoint, with the user's one token."""
        known = self._kept.get(user)
        if known is None:
            known = self._kept[user] = super().path(user, room)
        return known

    def greeting(self, room: str = ROOM) -> bytes:
        """Join another room."""
        return super().greeting(f"not-{room}")


class Arrival(Tidings):
    """Whoever only connects: to ours, or to a peer that takes the same token and says `connected` too."""

    joined_by = "connected"

    def greeting(self, room: str = ROOM) -> bytes:  # noqa: ARG002
        """Nothing: it has come to stay."""
        return b""


class Broadcast:
    """A peer that sends what one says to all in the room, the speaker included."""

    joined_by = ""

    def prepare(self, users: Iterable[str]) -> None:
        """Nothing is needed."""

    def path(self, user: str, room: str = ROOM) -> str:  # noqa: ARG002  a peer asks nobody's name
        """The path is the room."""
        return f"/{room}"

    def greeting(self, room: str = ROOM) -> bytes:  # noqa: ARG002
        """Nothing: the path has said it."""
        return b""

    def publish(
        self,
        sent: float,
        text: str,
        number: int,
        *,
        room: str = ROOM,
        acknowledged: bool = False,  # noqa: ARG002
    ) -> bytes:
        """The envelope as ours would send it, byte for byte but for the ids and the time."""
        data: dict[str, Any] = {
            "sent": sent,
            "id": "0123456789abcdef",
            "room": room,
            "user_id": "client-0",
            "username": "client-0",
            "text": text,
        }
        envelope = {
            "type": "room_message",
            "data": data,
            "timestamp": "2026-01-01T00:00:00.000Z",
            "channel": channel_of(room),
            "offset": number,
        }
        return client_frame(TEXT, _encode(envelope))


def profile_named(name: str, secret: str) -> Profile:
    """The profile of a name; `secret` signs the tokens of ours."""
    match name:
        case "tidings":
            return Tidings(secret)
        case "arrival":
            return Arrival(secret)
        case "away":
            return Away(secret)
        case _:
            return Broadcast()
