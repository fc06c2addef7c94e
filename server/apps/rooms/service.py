"""Kept rooms: what users may do with them.

A change is committed, and in the step in which that comes back to the loop it is in force: whoever may not be in
the room any more is out of its channel, and was told. Then those who are in are told of the change.
"""

from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

import trio
from sqlalchemy import Connection

from tidings.protocol.errors import ErrorCode, Refusal
from tidings.protocol.messages.answers import HistoryPage, PresenceList
from tidings.protocol.positions import Position
from tidings.server.answers import refused
from tidings.server.apps.rooms import reading, records
from tidings.server.apps.rooms.entities import Bounds, Done, Member, Rejected, Room, Who
from tidings.server.apps.rooms.pace import Pace, TooOften
from tidings.server.apps.rooms.rules import MANAGERS, Policy, Role, Rules, own_id
from tidings.server.apps.rooms.settling import Settling
from tidings.server.apps.rooms.talk import is_known
from tidings.server.brokers.base import BrokerUnavailable
from tidings.server.config.rooms import Rooms
from tidings.server.extension import Identity, Push, Refused, room_channel
from tidings.server.permissions import NOTICES
from tidings.server.tables import wall_ms

# How long the answer to a deletion waits for the room's history to be gone.
_GONE_SECONDS: Final = 2.0

T = TypeVar("T")


