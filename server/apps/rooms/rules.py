"""Who may enter kept rooms and speak there, in memory: asked in every step that lets somebody in.

Memory: for each row of `rooms_members` a place in a dict and the user's id; for each room some 500 bytes. Measured:
a thousand rooms of a thousand members each take 107 MB with ids of 16 characters; right after a dict has grown, a
place takes some 40 bytes more. (Each id once would be a quarter of it for 20,000 users, but some Pythons never free
what `sys.intern` was given, and anybody can have names removed that nobody has. And only rooms by invitation need
their members here; but a policy changes in one step, and theirs would have to be read then.) A question takes less
than a microsecond.
"""

from typing import Final, Literal

import msgspec

from tidings.server.extension import Identity

Policy = Literal["open", "invited", "announcements"]
"""Everybody may enter and speak; only members enter; everybody may enter, owner and admins speak."""

Role = Literal["owner", "admin", "member", "removed"]
"""What a user is in a room; a removed one cannot come back until invited again."""

MANAGERS: Final = ("owner", "admin")

_INVITE: Final = "ask its owner or an admin to be invited"


def own_id(identity: Identity) -> str | None:
    """By which id rooms have somebody: a service has no role in any, also where a user has its name."""
    return None if identity.kind == "service" else identity.user_id


class Change(msgspec.Struct, frozen=True):
    """What a commit has changed of one room."""

    room: str
    policy: Policy | None = None
    """What it is now; None: as it was."""
    roles: dict[str, Role | None] = {}
    """What users are now; None: nothing."""
    is_whole: bool = False
    """Whether it is all there is of the room: whatever was known before is forgotten."""
    is_ending: bool = False
    """The room is being deleted: until its history is gone nobody enters."""
    is_ended: bool = False
    """There is no such room any more: the name is as any other."""


class KeptRoom:
    """The rules of one room."""

    __slots__ = ("is_ending", "members", "policy", "roles")

    def __init__(self, policy: Policy) -> None:
        self.policy: Policy = policy
        self.roles: dict[str, Role] = {}
        self.members = 0
        """Users who are not removed."""
        self.is_ending = False

    def role_of(self, identity: Identity) -> Role | None:
        """What somebody is here."""
        user_id = own_id(identity)
        return None if user_id is None else self.roles.get(user_id)

    def give(self, user_id: str, role: Role | None) -> None:
        """Let a user be something, or nothing."""
        before = self.roles.pop(user_id, None)
        self.members -= before not in {None, "removed"}
        if role is not None:
            self.roles[user_id] = role
            self.members += role != "removed"


class Rules:
    """As the permissions ask (`RoomRules`). Whoever commits a change applies it, in the order of the commits."""

    def __init__(self) -> None:
        self.rooms: dict[str, KeptRoom] = {}

    def may_enter(self, identity: Identity, room: str) -> bool | None:
        """Whether somebody may hear what is said there; None for a room that is not kept."""
        kept = self.rooms.get(room)
        if kept is None:
            return None
        if kept.is_ending:
            return False
        role = kept.role_of(identity)
        return kept.policy != "invited" if role is None else role != "removed"

    def may_speak(self, identity: Identity, room: str) -> bool | None:
        """Whether somebody may say something there; None for a room that is not kept."""
        kept = self.rooms.get(room)
        if kept is not None and kept.policy == "announcements" and not kept.is_ending:
            return kept.role_of(identity) in MANAGERS
        return self.may_enter(identity, room)

    def may_stay(self, identity: Identity, room: str) -> bool:
        """Whether somebody who is in a kept room may remain there."""
        return identity.is_admin or bool(self.may_enter(identity, room))

    def role_of(self, identity: Identity, room: str) -> Role | None:
        """What somebody is in a kept room."""
        return self.rooms[room].role_of(identity)

    def is_new(self, user_id: str, room: str) -> bool:
        """Whether somebody is no member of a room."""
        kept = self.rooms.get(room)
        return kept is None or kept.roles.get(user_id) in {None, "removed"}

    def why_not(self, identity: Identity, room: str) -> str:
        """What keeps somebody out of a kept room, and what to do about it."""
        kept = self.rooms[room]
        if kept.is_ending:
            return f"room:{room} is being deleted"
        if kept.role_of(identity) == "removed":
            return f"room:{room}: you were removed from this room: {_INVITE}"
        return f"room:{room}: only members may enter: {_INVITE}"

    def apply(self, change: Change) -> None:
        """Put a change in force."""
        if change.is_ended:
            self.rooms.pop(change.room, None)
            return
        kept = self.rooms.get(change.room)
        if kept is None or change.is_whole:
            kept = self.rooms[change.room] = KeptRoom(change.policy or "invited")
        if change.policy is not None:
            kept.policy = change.policy
        for user_id, role in change.roles.items():
            kept.give(user_id, role)
        kept.is_ending = kept.is_ending or change.is_ending
