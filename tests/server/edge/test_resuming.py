"""Coming back to a channel, as a client sees it: what was missed, then live, or word that it cannot be had."""

from typing import Any

import msgspec
import pytest
import trio
from support.client import RawClient, masked
from support.site import Site, configured, memory_site

from tidings.protocol.frames import Opcode
from tidings.protocol.positions import Position
from tidings.protocol.publications import Publication
from tidings.server.config import ChannelRule, Limits
from tidings.server.identity import Identity

pytestmark = pytest.mark.usefixtures("autojump_clock")

ROOM = "room:a"


async def say(site: Site, count: int = 1, channel: str = ROOM) -> None:
    """Publish numbered events."""
    for number in range(count):
        await site.server.context.push.publish(channel, "news", {"number": number})


async def subscribe(client: RawClient, epoch: str, offset: int, channel: str = ROOM, **more: Any) -> Any:
    """Come back to a channel from a position."""
    return await client.command(
        "subscribe", {"channel": channel, "since": {"epoch": epoch, "offset": offset}, **more}
    )


async def offsets(client: RawClient, count: int) -> list[int]:
    """The offsets of the next messages, each a publication of the room."""
    found = []
    for _ in range(count):
        message = await client.receive_json()
        assert message["channel"] == ROOM, message
        found.append(message["offset"])
    return found


async def epoch_of(site: Site, channel: str = ROOM) -> str:
    """The epoch a channel is in, learnt as anybody would."""
    client = await site.connect("epoch")
    answer = await client.command("subscribe", {"channel": channel})
    epoch: str = answer["data"]["epoch"]
    return epoch


async def test_a_new_epoch_while_the_history_is_read_ends_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who was to go on from the old one is told so and closed with 3010: never on into the new one unawares."""
    context = site.server.context
    await say(site, 6)
    epoch = await epoch_of(site)
    alice = await site.connect()
    read = context.histories.page

    async def moves(*asked: Any) -> Any:
        page = await read(*asked)
        context.hub.moved(ROOM, Position("other", 0))
        return page

    monkeypatch.setattr(context.histories, "page", moves)
    answer = await subscribe(alice, epoch, 2)
    assert (answer["type"], answer["data"]["code"]) == ("error", "unavailable")
    context.hub.deliver(Publication(ROOM, "news", b"{}", 1, "other", 1_700_000_000_000))
    assert (await alice.receive_json())["data"]["code"] == 3010
    assert (await alice.closed()).code == 3010


async def test_asking_in_vain_who_is_there_disturbs_no_replay(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody keeps who is present, it is refused before anything begins anew."""
    alice = await site.connect()
    begun = []
    monkeypatch.setattr(site.server.context.hub, "hold_back", lambda *asked, **_: begun.append(asked))
    refused = await subscribe(alice, "e", 0, channel="user:alice", presence=True)
    assert (refused["type"], refused["data"]["code"]) == ("error", "forbidden")
    assert begun == []


async def test_what_was_missed_follows_the_answer(site: Site) -> None:
    """`recovered` is true, `offset` is the head, and everything after the position asked for comes in order."""
    epoch = await epoch_of(site)
    await say(site, 7)
    alice = await site.connect()
    answer = await subscribe(alice, epoch, 3)
    assert answer["data"] == {"channel": ROOM, "epoch": epoch, "offset": 7, "recovered": True}
    await say(site, 2)
    assert await offsets(alice, 6) == [4, 5, 6, 7, 8, 9]


async def test_join_room_takes_a_position_too(site: Site) -> None:
    """Rooms are come back to by their own command."""
    epoch = await epoch_of(site)
    await say(site, 2)
    alice = await site.connect()
    answer = await alice.command("join_room", {"room": "a", "since": {"epoch": epoch, "offset": 1}})
    assert answer["data"]["recovered"] is True
    assert await offsets(alice, 1) == [2]


