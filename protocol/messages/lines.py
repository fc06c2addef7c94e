"""The messages of the line board: what devices report of messaging accounts, and what dashboards hear of it.

The names and fields are those of document S3. A customer who writes to an account is an incoming line.
"""

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from tidings.protocol.messages.fields import spelled_out
from tidings.protocol.messages.registry import Registry

OWNER: Final = "lines"

ID_CHARS: Final = 128

# In another way than that of idempotency keys, since it is explained by other words.
_ID: Final = rf"[^\x00-\x1f\x7f-\x9f](?:[^\x00-\x1f\x7f-\x9f]{{0,{ID_CHARS - 1}}})"
#: What clients call accounts, customers and messages: a text, or the number that some of them have.
ClientId = (
    Annotated[
        str, Meta(pattern=spelled_out(_ID, f"an id: 1 to {ID_CHARS} characters, no control characters"))
    ]
    | Annotated[int, Meta(ge=0, le=2**63 - 1)]
)

_STATUS: Final = "[a-z][a-z0-9_-]{0,31}"
#: Only `online` counts as being there; the others are the client's, such as `offline`.
OnlineStatus = Annotated[
    str, Meta(pattern=spelled_out(_STATUS, "a status such as online or offline: 1 to 32 of a-z 0-9 _ -"))
]

# PostgreSQL keeps no NUL.
_TEXT: Final = spelled_out(r"[^\x00]*", "a text without NUL characters")
ShortText = Annotated[str, Meta(pattern=_TEXT, max_length=256)]
LongText = Annotated[str, Meta(pattern=_TEXT, max_length=20_000)]

#: The client's clock, in Unix seconds or milliseconds: kept as it was said, and believed in nothing.
ClientTime = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | float

ONLINE: Final = "online"
OFFLINE: Final = "offline"


# --- what is said to the server ----------------------------------------------------------------------------------


class Heartbeat(msgspec.Struct, frozen=True):
    """`heartbeat`: of devices and dashboards."""

    activation_code: str = ""
    """What the message said; it is said again in the answer."""


class LineAccount(msgspec.Struct, frozen=True):
    """One account that a device holds."""

    line_account_id: ClientId | None = None
    line_id: ClientId | None = None
    """The same by its other name in the document; one of the two is needed."""
    online_status: OnlineStatus = ONLINE
    display_name: ShortText = ""
    platform: ShortText = ""

    def __post_init__(self) -> None:
        if self.line_account_id is None and self.line_id is None:
            raise ValueError("Object missing required field `line_account_id`")

    @property
    def name(self) -> str:
        """Its id."""
        return str(self.line_id if self.line_account_id is None else self.line_account_id)


class RefusedAccount(msgspec.Struct, frozen=True):
    """An account that was passed over, and why."""

    line_account_id: str
    error: str


class SyncLineAccounts(msgspec.Struct, frozen=True):
    """`sync_line_accounts`: all that the device holds now."""

    accounts: list[LineAccount]
    wrong: list[RefusedAccount] = []
    """Those that are not as an account must be: passed over, and held as before."""


class Incoming(msgspec.Struct, frozen=True):
    """`incoming`: a customer has written to an account. Further fields are kept with it."""

    line_account_id: ClientId
    incoming_line_id: ClientId
    """The customer's own line: the second time on the same account it is a duplicate."""
    id: ClientId | None = None
    """The client's, of this message: said again, it is answered again and counted once."""
    timestamp: ClientTime | None = None


class CustomerSync(msgspec.Struct, frozen=True):
    """`customer_sync`: a customer, new or changed. Further fields are kept, each until it is said otherwise."""

    customer_id: ClientId
    line_account_id: ClientId | None = None


class FollowUpSync(msgspec.Struct, frozen=True):
    """`follow_up_sync`: what was done about a customer. Further fields are kept with it."""

    customer_id: ClientId
    id: ClientId | None = None
    """The client's, of this record: said again, the record is changed and not made anew."""
    content: LongText = ""


class AccountStatus(msgspec.Struct, frozen=True):
    """`account_status_change`, from a device."""

    line_account_id: ClientId
    online_status: OnlineStatus


class IncomingAck(msgspec.Struct, frozen=True):
    """`incoming_ack`: a dashboard has received all incoming lines up to this one."""

    id: Annotated[int, Meta(ge=0, le=2**63 - 1)]


# --- what the server answers -------------------------------------------------------------------------------------


class AuthSuccess(msgspec.Struct, frozen=True):
    """`auth_success`: greets a device."""

    group_id: int
    activation_code: str


