"""The HTTP routes of kept rooms: to create, find, change and delete them, and what is said in them."""

from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec
import trio
from litestar import HttpMethod, delete, get, patch, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody, Parameter

from tidings.protocol.channels import NAME, is_name
from tidings.protocol.errors import ErrorCode
from tidings.protocol.messages.answers import HistoryPage, PresenceList
from tidings.server.answers import options
from tidings.server.apps.rooms.bodies import (
    ChangeRoom,
    CreateRoom,
    RoomDeleted,
    RoomEntry,
    RoomPage,
    room_entry,
)
from tidings.server.apps.rooms.entities import Room
from tidings.server.apps.rooms.service import KeptRooms
from tidings.server.extension import SECURITY, Caller, Identity, Refused, answers, users_only
from tidings.server.paging import PUBLICATIONS_PER_PAGE, Epoch, Since

MOST_IN_PAGE: Final = 200
"""Rooms, or members, in one page: as many as people scroll through."""

PER_PAGE: Final = 50

ROOMS: Final = "/api/v1/rooms"
ROOM: Final = "/api/v1/rooms/{room:str}"

# The pattern is for the description alone: what is refused, `checked_room` says in words.
RoomPath = Annotated[
    str,
    Parameter(
        description="The room's name.", schema_extra={"pattern": f"^{NAME}$", "example": "team:release"}
    ),
]
Limit = Annotated[int, Parameter(ge=1, le=MOST_IN_PAGE, description="On one page, at most.")]

COMMON: Final[dict[str, Any]] = {"guards": [users_only], "security": SECURITY, "tags": ["rooms"]}

UNKNOWN: Final = "No room of this name is kept."
KEPT_OUT: Final = "The caller may not enter the room: by invitation only, or removed from it."
MANAGED: Final = "Only the room's owner and its admins may do this, or the server's administrators."


def room_routes(rooms: KeptRooms) -> Sequence[HTTPRouteHandler]:
    """The routes of rooms themselves."""

    @post(
        ROOMS,
        operation_id="createRoom",
        summary="Create a room",
        description="The caller owns it, or the user whom an administrator names. A name that others are in, or "
        "whose channel keeps what was said, is for the server's administrators to take: whom the policy keeps out "
        "is taken out.",
        status_code=201,
        responses=answers(
            body=True,
            admins=False,
            words={
                403: "Administrators create rooms here, or for others; or the token does not grant to subscribe "
                "and publish under this name; or only rooms by invitation are made here.",
                404: "There is no such user.",
                409: "There is a room of this name, or it is in use without being kept.",
                429: "The caller owns as many rooms as one may; or too many connections.",
            },
        ),
        **COMMON,
    )
    async def create(data: JSONBody[CreateRoom], caller: Caller) -> RoomEntry:
        room = await rooms.create(
            caller,
            data.name,
            title=data.title,
            topic=data.topic,
            policy=data.policy,
            owner_id=None if data.owner_id is msgspec.UNSET else data.owner_id,
        )
        return _entry(rooms, caller, room)

    @get(
        ROOMS,
        operation_id="rooms",
        summary="Rooms that the caller may enter, by name",
        description="Kept ones: rooms that are only a name are in no list.",
        responses=answers(admins=False),
        **COMMON,
    )
    async def page(
        caller: Caller,
        after: Annotated[
            str, Parameter(pattern=r"\A[A-Za-z0-9_.:-]{0,128}\Z", description="`next` of the page before.")
        ] = "",
        limit: Limit = PER_PAGE,
    ) -> RoomPage:
        found, following = await rooms.page(caller, after=after, limit=limit)
        entries = []
        for room in found:
            # Who is in a large room takes its time to count.
            await trio.lowlevel.checkpoint()
            entries.append(_entry(rooms, caller, room))
        return RoomPage(entries, following)

    @get(
        ROOM,
        operation_id="room",
        summary="A room",
        responses=answers(admins=False, words={403: KEPT_OUT, 404: UNKNOWN}),
        **COMMON,
    )
    async def one(room: RoomPath, caller: Caller) -> RoomEntry:
        return _entry(rooms, caller, await rooms.find(caller, checked_room(room)))

    @patch(
        ROOM,
        operation_id="changeRoom",
        summary="Change a room's title, topic or policy",
        description="What is left out stays. Whom the new policy keeps out is taken out at once; those who are in "
        "are told by `room_changed`.",
        responses=answers(body=True, admins=False, words={403: MANAGED, 404: UNKNOWN}),
        **COMMON,
    )
    async def change(room: RoomPath, data: JSONBody[ChangeRoom], caller: Caller) -> RoomEntry:
        wanted = {
            name: value
            for name, value in msgspec.structs.asdict(data).items()
            if value is not msgspec.UNSET
        }
        return _entry(rooms, caller, await rooms.change(caller, checked_room(room), wanted))

    @delete(
        ROOM,
        operation_id="deleteRoom",
        summary="Delete a room",
        description="Everybody in it is taken out, and what was said there is forgotten. The name is free then, "
        "and a room as any other name.",
        status_code=200,
        responses=answers(admins=False, words={403: "Only the owner deletes a room.", 404: UNKNOWN}),
        **COMMON,
    )
    async def end(room: RoomPath, caller: Caller) -> RoomDeleted:
        return RoomDeleted((await rooms.end(caller, checked_room(room))).name)

    return [
        options(ROOMS, HttpMethod.GET, HttpMethod.POST),
        create,
        page,
        options(ROOM, HttpMethod.GET, HttpMethod.PATCH, HttpMethod.DELETE),
        one,
        change,
        end,
    ]


def talk_routes(rooms: KeptRooms, *, most: int) -> Sequence[HTTPRouteHandler]:
    """The routes of what is said in a room, and of who is there; `most` publications in one page at most."""

    @get(
        f"{ROOM}/history",
        operation_id="roomHistory",
        summary="What was said in a room",
        description="As far as its channel keeps it, oldest first. A page ends after `limit` publications or 4 MiB "
        "of payload; the next one begins after the last of it: give its `epoch`, and that publication's `offset` "
        "as `since`.",
        responses=answers(admins=False, words={403: KEPT_OUT, 404: UNKNOWN}),
        **COMMON,
    )
    async def history(
        room: RoomPath,
        caller: Caller,
        epoch: Epoch = None,
        since: Since = None,
        limit: Annotated[int, Parameter(description="Publications in a page.", ge=1, le=most)] = min(
            PUBLICATIONS_PER_PAGE, most
        ),
    ) -> HistoryPage:
        return await rooms.history(caller, checked_room(room), epoch=epoch, since=since, limit=limit)

    @get(
        f"{ROOM}/presence",
        operation_id="roomPresence",
        summary="Who is in a room",
        description="On any node: users with a connection that is in it, or who had one until `presence.grace` "
        "seconds ago.",
        responses=answers(admins=False, words={403: KEPT_OUT, 404: UNKNOWN}),
        **COMMON,
    )
    async def presence(room: RoomPath, caller: Caller) -> PresenceList:
        return await rooms.present(caller, checked_room(room))

    return [history, presence]


def checked_room(room: str) -> str:
    """A room's name, as the path has it. Raises Refused."""
    if not is_name(room):
        raise Refused(ErrorCode.INVALID_DATA, "room: expected 1 to 128 characters A-Z a-z 0-9 _ . : -")
    return room


def _entry(rooms: KeptRooms, caller: Identity, room: Room) -> RoomEntry:
    return room_entry(
        room,
        rooms.role_of(caller, room.name),
        members=rooms.member_count(room.name),
        online=rooms.online_count(room.name),
    )