@pytest.mark.parametrize(
    ("epoch", "offset"),
    [("another", 3), (None, 8), (None, 10**18), (None, -1), (None, -(10**18)), ("", 0), ("é\n", 3)],
    ids=["other epoch", "ahead", "far ahead", "negative", "very negative", "no epoch", "odd epoch"],
)
async def test_a_position_that_never_was_recovers_nothing(
    site: Site, epoch: str | None, offset: int
) -> None:
    """The client is told so, nothing is replayed, and it is subscribed all the same."""
    real = await epoch_of(site)
    await say(site, 7)
    alice = await site.connect()
    answer = await subscribe(alice, real if epoch is None else epoch, offset)
    assert answer["data"] == {"channel": ROOM, "epoch": real, "offset": 7, "recovered": False}
    await say(site)
    assert await offsets(alice, 1) == [8]


async def test_a_position_at_the_head_is_recovered_from_nothing(site: Site) -> None:
    """Nothing was missed: that is a recovery, also where nothing is kept."""
    epoch = await epoch_of(site)
    await say(site, 3)
    alice = await site.connect()
    assert (await subscribe(alice, epoch, 3))["data"]["recovered"] is True
    await say(site)
    assert await offsets(alice, 1) == [4]


async def test_what_is_kept_no_longer_is_not_recovered() -> None:
    """Of a channel that keeps three, four missed ones cannot be had: not even the three are replayed."""
    rules = {"room:*": ChannelRule(history_size=3)}
    async with memory_site(configured(channels=rules)) as site:
        epoch = await epoch_of(site)
        await say(site, 5)
        alice, bob = await site.connect("alice"), await site.connect("bob")
        assert (await subscribe(alice, epoch, 1))["data"]["recovered"] is False
        assert (await subscribe(bob, epoch, 2))["data"]["recovered"] is True
        await say(site)
        assert await offsets(alice, 1) == [6]
        assert await offsets(bob, 4) == [3, 4, 5, 6]


async def test_coming_back_to_a_live_channel_begins_it_anew(site: Site) -> None:
    """A channel that is sent anyway, as `all`, can be come back to: what was missed before the connection comes."""
    first = await site.connect()
    told = await first.command("subscribe", {"channel": "all"})
    await first.aclose()
    await say(site, 3, "all")
    alice = await site.connect()
    await say(site, 1, "all")
    answer = await subscribe(alice, told["data"]["epoch"], 0, "all")
    assert (answer["data"]["recovered"], answer["data"]["offset"]) == (True, 4)
    await say(site, 1, "all")
    assert [(await alice.receive_json())["offset"] for _ in range(5)] == [1, 2, 3, 4, 5]


async def test_nothing_comes_after_the_answer_to_unsubscribe(site: Site) -> None:
    """Also where it is asked in the same breath as a long replay."""
    epoch = await epoch_of(site)
    await say(site, 90)
    alice = await site.connect()
    await alice.send_json(
        {"type": "subscribe", "data": {"channel": ROOM, "since": {"epoch": epoch, "offset": 0}}, "id": "s"}
    )
    await alice.send_json({"type": "unsubscribe", "data": {"channel": ROOM}, "id": "u"})
    while (await alice.receive_json()).get("id") != "u":
        pass
    await say(site, 3)
    assert (await alice.command("ping"))["type"] == "pong"


async def test_who_leaves_a_long_replay_at_once_and_was_alone_is_not_closed() -> None:
    """Subscribe and unsubscribe are one packet: the channel is gone before the rest of its history is read."""
    rules = {"room:*": ChannelRule(history_size=1000)}
    async with memory_site(configured(channels=rules)) as site:
        await say(site, 600)
        alice = await site.connect()
        first = await subscribe(alice, "none", 0)
        await alice.command("unsubscribe", {"channel": ROOM})
        since = {"epoch": first["data"]["epoch"], "offset": 0}
        packet = b""
        for number, (kind, data) in enumerate(
            [("subscribe", {"channel": ROOM, "since": since}), ("unsubscribe", {"channel": ROOM})]
        ):
            message = {"type": kind, "data": data, "id": f"{number}"}
            packet += masked(Opcode.TEXT, msgspec.json.encode(message))
        await alice.send(packet)
        assert (await alice.receive_json())["data"]["recovered"] is True
        while (word := await alice.receive_json()).get("id") != "1":
            assert word["channel"] == ROOM
        assert (await alice.command("ping"))["type"] == "pong"