class KeptRooms:
    """The kept rooms of one server. What is refused is raised as `Refused`, ready to be an answer."""

    def __init__(
        self, settings: Rooms, rules: Rules, settling: Settling, pace: Pace, *, open_rooms: bool
    ) -> None:
        """Take the section, the rules, what keeps them in step, and whether any name is entered without a grant.

        `pace` is shared with the messages between users.
        """
        self._bounds = Bounds(settings.owned, settings.members)
        self._anyone_creates = settings.create == "anyone"
        self._open_rooms = open_rooms
        self._rules = rules
        self._settling = settling
        self._pace = pace

    @property
    def _push(self) -> Push:
        return self._settling.push

    # --- rooms ---------------------------------------------------------------------------------------

    async def create(
        self,
        caller: Identity,
        name: str,
        *,
        title: str,
        topic: str,
        policy: Policy,
        owner_id: str | None = None,
    ) -> Room:
        """Keep a room of the caller's, or of `owner_id`. Whoever is in it and may not be is taken out."""
        owner_id = await self._check_owner(caller, owner_id)
        if not caller.is_admin:
            if not self._anyone_creates:
                raise Refused(ErrorCode.FORBIDDEN, "rooms are created by administrators on this server")
            # The name may become a room of those who have a grant: nobody else takes it from them.
            if not self._open_rooms and not _is_granted(caller, room_channel(name)):
                raise Refused(
                    ErrorCode.FORBIDDEN,
                    f"{name}: a room is created where the token's channels grant its name, to subscribe and to"
                    " publish",
                )
            self._check_policy(policy)
            await self._check_unused(caller, name)
        if room_channel(name) == NOTICES:
            raise Refused(ErrorCode.CONFLICT, f"{name}: this room is everybody's - at `$.name`")
        room = Room(name, title, topic, policy, owner_id, wall_ms())
        return await self._write(
            name, partial(records.create, room=room, who=_who(caller), bounds=self._bounds)
        )

    async def _check_owner(self, caller: Identity, owner_id: str | None) -> str:
        """Who shall own a new room. Raises Refused."""
        own = own_id(caller)
        if owner_id is None:
            if own is None:
                raise Refused(
                    ErrorCode.INVALID_DATA,
                    "Expected owner_id: with an API key, say which user shall own the room - at `$.owner_id`",
                )
            return own
        if owner_id != own:
            if not caller.is_admin:
                raise Refused(
                    ErrorCode.FORBIDDEN,
                    "only administrators create rooms for others: leave owner_id out - at `$.owner_id`",
                )
            if self._push.users is not None and not await self._push.users.has_user(owner_id):
                raise Refused(ErrorCode.NOT_FOUND, f"{owner_id}: there is no such user - at `$.owner_id`")
        return owner_id

    def _check_policy(self, policy: str | None) -> None:
        """Whether a user may give a room this policy. Raises Refused."""
        # A grant is its holder's alone: it must not become everybody's way in.
        if not self._open_rooms and policy not in {None, "invited"}:
            raise Refused(
                ErrorCode.FORBIDDEN,
                f"{policy}: rooms are not open on this server, and only its administrators open one:"
                " the policy may be invited - at `$.policy`",
            )

    async def _check_unused(self, caller: Identity, name: str) -> None:
        """Whether nobody else is in a room that is only a name, nor has been lately. Raises Refused.

        Else anybody could throw out whoever talks there, and by deleting the room erase what they have said.
        """
        if name in self._rules.rooms:
            return  # the tables say so, in their words
        said = (await self._read_history(name, None, 1)).publications
        # No await between this and the write: whoever enters later knows no better than the caller.
        if said or set(self._push.members_of(room_channel(name))) - {own_id(caller)}:
            raise Refused(
                ErrorCode.CONFLICT,
                f"{name}: this name is in use: choose another, or ask an administrator to create it - at `$.name`",
            )

    async def page(self, caller: Identity, *, after: str, limit: int) -> tuple[list[Room], str | None]:
        """Rooms that the caller may enter, by name."""
        return await self._push.tables.read(
            partial(reading.page, who=_who(caller), after=after, limit=limit)
        )

    async def find(self, caller: Identity, name: str) -> Room:
        """A room that the caller may enter."""
        self.check_enters(caller, name)
        try:
            return await self._push.tables.read(partial(reading.find, name=name))
        except Rejected as rejected:
            raise refused(rejected.refusal) from None

    async def change(self, caller: Identity, name: str, wanted: dict[str, str]) -> Room:
        """Give a room another title, topic or policy. Whom the policy keeps out is taken out."""
        self.check_enters(caller, name)
        if not caller.is_admin:
            self._check_policy(wanted.get("policy"))
        return await self._write(name, partial(records.change, name=name, who=_who(caller), wanted=wanted))

    async def end(self, caller: Identity, name: str) -> Room:
        """Delete a room, its members and its history; everybody in it is taken out."""
        self.check_enters(caller, name)
        operation = partial(records.end, name=name, who=_who(caller), now_ms=wall_ms())
        room = await self._write(name, operation)
        with trio.move_on_after(_GONE_SECONDS):
            await self._settling.wait_gone(name)
        return room

    # --- members -------------------------------------------------------------------------------------

    async def put_member(self, caller: Identity, name: str, user_id: str, role: Role) -> Member:
        """Invite a user, or let a member be something else."""
        self.check_enters(caller, name)
        self._count_change(caller)
        try:
            known = await is_known(self._push, user_id)
        except BrokerUnavailable as error:
            raise Refused(ErrorCode.UNAVAILABLE, str(error)) from error
        if not known and self._push.users is not None:
            raise Refused(ErrorCode.NOT_FOUND, f"{user_id}: there is no such user")
        operation = partial(
            records.put_member, name=name, who=_who(caller), user_id=user_id, role=role, bounds=self._bounds
        )
        # Where nobody keeps users, somebody may be a member before the first login; only nobody's inbox is filled.
        invites = known and user_id != own_id(caller)
        if invites and self._rules.is_new(user_id, name):
            try:
                self._pace.leave(self._push, caller, user_id)
            except TooOften as error:
                raise _too_often(error) from None
        return await self._write(name, partial(operation, now_ms=wall_ms(), invites=invites))

    async def remove_member(self, caller: Identity, name: str, user_id: str) -> Member | None:
        """Remove a user, who is taken out; None for who leaves."""
        if user_id != own_id(caller):
            self.check_enters(caller, name)
        else:
            self._check_kept(name)
        self._count_change(caller)
        operation = partial(records.remove_member, name=name, who=_who(caller), user_id=user_id)
        return await self._write(name, partial(operation, bounds=self._bounds, now_ms=wall_ms()))

    async def members_page(
        self, caller: Identity, name: str, *, after: str, limit: int
    ) -> tuple[list[Member], str | None]:
        """The members of a room, by id; for those who look after it, the removed ones too."""
        self.check_enters(caller, name)
        removed = caller.is_admin or self._rules.role_of(caller, name) in MANAGERS
        found = await self._push.tables.read(
            partial(reading.members_page, name=name, after=after, limit=limit, removed=removed)
        )
        self.check_enters(caller, name)
        return found

    # --- what is said there, and who is there ----------------------------------------------------------

    async def history(
        self, caller: Identity, name: str, *, epoch: str | None, since: int | None, limit: int
    ) -> HistoryPage:
        """What the room's channel keeps, as `GET /api/v1/history/{channel}` has it."""
        self.check_enters(caller, name)
        position = None
        if epoch is not None:
            position = Position(epoch, since or 0)
        elif since is not None:
            position = Position((await self._read_history(name, None, 1)).epoch, since)
        found = await self._read_history(name, position, limit)
        self.check_enters(caller, name)
        return found

    async def _read_history(self, name: str, since: Position | None, limit: int) -> HistoryPage:
        found = await self._push.history(room_channel(name), since, limit=limit)
        if isinstance(found, Refusal):
            raise refused(found)
        return found

    async def present(self, caller: Identity, name: str) -> PresenceList:
        """Who is present, on any node."""
        self.check_enters(caller, name)
        channel, presence = room_channel(name), self._push.presence
        if not presence.keeps(channel):
            raise Refused(ErrorCode.FORBIDDEN, presence.how_to_keep(channel))
        try:
            found = await presence.members(channel)
        except BrokerUnavailable as error:
            raise Refused(ErrorCode.UNAVAILABLE, str(error)) from error
        self.check_enters(caller, name)
        return PresenceList(channel, found)

    def role_of(self, caller: Identity, name: str) -> Role | None:
        """What the caller is in a room."""
        return self._rules.role_of(caller, name) if name in self._rules.rooms else None

    def member_count(self, name: str) -> int:
        """How many members a room has."""
        kept = self._rules.rooms.get(name)
        return 0 if kept is None else kept.members

    def online_count(self, name: str) -> int:
        """How many users are in the room on this node."""
        return self._push.member_count(room_channel(name))

    # --- rules ---------------------------------------------------------------------------------------

    def check_enters(self, caller: Identity, name: str) -> None:
        """Raise Refused unless there is such a room, and the caller may enter it."""
        self._check_kept(name)
        if not self._rules.may_stay(caller, name):
            raise Refused(ErrorCode.FORBIDDEN, self._rules.why_not(caller, name))

    def _check_kept(self, name: str) -> None:
        kept = self._rules.rooms.get(name)
        if kept is None or kept.is_ending:
            raise Refused(ErrorCode.NOT_FOUND, f"{name}: no room of this name is kept")

    def _count_change(self, caller: Identity) -> None:
        try:
            self._pace.change_members(caller)
        except TooOften as error:
            raise _too_often(error) from None

    async def _write(self, name: str, operation: Callable[[Connection], Done[T]]) -> T:
        try:
            done = await self._push.tables.write(operation, self._settling.in_force)
        except Rejected as rejected:
            raise refused(rejected.refusal) from None
        except BaseException:
            # Lost with its connection, a commit may have been done all the same; and who was cancelled does not
            # even hear that it was lost.
            self._settling.doubt(name)
            raise
        return done.result


def _who(caller: Identity) -> Who:
    return Who(caller.user_id, caller.is_admin, is_user=own_id(caller) is not None)


def _too_often(error: TooOften) -> Refused:
    return Refused(ErrorCode.RATE_LIMITED, str(error), headers={"Retry-After": str(error.seconds)})


def _is_granted(caller: Identity, channel: str) -> bool:
    grants = [grant for name in (channel, "room:*") if (grant := caller.channels.get(name)) is not None]
    return any(grant.subscribe for grant in grants) and any(grant.publish for grant in grants)
