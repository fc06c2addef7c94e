"""Who is in a channel: when it is told, when it is not, and what a broker's troubles change."""

from collections.abc import AsyncIterator, Iterator
from itertools import repeat

import msgspec
import pytest
import structlog.testing
import trio
from support.fakes import JSON, Listener
from support.unsteady_broker import UnsteadyBroker
from trio.testing import MockClock, wait_all_tasks_blocked

from tidings.protocol.positions import Position
from tidings.server.brokers.base import BrokerUnavailable
from tidings.server.config.channels import ChannelRule
from tidings.server.delivery.hub import Hub
from tidings.server.delivery.presence import Presence
from tidings.server.delivery.presence_members import PATIENCE
from tidings.server.policies import Policies

GRACE = 5.0
ROOM = "room:a"
START = Position("e", 0)


class Place:
    """A hub that is watched, and what it takes for somebody to come and go."""

    def __init__(self, grace: float = GRACE) -> None:
        rules = {"room:*": ChannelRule(join_leave=True), "room:quiet": ChannelRule(join_leave=False)}
        self.policies = Policies(rules)
        self.broker = UnsteadyBroker(self.policies)
        self.hub = Hub(release=self.broker.release)
        self.presence = Presence(self.hub, self.broker, self.policies, grace=grace, service_seconds=60)
        self.hub.watcher = self.presence

    def enter(self, user_id: str = "alice", *channels: str, name: str = "", device: str = "") -> Listener:
        """A new connection, subscribed to channels."""
        listener = Listener(JSON, user_id)
        listener.device = device
        if name:
            listener.identity = msgspec.structs.replace(listener.identity, username=name)
        self.hub.connect(listener)
        for channel in channels or (ROOM,):
            self.hub.subscribe(listener, channel, START)
        return listener

    @property
    def events(self) -> list[tuple[float, str, str]]:
        """What was announced: when, what, of whom."""
        return [(at, event, user) for at, _, event, user in self.broker.told]

    @property
    def entries(self) -> int:
        """What is kept in mind."""
        return len(self.presence._members)

    async def known(self, channel: str = ROOM) -> list[str]:
        """Who the broker says is there."""
        return [member.user_id for member in await self.broker.presence(channel)]


@pytest.fixture
async def place(autojump_clock: MockClock) -> AsyncIterator[Place]:
    """With its service running, on virtual time."""
    place = Place()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(place.presence.run)
        yield place
        nursery.cancel_scope.cancel()


async def test_the_first_connection_joins_and_the_last_leaves(place: Place) -> None:
    """`joined` once, however many come; `left` once, when the grace after the last is over."""
    began = trio.current_time()
    tabs = [place.enter() for _ in range(3)]
    await wait_all_tasks_blocked()
    assert place.events == [(began, "joined", "alice")]
    assert await place.known() == ["alice"]
    for tab in tabs[:2]:
        place.hub.disconnect(tab)
    await trio.sleep(10 * GRACE)
    assert len(place.events) == 1
    place.hub.unsubscribe(tabs[2], ROOM)
    went = trio.current_time()
    await trio.sleep(GRACE - 0.1)
    assert len(place.events) == 1
    assert await place.known() == ["alice"]
    await trio.sleep(0.2)
    assert place.events[1:] == [(went + GRACE, "left", "alice")]
    assert (await place.known(), place.entries) == ([], 0)


async def test_a_reconnection_is_not_told(place: Place) -> None:
    """Who is back within the grace never left, any number of times; its clock begins anew each time."""
    tab = place.enter()
    for _ in range(5):
        await trio.sleep(GRACE)
        place.hub.disconnect(tab)
        await trio.sleep(GRACE - 0.1)
        tab = place.enter()
    await trio.sleep(GRACE)
    assert [event for _, event, _ in place.events] == ["joined"]
    place.hub.disconnect(tab)
    await trio.sleep(GRACE + 0.1)
    place.enter()
    await wait_all_tasks_blocked()
    assert [event for _, event, _ in place.events] == ["joined", "left", "joined"]


async def test_everybody_in_the_channel_is_told(place: Place) -> None:
    """The members get the event with who it is about, without an offset; and who joined gets what follows."""
    bob = place.enter("bob")
    await wait_all_tasks_blocked()
    place.enter("alice", name="Alice A.")
    await wait_all_tasks_blocked()
    joined = place.broker.delivered[-1]
    assert (joined.channel, joined.event, joined.offset, joined.user_id) == (ROOM, "joined", 0, "alice")
    assert msgspec.json.decode(joined.payload) == {
        "channel": ROOM, "user_id": "alice", "username": "Alice A."
    }  # fmt: skip
    place.hub.disconnect(bob)
    await trio.sleep(GRACE + 1)
    assert [event for _, event, user in place.events if user == "bob"] == ["joined", "left"]