async def test_the_history_command_lists_what_is_kept(site: Site) -> None:
    """Page by page, each publication as it was sent, and whether the page follows on from the position."""
    epoch = await epoch_of(site)
    alice = await site.connect()
    await alice.command("join_room", {"room": "a"})
    await say(site, 5)
    live = [await alice.receive_json() for _ in range(5)]
    first = await alice.command("history", {"channel": ROOM, "limit": 3})
    rest = await alice.command(
        "history", {"channel": ROOM, "since": {"epoch": epoch, "offset": 3}, "limit": 3}
    )
    listed = first["data"]["publications"] + rest["data"]["publications"]
    assert listed == live
    assert (rest["data"]["epoch"], rest["data"]["offset"], rest["data"]["complete"]) == (epoch, 5, True)
    other = await alice.command("history", {"channel": ROOM, "since": {"epoch": "x", "offset": 3}})
    assert other["data"]["complete"] is False


@pytest.mark.parametrize("kind", ["history", "presence", "subscribe"])
async def test_a_channel_that_one_may_not_read_tells_nothing(site: Site, kind: str) -> None:
    """Another user's history and presence are refused as its publications are."""
    await say(site, 1, "user:bob")
    alice = await site.connect()
    data: dict[str, Any] = {"channel": "user:bob"}
    if kind == "subscribe":
        data["since"] = {"epoch": "e", "offset": 0}
    answer = await alice.command(kind, data)
    assert (answer["type"], answer["data"]["code"]) == ("error", "forbidden")


async def test_who_is_there_comes_with_the_answer(site: Site) -> None:
    """`presence` in subscribe and join_room lists the users in the room, oneself included."""
    bob = await site.connect("bob")
    await bob.command("join_room", {"room": "a"})
    await trio.testing.wait_all_tasks_blocked()
    alice = await site.connect()
    answer = await alice.command("join_room", {"room": "a", "presence": True})
    assert {"user_id": "bob", "username": "bob"} in answer["data"]["members"]


async def test_bad_positions_are_typed_errors(site: Site) -> None:
    """Whatever is no position is refused by the field's name, and the connection goes on."""
    alice = await site.connect()
    for since in (
        3,
        "x",
        {"epoch": "e"},
        {"offset": 1},
        {"epoch": 1, "offset": 1},
        {"epoch": "e", "offset": 1.5},
    ):
        answer = await alice.command("subscribe", {"channel": ROOM, "since": since})
        assert answer["data"]["code"] == "invalid_data", since
        assert "since" in answer["data"]["message"]
    assert (await alice.command("ping"))["type"] == "pong"


async def test_connected_tells_where_every_channel_stands(site: Site) -> None:
    """Groups, roles and `all` are come back to from there, also by who heard nothing of them before."""
    await say(site, 2, "all")
    first = await site.open()
    await first.handshake(token=site.token(roles=["editor"], group_id="g"))
    told = (await first.receive_json())["data"]["channels"]
    assert set(told) == {"all", "group:g", "role:editor"}
    assert told["all"]["offset"] == 2
    await first.aclose()
    await say(site, 3, "group:g")
    alice = await site.open()
    await alice.handshake(token=site.token(roles=["editor"], group_id="g"))
    await alice.receive_json()
    answer = await subscribe(alice, told["group:g"]["epoch"], told["group:g"]["offset"], "group:g")
    assert answer["data"]["recovered"] is True
    assert [(await alice.receive_json())["offset"] for _ in range(3)] == [1, 2, 3]


async def test_a_refresh_tells_where_new_channels_stand(site: Site) -> None:
    """A role that a newer token brings is joined, and its position told before `refreshed`."""
    await say(site, 4, "role:editor")
    alice = await site.connect()
    await alice.send_json({"type": "refresh", "data": {"token": site.token(roles=["editor"])}, "id": "r"})
    word = await alice.receive_json()
    assert (word["type"], word["data"]["channel"], word["data"]["offset"]) == ("position", "role:editor", 4)
    assert (await alice.receive_json())["type"] == "refreshed"


