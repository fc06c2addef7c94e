"""Kept rooms over several lives: nobody is in one that the tables do not let in, and memory says what they say."""

import shutil
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, cast

import pytest
import trio
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Connection, select
from support.fakes import JSON, Listener
from support.records import InlineRecords
from support.site import configured
from trio.testing import MockClock

from tidings.protocol.channels import room_channel
from tidings.protocol.messages.builtin import builtin_registry
from tidings.protocol.positions import Position
from tidings.server.answers import Refused
from tidings.server.apps import rooms as package
from tidings.server.apps.rooms.pace import Pace
from tidings.server.apps.rooms.rules import Policy, Role, Rules
from tidings.server.apps.rooms.service import KeptRooms
from tidings.server.apps.rooms.settling import Settling
from tidings.server.apps.rooms.tables import members, rooms
from tidings.server.auth import Authenticator
from tidings.server.brokers.base import Broker
from tidings.server.config.rooms import Rooms
from tidings.server.edge.context import Context
from tidings.server.edge.session import Answer
from tidings.server.edge.subscribing import subscribe, unsubscribe
from tidings.server.identity import ChannelGrant, Identity
from tidings.server.messaging import messaging
from tidings.server.permissions import Permissions
from tidings.server.relay import Relay
from tidings.server.store.errors import StoreUnavailable
from tidings.server.store.records.migrating import Migrations
from tidings.server.tables import Tables

MIGRATIONS: Final = Migrations("rooms", Path(package.__file__).parent / "migrations")
NAMES: Final = ("a", "b")
USERS: Final = ("ann", "bob", "cleo")
FAR: Final = 2**33

Step = Callable[[], Awaitable[object]]
Lost = tuple[str, int] | None

_names = st.sampled_from(NAMES)
_users = st.sampled_from(USERS)
# An administrator may do everything: so that much is done.
_callers = st.sampled_from([*USERS, "root", "root"])
_policies: st.SearchStrategy[Policy] = st.sampled_from(["open", "invited", "announcements"])
_roles: st.SearchStrategy[Role] = st.sampled_from(["member", "admin", "owner"])
_lost = st.none() | st.tuples(st.sampled_from(["before", "after"]), st.integers(0, 4))


def _identity(user: str, *, granted: bool = False) -> Identity:
    if user == "root":
        return Identity("root", "root", FAR, roles=frozenset({"admin"}))
    grants = {"room:*": ChannelGrant(publish=True)} if granted else {}
    return Identity(user, user, FAR, channels=grants)


class Client(Listener):
    """A connection that can be taken out of a channel."""

    def __init__(self, context: Context, identity: Identity) -> None:
        super().__init__(JSON, identity.user_id)
        self.identity = identity
        self._context = context

    def leave(self, channel: str) -> bool:
        """As a connection does."""
        return self._context.hub.unsubscribe(self, channel)

    def replay(self, _replay: object) -> None:
        """What it missed is not the question here."""
        raise AssertionError("nothing is recovered from a position that never was")


class SlowBroker:
    """A broker that takes its time before somebody is let in: meanwhile rooms change."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)

    async def open(self, channel: str) -> Position:
        """As the other, later."""
        await trio.sleep(0.001)
        return await self._broker.open(channel)


class LossyTables(Tables):
    """Tables whose database may be lost right before a commit, or right after it."""

    lost: Lost = None
    """Where the one is lost that comes after so many others."""

    async def write(self, operation: Any, on_done: Any = None) -> Any:
        """As lost as this one is to be."""
        lost = None
        if self.lost is not None:
            when, others = self.lost
            lost, self.lost = (when, None) if not others else (None, (when, others - 1))
        if lost == "before":
            raise StoreUnavailable("lost before the commit")
        if lost == "after":
            await super().write(operation)
            raise StoreUnavailable("lost after the commit")
        return await super().write(operation, on_done)


class Process:
    """One life of the parts of a server that rooms are made of."""

    def __init__(self, folder: Path) -> None:
        config, registry = configured(), builtin_registry()
        authenticator = Authenticator(config.auth)
        parts = messaging(config, registry, authenticator.revocations)
        self.permissions = Permissions(parts.policies)
        # What no door of a room has to do with is left out.
        nothing = cast(Any, None)
        self.context = Context(
            config=config,
            registry=registry,
            dialects={},
            engine=nothing,
            authenticator=authenticator,
            permissions=self.permissions,
            hub=parts.hub,
            broker=cast(Broker, SlowBroker(parts.broker)),
            admission=nothing,
            push=parts.push,
            policies=parts.policies,
            histories=parts.histories,
            inboxes=parts.inboxes,
            presence=parts.presence,
        )
        self.records = InlineRecords(folder, [MIGRATIONS])
        self.records.open()
        self.relay = Relay(self.records, parts.push)
        self.tables = LossyTables(self.records, self.relay.wake)
        parts.push.tables = self.tables
        self.rules = Rules()
        self.permissions.rooms = self.rules
        self.settling = Settling(self.rules)
        settings = Rooms(kept=True, owned=2, members=3)
        self.rooms = KeptRooms(settings, self.rules, self.settling, Pace(50), open_rooms=True)
        self.connections: list[Client] = []
        trio.run(self.settling.begin, parts.push)
        for identity in (_identity("root"), *map(_identity, USERS), _identity("bob", granted=True)):
            connection = Client(self.context, identity)
            parts.hub.connect(connection)
            self.connections.append(connection)

    def do(self, *steps: Step) -> None:
        """Do things at the same time, with the server's tasks beside them; until nothing is left to do."""

        async def tried(step: Step) -> None:
            with suppress(Refused, StoreUnavailable):
                await step()

        async def main() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.relay.run)
                nursery.start_soon(self.settling.run)
                async with trio.open_nursery() as doing:
                    for step in steps:
                        doing.start_soon(tried, step)
                # Time enough for whatever is tried again.
                await trio.sleep(60)
                nursery.cancel_scope.cancel()

        trio.run(main, clock=MockClock(autojump_threshold=0))