async def test_channels_without_presence_cost_nothing(place: Place) -> None:
    """Neither the broker nor any list hears of a channel whose policy keeps none."""
    alice = place.enter("alice", "all", "user:alice", "role:x", "group:g")
    await wait_all_tasks_blocked()
    assert (place.broker.calls, place.entries, place.events) == ([], 0, [])
    assert await place.presence.members("all") == []
    assert not place.presence.keeps("all")
    assert 'channels."role:*"' in place.presence.how_to_keep("role:x")
    assert 'channels."all"' in place.presence.how_to_keep("all")
    place.hub.disconnect(alice)


async def test_presence_without_events(place: Place) -> None:
    """Members can be asked for where nobody is told of their coming and going."""
    tab = place.enter("alice", "room:quiet")
    await wait_all_tasks_blocked()
    assert await place.known("room:quiet") == ["alice"]
    place.hub.disconnect(tab)
    await trio.sleep(GRACE + 1)
    assert (await place.known("room:quiet"), place.events) == ([], [])


async def test_a_renamed_user_is_the_same_member(place: Place) -> None:
    """A newer name, of another connection or after a refresh, replaces the old one, without leaving and joining."""
    tab = place.enter(name="Alice")
    await wait_all_tasks_blocked()
    place.enter(name="Alice B.")
    await wait_all_tasks_blocked()
    assert [(one.user_id, one.username) for one in await place.broker.presence(ROOM)] == [
        ("alice", "Alice B.")
    ]
    tab.identity = msgspec.structs.replace(tab.identity, username="Alice C.", kind="device")
    place.presence.renewed(tab)
    await wait_all_tasks_blocked()
    assert [(one.username, one.kind) for one in await place.presence.members(ROOM)] == [
        ("Alice C.", "device")
    ]
    assert [(one.username, one.kind) for one in await place.broker.presence(ROOM)] == [
        ("Alice C.", "device")
    ]
    assert [event for _, event, _ in place.events] == ["joined"]


async def test_members_are_those_of_this_moment(place: Place) -> None:
    """Who has just subscribed is a member before the broker knows, sorted by user id, others' nodes' included."""
    place.broker.hangs = trio.Event()
    for user in ("carol", "alice", "bob"):
        place.enter(user)
    assert [one.user_id for one in await place.presence.members(ROOM)] == ["alice", "bob", "carol"]
    assert await place.known() == []
    place.broker.hangs.set()
    await wait_all_tasks_blocked()
    assert await place.known() == ["alice", "bob", "carol"]


async def test_who_only_looked_in_is_not_told_of(place: Place) -> None:
    """Coming and going in one step asks the broker nothing, and leaves nothing behind."""
    place.hub.disconnect(place.enter())
    await trio.sleep(GRACE + 1)
    assert (place.broker.calls, place.events, place.entries) == ([], [], 0)


@pytest.mark.parametrize("is_done", [False, True], ids=["not done", "done"])
async def test_a_broker_that_cannot_now_is_asked_again(place: Place, is_done: bool) -> None:
    """Whether it had done it or not: joined once and left once, in the end; logged once for many failures."""
    place.broker.failures = repeat((BrokerUnavailable("the connection is lost"), is_done), 7)
    with structlog.testing.capture_logs() as logs:
        tab = place.enter()
        await trio.sleep(120)
        assert [event for _, event, _ in place.events] == ["joined"]
        assert await place.known() == ["alice"]
    assert [(each["log_level"], each.get("error")) for each in logs] == [
        ("error", "the connection is lost"), ("info", None)
    ]  # fmt: skip
    place.broker.failures = repeat((BrokerUnavailable("again"), is_done), 7)
    place.hub.disconnect(tab)
    await trio.sleep(120)
    assert [event for _, event, _ in place.events] == ["joined", "left"]
    assert (await place.known(), place.entries) == ([], 0)


async def test_who_returns_while_the_broker_fails_stays(place: Place) -> None:
    """A leave that failed may have been done: whoever comes back enters again, and nobody is told of it."""
    tab = place.enter()
    await wait_all_tasks_blocked()
    place.broker.failures = repeat((BrokerUnavailable("lost"), True), 3)
    place.hub.disconnect(tab)
    await trio.sleep(GRACE + 0.2)
    assert await place.known() == []
    place.enter()
    await trio.sleep(60)
    assert await place.known() == ["alice"]
    assert [event for _, event, _ in place.events] == ["joined"]


async def test_one_channels_trouble_is_not_anothers(place: Place) -> None:
    """While one entry fails again and again, the others are told at once."""

    def failing() -> tuple[Exception | None, bool]:
        poisoned = place.broker.calls[-1][1] == "room:bad"
        return (BrokerUnavailable("bad"), False) if poisoned else (None, False)

    place.broker.failures = iter(failing, "never")
    place.enter("alice", "room:bad")
    await trio.sleep(100)
    began = trio.current_time()
    place.enter("bob", ROOM)
    await wait_all_tasks_blocked()
    assert place.events == [(began, "joined", "bob")]


