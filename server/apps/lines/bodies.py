"""What the routes of the line board take and answer. Ids are numbers, as in the board's messages."""

from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from tidings.protocol.messages.fields import spelled_out
from tidings.protocol.messages.lines import AccountStats, GroupStats
from tidings.protocol.publications import iso_milliseconds
from tidings.server.apps.lines.accounts import Account
from tidings.server.apps.lines.customers import Customer, FollowUp
from tidings.server.apps.lines.groups import Code, Group
from tidings.server.apps.lines.incoming import Line

NAME_CHARS: Final = 128
# The longest of IANA's has 32.
_ZONE_CHARS: Final = 64

#: Ids up to here JavaScript can tell apart, and a server that makes a million a second needs 280 years for them.
MOST_ID: Final = 2**53 - 1

# Not blank: something that is no white space, behind white space at most.
_NAME: Final = spelled_out(
    r"[^\S\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*",
    "a name: not only white space, no control characters",
)
_ZONE: Final = spelled_out(
    rf"[A-Za-z0-9_+/-]{{1,{_ZONE_CHARS}}}", "the IANA name of a time zone, such as Asia/Shanghai"
)

_Name = Annotated[
    str,
    Meta(
        pattern=_NAME, max_length=NAME_CHARS, description="What people are shown.", examples=["East desk"]
    ),
]
_Zone = Annotated[
    str,
    Meta(
        pattern=_ZONE,
        description="Where the group's day begins: IANA's name of the time zone.",
        examples=["Asia/Shanghai"],
    ),
]
_Id = Annotated[int, Meta(ge=1, examples=[1])]
_Count = Annotated[int, Meta(ge=0)]
_Moment = Annotated[str, Meta(description="ISO 8601 in UTC.", examples=["2026-11-21T20:10:00.123Z"])]
_After = Annotated[
    int | None, Meta(description="Give it as `after` for the next page; null on the last one.")
]
_Before = Annotated[
    int | None, Meta(description="Give it as `before` for the next page; null on the last one.")
]
_Details = Annotated[
    dict[str, Any], Meta(description="The further fields that the device sent, as they were.")
]
_Status = Annotated[
    str,
    Meta(description="As the device said; `offline` where none holds it.", examples=["online", "offline"]),
]


class NewGroup(Struct, frozen=True, forbid_unknown_fields=True):
    """A group, with a first activation code that the server draws."""

    name: _Name
    time_zone: _Zone = "UTC"


class ChangeGroup(Struct, frozen=True, forbid_unknown_fields=True):
    """What may be changed of a group; what is left out stays."""

    name: _Name | UnsetType = UNSET
    time_zone: _Zone | UnsetType = UNSET


class GroupFigures(Struct, frozen=True):
    """A group's figures, as `group_stats_update` says them."""

    total_accounts: _Count
    online_accounts: _Count
    total_incoming: Annotated[int, Meta(ge=0, description="Of all time, duplicates among them.")]
    today_incoming: Annotated[int, Meta(ge=0, description="Of today in the group's time zone.")]
    duplicate_incoming: _Count
    today_duplicate: _Count


class GroupEntry(Struct, frozen=True):
    """A group."""

    id: _Id
    name: str
    time_zone: _Zone
    activation_code: Annotated[
        str | None,
        Meta(description="By which devices come in; null where none is active.", examples=["HG66QP88"]),
    ]
    activation_code_id: int | None
    created_at: _Moment
    figures: GroupFigures


class GroupList(Struct, frozen=True):
    """The groups that the caller may see, oldest first."""

    groups: list[GroupEntry]


class CodeEntry(Struct, frozen=True):
    """An activation code."""

    id: _Id
    activation_code: Annotated[str, Meta(examples=["HG66QP88"])]
    created_at: _Moment
    disabled_at: Annotated[
        _Moment | None, Meta(description="Since when no device comes in by it; null while it is active.")
    ]


class CodeList(Struct, frozen=True):
    """All codes that a group has had, newest first: one of them is active, or none."""

    codes: list[CodeEntry]


