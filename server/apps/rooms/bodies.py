"""What the routes of rooms take and answer."""

from typing import Annotated, Final, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from tidings.protocol.messages.fields import EXPECTED, RoomName, UserId
from tidings.protocol.publications import iso_milliseconds
from tidings.server.apps.rooms.entities import Member, Room
from tidings.server.apps.rooms.rules import Policy, Role

TITLE_CHARS: Final = 128
TOPIC_CHARS: Final = 1024

# What turns the direction of writing, and is not seen: a title with it reads as another, and so does what stands
# beside it. Unicode's Bidi_Control.
_TURNING: Final = r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
# No line breaks or other control characters in what is shown in lists; a NUL is more than some databases take.
_TITLE: Final = rf"\A[^\x00-\x1f\x7f-\x9f{_TURNING}]{{0,{TITLE_CHARS}}}\Z"
_TOPIC: Final = rf"\A[^\x00-\x08\x0b-\x1f\x7f-\x9f{_TURNING}]{{0,{TOPIC_CHARS}}}\Z"
EXPECTED[_TITLE] = (
    f"a title: at most {TITLE_CHARS} characters, no control characters, none that turn the direction of writing"
)
EXPECTED[_TOPIC] = (
    f"a topic: at most {TOPIC_CHARS} characters, no control characters but line breaks and tabs, none that turn "
    "the direction of writing"
)

_Title = Annotated[
    str, Meta(pattern=_TITLE, description="What people are shown.", examples=["Release planning"])
]
_Topic = Annotated[str, Meta(pattern=_TOPIC, description="What the room is about.", examples=["June"])]
_Policy = Annotated[
    Policy,
    Meta(
        description="`open`: everybody may enter and speak. `invited`: only members enter. `announcements`: "
        "everybody may enter, the owner and admins speak. Who was removed does not enter under any of them."
    ),
]
_Moment = Annotated[str, Meta(description="ISO 8601 in UTC.", examples=["2026-11-21T20:10:00.123Z"])]
_UserId = Annotated[str, Meta(examples=["3f9c0d5e7a1b2c48"])]
_Next = Annotated[
    str | None, Meta(description="Give it as `after` for the next page; null on the last one.")
]


class CreateRoom(Struct, frozen=True, forbid_unknown_fields=True):
    """A room to be kept."""

    name: Annotated[
        RoomName, Meta(description="By which it is entered; it never changes.", examples=["team:release"])
    ]
    title: _Title = ""
    topic: _Topic = ""
    policy: _Policy = "open"
    owner_id: (
        Annotated[
            UserId,
            Meta(
                description="Who owns it; left out: the caller. Only the server's administrators create rooms for "
                "others; with an API key it has to be given.",
                examples=["3f9c0d5e7a1b2c48"],
            ),
        ]
        | UnsetType
    ) = UNSET


class ChangeRoom(Struct, frozen=True, forbid_unknown_fields=True):
    """What may be changed of a room; what is left out stays."""

    title: _Title | UnsetType = UNSET
    topic: _Topic | UnsetType = UNSET
    policy: _Policy | UnsetType = UNSET


class RoomEntry(Struct, frozen=True):
    """A kept room, as the caller sees it."""

    name: Annotated[str, Meta(examples=["team:release"])]
    title: str
    topic: str
    policy: _Policy
    owner_id: _UserId
    created_at: _Moment
    role: Annotated[
        Role | None, Meta(description="What the caller is in it; null for who is no member, and may enter.")
    ]
    members: Annotated[int, Meta(ge=0, description="The owner, admins and members.")]
    online: Annotated[int, Meta(ge=0, description="Users who are in it now, on this node, members or not.")]


class RoomPage(Struct, frozen=True):
    """Rooms that the caller may enter, by name."""

    rooms: list[RoomEntry]
    next: _Next


class RoomDeleted(Struct, frozen=True):
    """The room is gone, and with it who was in it, and what was said there."""

    name: str


class PutMember(Struct, frozen=True, forbid_unknown_fields=True):
    """What a user shall be in a room."""

    role: Annotated[
        Literal["owner", "admin", "member"],
        Meta(
            description="`member` invites who is none; `admin` may invite and remove members and change the "
            "room; `owner` hands the room over to a member, and its owner becomes an admin. To remove somebody, "
            "DELETE this path."
        ),
    ]


class RoomMember(Struct, frozen=True):
    """What a user is in a room."""

    user_id: _UserId
    role: Role
    since: Annotated[_Moment, Meta(description="Since when they are that.")]


class MemberPage(Struct, frozen=True):
    """The members of a room, by id; those who look after it are shown the removed ones, too."""

    members: list[RoomMember]
    next: _Next


class MemberRemoved(Struct, frozen=True):
    """The user is no member any more, and not in the room."""

    room: str
    user_id: _UserId
    removed: Annotated[
        bool,
        Meta(description="Whether they were removed, and cannot come back uninvited; false: they left."),
    ]


def room_entry(room: Room, role: Role | None, *, members: int, online: int) -> RoomEntry:
    """A room, as somebody of this role sees it."""
    return RoomEntry(
        room.name,
        room.title,
        room.topic,
        room.policy,
        room.owner_id,
        iso_milliseconds(room.created_ms),
        role,
        members,
        online,
    )


def member_entry(member: Member) -> RoomMember:
    """A member."""
    return RoomMember(member.user_id, member.role, iso_milliseconds(member.since_ms))