async def test_a_mute_broker_is_given_up_and_asked_again(place: Place) -> None:
    """A call that never returns is cancelled after a while; when it answers again all is told."""
    place.broker.hangs = trio.Event()
    with structlog.testing.capture_logs() as logs:
        place.enter()
        await trio.sleep(3 * PATIENCE)
        assert len(place.broker.calls) >= 2
        place.broker.hangs.set()
        await trio.sleep(60)
    assert [event for _, event, _ in place.events] == ["joined"]
    assert [each["log_level"] for each in logs] == ["error", "info"]


async def test_what_waits_for_a_mute_broker_is_bounded(place: Place) -> None:
    """However often somebody comes and goes meanwhile, an entry waits once."""
    place.broker.hangs = trio.Event()
    place.enter()
    await wait_all_tasks_blocked()
    for _ in range(100):
        place.hub.disconnect(place.enter("bob"))
        place.hub.disconnect(place.enter("carol", name="Carol C."))
    assert (len(place.presence._members._work), place.entries) == (2, 3)


async def test_a_fault_of_the_broker_does_not_end_presence(place: Place) -> None:
    """What should never be raised is logged with its trace, and costs only time."""
    place.broker.failures = iter([(RuntimeError("a bug"), False)])
    with structlog.testing.capture_logs() as logs:
        place.enter()
        await trio.sleep(10)
    assert [event for _, event, _ in place.events] == ["joined"]
    assert isinstance(logs[0]["exc_info"], RuntimeError)


async def test_ten_thousand_at_once_leave_room_for_others(place: Place) -> None:
    """A crowd is told in turns: other tasks run in between."""
    for number in range(10_000):
        place.enter(f"u{number}", "room:quiet")
    turns = 0
    while len(await place.known("room:quiet")) < 10_000:
        await trio.lowlevel.checkpoint()
        turns += 1
    assert turns > 100


async def test_cancelled_it_ends(autojump_clock: MockClock) -> None:
    """Also in the middle of a call that hangs, or of a wait for the next try."""
    for failing in (False, True):
        place = Place()
        if failing:
            place.broker.failures = repeat((BrokerUnavailable("lost"), False))
        else:
            place.broker.hangs = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(place.presence.run)
            place.enter()
            await trio.sleep(1)
            nursery.cancel_scope.cancel()


async def test_without_a_grace_leaving_is_told_at_once(autojump_clock: MockClock) -> None:
    """0 seconds are no seconds."""
    place = Place(grace=0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(place.presence.run)
        tab = place.enter()
        await wait_all_tasks_blocked()
        place.hub.disconnect(tab)
        await wait_all_tasks_blocked()
        assert [event for _, event, _ in place.events] == ["joined", "left"]
        nursery.cancel_scope.cancel()


async def test_every_grace_ends_in_its_own_time(place: Place) -> None:
    """Who came back and went again does not keep those waiting who went before."""
    began = trio.current_time()
    alice, bob = place.enter("alice"), place.enter("bob")
    await trio.sleep(1)
    place.hub.disconnect(alice)
    place.hub.disconnect(bob)
    await trio.sleep(1)
    alice = place.enter("alice")
    await trio.sleep(1)
    place.hub.disconnect(alice)
    await trio.sleep(10 * GRACE)
    assert place.events[2:] == [
        (began + 1 + GRACE, "left", "bob"),
        (began + 3 + GRACE, "left", "alice"),
    ]


async def test_an_entry_that_was_forgotten_is_nobody_elses_end(place: Place) -> None:
    """Who looks in while its leaving is announced, and then comes to stay, is there to stay, and to leave."""

    def hang_at_the_next() -> Iterator[tuple[Exception | None, bool]]:
        place.broker.hangs = trio.Event()
        yield None, False

    def go_on() -> None:
        assert place.broker.hangs is not None
        event, place.broker.hangs = place.broker.hangs, None
        event.set()

    tab = place.enter()
    await wait_all_tasks_blocked()
    place.hub.disconnect(tab)
    place.broker.failures = hang_at_the_next()
    await trio.sleep(GRACE + 1)
    # Its leaving is being announced. Behind that come bob, and alice's entry once more, to be forgotten.
    bob = place.enter("bob")
    place.hub.disconnect(place.enter())
    place.broker.failures = hang_at_the_next()
    go_on()
    await wait_all_tasks_blocked()
    # Forgotten already, while bob is being told, and still to be looked at.
    tab = place.enter()
    go_on()
    await wait_all_tasks_blocked()
    assert (await place.known(), place.entries) == (["alice", "bob"], 2)
    place.hub.disconnect(tab)
    place.hub.disconnect(bob)
    await trio.sleep(GRACE + 1)
    assert (await place.known(), place.entries) == ([], 0)
