"""Kept rooms: what users may do with them.

A change is committed, and in the step in which that comes back to the loop it is in force: whoever may not be in
the room any more is out of its channel, and was told. Then the events of the change are published, by the relay.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

import trio
from sqlalchemy import Connection

from tidings.protocol.errors import ErrorCode, Refusal
from tidings.protocol.messages.answers import HistoryPage, PresenceList
from tidings.protocol.positions import Position
from tidings.server.answers import refused
from tidings.server.apps.rooms import records
from tidings.server.apps.rooms.records import Bounds, Done, Member, Rejected, Room, Who
from tidings.server.apps.rooms.rules import MANAGERS, Policy, Role, Rules
from tidings.server.apps.rooms.settling import Settling
from tidings.server.apps.rooms.talk import is_known
from tidings.server.brokers.base import BrokerUnavailable
from tidings.server.config.rooms import Rooms
from tidings.server.extension import Identity, Push, Refused, room_channel
from tidings.server.permissions import NOTICES

# How long the answer to a deletion waits for the room's history to be gone.
_GONE_SECONDS: Final = 2.0

T = TypeVar("T")


class KeptRooms:
    """The kept rooms of one server. What is refused is raised as `Refused`, ready to be an answer."""

    def __init__(self, settings: Rooms, rules: Rules, settling: Settling, *, open_rooms: bool) -> None:
        """Take the section, the rules, what keeps them in step, and whether any name is entered without a grant."""
        self._bounds = Bounds(settings.owned, settings.members)
        self._anyone_creates = settings.create == "anyone"
        self._open_rooms = open_rooms
        self._rules = rules
        self._settling = settling

    @property
    def _push(self) -> Push:
        return self._settling.push

    # --- rooms ---------------------------------------------------------------------------------------

    async def create(self, caller: Identity, name: str, *, title: str, topic: str, policy: Policy) -> Room:
        """Keep a room of the caller's. Whoever is in it and may not be is taken out."""
        if not caller.is_admin:
            if not self._anyone_creates:
                raise Refused(ErrorCode.FORBIDDEN, "rooms are created by administrators on this server")
            # The name may be a room already, of those who have a grant: nobody else takes it from them.
            if not self._open_rooms and not _is_granted(caller, room_channel(name)):
                raise Refused(
                    ErrorCode.FORBIDDEN,
                    f"{name}: a room is created where the token's channels grant its name",
                )
        if room_channel(name) == NOTICES:
            raise Refused(ErrorCode.CONFLICT, f"{name}: this room is everybody's - at `$.name`")
        room = Room(name, title, topic, policy, caller.user_id, _now_ms())
        return await self._write(
            name, partial(records.create, room=room, who=_who(caller), bounds=self._bounds)
        )

    async def page(self, caller: Identity, *, after: str, limit: int) -> tuple[list[Room], str | None]:
        """Rooms that the caller may enter, by name."""
        return await self._push.tables.read(
            partial(records.page, who=_who(caller), after=after, limit=limit)
        )

    async def find(self, caller: Identity, name: str) -> Room:
        """A room that the caller may enter."""
        self.check_enters(caller, name)
        try:
            return await self._push.tables.read(partial(records.find, name=name))
        except Rejected as rejected:
            raise refused(rejected.refusal) from None

    async def change(self, caller: Identity, name: str, wanted: dict[str, str]) -> Room:
        """Give a room another title, topic or policy. Whom the policy keeps out is taken out."""
        self.check_enters(caller, name)
        return await self._write(name, partial(records.change, name=name, who=_who(caller), wanted=wanted))

    async def end(self, caller: Identity, name: str) -> Room:
        """Delete a room, its members and its history; everybody in it is taken out."""
        self.check_enters(caller, name)
        operation = partial(records.end, name=name, who=_who(caller), now_ms=_now_ms())
        room = await self._write(name, operation)
        with trio.move_on_after(_GONE_SECONDS):
            await self._settling.wait_gone(name)
        return room

    # --- members -------------------------------------------------------------------------------------

    async def put_member(self, caller: Identity, name: str, user_id: str, role: Role) -> Member:
        """Invite a user, or let a member be something else."""
        self.check_enters(caller, name)
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
        invites = known and user_id != caller.user_id
        return await self._write(name, partial(operation, now_ms=_now_ms(), invites=invites))

    async def remove_member(self, caller: Identity, name: str, user_id: str) -> Member | None:
        """Remove a user, who is taken out; None for who leaves."""
        if user_id != caller.user_id:
            self.check_enters(caller, name)
        else:
            self._check_kept(name)
        operation = partial(records.remove_member, name=name, who=_who(caller), user_id=user_id)
        return await self._write(name, partial(operation, bounds=self._bounds, now_ms=_now_ms()))

    async def members_page(
        self, caller: Identity, name: str, *, after: str, limit: int
    ) -> tuple[list[Member], str | None]:
        """The members of a room, by id; for those who look after it, the removed ones too."""
        self.check_enters(caller, name)
        removed = caller.is_admin or self._rules.role_of(caller.user_id, name) in MANAGERS
        found = await self._push.tables.read(
            partial(records.members_page, name=name, after=after, limit=limit, removed=removed)
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
        return self._rules.role_of(caller.user_id, name) if name in self._rules.rooms else None

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
    return Who(caller.user_id, caller.is_admin)


def _is_granted(caller: Identity, channel: str) -> bool:
    grants = (caller.channels.get(name) for name in (channel, "room:*"))
    return any(grant is not None and grant.subscribe for grant in grants)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
