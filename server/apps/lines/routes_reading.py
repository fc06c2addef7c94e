"""The HTTP routes by which a group's users, and administrators, read it and what its devices have reported."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Final, TypeVar

from litestar import get
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter

from tidings.server.apps.lines.accounts import Account
from tidings.server.apps.lines.bodies import (
    MOST_ID,
    AccountPage,
    CustomerPage,
    FollowUpPage,
    GroupEntry,
    GroupList,
    IncomingPage,
    account_entry,
    customer_entry,
    follow_up_entry,
    incoming_entry,
)
from tidings.server.apps.lines.customers import Customer, FollowUp, page_customers, page_follow_ups
from tidings.server.apps.lines.groups import Group
from tidings.server.apps.lines.incoming import Line, page_lines
from tidings.server.apps.lines.refusals import answering, not_yours, unknown_group
from tidings.server.apps.lines.routes import GROUP, GROUPS, UNKNOWN, GroupId, entry
from tidings.server.apps.lines.service import Lines, lines_of
from tidings.server.extension import SECURITY, Caller, Identity, Push, answers, users_only

T = TypeVar("T", Customer, FollowUp, Line)

# As many as a screen shows, and as people still scroll.
_PER_PAGE: Final = 50
_MOST_PER_PAGE: Final = 200

_Limit = Annotated[int, Parameter(ge=1, le=_MOST_PER_PAGE, description="On one page, at most.")]
_Before = Annotated[
    int | None,
    Parameter(ge=1, le=MOST_ID, description="`next` of the page before: only what is older than this id."),
]

_READING: Final[dict[str, Any]] = {
    "guards": [users_only],
    "security": SECURITY,
    "tags": ["lines"],
    "responses": answers(
        admins=False,
        words={
            403: "The caller is neither an administrator nor of this group (the token's group).",
            404: UNKNOWN,
        },
    ),
}


def reading_routes() -> Sequence[HTTPRouteHandler]:
    """The routes."""
    return [groups, group, accounts, incoming, customers, follow_ups]


@get(
    GROUPS,
    operation_id="lineGroups",
    summary="The groups that the caller may see, with their figures",
    description="Administrators see all; whose token names a group sees that one, and others none.",
    guards=[users_only],
    security=SECURITY,
    tags=["lines"],
    responses=answers(admins=False),
)
async def groups(push: NamedDependency[Push], caller: Caller) -> GroupList:
    """As they are now."""
    lines = lines_of(push)
    return GroupList([entry(lines, each) for each in lines.groups() if _may_read(caller, each.id)])


@get(
    GROUP,
    operation_id="lineGroup",
    summary="A group, with its figures",
    **_READING,
)
async def group(group_id: GroupId, push: NamedDependency[Push], caller: Caller) -> GroupEntry:
    """As it is now."""
    lines, found = _readable(push, caller, group_id)
    return entry(lines, found)


@get(
    f"{GROUP}/accounts",
    operation_id="lineAccounts",
    summary="A group's accounts, oldest first, with their figures",
    **_READING,
)
async def accounts(
    group_id: GroupId,
    push: NamedDependency[Push],
    caller: Caller,
    limit: _Limit = _PER_PAGE,
    after: Annotated[
        int | None,
        Parameter(
            ge=1, le=MOST_ID, description="`next` of the page before: only what is newer than this id."
        ),
    ] = None,
) -> AccountPage:
    """As they are now."""
    lines, _ = _readable(push, caller, group_id)
    # One more than asked for tells whether there is another page.
    found = lines.account_stats(group_id, after=after, limit=limit + 1)
    shown = found[:limit]
    following: Account | None = shown[-1][0] if len(found) > limit else None
    entries = [account_entry(account, stats) for account, stats in shown]
    return AccountPage(entries, None if following is None else following.id)


@get(
    f"{GROUP}/incoming",
    operation_id="incomingLines",
    summary="A group's incoming lines, newest first",
    description="As far as they are kept (`lines.incoming_age`). Pages stay where they are while new ones come.",
    **_READING,
)
async def incoming(
    group_id: GroupId,
    push: NamedDependency[Push],
    caller: Caller,
    limit: _Limit = _PER_PAGE,
    before: _Before = None,
    account: Annotated[
        int | None, Parameter(ge=1, le=MOST_ID, description="Only those of the account with this id.")
    ] = None,
) -> IncomingPage:
    """An account of another group has none here."""
    _readable(push, caller, group_id)
    read = partial(page_lines, group_ids=[group_id], account_id=account, before=before, limit=limit + 1)
    with answering():
        shown, following = _page(await push.tables.read(read), limit)
    return IncomingPage([incoming_entry(each) for each in shown], following)


@get(
    f"{GROUP}/customers",
    operation_id="lineCustomers",
    summary="A group's customers, newest first",
    **_READING,
)
async def customers(
    group_id: GroupId,
    push: NamedDependency[Push],
    caller: Caller,
    limit: _Limit = _PER_PAGE,
    before: _Before = None,
) -> CustomerPage:
    """As devices have reported them."""
    _readable(push, caller, group_id)
    read = partial(page_customers, group_id=group_id, before=before, limit=limit + 1)
    with answering():
        shown, following = _page(await push.tables.read(read), limit)
    return CustomerPage([customer_entry(each) for each in shown], following)


@get(
    f"{GROUP}/follow-ups",
    operation_id="lineFollowUps",
    summary="What was done about a group's customers, newest first",
    **_READING,
)
async def follow_ups(
    group_id: GroupId,
    push: NamedDependency[Push],
    caller: Caller,
    limit: _Limit = _PER_PAGE,
    before: _Before = None,
    customer: Annotated[
        str | None, Parameter(description="Only those of the customer whom devices call this.")
    ] = None,
) -> FollowUpPage:
    """As devices have reported them."""
    _readable(push, caller, group_id)
    # PostgreSQL takes no NUL, and no id has one.
    nobody = customer is not None and "\0" in customer
    read = partial(page_follow_ups, group_id=group_id, customer_id=customer, before=before, limit=limit + 1)
    with answering():
        shown, following = _page([] if nobody else await push.tables.read(read), limit)
    return FollowUpPage([follow_up_entry(each) for each in shown], following)


def _readable(push: Push, caller: Identity, group_id: int) -> tuple[Lines, Group]:
    """The board and the group, where the caller may read it. Raises Refused."""
    lines = lines_of(push)
    # Who may not read it is not told whether there is such a group.
    if not _may_read(caller, group_id):
        raise not_yours()
    found = lines.group(group_id)
    if found is None:
        raise unknown_group(group_id)
    return lines, found


def _may_read(caller: Identity, group_id: int) -> bool:
    return caller.is_admin or caller.group_id == str(group_id)


def _page(found: list[T], limit: int) -> tuple[list[T], int | None]:
    """What is shown of one more than was asked for, and where the next page begins."""
    shown = found[:limit]
    return shown, shown[-1].id if len(found) > limit else None