class AccountEntry(Struct, frozen=True):
    """An account of a group, with its figures as `account_stats_update` says them."""

    id: _Id
    line_account_id: str
    display_name: str
    platform: str
    online_status: _Status
    total_incoming: _Count
    today_incoming: _Count
    duplicate_incoming: _Count
    today_duplicate: _Count


class AccountPage(Struct, frozen=True):
    """Some of a group's accounts, oldest first."""

    accounts: list[AccountEntry]
    next: _After


class IncomingEntry(Struct, frozen=True):
    """An incoming line: a customer has written to an account."""

    id: _Id
    line_account_id: str
    incoming_line_id: str
    duplicate: Annotated[bool, Meta(description="Whether the customer had written to the account before.")]
    received_at: _Moment
    details: _Details


class IncomingPage(Struct, frozen=True):
    """Some of a group's incoming lines, newest first."""

    incoming: list[IncomingEntry]
    next: _Before


class CustomerEntry(Struct, frozen=True):
    """A customer of a group's."""

    id: _Id
    customer_id: str
    line_account_id: Annotated[
        str | None, Meta(description="The account that was last named with the customer, if any was.")
    ]
    created_at: _Moment
    changed_at: _Moment
    details: _Details


class CustomerPage(Struct, frozen=True):
    """Some of a group's customers, newest first."""

    customers: list[CustomerEntry]
    next: _Before


class FollowUpEntry(Struct, frozen=True):
    """What was done about a customer."""

    id: _Id
    customer_id: str
    client_id: Annotated[str | None, Meta(description="What the device calls it.")]
    content: str
    created_at: _Moment
    changed_at: _Moment
    details: _Details


class FollowUpPage(Struct, frozen=True):
    """Some of a group's follow-ups, newest first."""

    follow_ups: list[FollowUpEntry]
    next: _Before


def group_entry(group: Group, stats: GroupStats) -> GroupEntry:
    """A group as it is shown."""
    figures = GroupFigures(
        stats.total_accounts,
        stats.online_accounts,
        stats.total_incoming,
        stats.today_incoming,
        stats.duplicate_incoming,
        stats.today_duplicate,
    )
    return GroupEntry(
        group.id,
        group.name,
        group.time_zone,
        group.code,
        group.code_id,
        iso_milliseconds(group.created_ms),
        figures,
    )


def code_entry(code: Code) -> CodeEntry:
    """A code as it is listed."""
    disabled_at = None if code.disabled_ms is None else iso_milliseconds(code.disabled_ms)
    return CodeEntry(code.id, code.code, iso_milliseconds(code.created_ms), disabled_at)


def account_entry(account: Account, stats: AccountStats) -> AccountEntry:
    """An account as it is listed."""
    return AccountEntry(
        account.id,
        account.line_account_id,
        account.display_name,
        account.platform,
        account.online_status,
        stats.total_incoming,
        stats.today_incoming,
        stats.duplicate_incoming,
        stats.today_duplicate,
    )


def incoming_entry(line: Line) -> IncomingEntry:
    """A line as it is listed."""
    return IncomingEntry(
        line.id,
        line.line_account_id,
        line.incoming_line_id,
        line.duplicate,
        iso_milliseconds(line.received_ms),
        _fields(line.details),
    )


def customer_entry(customer: Customer) -> CustomerEntry:
    """A customer as it is listed."""
    return CustomerEntry(
        customer.id,
        customer.customer_id,
        customer.line_account_id,
        iso_milliseconds(customer.created_ms),
        iso_milliseconds(customer.changed_ms),
        _fields(customer.details),
    )


def follow_up_entry(follow_up: FollowUp) -> FollowUpEntry:
    """A follow-up as it is listed."""
    return FollowUpEntry(
        follow_up.id,
        follow_up.customer_id,
        follow_up.client_id,
        follow_up.content,
        iso_milliseconds(follow_up.created_ms),
        iso_milliseconds(follow_up.changed_ms),
        _fields(follow_up.details),
    )


def _fields(details: str | None) -> dict[str, Any]:
    return msgspec.json.decode(details, type=dict[str, Any]) if details else {}