class BoardConnected(msgspec.Struct, frozen=True):
    """`board_connected`: greets a dashboard."""

    user_id: str
    group_id: int | None
    """None for one that watches all groups."""


class HeartbeatAck(msgspec.Struct, frozen=True):
    """`heartbeat_ack`."""

    activation_code: str


class SyncedAccount(msgspec.Struct, frozen=True):
    """An account, as it is kept."""

    id: int
    line_account_id: str
    online_status: str


class SyncResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """`sync_result`."""

    success: bool
    """Whether all of them were taken."""
    created_count: int
    updated_count: int
    """Those that were known, changed or not."""
    accounts: list[SyncedAccount]
    refused: list[RefusedAccount] = []


class IncomingReceived(msgspec.Struct, frozen=True, omit_defaults=True):
    """`incoming_received`: it is on disk."""

    line_account_id: str
    incoming_line_id: str
    status: str
    """`processed`."""
    duplicate: bool = False


class CustomerSyncReceived(msgspec.Struct, frozen=True):
    """`customer_sync_received`: it is on disk."""

    customer_id: str
    customer_db_id: int
    status: str
    """`processed`."""


class FollowUpSyncReceived(msgspec.Struct, frozen=True):
    """`follow_up_sync_received`: it is on disk."""

    customer_id: str
    follow_up_id: int
    status: str
    """`processed`."""


class AccountStatusUpdated(msgspec.Struct, frozen=True):
    """`account_status_updated`: it is on disk."""

    line_account_id: str
    online_status: str
    status: str
    """`updated`."""


class IncomingAcked(msgspec.Struct, frozen=True):
    """`incoming_acked`: up to where the server now takes the incoming lines as received."""

    id: int


# --- what dashboards hear ----------------------------------------------------------------------------------------


class IncomingLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """`incoming`: an incoming line of the group."""

    id: int
    """Rises with every line; `incoming_ack` takes it."""
    line_account_id: str
    incoming_line_id: str
    group_id: int
    duplicate: bool
    timestamp: int
    """Unix seconds, by the server's clock."""
    details: dict[str, Any] = {}
    """The further fields that the device said, such as the customer's name."""


class AccountStatusChange(msgspec.Struct, frozen=True):
    """`account_status_change`, to dashboards."""

    line_account_id: str
    online_status: str
    group_id: int
    timestamp: int


class GroupStats(msgspec.Struct, frozen=True):
    """`group_stats_update`: all figures of a group as they are now."""

    activation_code: str
    """Empty where the group has none now."""
    total_accounts: int
    online_accounts: int
    total_incoming: int
    """Of all time, duplicates among them."""
    today_incoming: int
    """Of today in the group's time zone, duplicates among them."""
    duplicate_incoming: int
    today_duplicate: int
    timestamp: int


class AccountStats(msgspec.Struct, frozen=True):
    """`account_stats_update`: all figures of an account as they are now."""

    line_id: str
    total_incoming: int
    today_incoming: int
    duplicate_incoming: int
    today_duplicate: int
    timestamp: int


COMMANDS: Final = (
    ("heartbeat", Heartbeat, False),
    ("sync_line_accounts", SyncLineAccounts, False),
    ("incoming", Incoming, True),
    ("customer_sync", CustomerSync, True),
    ("follow_up_sync", FollowUpSync, True),
    ("account_status_change", AccountStatus, False),
    ("incoming_ack", IncomingAck, False),
)
"""Names, payloads, and whether further fields are handed on."""

ANSWERS: Final = (
    ("auth_success", AuthSuccess),
    ("board_connected", BoardConnected),
    ("heartbeat_ack", HeartbeatAck),
    ("sync_result", SyncResult),
    ("incoming_received", IncomingReceived),
    ("customer_sync_received", CustomerSyncReceived),
    ("follow_up_sync_received", FollowUpSyncReceived),
    ("account_status_updated", AccountStatusUpdated),
    ("incoming_acked", IncomingAcked),
)

EVENTS: Final = (
    ("incoming", IncomingLine),
    ("account_status_change", AccountStatusChange),
    ("group_stats_update", GroupStats),
    ("account_stats_update", AccountStats),
)


def register(registry: Registry) -> None:
    """Name them, as the app does on a server."""
    for name, payload, open_fields in COMMANDS:
        registry.command(name, payload, owner=OWNER, open_fields=open_fields)
    for name, answer in ANSWERS:
        registry.answer(name, answer, owner=OWNER)
    for name, event in EVENTS:
        registry.event(name, event, owner=OWNER)
