"""Presence against a model: any order of coming, going and waiting, with a broker that is well or is not."""

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fakes import JSON, Listener
from support.unsteady_broker import UnsteadyBroker
from trio.testing import wait_all_tasks_blocked

from tidings.protocol.positions import Position
from tidings.server.brokers.base import BrokerUnavailable
from tidings.server.config.channels import ChannelRule
from tidings.server.delivery.hub import Hub
from tidings.server.delivery.presence import Presence
from tidings.server.policies import Policies

GRACE = 3.0
ROOMS = ("room:a", "room:b")
USERS = ("alice", "bob")
START = Position("e", 0)

# Longer than a grace and all attempts at telling a broker that fails a dozen times.
QUIET = 1_000.0

Told = list[tuple[float, str, str, str]]


@dataclass(frozen=True)
class Step:
    """What happens, to which connection, and how long it is quiet afterwards."""

    kind: str
    number: int
    user: str
    room: str
    pause: float
    """Seconds; negative: the next step follows in the same instant."""


STEPS = st.lists(
    st.builds(
        Step,
        kind=st.sampled_from(["connect", "connect", "subscribe", "subscribe", "leave", "disconnect"]),
        number=st.integers(0, 7),
        user=st.sampled_from(USERS),
        room=st.sampled_from(ROOMS),
        # No sum of them is a grace, so that nothing depends on who is first at its end.
        pause=st.sampled_from([-1.0, 0.0, 0.26, 1.27, GRACE - 0.29, GRACE + 0.31]),
    ),
    max_size=40,
)


@dataclass
class World:
    """A watched hub, and its connections."""

    broker: UnsteadyBroker
    hub: Hub
    presence: Presence
    living: list[Listener] = field(default_factory=list)

    def apply(self, step: Step) -> None:
        """Let one step happen."""
        if step.kind == "connect" or not self.living:
            listener = Listener(JSON, step.user)
            self.hub.connect(listener)
            self.living.append(listener)
            self.hub.subscribe(listener, step.room, START)
            return
        listener = self.living[step.number % len(self.living)]
        match step.kind:
            case "subscribe":
                self.hub.subscribe(listener, step.room, START)
            case "leave":
                self.hub.unsubscribe(listener, step.room)
            case "disconnect":
                self.living.remove(listener)
                self.hub.disconnect(listener)

    def here(self) -> dict[str, list[str]]:
        """Who is in each room, by what the hub says."""
        return {
            room: sorted({one.identity.user_id for one in self.hub.subscribers_of(room)}) for room in ROOMS
        }

    async def members(self) -> dict[str, list[str]]:
        """The same, by what presence says."""
        return {room: [one.user_id for one in await self.presence.members(room)] for room in ROOMS}

    async def known(self) -> dict[str, list[str]]:
        """The same, by what the broker knows."""
        return {room: [one.user_id for one in await self.broker.presence(room)] for room in ROOMS}


class Model:
    """When each user joined and left each room, had all been told at once."""

    def __init__(self) -> None:
        self.told: Told = []
        self.was: dict[tuple[str, str], bool] = defaultdict(bool)
        self.gone_at: dict[tuple[str, str], float] = {}

    def pass_time(self, now: float) -> None:
        """Those leave whose grace is over."""
        for key, at in sorted(self.gone_at.items(), key=lambda item: item[1]):
            if at + GRACE <= now:
                del self.gone_at[key]
                self.was[key] = False
                self.told.append((at + GRACE, key[0], "left", key[1]))

    def glimpse(self, here: dict[str, list[str]]) -> None:
        """Who is back, be it for an instant, has a whole grace again."""
        for key in [(room, user) for room in ROOMS for user in here[room]]:
            self.gone_at.pop(key, None)

    def see(self, now: float, here: dict[str, list[str]]) -> None:
        """Compare with what was so before."""
        for room in ROOMS:
            for user in USERS:
                key = room, user
                if user in here[room]:
                    self.gone_at.pop(key, None)
                    if not self.was[key]:
                        self.was[key] = True
                        self.told.append((now, room, "joined", user))
                elif self.was[key] and key not in self.gone_at:
                    self.gone_at[key] = now


def _play(steps: list[Step], act: Callable[[World, Model, Step], object], world: list[World]) -> Model:
    """Run the steps on virtual time, then let all become quiet."""
    model = Model()

    async def main() -> None:
        policies = Policies({"room:*": ChannelRule(join_leave=True)})
        broker = UnsteadyBroker(policies)
        hub = Hub(release=broker.release)
        presence = Presence(hub, broker, policies, grace=GRACE, service_seconds=60)
        hub.watcher = presence
        here = World(broker, hub, presence)
        world.append(here)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(presence.run)
            await wait_all_tasks_blocked()
            for step in steps:
                model.pass_time(trio.current_time())
                act(here, model, step)
                model.glimpse(here.here())
                # At any time, whoever is connected is a member, and never somebody who never was.
                members, connected = await here.members(), here.here()
                for room in ROOMS:
                    assert set(connected[room]) <= set(members[room])
                if step.pause >= 0:
                    await wait_all_tasks_blocked()
                    model.see(trio.current_time(), here.here())
                    await trio.sleep(step.pause)
            await wait_all_tasks_blocked()
            model.see(trio.current_time(), here.here())
            await trio.sleep(QUIET)
            model.pass_time(trio.current_time())
            assert await here.members() == await here.known() == here.here()
            assert len(presence._members) == sum(map(len, here.here().values()))
            for listener in here.living:
                hub.disconnect(listener)
            await trio.sleep(QUIET)
            model.see(trio.current_time() - QUIET, here.here())
            model.pass_time(trio.current_time())
            assert await here.known() == {room: [] for room in ROOMS}
            assert len(presence._members) == 0
            assert not presence._members._departing
            assert not presence._members._work
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    return model


def _alternate(told: Told) -> None:
    """In each channel a user joins before leaving and leaves before joining again, and has left in the end."""
    counts = Counter((room, user) for _, room, _, user in told)
    for (room, user), count in counts.items():
        events = [event for _, place, event, who in told if (place, who) == (room, user)]
        assert events == ["joined", "left"] * (count // 2)


def _by_time(told: Told) -> Told:
    return sorted((round(at, 6), room, event, user) for at, room, event, user in told)


@given(STEPS)
@settings(max_examples=100)
def test_presence_is_what_is_so(steps: list[Step]) -> None:
    """Each edge is told once, when it happens; and when it is quiet again, presence is who is connected."""
    world: list[World] = []
    model = _play(steps, lambda here, _, step: here.apply(step), world)
    told = world[0].broker.told
    assert _by_time(told) == _by_time(model.told)
    _alternate(told)


@given(STEPS, st.lists(st.tuples(st.booleans(), st.booleans()), max_size=12))
@settings(max_examples=100)
def test_presence_outlives_any_trouble(steps: list[Step], trouble: list[tuple[bool, bool]]) -> None:
    """Whichever calls fail, done or not: each user joins and leaves in turn, and in the end the broker is right."""
    world: list[World] = []
    begun: list[bool] = []

    def act(here: World, _: Model, step: Step) -> None:
        if not begun:
            begun.append(True)
            here.broker.failures = iter(
                [(BrokerUnavailable("lost") if fails else None, is_done) for fails, is_done in trouble]
            )
        here.apply(step)

    _play(steps, act, world)
    _alternate(world[0].broker.told)
