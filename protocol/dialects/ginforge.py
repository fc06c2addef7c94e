"""The dialect of GinForge's front ends (document S4).

Both ways: `{"type": T, "content": ..., "timestamp": 1697356800}`, the timestamp (Unix seconds) from the server. In
`join_room` and `leave_room` the content may be the room's bare name. There are no ids of commands, no positions
and no acknowledgements; joining and leaving are not answered.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from tidings.protocol.dialects.readers import command_reader
from tidings.protocol.dialects.reading import OURS, Shape, commands_of_apps, message_union
from tidings.protocol.messages import commands
from tidings.protocol.messages.answers import Error
from tidings.protocol.messages.fields import RoomName
from tidings.protocol.messages.registry import Registry
from tidings.protocol.publications import Publication

#: What a client may ask for, beside what apps answer to.
_ASKED: Final = ("ping",)

#: The other document's names of the same.
_NOT_ASKED: Final = ("room_subscribe", "room_unsubscribe")

#: All that the server says of the connection itself.
_AS_NATIVE: Final = ("pong", "error")

#: Native events that the document calls otherwise.
_TYPES: Final = {"system_message": "system"}

#: Native fields that the document calls otherwise, or (None) does not know. Fields that stand in no table are
#: carried along.
_FIELDS: Final[Mapping[str, Mapping[str, str | None]]] = {
    "notification": {"message": "body", "type": None},
    "user_message": {"username": None},
}


class Room(msgspec.Struct, frozen=True):
    """`content` of `join_room` and `leave_room`, where it is not the bare name."""

    room: RoomName


class Notification(msgspec.Struct, frozen=True, omit_defaults=True):
    """`content` of `notification`."""

    title: str
    body: str
    icon: str | None = None
    link: str | None = None
    id: str | None = None
    """Of one that is kept; not the document's, but without it nobody could mark one read."""


class UserMessage(msgspec.Struct, frozen=True, rename={"sender": "from"}):
    """`content` of `user_message`."""

    sender: str
    to: str
    text: str


#: The Structs of what has a table; of all else the native ones hold.
_CONTENTS: Final[Mapping[str, type[msgspec.Struct]]] = {
    "notification": Notification,
    "user_message": UserMessage,
}


class _Envelope(msgspec.Struct, frozen=True):
    type: str
    content: Any
    timestamp: int


def _named(content: str | Room) -> str:
    return content if isinstance(content, str) else content.room


_SHAPES: Final[Mapping[type[msgspec.Struct], Shape]] = {
    # Heartbeats carry what their clients please: nothing of it is asked for.
    commands.Ping: Shape(Any, lambda _: commands.Ping(), optional=True),
    commands.JoinRoom: Shape(RoomName | Room, lambda content: commands.JoinRoom(_named(content))),
    commands.LeaveRoom: Shape(RoomName | Room, lambda content: commands.LeaveRoom(_named(content))),
}

_encode: Final = msgspec.json.Encoder().encode
# Values are copied as the text that they are.
_fields_of: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class GinForgeDialect:
    """The dialect, with the commands and answers of a server's apps."""

    name = "ginforge"
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
        self.decode = command_reader(understood, speaks=self.name, field="content", shapes=_SHAPES).read
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
        """`pong`, whose content is `{}`, `error`, and the answers of apps; None for all else."""
        if kind not in self._answers:
            return None
        if isinstance(data, Error):
            # What is wrong with a field stands at its path, which here begins otherwise.
            data = msgspec.structs.replace(data, message=data.message.replace("`$.data", "`$.content"))
        return _encode(_Envelope(kind, data, time_ms // 1000))

    def encode_publication(self, publication: Publication) -> bytes | None:
        """The publication, by the names that the document has."""
        event = publication.event
        names = _FIELDS.get(event)
        # The payload is JSON text already: unless fields have other names here, it is copied.
        content = (
            msgspec.Raw(publication.payload) if names is None else _renamed(publication.payload, names)
        )
        return _encode(_Envelope(_TYPES.get(event, event), content, publication.time_ms // 1000))

    def encode_unauthorized(self, *, given: bool) -> bytes | None:
        """The document's own."""
        return _encode({"error": "令牌无效" if given else "未提供令牌"})


def _renamed(payload: bytes, names: Mapping[str, str | None]) -> dict[str, msgspec.Raw]:
    given = _fields_of(payload)
    # What is carried along must not stand in the place of a field that is renamed: `body` in that of `message`.
    hidden = {name for native, name in names.items() if native in given}
    said = (
        (names.get(native, native), value)
        for native, value in given.items()
        if native in names or native not in hidden
    )
    return {name: value for name, value in said if name is not None}


def server_message_union(registry: Registry) -> Any:
    """One tagged union of everything the server sends, but for events that nobody registered."""
    said = {
        name: one.payload
        for name, one in registry.answers.items()
        if name in _AS_NATIVE or one.owner != OURS
    }
    said |= {
        _TYPES.get(name, name): _CONTENTS.get(name, one.payload) for name, one in registry.events.items()
    }
    return message_union(said.items(), "content", [("timestamp", int)])
