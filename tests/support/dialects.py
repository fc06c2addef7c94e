"""Every dialect, and of each what a test of all of them must know: the dialects' own tables are not asked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from hypothesis import strategies as st

from support.strategies import JSON_VALUES, messages
from tidings.protocol.catalogues import CATALOGUES
from tidings.protocol.channels import is_name
from tidings.protocol.dialects import ginforge, knowledge, line_board, native
from tidings.protocol.dialects.base import Dialect
from tidings.protocol.dialects.single_login import ServerMessage, SingleLoginDialect
from tidings.protocol.messages import answers, commands, lines
from tidings.protocol.messages.builtin import builtin_registry
from tidings.protocol.messages.fields import explain
from tidings.protocol.messages.registry import MessageType, Registry
from tidings.protocol.publications import Publication, iso_milliseconds, iso_seconds

REGISTRY = builtin_registry()
# What dialects build from the registry includes the messages of apps, so one stands in here: a command with
# no required field that hands on all that it is given, its answer, and an event.
REGISTRY.command(
    "shout", msgspec.defstruct("Shout", [("loud", bool, True)]), owner="test", open_fields=True
)
REGISTRY.answer("heard", msgspec.defstruct("Heard", [("by", int)]), owner="test")
REGISTRY.event("shouted", msgspec.defstruct("Shouted", [("volume", float)]), owner="test")

# What the line board's clients say and hear, and no others.
BOARD = Registry()
lines.register(BOARD)

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
    registry: Registry = REGISTRY
    """Where its commands are, and most of what it says."""
    harmless: str = "ping"
    """A command that needs nothing."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Native names of its commands, where it has others."""
    batches: bool = False
    """Whether an array is taken for several messages."""
    credential: str = ""
    """The field in which any message may say who has sent it."""

    def command(self, name: str) -> MessageType:
        """The command that it has under a name."""
        return self.registry.commands[self.names.get(name, name)]

    def place_of(self, name: str) -> str:
        """Where a command's payload stands."""
        del name
        return self.place

    def payloads(self, name: str) -> st.SearchStrategy[Any]:
        """What a client may send as the payload of a command."""
        struct = self.command(name).payload
        if name in self.unasked:
            return JSON_VALUES
        if name in self.rooms:
            rooms = messages(commands.LeaveRoom).map(lambda data: data.room)
            objects = st.fixed_dictionaries({"room": rooms})
            return objects | rooms if self.bare_rooms else objects
        return messages(struct).map(msgspec.to_builtins)

    def expected(self, name: str, sent: dict[str, Any]) -> msgspec.Struct | None:
        """The payload that a message means, judged by other means than the dialect's; None: a wrong one."""
        struct = self.command(name).payload
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


_CODES = st.text(max_size=64)
_CLIENT_IDS = st.from_regex(rf"[^\x00-\x1f\x7f-\x9f]{{1,{lines.ID_CHARS}}}", fullmatch=True) | st.integers(
    0, 2**63 - 1
)
_STATUS = st.sampled_from(["online", "offline", "away-2"])
_TEXTS = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=30)
_ACCOUNT = {"online_status": _STATUS, "display_name": _TEXTS, "platform": _TEXTS}

# What devices and dashboards put in `data`, where their program says no more than it must, or all that it may.
_REPORTS: Mapping[str, st.SearchStrategy[Any]] = {
    "sync_line_accounts": st.lists(
        st.fixed_dictionaries({"line_account_id": _CLIENT_IDS}, optional=_ACCOUNT)
        | st.fixed_dictionaries({"line_id": _CLIENT_IDS}, optional=_ACCOUNT),
        max_size=3,
    ),
    "incoming": st.fixed_dictionaries(
        {"line_account_id": _CLIENT_IDS, "incoming_line_id": _CLIENT_IDS},
        optional={"id": _CLIENT_IDS, "timestamp": st.integers(-(2**63), 2**63 - 1), "name": JSON_VALUES},
    ),
    "customer_sync": st.fixed_dictionaries(
        {"customer_id": _CLIENT_IDS}, optional={"line_account_id": _CLIENT_IDS, "name": JSON_VALUES}
    ),
    "follow_up_sync": st.fixed_dictionaries(
        {"customer_id": _CLIENT_IDS}, optional={"id": _CLIENT_IDS, "content": _TEXTS, "by": JSON_VALUES}
    ),
    "account_status_change": st.fixed_dictionaries(
        {"line_account_id": _CLIENT_IDS, "online_status": _STATUS}
    ),
    "ack": st.fixed_dictionaries({"id": st.integers(0, 2**63 - 1)}),
}


