"""The dialects of the line board's clients (document S3): of the devices that report, and of the dashboards.

Both ways `{"type": T, "data": ...}`. Beside them a device's messages may bear its `activation_code`, and any a
`timestamp`, which nobody asks for; the server's times are Unix seconds. A client may send several messages as an
array, in one. There are no ids of commands, no positions, and of errors only the text. Dashboards acknowledge
incoming lines with `ack`, which is ours: it is answered by nothing.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Union

import msgspec

from tidings.protocol.dialects.accounts_read import mended
from tidings.protocol.dialects.batches import BatchReader
from tidings.protocol.dialects.readers import command_reader
from tidings.protocol.dialects.reading import Shape, message_union
from tidings.protocol.messages import lines
from tidings.protocol.messages.answers import Error
from tidings.protocol.messages.registry import MessageType
from tidings.protocol.publications import Publication

DEVICE: Final = "line_board_device"
DASHBOARD: Final = "line_board"

_CODE: Final = "activation_code"

#: Said to all alike; the clients show them as they come.
_ALIVE_TEXT: Final = "心跳正常"
_WELCOME_TEXT: Final = "认证成功，请同步Line账号列表"
_CONNECTED_TEXT: Final = "WebSocket连接成功"

_OURS: Final = {
    name: MessageType(name, payload, lines.OWNER, open_fields)
    for name, payload, open_fields in lines.COMMANDS
}
_ACK: Final = "incoming_ack"

#: What devices say, by the types that their messages have.
_OF_DEVICES: Final = {name: command for name, command in _OURS.items() if name != _ACK}
_OF_DASHBOARDS: Final = {"heartbeat": _OURS["heartbeat"], "ack": _OURS[_ACK]}

_SHAPES: Final[Mapping[type[msgspec.Struct], Shape]] = {
    lines.Heartbeat: Shape(
        Annotated[str, msgspec.Meta(max_length=64)] | None,
        lambda code: lines.Heartbeat(code or ""),
        optional=True,
        place=_CODE,
    ),
    # The only one that may be long.
    lines.SyncLineAccounts: Shape(list[lines.LineAccount], lines.SyncLineAccounts, long=True, mend=mended),
}

#: Answers whose payload is the document's already.
_RECEIPTS: Final = (
    "sync_result",
    "incoming_received",
    "customer_sync_received",
    "follow_up_sync_received",
    "account_status_updated",
)

#: Exact in every client's numbers, which in JavaScript are floats.
_EXACT: Final = 2**53


class AuthSuccess(msgspec.Struct, frozen=True):
    """`data` of `auth_success`."""

    group_id: int
    activation_code: str
    message: str = _WELCOME_TEXT


class Connected(msgspec.Struct, frozen=True):
    """`data` of `connected`."""

    user_id: int | str
    """A number where the user's id is one."""
    group_id: int | None
    message: str = _CONNECTED_TEXT


class Alive(msgspec.Struct, frozen=True):
    """`data` of `heartbeat_ack`."""

    status: str = "ok"
    message: str = _ALIVE_TEXT


class HeartbeatAck(msgspec.Struct, frozen=True, tag_field="type", tag="heartbeat_ack"):
    """Answers `heartbeat`."""

    activation_code: str
    timestamp: int
    data: Alive = Alive()


class Failure(msgspec.Struct, frozen=True, tag_field="type", tag="error"):
    """A message was refused, and why."""

    error: str


class Incoming(msgspec.Struct, frozen=True, tag_field="type", tag="incoming"):
    """A line came in. Not the document's, which names this update but shows no message of it."""

    data: lines.IncomingLine
    timestamp: int


class _Message(msgspec.Struct, frozen=True):
    """All else."""

    type: str
    data: msgspec.Struct


_encode: Final = msgspec.json.Encoder().encode
#: Only the fields that the document has: a publisher may have given others.
_read: Final[Mapping[str, Callable[[bytes], Any]]] = {
    name: msgspec.json.Decoder(payload).decode for name, payload in lines.EVENTS
}


class LineBoardDialect:
    """The dialect of devices, or that of dashboards. Their messages are its own: no other app adds to them."""

    subprotocol = None
    binary = False
    confirmations = frozenset[str]()
    acknowledges = False
    has_inbox = False
    by_door = True

    def __init__(self, *, devices: bool) -> None:
        """Say which of the two."""
        self._devices = devices
        self.name = DEVICE if devices else DASHBOARD
        self.needs_token = not devices
        reader = command_reader(
            _OF_DEVICES if devices else _OF_DASHBOARDS,
            speaks=self.name,
            shapes=_SHAPES,
            # A dashboard is known by its token, whatever else it says.
            credential=_CODE if devices else None,
            bounded=True,
        )
        self.decode = BatchReader(reader).read

    def encode_answer(
        self,
        kind: str,
        data: msgspec.Struct,
        time_ms: int,
        command_id: str | None = None,  # noqa: ARG002  its commands have none
    ) -> bytes | None:
        """The answer, or None for one of which the document does not know."""
        match data:
            case Error():
                return _encode(Failure(_told(data)))
            case lines.HeartbeatAck(activation_code=code):
                return _encode(HeartbeatAck(code, time_ms // 1000))
            case lines.AuthSuccess(group_id=group_id, activation_code=code) if self._devices:
                return _encode(_Message(kind, AuthSuccess(group_id, code)))
            case lines.BoardConnected(user_id=user_id, group_id=group_id) if not self._devices:
                return _encode(_Message("connected", Connected(_as_number(user_id), group_id)))
            case _ if self._devices and kind in _RECEIPTS:
                return _encode(_Message(kind, data))
        return None

    def encode_publication(self, publication: Publication) -> bytes | None:
        """The publication, for a dashboard and of the line board's own; None for all others."""
        event = publication.event
        if self._devices or event not in _read:
            return None
        data = _read[event](publication.payload)
        if isinstance(data, lines.IncomingLine):
            return _encode(Incoming(data, publication.time_ms // 1000))
        return _encode(_Message(event, data))

    def encode_unauthorized(self, *, given: bool) -> bytes | None:  # noqa: ARG002
        """The document shows none: the server's own."""
        return None


def _as_number(user_id: str) -> int | str:
    """A user's id as the number that it is written as; one that would be another when written again is a text."""
    if user_id.isascii() and user_id.isdecimal() and len(user_id) <= len(str(_EXACT)):
        number = int(user_id)
        if number < _EXACT and str(number) == user_id:
            return number
    return user_id


def _told(error: Error) -> str:
    # A handler knows the native path alone, which for these goes by one field more.
    message = error.message.replace("`$.data.accounts", "`$.data")
    if error.retry_after is None:
        return message
    # Ten digits: a week's milliseconds, and no `1e+06`.
    return f"{message}; try again in {error.retry_after:.10g} s"


def server_message_union(*, devices: bool) -> Any:
    """One tagged union of everything the server sends to devices, or to dashboards."""
    said: dict[str, type[msgspec.Struct]]
    apart: tuple[type[msgspec.Struct], ...] = (HeartbeatAck, Failure)
    if devices:
        said = {"auth_success": AuthSuccess}
        said |= {name: payload for name, payload in lines.ANSWERS if name in _RECEIPTS}
    else:
        said = {"connected": Connected}
        said |= {name: payload for name, payload in lines.EVENTS if name != "incoming"}
        apart += (Incoming,)
    return Union[message_union(said.items(), "data", ()), *apart]
