"""The dialect of the knowledge platform's front ends (document S2).

Both ways: `{"type": T, "data": {...}, "timestamp": "2026-02-09T21:00:00Z", "user_id": "..."}`, the last two from
the server, and `user_id` on events about a user. Payloads are native: the document's field names are theirs. Rooms
are entered with `room_subscribe` and left with `room_unsubscribe`. There are no ids of commands, no positions and
no acknowledgements.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from tidings.protocol.dialects.readers import command_reader
from tidings.protocol.dialects.reading import OURS, Shape, commands_of_apps, message_union
from tidings.protocol.messages import answers, commands
from tidings.protocol.messages.fields import RoomName
from tidings.protocol.messages.registry import Registry
from tidings.protocol.publications import Publication, iso_seconds

_SUBSCRIBE: Final = "room_subscribe"
_UNSUBSCRIBE: Final = "room_unsubscribe"
_ROOM: Final = "room:"

#: What a client may ask for, beside what apps answer to.
_ASKED: Final = ("ping", "stats")

#: The other document's names of the same.
_NOT_ASKED: Final = ("join_room", "leave_room")

#: Said with the native fields. The others are about positions, or need a command's id.
_AS_NATIVE: Final = ("pong", "stats", "error", "joined", "left")


class Room(msgspec.Struct, frozen=True):
    """`data` of `room_subscribe` and `room_unsubscribe`, from the client."""

    room: RoomName


class RoomStatus(msgspec.Struct, frozen=True):
    """`data` of `room_subscribe` and `room_unsubscribe`, from the server: how the client now stands to a room."""

    room: str
    status: Literal["subscribed", "unsubscribed"]


class Connected(msgspec.Struct, frozen=True):
    """`connected`: the native one without positions."""

    connection_id: str
    user_id: str
    username: str
    ping_interval: float
    pong_timeout: float
    expires_at: int


class _Envelope(msgspec.Struct, frozen=True, omit_defaults=True):
    type: str
    data: Any
    timestamp: str
    user_id: str | None = None


_SHAPES: Final[Mapping[type[msgspec.Struct], Shape]] = {
    # Heartbeats carry what their clients please: nothing of it is asked for.
    commands.Ping: Shape(Any, lambda _: commands.Ping(), optional=True),
    commands.Stats: Shape(Any, lambda _: commands.Stats(), optional=True),
    commands.JoinRoom: Shape(Room, lambda data: commands.JoinRoom(data.room)),
    commands.LeaveRoom: Shape(Room, lambda data: commands.LeaveRoom(data.room)),
}

_encode: Final = msgspec.json.Encoder().encode


class KnowledgeDialect:
    """The dialect, with the commands and answers of a server's apps."""

    name = "knowledge"
    subprotocol = None
    binary = False
    needs_token = True
    # What confirms a publication is never said: see `_AS_NATIVE`.
    confirmations = frozenset({"published"})
    acknowledges = False
    has_inbox = True
    by_door = False

    def __init__(self, registry: Registry) -> None:
        """Take what `registry` holds, which must be complete."""
        understood = commands_of_apps(registry, beside=_ASKED, without=_NOT_ASKED)
        self.decode = command_reader(understood, speaks=self.name, shapes=_SHAPES).read
        self._answers = {
            *_AS_NATIVE,
            *(name for name, one in registry.answers.items() if one.owner != OURS),
        }

    def encode_answer(
        self,
        kind: str,
        data: msgspec.Struct,
        time_ms: int,
        command_id: str | None = None,  # noqa: ARG002  its commands have none
    ) -> bytes | None:
        """The answer, or None for one of which these clients have not heard."""
        match data:
            case answers.Connected():
                data = Connected(*(getattr(data, name) for name in Connected.__struct_fields__))
            case answers.Subscribed(channel=channel) if channel.startswith(_ROOM):
                kind, data = _SUBSCRIBE, RoomStatus(channel.removeprefix(_ROOM), "subscribed")
            case answers.Unsubscribed(channel=channel) if channel.startswith(_ROOM):
                kind, data = _UNSUBSCRIBE, RoomStatus(channel.removeprefix(_ROOM), "unsubscribed")
            case _ if kind not in self._answers:
                return None
        return _encode(_Envelope(kind, data, iso_seconds(time_ms)))

    def encode_publication(self, publication: Publication) -> bytes | None:
        """The publication; none for an event that a client would take for the server's word about a room."""
        if publication.event in (_SUBSCRIBE, _UNSUBSCRIBE):
            return None
        return _encode(
            _Envelope(
                publication.event,
                # The payload is JSON text already: it is copied, not encoded again.
                msgspec.Raw(publication.payload),
                iso_seconds(publication.time_ms),
                publication.user_id,
            )
        )

    def encode_unauthorized(self, *, given: bool) -> bytes | None:  # noqa: ARG002
        """The document shows none: the server's own."""
        return None


def server_message_union(registry: Registry) -> Any:
    """One tagged union of everything the server sends, but for events that nobody registered."""
    said = {"connected": Connected, _SUBSCRIBE: RoomStatus, _UNSUBSCRIBE: RoomStatus}
    said |= {
        name: one.payload
        for name, one in registry.answers.items()
        if name in _AS_NATIVE or one.owner != OURS
    }
    said |= {name: one.payload for name, one in registry.events.items() if name not in said}
    return message_union(said.items(), "data", [("timestamp", str), ("user_id", str | None, None)])
