"""Every dialect, and of each what a test of all of them must know: the dialects' own tables are not asked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from hypothesis import strategies as st

from support.strategies import JSON_VALUES, messages
from tidings.protocol.catalogues import CATALOGUES
from tidings.protocol.channels import is_name
from tidings.protocol.dialects import ginforge, knowledge, native
from tidings.protocol.dialects.base import Dialect
from tidings.protocol.dialects.single_login import ServerMessage, SingleLoginDialect
from tidings.protocol.messages import answers, commands
from tidings.protocol.messages.builtin import builtin_registry
from tidings.protocol.publications import Publication, iso_milliseconds, iso_seconds

REGISTRY = builtin_registry()
# What dialects build from the registry includes the messages of apps, so one stands in here: a command with
# no required field that hands on all that it is given, its answer, and an event.
REGISTRY.command(
    "shout", msgspec.defstruct("Shout", [("loud", bool, True)]), owner="test", open_fields=True
)
REGISTRY.answer("heard", msgspec.defstruct("Heard", [("by", int)]), owner="test")
REGISTRY.event("shouted", msgspec.defstruct("Shouted", [("volume", float)]), owner="test")

OF_APPS = {name for name, command in REGISTRY.commands.items() if command.owner != "tidings"}


@dataclass(frozen=True)
class Spoken:
    """One dialect, its messages and what it leaves unsaid."""

    dialect: Dialect
    union: Any
    """What its clients decode."""
    commands: set[str]
    """What it understands."""
    answers: set[str]
    """What it answers with."""
    rest: Callable[[Publication], dict[str, Any]]
    """What stands beside type and payload in a publication."""
    place: str = "data"
    """Where the payload stands."""
    codec: Any = msgspec.json
    ids: bool = False
    """Whether its commands have ids."""
    events: frozenset[str] = frozenset(REGISTRY.events)
    """The registered ones that it has words for."""
    others: bool = True
    """Whether what nobody registered is carried."""
    types: Mapping[str, str] = field(default_factory=dict)
    """Its own names of answers and events, where they are not the native ones."""
    differing: frozenset[str] = frozenset()
    """Answers and events whose payload is not the native one."""
    unasked: frozenset[str] = frozenset()
    """Commands of whose payload it looks at nothing."""
    rooms: frozenset[str] = frozenset()
    """Commands that take a room, and nothing else."""
    bare_rooms: bool = False
    """Whether they take its bare name, too."""

    def payloads(self, name: str) -> st.SearchStrategy[Any]:
        """What a client may send as the payload of a command."""
        struct = REGISTRY.commands[name].payload
        if name in self.unasked:
            return JSON_VALUES
        if name in self.rooms:
            rooms = messages(commands.LeaveRoom).map(lambda data: data.room)
            objects = st.fixed_dictionaries({"room": rooms})
            return objects | rooms if self.bare_rooms else objects
        return messages(struct).map(msgspec.to_builtins)

    def expected(self, name: str, sent: dict[str, Any]) -> msgspec.Struct | None:
        """The payload that a message means, judged by other means than the dialect's; None: a wrong one."""
        struct = REGISTRY.commands[name].payload
        if name in self.unasked:
            return struct()
        if name in self.rooms:
            given = sent.get(self.place)
            room = given.get("room") if isinstance(given, dict) else given
            bare = isinstance(given, str)
            if not isinstance(room, str) or not is_name(room) or (bare and not self.bare_rooms):
                return None
            return struct(room)
        try:
            return msgspec.convert(sent.get(self.place, {}), struct)
        except msgspec.ValidationError:
            return None

    def encode(self, message: Any) -> str | bytes:
        """A message as it comes out of a frame."""
        encoded: bytes = self.codec.encode(message)
        return encoded if self.dialect.binary else encoded.decode()


def _native_rest(publication: Publication) -> dict[str, Any]:
    rest = {"timestamp": iso_milliseconds(publication.time_ms), "channel": publication.channel}
    return rest | {"offset": publication.offset} | _user(publication)


def _user(publication: Publication) -> dict[str, Any]:
    return {} if publication.user_id is None else {"user_id": publication.user_id}


def _native(codec: Any) -> Spoken:
    return Spoken(
        native.NativeDialect(REGISTRY, binary=codec is msgspec.msgpack),
        native.server_message_union(REGISTRY),
        {*REGISTRY.commands},
        {*REGISTRY.answers},
        _native_rest,
        codec=codec,
        ids=True,
    )


JSON = _native(msgspec.json)
MSGPACK = _native(msgspec.msgpack)
KNOWLEDGE = Spoken(
    knowledge.KnowledgeDialect(REGISTRY),
    knowledge.server_message_union(REGISTRY),
    OF_APPS - {"join_room", "leave_room"} | {"ping", "stats"},
    {"connected", "pong", "subscribed", "unsubscribed", "stats", "error", "joined", "left", "heard"},
    lambda publication: {"timestamp": iso_seconds(publication.time_ms)} | _user(publication),
    types={"subscribed": "room_subscribe", "unsubscribed": "room_unsubscribe"},
    differing=frozenset({"connected", "subscribed", "unsubscribed"}),
    unasked=frozenset({"ping", "stats"}),
    rooms=frozenset({"room_subscribe", "room_unsubscribe"}),
)
GINFORGE = Spoken(
    ginforge.GinForgeDialect(REGISTRY),
    ginforge.server_message_union(REGISTRY),
    OF_APPS - {"room_subscribe", "room_unsubscribe"} | {"ping"},
    {"pong", "error", "heard"},
    lambda publication: {"timestamp": publication.time_ms // 1000},
    place="content",
    types={"system_message": "system"},
    differing=frozenset({"notification", "user_message"}),
    unasked=frozenset({"ping"}),
    rooms=frozenset({"join_room", "leave_room"}),
    bare_rooms=True,
)
SINGLE_LOGIN = Spoken(
    SingleLoginDialect(CATALOGUES["en"]),
    ServerMessage,
    {"ping"},
    {"connected", "pong"},
    lambda _: {},
    events=frozenset({"force_logout"}),
    others=False,
    differing=frozenset({"connected", "pong", "force_logout"}),
    unasked=frozenset({"ping"}),
)

SPOKEN: Mapping[str, Spoken] = {
    spoken.dialect.name: spoken for spoken in (JSON, MSGPACK, KNOWLEDGE, GINFORGE, SINGLE_LOGIN)
}


def about_a_room(data: Any) -> Any:
    """An answer that a dialect without channels has words for: one about a subscription names a room."""
    if isinstance(data, answers.Subscribed | answers.Unsubscribed):
        return msgspec.structs.replace(data, channel="room:" + data.channel)
    return data
