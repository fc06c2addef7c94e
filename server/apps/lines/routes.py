"""The HTTP routes by which administrators keep the line board's groups and their activation codes."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Final

import trio
from litestar import HttpMethod, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody, Parameter
from msgspec import UNSET, UnsetType

from tidings.protocol.errors import ErrorCode
from tidings.server.answers import options
from tidings.server.apps.lines.bodies import (
    MOST_ID,
    ChangeGroup,
    CodeList,
    GroupEntry,
    NewGroup,
    code_entry,
    group_entry,
)
from tidings.server.apps.lines.groups import Group, codes_of
from tidings.server.apps.lines.refusals import answering, unknown_code, unknown_group
from tidings.server.apps.lines.service import Lines, lines_of
from tidings.server.apps.lines.zones import wrong_zone
from tidings.server.extension import SECURITY, Push, Refused, admins_only, answers

GROUPS: Final = "/api/v1/lines/groups"
GROUP: Final = f"{GROUPS}/{{group_id:int}}"
_CODES: Final = f"{GROUP}/codes"

GroupId = Annotated[int, Parameter(ge=1, le=MOST_ID, description="The group's id.")]
_CodeId = Annotated[int, Parameter(ge=1, le=MOST_ID, description="The code's id, not the code.")]

UNKNOWN: Final = "No group has this id."
_ADMINS: Final[dict[str, Any]] = {"guards": [admins_only], "security": SECURITY, "tags": ["lines"]}


def group_routes() -> Sequence[HTTPRouteHandler]:
    """The routes, and what the paths of groups take in all: users of a group read it (`routes_reading`)."""
    return [
        options(GROUPS, HttpMethod.GET, HttpMethod.POST),
        create,
        options(GROUP, HttpMethod.GET, HttpMethod.PATCH),
        change,
        options(_CODES, HttpMethod.GET, HttpMethod.POST),
        new_code,
        codes,
        disable,
    ]


@post(
    GROUPS,
    operation_id="createLineGroup",
    summary="Create a group",
    description="With a first activation code, by which its devices come in.",
    status_code=201,
    responses=answers(body=True),
    **_ADMINS,
)
async def create(data: JSONBody[NewGroup], push: NamedDependency[Push]) -> GroupEntry:
    """Kept when this is answered."""
    lines = lines_of(push)
    await _check_zone(data.time_zone)
    with answering():
        return entry(lines, await lines.create_group(data.name, data.time_zone))


@patch(
    GROUP,
    operation_id="changeLineGroup",
    summary="Change a group's name or time zone",
    description="What is left out stays. With another time zone the figures of today are counted anew.",
    responses=answers(body=True, words={404: UNKNOWN}),
    **_ADMINS,
)
async def change(group_id: GroupId, data: JSONBody[ChangeGroup], push: NamedDependency[Push]) -> GroupEntry:
    """Kept, and counted, when this is answered."""
    lines = lines_of(push)
    name, time_zone = _given(data.name), _given(data.time_zone)
    if time_zone is not None:
        await _check_zone(time_zone)
    with answering():
        changed = await lines.change_group(group_id, name, time_zone)
    return entry(lines, _known(changed, group_id))


@post(
    _CODES,
    operation_id="newLineCode",
    summary="Give a group a new activation code",
    description="The one that was active is disabled, and its devices are sent away (3503): they come in again "
    "with the new one.",
    status_code=201,
    responses=answers(words={404: UNKNOWN}),
    **_ADMINS,
)
async def new_code(group_id: GroupId, push: NamedDependency[Push]) -> GroupEntry:
    """The group, with the new code."""
    lines = lines_of(push)
    with answering():
        return entry(lines, _known(await lines.new_code(group_id), group_id))


@get(
    _CODES,
    operation_id="lineCodes",
    summary="A group's activation codes, newest first",
    responses=answers(words={404: UNKNOWN}),
    **_ADMINS,
)
async def codes(group_id: GroupId, push: NamedDependency[Push]) -> CodeList:
    """Also those that are disabled."""
    with answering():
        found = await push.tables.read(partial(codes_of, group_id=group_id))
    if found is None:
        raise unknown_group(group_id)
    return CodeList([code_entry(code) for code in found])


@delete(
    f"{_CODES}/{{code_id:int}}",
    operation_id="disableLineCode",
    summary="Disable an activation code",
    description="Devices that came in by it are sent away (3503), and none comes in by it again. One that is "
    "disabled stays so.",
    status_code=200,
    responses=answers(words={404: "The group has no code of this id."}),
    **_ADMINS,
)
async def disable(group_id: GroupId, code_id: _CodeId, push: NamedDependency[Push]) -> GroupEntry:
    """The group, as it is now."""
    lines = lines_of(push)
    with answering():
        group = await lines.disable_code(group_id, code_id)
    if group is None:
        raise unknown_code(group_id, code_id)
    return entry(lines, group)


def _known(group: Group | None, group_id: int) -> Group:
    if group is None:
        raise unknown_group(group_id)
    return group


def entry(lines: Lines, group: Group) -> GroupEntry:
    """A group as it is now."""
    stats = lines.stats(group.id)
    # Groups are never deleted, and the service has one before anybody is told of it.
    assert stats is not None
    return group_entry(group, stats)


def _given(value: str | UnsetType) -> str | None:
    return None if value is UNSET else value


async def _check_zone(name: str) -> None:
    wrong = await trio.to_thread.run_sync(wrong_zone, name)
    if wrong is not None:
        raise Refused(ErrorCode.INVALID_DATA, f"{wrong} - at `$.time_zone`")
