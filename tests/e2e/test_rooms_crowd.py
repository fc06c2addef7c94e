"""A thousand users in fifty rooms, of three dialects: what each of them hears."""

from collections import defaultdict
from typing import Any

import pytest
import trio
from support.client import RawClient
from support.site import Site, configured, listening_site
from support.tasks import peers_of

from tidings.server.config import Heartbeat, Limits

USERS, ROOMS, MESSAGES = 1_000, 50, 2_000
DIALECTS = ("native", "knowledge", "ginforge")

# Handshakes under way at a time: a listener's backlog is not the question here.
_AT_ONCE = 50

# More than it takes on a machine that does other things besides.
_LONG = 180.0


class Member:
    """A user in a room, who speaks and hears it in one dialect."""

    def __init__(self, number: int) -> None:
        self.user = f"user{number}"
        self.room = f"room-{number % ROOMS}"
        # So that each room has all of them.
        self.dialect = DIALECTS[number // ROOMS % len(DIALECTS)]
        self.heard: list[str] = []
        self._client: RawClient

    @property
    def body(self) -> str:
        """Where this dialect's envelopes have what is said."""
        return "content" if self.dialect == "ginforge" else "data"

    async def enter(self, client: RawClient, token: str) -> None:
        """Connect, enter the room, and be sure of it."""
        self._client = client
        status, _, _ = await client.handshake(f"/ws?dialect={self.dialect}", token=token)
        assert status == 101
        command = "room_subscribe" if self.dialect == "knowledge" else "join_room"
        await self.send(command, {"room": self.room})
        await self._until_pong()

    async def send(self, kind: str, data: dict[str, Any]) -> None:
        """Send a command in one's own envelope."""
        await self._client.send_json({"type": kind, self.body: data})

    async def talk(self, count: int) -> None:
        """Say so many things."""
        for number in range(count):
            await self.send("room_message", {"room": self.room, "text": f"{self.user}/{number}"})

    async def listen(self, count: int) -> None:
        """Hear so many things, each in the envelope of the dialect, and nothing behind them."""
        while len(self.heard) < count:
            message = await self._client.receive_json()
            if message["type"] == "published":
                continue  # the native answer, which other dialects have no word for
            self._check(message)
            self.heard.append(message[self.body]["text"])
        await self._until_pong()

    def _check(self, message: dict[str, Any]) -> None:
        assert message["type"] == "room_message", message
        said = message[self.body]
        assert (said["room"], said["username"]) == (self.room, said["text"].partition("/")[0])
        keys = {"type", self.body, "timestamp"}
        match self.dialect:
            case "native":
                assert message.keys() == {*keys, "channel", "offset"}, message
                assert message["offset"] == len(self.heard) + 1
            case "knowledge":
                assert message.keys() <= {*keys, "user_id"}, message
                assert message["timestamp"].endswith("Z")
            case _:
                assert message.keys() == keys, message
                assert type(message["timestamp"]) is int

    async def _until_pong(self) -> None:
        await self.send("ping", {})
        while (message := await self._client.receive_json())["type"] != "pong":
            assert message["type"] != "room_message", "nothing is said twice, nor before one has entered"


async def _all_enter(site: Site, members: list[Member], open_client: Any) -> None:
    limiter = trio.CapacityLimiter(_AT_ONCE)

    async def enter(member: Member) -> None:
        async with limiter:
            await member.enter(await open_client(), site.token(member.user))

    async with trio.open_nursery() as nursery:
        for member in members:
            nursery.start_soon(enter, member)


@pytest.mark.slow
async def test_each_member_hears_everything_once_in_one_order_and_each_word_is_encoded_once_a_dialect() -> (
    None
):
    """2,000 messages in 50 rooms, from and to users of three dialects, all speaking at the same time."""
    members = [Member(number) for number in range(USERS)]
    each = MESSAGES // USERS
    with trio.fail_after(_LONG):
        # Whoever is there listens without a word until all are, and answers no pings.
        config = configured(
            limits=Limits(connections_per_address=USERS),
            heartbeat=Heartbeat(ping_interval=_LONG, pong_timeout=_LONG),
        )
        async with listening_site(config) as site, peers_of(site) as peers:
            await _all_enter(site, members, peers.open)
            before = site.server.context.hub.statistics()
            async with trio.open_nursery() as nursery:
                for member in members:
                    nursery.start_soon(member.listen, MESSAGES // ROOMS)
                    nursery.start_soon(member.talk, each)
            after = site.server.context.hub.statistics()
    rooms: dict[str, list[Member]] = defaultdict(list)
    for member in members:
        rooms[member.room].append(member)
    for crowd in rooms.values():
        assert {member.dialect for member in crowd} == set(DIALECTS)
        said = [f"{member.user}/{number}" for member in crowd for number in range(each)]
        assert sorted(crowd[0].heard) == sorted(said)
        assert all(member.heard == crowd[0].heard for member in crowd), "one order for all"
    assert after.publications - before.publications == MESSAGES
    assert after.encodings - before.encodings == MESSAGES * len(DIALECTS)
