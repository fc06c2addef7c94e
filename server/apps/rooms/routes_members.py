"""The HTTP routes of a kept room's members: to see, invite and remove them, and to leave."""

from collections.abc import Sequence
from typing import Annotated, Final

from litestar import HttpMethod, delete, get, put
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody, Parameter

from tidings.protocol.channels import USER_ID, is_user_id
from tidings.protocol.errors import ErrorCode
from tidings.server.answers import options
from tidings.server.apps.rooms.bodies import MemberPage, MemberRemoved, PutMember, RoomMember, member_entry
from tidings.server.apps.rooms.routes import (
    COMMON,
    KEPT_OUT,
    MANAGED,
    PER_PAGE,
    ROOM,
    UNKNOWN,
    Limit,
    RoomPath,
    checked_room,
)
from tidings.server.apps.rooms.service import KeptRooms
from tidings.server.extension import Caller, Refused, answers

_MEMBER: Final = f"{ROOM}/members/{{user_id:str}}"

_UserPath = Annotated[
    str,
    Parameter(
        description="The user's id.",
        schema_extra={"pattern": f"^{USER_ID}$", "example": "3f9c0d5e7a1b2c48"},
    ),
]


def member_routes(rooms: KeptRooms) -> Sequence[HTTPRouteHandler]:
    """The routes."""

    @get(
        f"{ROOM}/members",
        operation_id="roomMembers",
        summary="A room's members, by id",
        description="The room's owner and admins see who was removed, too.",
        responses=answers(admins=False, words={403: KEPT_OUT, 404: UNKNOWN}),
        **COMMON,
    )
    async def page(
        room: RoomPath,
        caller: Caller,
        after: Annotated[
            str,
            Parameter(pattern=r"\A[A-Za-z0-9_.:@+-]{0,128}\Z", description="`next` of the page before."),
        ] = "",
        limit: Limit = PER_PAGE,
    ) -> MemberPage:
        found, following = await rooms.members_page(caller, checked_room(room), after=after, limit=limit)
        return MemberPage([member_entry(member) for member in found], following)

    @put(
        _MEMBER,
        operation_id="putRoomMember",
        summary="Invite a user, or change what a member is",
        description="Who is invited finds `room_invitation` in the inbox. Admins invite members; the owner makes "
        "admins, and hands the room over.",
        responses=answers(
            body=True,
            admins=False,
            words={
                403: MANAGED,
                404: "No room of this name is kept, or no such user.",
                409: "The owner stays the owner until the room is handed over, and only to a member.",
                429: "The room has as many members as it may, or the new owner as many rooms; or the caller "
                "changes members too often, or has left too much for somebody who is away (`Retry-After`); or too "
                "many connections.",
            },
        ),
        **COMMON,
    )
    async def put_member(
        room: RoomPath, user_id: _UserPath, data: JSONBody[PutMember], caller: Caller
    ) -> RoomMember:
        member = await rooms.put_member(caller, checked_room(room), _checked_user(user_id), data.role)
        return member_entry(member)

    @delete(
        _MEMBER,
        operation_id="removeRoomMember",
        summary="Remove a user, or leave",
        description="Who is removed is taken out of the room at once, and cannot come back until invited again; "
        "also who is no member can be removed. Who removes themselves leaves, and may come back as "
        "the policy says.",
        status_code=200,
        responses=answers(
            admins=False,
            words={
                403: MANAGED,
                404: "No room of this name is kept; or the caller, who wants to leave, is no member.",
                409: "The owner hands the room over first, or deletes it.",
                429: "The room remembers as many removed users as it may; or the caller changes members too often "
                "(`Retry-After`); or too many connections.",
            },
        ),
        **COMMON,
    )
    async def remove(room: RoomPath, user_id: _UserPath, caller: Caller) -> MemberRemoved:
        name, user_id = checked_room(room), _checked_user(user_id)
        removed = await rooms.remove_member(caller, name, user_id)
        return MemberRemoved(name, user_id, removed is not None)

    return [page, options(_MEMBER, HttpMethod.PUT, HttpMethod.DELETE), put_member, remove]


def _checked_user(user_id: str) -> str:
    if not is_user_id(user_id):
        raise Refused(
            ErrorCode.INVALID_DATA, "user_id: expected 1 to 128 characters A-Z a-z 0-9 _ . : @ + -"
        )
    return user_id