class RoomsMachine(RuleBasedStateMachine):
    """Users who create rooms, invite and remove each other, enter by every door and talk."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.process = Process(self.folder)
        self.process.do(self.creating("ann", "a", "invited"), self.creating("bob", "b", "open"))
        self.process.do(self.putting("ann", "a", "bob", "member"), self.putting("bob", "b", "ann", "admin"))

    def teardown(self) -> None:
        if hasattr(self, "process"):
            self.process.records.close()
            shutil.rmtree(self.folder)

    # --- what users do ---------------------------------------------------------------------------------

    def creating(self, caller: str, name: str, policy: Policy) -> Step:
        who = _identity(caller)
        return lambda: self.process.rooms.create(who, name, title="", topic="", policy=policy)

    def putting(self, caller: str, name: str, user: str, role: Role) -> Step:
        return lambda: self.process.rooms.put_member(_identity(caller), name, user, role)

    def removing(self, caller: str, name: str, user: str) -> Step:
        return lambda: self.process.rooms.remove_member(_identity(caller), name, user)

    def changing(self, caller: str, name: str, policy: Policy) -> Step:
        return lambda: self.process.rooms.change(_identity(caller), name, {"policy": policy})

    def entering(self, which: int, name: str, *, comes_back: bool) -> Step:
        process = self.process
        connection = process.connections[which % len(process.connections)]
        since = Position("another epoch", 3) if comes_back else None

        async def enter() -> None:
            session = cast(Any, connection)
            outcome = await subscribe(process.context, session, room_channel(name), since=since)
            # As the dispatcher does, in the step in which the answer comes.
            if isinstance(outcome, Answer) and outcome.then is not None:
                outcome.then()

        return enter

    # Few rules for many things: Hypothesis leaves some rules out of each run, and without rooms there is nothing.

    @rule(name=_names, caller=_callers, policy=_policies, other=_callers, lost=_lost)
    def create(self, name: str, caller: str, policy: Policy, other: str, lost: Lost) -> None:
        """Two at once, sometimes."""
        self.process.tables.lost = lost
        self.process.do(self.creating(caller, name, policy), self.creating(other, name, "open"))

    @rule(
        name=_names,
        caller=_callers,
        user=_users,
        role=_roles,
        removed=_users,
        which=st.integers(0, 4),
        lost=_lost,
    )
    def change_members(
        self, name: str, caller: str, user: str, role: Role, removed: str, which: int, lost: Lost
    ) -> None:
        """One is invited and another removed, while somebody enters."""
        self.process.tables.lost = lost
        self.process.do(
            self.entering(which, name, comes_back=False),
            self.putting(caller, name, user, role),
            self.removing(caller, name, removed),
            self.entering(which, name, comes_back=True),
        )

    @rule(name=_names, caller=_callers, policy=_policies, which=st.integers(0, 4), lost=_lost)
    def change_policy(self, name: str, caller: str, policy: Policy, which: int, lost: Lost) -> None:
        self.process.tables.lost = lost
        self.process.do(self.changing(caller, name, policy), self.entering(which, name, comes_back=False))

    @rule(name=_names, caller=_callers, which=st.integers(0, 4), lost=_lost)
    def end(self, name: str, caller: str, which: int, lost: Lost) -> None:
        self.process.tables.lost = lost
        self.process.do(
            lambda: self.process.rooms.end(_identity(caller), name),
            self.entering(which, name, comes_back=False),
        )

    @rule(name=_names, comes_back=st.booleans())
    def enter(self, name: str, comes_back: bool) -> None:
        """Everybody tries."""
        every = range(len(self.process.connections))
        self.process.do(*(self.entering(which, name, comes_back=comes_back) for which in every))
        allowed = _allowed(self.table(), name)
        for connection in self.process.connections:
            is_in = self.process.context.hub.is_subscribed(connection, room_channel(name))
            assert is_in == (allowed is None or connection.identity.user_id in allowed)

    @rule(name=_names, which=st.integers(0, 4))
    def leave_channel(self, name: str, which: int) -> None:
        connection = cast(Any, self.process.connections[which])
        unsubscribe(self.process.context, connection, room_channel(name))

    @rule()
    def restart(self) -> None:
        """With what is on the disk."""
        self.process.records.close()
        self.process = Process(self.folder)

    # --- what holds --------------------------------------------------------------------------------------

    def table(self) -> dict[str, tuple[str, dict[str, str]]]:
        """Rooms with policy and roles, as the tables have them."""

        def read(connection: Connection) -> dict[str, tuple[str, dict[str, str]]]:
            found: dict[str, tuple[str, dict[str, str]]] = {}
            for room in connection.execute(select(rooms)):
                assert room.deleted_ms is None, "what was deleted is gone by now"
                rows = connection.execute(select(members).where(members.c.room == room.name)).all()
                roles = {row.user_id: row.role for row in rows}
                assert [user for user, role in roles.items() if role == "owner"] == [room.owner_id]
                found[room.name] = (room.policy, roles)
            orphans = connection.execute(select(members).where(members.c.room.not_in(list(found))))
            assert orphans.all() == []
            return found

        return self.process.records._read(read)

    @invariant()
    def memory_says_what_the_tables_say(self) -> None:
        if not hasattr(self, "process"):
            return
        kept = self.process.rules.rooms
        assert {name: (room.policy, room.roles) for name, room in kept.items()} == self.table()
        for room in kept.values():
            assert room.members == sum(role != "removed" for role in room.roles.values()) <= 3
        owners = [user for room in kept.values() for user, role in room.roles.items() if role == "owner"]
        assert all(owners.count(user) <= 2 for user in owners)

    @invariant()
    def nothing_is_left_to_do(self) -> None:
        """Else the history of whoever has the name next would be cleared for ever."""
        if hasattr(self, "process"):
            settling = self.process.settling
            assert not any((settling._ending, settling._in_doubt, settling._all_in_doubt))

    @invariant()
    def nobody_is_where_the_tables_do_not_let_in(self) -> None:
        if not hasattr(self, "process"):
            return
        table = self.table()
        for name in NAMES:
            allowed = _allowed(table, name)
            inside = {
                one.identity.user_id for one in self.process.context.hub.subscribers_of(room_channel(name))
            }
            assert allowed is None or inside <= allowed, (name, inside, allowed)
            for user in USERS:
                policy, roles = table.get(name, ("", {}))
                speaks = self.process.rules.may_speak(_identity(user, granted=True), name)
                if policy == "announcements":
                    assert speaks == (roles.get(user) in {"owner", "admin"})
                else:
                    assert speaks == (None if allowed is None else user in allowed)


def _allowed(table: dict[str, tuple[str, dict[str, str]]], name: str) -> set[str] | None:
    """Who may enter; None for a name that is as any other."""
    if name not in table:
        return None
    policy, roles = table[name]
    return {"root"} | {
        user
        for user in USERS
        if roles.get(user) in {"owner", "admin", "member"}
        or (policy != "invited" and roles.get(user) is None)
    }


def _hold(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        RoomsMachine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            phases=set(Phase) - {Phase.explain},
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )


def test_nobody_is_in_a_room_that_does_not_let_them_in() -> None:
    """Whatever is done at the same time, lost with its database, or loaded anew: the tables say who is in."""
    _hold(10, 15)


@pytest.mark.slow
def test_nobody_is_in_a_room_in_a_long_time() -> None:
    """As above, over more and longer lives."""
    _hold(14, 30)
