"""Lists of many who are present: kept for a moment, and as right as one that is made anew."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from tidings.protocol.messages.answers import PresentMember
from tidings.server.brokers.base import Member
from tidings.server.brokers.memory import MemoryBroker
from tidings.server.config.channels import ChannelRule
from tidings.server.delivery import presence_lists
from tidings.server.delivery.hub import Hub
from tidings.server.delivery.presence import Crowd, Presence
from tidings.server.delivery.presence_lists import LEAST_BYTES, MOST_BYTES
from tidings.server.identity import Identity
from tidings.server.policies import Policies

GRACE = 3.0
ROOM = "room:a"
USERS = ("alice", "bob", "carol", "dora")


class SharedBroker(MemoryBroker):
    """With another node, where somebody is present too; counts how often it is asked."""

    def __init__(self, policies: Policies) -> None:
        super().__init__(lambda _publication: None, policies=policies)
        self.elsewhere: dict[str, Member] = {}
        self.asked = 0

    async def leave(self, channel: str, user_id: str) -> bool:
        return await super().leave(channel, user_id) and user_id not in self.elsewhere

    async def presence(self, channel: str) -> Sequence[Member]:
        self.asked += 1
        return await self.known(channel)

    async def known(self, channel: str) -> Sequence[Member]:
        """The same, not counted."""
        here = {member.user_id: member for member in await super().presence(channel)}
        return sorted((self.elsewhere | here).values(), key=lambda member: member.user_id)


class Place:
    """Presence whose watcher is called directly."""

    def __init__(self) -> None:
        policies = Policies({"room:*": ChannelRule(join_leave=False)})
        self.broker = SharedBroker(policies)
        self.presence = Presence(Hub(), self.broker, policies, grace=GRACE, service_seconds=60)
        self.members = self.presence._members

    def fill(self, count: int) -> None:
        """Have many come."""
        for number in range(count):
            self.members.came(ROOM, person(f"user-{number:05}"))

    async def fresh(self) -> list[PresentMember]:
        """Who is present, by a list that is made now."""
        found = {member.user_id: member for member in await self.broker.known(ROOM)}
        for user_id, entry in self.members._entries.get(ROOM, {}).items():
            if entry.connections:
                found[user_id] = entry.member
        return [PresentMember(*msgspec.structs.astuple(found[user_id])) for user_id in sorted(found)]


def person(user_id: str, name: str = "") -> Identity:
    return Identity(user_id, name or user_id, 2**31)


@pytest.fixture
def place(autojump_clock: MockClock) -> Place:
    """On virtual time."""
    return Place()


@pytest.fixture
def all_kept() -> Iterator[None]:
    """However few are present, their list is kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(presence_lists, "MANY", 0)
        yield


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["came", "came", "went", "renamed"]),
        st.sampled_from(USERS),
        st.sampled_from(["", "A", "é\n"]),
        # Negative: the broker is not told before the next step.
        st.sampled_from([-1.0, 0.0, 0.3, GRACE - 0.2, GRACE + 0.2]),
    ),
    max_size=30,
)


@given(steps=STEPS, elsewhere=st.sets(st.sampled_from(USERS)))
@settings(max_examples=150)
def test_a_kept_list_is_what_a_new_one_would_be(steps: list[Any], elsewhere: set[str]) -> None:
    """Whoever comes, goes or is renamed here, others being elsewhere; and who was given one keeps it as it was."""
    hits = 0

    async def main() -> None:
        nonlocal hits
        place = Place()
        place.broker.elsewhere = {name: Member(name, name) for name in elsewhere}
        connections = dict.fromkeys(USERS, 0)
        given_out: list[tuple[list[PresentMember], bytes]] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(place.presence.run)
            for kind, user, name, pause in steps:
                if kind == "came":
                    connections[user] += 1
                    place.members.came(ROOM, person(user, name))
                elif connections[user] and kind == "went":
                    connections[user] -= 1
                    place.members.went(ROOM, user)
                elif connections[user]:
                    place.members.renamed(ROOM, person(user, name))
                if pause >= 0:
                    await wait_all_tasks_blocked()
                    await trio.sleep(pause)
                    await wait_all_tasks_blocked()
                asked = place.broker.asked
                listing = await place.members.of(ROOM)
                hits += place.broker.asked == asked
                members, fresh = listing.members, await place.fresh()
                assert [each.user_id for each in members] == [each.user_id for each in fresh]
                for kept, new in zip(members, fresh, strict=True):
                    # Until the broker is told, it names who has gone as before; and the other node's name of who
                    # was on both may be a second late.
                    is_settled = pause >= 0 or connections[kept.user_id]
                    assert kept == new or not is_settled or kept.user_id in elsewhere
                if members:
                    assert listing.bytes == len(msgspec.json.encode(members))
                given_out.append((members, msgspec.json.encode(members)))
            assert all(msgspec.json.encode(members) == then for members, then in given_out)
            nursery.cancel_scope.cancel()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(presence_lists, "MANY", 0)
        trio.run(main, clock=MockClock(autojump_threshold=0))
    instants = sum(pause <= 0.3 for _, _, _, pause in steps[1:])
    assert hits or instants < 4