@dataclass(frozen=True)
class LineBoard(Spoken):
    """One of the line board's two. A heartbeat has no payload but the code beside it, and a sync's is a list."""

    def place_of(self, name: str) -> str:
        """Where a command's payload stands."""
        return "activation_code" if name == "heartbeat" else self.place

    def payloads(self, name: str) -> st.SearchStrategy[Any]:
        """What a client may send as the payload of a command."""
        return st.none() | _CODES if name == "heartbeat" else _REPORTS[name]

    def expected(self, name: str, sent: dict[str, Any]) -> msgspec.Struct | None:
        """The payload that a message means; None: a wrong one, also by what it says of its sender."""
        code = sent.get("activation_code")
        said = code is None or (isinstance(code, str) and len(code) <= 64)
        if not said and (name == "heartbeat" or self.credential):
            return None
        if name == "heartbeat":
            return lines.Heartbeat(code or "")
        if name == "sync_line_accounts":
            return _synced(sent.get("data"))
        return super().expected(name, sent)


def _synced(said: Any) -> lines.SyncLineAccounts | None:
    """The accounts that a list means, judged one by one; None where the id of one that is wrong cannot be read."""
    if not isinstance(said, list):
        return None
    accounts, wrong = [], []
    for account in said:
        if not isinstance(account, dict):
            return None
        try:
            present = {name: value for name, value in account.items() if value is not None}
            accounts.append(msgspec.convert(present, lines.LineAccount))
        except msgspec.ValidationError as error:
            name = account.get("line_account_id")
            name = account.get("line_id") if name is None else name
            try:
                wrong.append(
                    lines.RefusedAccount(str(msgspec.convert(name, lines.ClientId)), explain(error))
                )
            except msgspec.ValidationError:
                return None
    return lines.SyncLineAccounts(accounts, wrong)


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


def _board(*, devices: bool, **differing: Any) -> LineBoard:
    return LineBoard(
        line_board.LineBoardDialect(devices=devices),
        line_board.server_message_union(devices=devices),
        # Lines come in with a time of their own: the document shows no message of it.
        rest=lambda said: {"timestamp": said.time_ms // 1000} if said.event == "incoming" else {},
        others=False,
        registry=BOARD,
        harmless="heartbeat",
        batches=True,
        **differing,
    )


DEVICE = _board(
    devices=True,
    commands={*BOARD.commands} - {"incoming_ack"},
    answers={*BOARD.answers} - {"board_connected", "incoming_acked"} | {"error"},
    events=frozenset(),
    differing=frozenset({"auth_success", "heartbeat_ack", "error"}),
    credential="activation_code",
)
DASHBOARD = _board(
    devices=False,
    commands={"heartbeat", "ack"},
    answers={"board_connected", "heartbeat_ack", "error"},
    events=frozenset(BOARD.events),
    types={"board_connected": "connected"},
    differing=frozenset({"board_connected", "heartbeat_ack", "error"}),
    names={"ack": "incoming_ack"},
)

SPOKEN: Mapping[str, Spoken] = {
    spoken.dialect.name: spoken
    for spoken in (JSON, MSGPACK, KNOWLEDGE, GINFORGE, SINGLE_LOGIN, DEVICE, DASHBOARD)
}


def about_a_room(data: Any) -> Any:
    """An answer that a dialect without channels has words for: one about a subscription names a room."""
    if isinstance(data, answers.Subscribed | answers.Unsubscribed):
        return msgspec.structs.replace(data, channel="room:" + data.channel)
    return data