async def test_a_refresh_that_an_apps_rules_fail_at_changes_nothing(site: Site) -> None:
    """An administrator who would be one no longer stays one: rights and channels are never of two tokens."""

    class Faulty:
        def may_enter(self, _identity: Identity, _room: str) -> bool | None:
            raise RuntimeError("no rule")

        may_speak = may_enter

    root = await site.connect("root", roles=["admin"])
    await root.command("join_room", {"room": "a"})
    site.server.context.permissions.rooms = Faulty()
    answer = await root.command("refresh", {"token": site.token("root")}, id="r")
    assert (answer["type"], answer["data"]["code"]) == ("error", "internal")
    [connection] = site.server.context.hub.connections_of("root")
    assert connection.identity.is_admin
    assert (await root.command("room_message", {"room": "a", "text": "hi"}))["type"] == "published"


@pytest.fixture
def mute_history(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that never says what it keeps."""

    async def never(channel: str, after: int, *, limit: int, most_bytes: int) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(site.server.context.broker, "history", never)


async def test_a_return_that_takes_too_long_leaves_a_live_channel_live(
    site: Site, mute_history: None
) -> None:
    """The command fails, and the subscription is what it was: nothing is lost, what came meanwhile neither."""
    epoch = await epoch_of(site)
    await say(site, 2)
    alice = await site.connect()
    await alice.command("subscribe", {"channel": ROOM})
    await alice.send_json(
        {"type": "subscribe", "data": {"channel": ROOM, "since": {"epoch": epoch, "offset": 0}}, "id": "s"}
    )
    await trio.testing.wait_all_tasks_blocked()
    await say(site, 1)
    found = [await alice.receive_json() for _ in range(2)]
    assert {message.get("id") or message["offset"] for message in found} == {"s", 3}
    await say(site, 1)
    assert await offsets(alice, 1) == [4]


async def test_a_return_that_takes_too_long_subscribes_nobody(site: Site, mute_history: None) -> None:
    """Who was not subscribed before is not after it."""
    epoch = await epoch_of(site)
    await say(site, 2)
    alice = await site.connect()
    answer = await subscribe(alice, epoch, 0)
    assert (answer["type"], answer["data"]["code"]) == ("error", "unavailable")
    await say(site)
    assert (await alice.command("stats"))["data"]["connection"]["channels"] == ["all", "user:alice"]


async def test_who_joins_while_the_members_are_found_out_is_not_missed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is not in the list yet is told behind it, as `joined`."""
    async with memory_site(
        configured(channels={"room:*": ChannelRule(presence=True, join_leave=True)})
    ) as other:
        carol = await other.connect("carol")
        presence = other.server.context.presence
        members = presence.members_within

        async def slowly(channel: str, most_bytes: int) -> Any:
            found = await members(channel, most_bytes)
            await carol.command("join_room", {"room": "a"})
            await trio.testing.wait_all_tasks_blocked()
            return found

        monkeypatch.setattr(presence, "members_within", slowly)
        bob = await other.connect("bob")
        await bob.send_json({"type": "join_room", "data": {"room": "a", "presence": True}, "id": "j"})
        answer = await bob.receive_json()
        listed = {member["user_id"] for member in answer["data"]["members"]}
        joined: set[str] = set()
        while "carol" not in listed | joined:
            message = await bob.receive_json()
            assert message["type"] == "joined"
            joined.add(message["data"]["user_id"])
        assert answer["id"] == "j"


async def test_a_connection_that_is_turned_away_enrols_no_device() -> None:
    """Who is over the limit of connections leaves no trace in the inbox: devices have a limit of their own."""
    async with memory_site(configured(limits=Limits(connections_per_user=1))) as site:
        await site.connect()
        for number in range(20):
            client = await site.open()
            await client.handshake()
            await client.send_json(
                {"type": "authenticate", "data": {"token": site.token(), "device": f"d{number}"}, "id": "a"}
            )
            assert (await client.closed()).code == 3504
        known = await site.server.context.broker.devices("user:alice")
        assert [device.name for device in known if device.name] == []