async def test_asking_in_turn_reads_the_broker_once_a_second(place: Place) -> None:
    """However often a long list is asked for; a short one is made each time."""
    place.fill(presence_lists.MANY - 1)
    for _ in range(5):
        assert len(await place.presence.members(ROOM)) == presence_lists.MANY - 1
    assert place.broker.asked == 5
    place.fill(presence_lists.MANY)
    for _ in range(50):
        assert len(await place.presence.members(ROOM)) == presence_lists.MANY
    assert place.broker.asked == 6
    place.broker.elsewhere["zoe"] = Member("zoe", "zoe")
    await trio.sleep(presence_lists.KEPT_SECONDS - 0.01)
    assert len(await place.presence.members(ROOM)) == presence_lists.MANY
    await trio.sleep(0.01)
    assert len(await place.presence.members(ROOM)) == presence_lists.MANY + 1
    assert place.broker.asked == 7


async def test_a_crowd_is_refused_by_its_number(place: Place) -> None:
    """No list is made of more than can fit; one that could is measured."""
    place.fill(1_000)
    assert await place.presence.members_within(ROOM, 1_000 * LEAST_BYTES - 1) == Crowd(1_000)
    assert place.broker.asked == 0
    exact = len(msgspec.json.encode(await place.fresh()))
    assert await place.presence.members_within(ROOM, exact - 1) == Crowd(1_000)
    assert await place.presence.members_within(ROOM, exact) == await place.fresh()
    assert place.broker.asked == 1


async def test_a_few_with_long_names_are_measured_too(place: Place) -> None:
    """A short list of the longest names is refused where it takes more than it may."""
    for number in range(10):
        place.members.came(ROOM, person(f"{number:0128}", "\x00" * 256))
    least = len(msgspec.json.encode(await place.fresh()))
    assert await place.presence.members_within(ROOM, least - 1) == Crowd(10)
    assert len(await place.presence.members_within(ROOM, least)) == 10  # type: ignore[arg-type]


async def test_no_list_outlives_its_second(place: Place) -> None:
    """Nor are more kept than their bound: asking for all channels in turn holds no memory."""
    lists = place.members._lists
    for number in range(3 * presence_lists.MANY):
        place.members.came(ROOM, person(f"u{number:04}"))
        place.members.came("room:b", person(f"u{number:04}"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(presence_lists, "MOST_KEPT", 5 * presence_lists.MANY)
        await place.presence.members(ROOM)
        await place.presence.members("room:b")
        assert list(lists._lists) == ["room:b"]
    await trio.sleep(presence_lists.KEPT_SECONDS)
    place.members.came("room:c", person("late"))
    assert not lists._lists


async def test_a_kept_list_follows_who_leaves(place: Place, all_kept: None) -> None:
    """When the grace is over, and at once who was gone before the broker knew; but not who is elsewhere too."""
    place.broker.elsewhere = {name: Member(name, name) for name in ("bob", "carol")}

    async def listed() -> list[str]:
        return [each.user_id for each in await place.presence.members(ROOM)]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(place.presence.run)
        for user in ("alice", "bob"):
            place.members.came(ROOM, person(user))
        await wait_all_tasks_blocked()
        for user in ("alice", "bob"):
            place.members.went(ROOM, user)
        await trio.sleep(GRACE - 0.1)
        asked = place.broker.asked
        assert await listed() == ["alice", "bob", "carol"]
        await trio.sleep(0.2)
        assert await listed() == ["bob", "carol"]
        for user in ("carol", "dora"):
            place.members.came(ROOM, person(user))
        assert await listed() == ["bob", "carol", "dora"]
        for user in ("carol", "dora"):
            place.members.went(ROOM, user)
        assert await listed() == ["bob", "carol"]
        assert place.broker.asked == asked + 1
        nursery.cancel_scope.cancel()


async def test_who_leaves_while_the_list_is_read_is_not_kept(place: Place, all_kept: None) -> None:
    """The reading may still name them: the next who asks reads again."""
    place.members.came(ROOM, person("alice"))
    place.members.came(ROOM, person("bob"))
    reached, goes_on = trio.Event(), trio.Event()
    read = place.broker.presence

    async def slow(channel: str) -> Sequence[Member]:
        found = await read(channel)
        reached.set()
        await goes_on.wait()
        return found

    async with trio.open_nursery() as nursery:
        nursery.start_soon(place.presence.run)
        await wait_all_tasks_blocked()
        place.broker.presence = slow  # type: ignore[method-assign]
        nursery.start_soon(place.presence.members, ROOM)
        await reached.wait()
        place.members.went(ROOM, "bob")
        await trio.sleep(GRACE + 1)
        goes_on.set()
        await wait_all_tasks_blocked()
        place.broker.presence = read  # type: ignore[method-assign]
        assert [each.user_id for each in await place.presence.members(ROOM)] == ["alice"]
        nursery.cancel_scope.cancel()


@given(
    user_id=st.from_regex(r"[A-Za-z0-9_.:@+-]{1,128}", fullmatch=True),
    name=st.text(st.characters(codec="utf-8"), min_size=1, max_size=256),
    kind=st.sampled_from(["user", "device", "service"]),
)
def test_the_bounds_of_a_member_hold(user_id: str, name: str, kind: Any) -> None:
    """What one takes in a list lies between the two figures, whatever the name."""
    taken = len(msgspec.json.encode(PresentMember(user_id, name, kind))) + 1
    assert LEAST_BYTES <= taken <= MOST_BYTES
    assert json.loads(msgspec.json.encode(PresentMember(user_id, name, kind)))["username"] == name
