"""What rooms are made of, as the operations on their tables take and return it."""

from typing import Generic, TypeVar

import msgspec

from tidings.protocol.errors import ErrorCode, Refusal
from tidings.protocol.messages.rooms import RoomChanged
from tidings.server.apps.rooms.rules import Change, Policy, Role

T = TypeVar("T")


class Room(msgspec.Struct, frozen=True):
    """A room that is kept."""

    name: str
    title: str
    topic: str
    policy: Policy
    owner_id: str
    created_ms: int


class Member(msgspec.Struct, frozen=True):
    """What a user is in a room, and since when."""

    user_id: str
    role: Role
    since_ms: int


class Who(msgspec.Struct, frozen=True):
    """Who asks for something."""

    user_id: str
    is_admin: bool
    """Of the server: may do everything."""
    is_user: bool = True
    """A service is none: it has no role, also where a user has its name."""

    @property
    def own_id(self) -> str | None:
        """By which rooms have them."""
        return self.user_id if self.is_user else None


class Bounds(msgspec.Struct, frozen=True):
    """How much there may be."""

    owned: int
    members: int


class Done(msgspec.Struct, Generic[T], frozen=True):
    """What an operation has come to, and what of the rules it has changed."""

    result: T
    change: Change | None = None
    news: RoomChanged | None = None
    """What those who are in are told."""


class Left(msgspec.Struct, frozen=True):
    """What there is of a room that was to be deleted."""

    is_ending: bool
    """Whether it still is: else the name is as any other, or somebody else's room."""
    has_events: bool
    """Whether something is still to be published there, which an app has left."""


class Rejected(Exception):
    """An operation was not done, and nothing of it was: why, for who has asked."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        """Take what the client is told."""
        super().__init__(message)
        self.refusal = Refusal(code, message)
