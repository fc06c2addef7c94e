"""Every door of a kept room obeys its rules, at every moment: also in the step in which they change."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
from support.client import RawClient
from support.kept_rooms import RoomsSite, enters, inline_site, next_of, rooms_config, says
from trio.testing import MockClock, wait_all_tasks_blocked

from tidings.protocol.errors import ErrorCode, Refusal
from tidings.server.extension.tables import put_event

GRANTS = ("room:*",)

#: Each way into a room, or to what is said in it, with what it is asked.
DOORS: dict[str, dict[str, Any]] = {
    "join_room": {"room": "r"},
    "room_subscribe": {"room": "r", "presence": True},
    "subscribe": {"channel": "room:r"},
    "history": {"channel": "room:r"},
    "presence": {"channel": "room:r"},
}


@pytest.fixture
async def rooms(tmp_path: Path, autojump_clock: MockClock) -> AsyncIterator[RoomsSite]:
    """A server that keeps rooms."""
    async with inline_site(rooms_config(tmp_path)) as site:
        yield site


async def _opens(client: RawClient, door: str) -> bool:
    answer = await client.command(door, DOORS[door])
    if answer["type"] == "error":
        assert answer["data"]["code"] == "forbidden", answer
    return bool(answer["type"] != "error")


async def _all_open(client: RawClient) -> set[bool]:
    opened = {await _opens(client, door) for door in DOORS}
    await client.command("leave_room", {"room": "r"})
    return opened


async def test_every_door_of_a_room_obeys_its_policy(rooms: RoomsSite) -> None:
    """Strangers enter what is not by invitation, members and administrators all, the removed none, grant or no."""
    await rooms.create("ann", "r")
    await rooms.invite("ann", "r", "bob")
    await rooms.done("ann", "DELETE", "/r/members/eve")
    root = await rooms.connect("root", roles=("admin",))
    bob, eve = await rooms.connect("bob"), await rooms.connect("eve", channels=GRANTS)
    stranger = await rooms.connect("sam", channels=GRANTS)
    for policy, lets_strangers in (("open", True), ("announcements", True), ("invited", False)):
        await rooms.done("ann", "PATCH", "/r", {"policy": policy})
        assert await _all_open(stranger) == {lets_strangers}, policy
        for client, opens in ((bob, True), (root, True), (eve, False)):
            assert await _all_open(client) == {opens}, policy


@pytest.mark.parametrize(
    ("policy", "speakers"),
    [
        ("open", {"ann", "adam", "bob", "sam", "root"}),
        ("invited", {"ann", "adam", "bob", "root"}),
        ("announcements", {"ann", "adam", "root"}),
    ],
)
async def test_who_may_speak_does_by_either_command(
    rooms: RoomsSite, policy: str, speakers: set[str]
) -> None:
    """`room_message`, and `publish` with a grant, are for those whom the policy lets speak."""
    await rooms.create("ann", "r", policy)
    await rooms.invite("ann", "r", "adam", role="admin")
    await rooms.invite("ann", "r", "bob")
    for user in ("ann", "adam", "bob", "sam", "root", "eve"):
        await rooms.done("ann", "DELETE", "/r/members/eve")
        more: dict[str, Any] = {"roles": ("admin",)} if user == "root" else {"channels": GRANTS}
        client = await rooms.connect(user, **more)
        entered = await enters(client, "r")
        assert (await says(client, "r") == "published") == (user in speakers)
        asked = {"channel": "room:r", "event": "note", "payload": {}}
        published = await client.command("publish", asked)
        assert (published["type"] == "published") == (user in speakers), (user, entered)


async def test_in_a_kept_room_a_grant_is_still_needed_to_publish_what_one_likes(rooms: RoomsSite) -> None:
    """Who may speak says so in their own name; an event without a name on it takes a grant, as in other rooms."""
    await rooms.create("ann", "r")
    ann = await rooms.connect("ann")
    assert await enters(ann, "r")
    asked = {"channel": "room:r", "event": "note", "payload": {}}
    assert (await ann.command("publish", asked))["data"]["code"] == "forbidden"


async def test_who_is_removed_hears_nothing_any_more(rooms: RoomsSite) -> None:
    """All connections are told `unsubscribed` before the answer to the removal, and get nothing that follows."""
    await rooms.create("ann", "r")
    await rooms.invite("ann", "r", "bob")
    ann = await rooms.connect("ann")
    clients = [await rooms.connect("bob"), await rooms.connect("bob")]
    for client in (ann, *clients):
        assert await enters(client, "r")
    await rooms.done("ann", "DELETE", "/r/members/bob")
    assert await says(ann, "r", "without bob") == "published"
    for client in clients:
        assert (await next_of(client, "unsubscribed"))["data"] == {"channel": "room:r"}
        await client.send_json({"type": "ping", "id": "p"})
        assert (await client.receive_json())["id"] == "p", "and nothing behind it"
        assert not await enters(client, "r")


async def test_a_refresh_lets_nobody_back_in(rooms: RoomsSite) -> None:
    """A token with a grant, had in band, opens no room to who was removed; nor does it cost a member the room."""
    await rooms.create("ann", "r", "invited")
    await rooms.invite("ann", "r", "bob")
    bob, eve = await rooms.connect("bob", channels=()), await rooms.connect("eve", channels=())
    assert await enters(bob, "r")
    for client, user, is_in in ((bob, "bob", True), (eve, "eve", False)):
        token = rooms.token(user, channels=GRANTS)
        assert (await client.command("refresh", {"token": token}))["type"] == "refreshed"
        assert await enters(client, "r") is is_in
        assert (await says(client, "r") == "published") is is_in


async def test_a_stricter_policy_takes_strangers_out_at_once(rooms: RoomsSite) -> None:
    """When a room becomes one by invitation, its members and administrators remain, and nobody else."""
    await rooms.create("ann", "r")
    clients = {
        "ann": await rooms.connect("ann"),
        "sam": await rooms.connect("sam"),
        "root": await rooms.connect("root", roles=("admin",)),
    }
    for client in clients.values():
        assert await enters(client, "r")
    await rooms.done("ann", "PATCH", "/r", {"policy": "invited"})
    assert rooms.site.server.context.push.members_of("room:r") == ["ann", "root"]
    assert (await next_of(clients["sam"], "unsubscribed"))["data"] == {"channel": "room:r"}


async def test_to_keep_a_room_that_people_are_in_takes_strangers_out(rooms: RoomsSite) -> None:
    """A name may be in use already when an administrator creates a room of it."""
    ann, sam = await rooms.connect("ann"), await rooms.connect("sam")
    assert await enters(ann, "r")
    assert await enters(sam, "r")
    asked = {"name": "r", "policy": "invited", "owner_id": "ann"}
    await rooms.done("root", "POST", "", asked, roles=("admin",))
    assert rooms.site.server.context.push.members_of("room:r") == ["ann"]


async def test_a_deleted_room_leaves_nothing_behind(rooms: RoomsSite) -> None:
    """Everybody is taken out, and what was said there is gone before the name is anybody's again."""
    await rooms.create("ann", "r", "invited", title="Secret")
    ann, sam = await rooms.connect("ann"), await rooms.connect("sam")
    assert await enters(ann, "r")
    assert await says(ann, "r", "a secret") == "published"
    await rooms.invite("ann", "r", "bob")
    await rooms.done("ann", "DELETE", "/r")
    assert (await next_of(ann, "unsubscribed"))["data"] == {"channel": "room:r"}
    assert await rooms.refused("ann", "GET", "/r") == (404, "not_found")
    assert await enters(sam, "r"), "a name as any other"
    history = await sam.command("history", {"channel": "room:r"})
    assert history["data"]["publications"] == []
    assert (await rooms.create("sam", "r"))["members"] == 1


async def test_a_name_is_closed_while_its_history_is_being_forgotten(
    rooms: RoomsSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the history cannot be cleared yet, nobody enters or takes the name; it is tried again until it is."""
    broker = rooms.site.server.context.broker
    clear, may_clear = type(broker).clear, trio.Event()

    async def wait_and_clear(self: Any, channel: str) -> Any:
        await may_clear.wait()
        return await clear(self, channel)

    monkeypatch.setattr(type(broker), "clear", wait_and_clear)
    await rooms.create("ann", "r", "invited")
    ann = await rooms.connect("ann")
    assert await enters(ann, "r")
    assert await says(ann, "r") == "published"
    await rooms.done("ann", "DELETE", "/r")
    assert await _all_open(ann) == {False}
    assert await rooms.refused("sam", "POST", "", {"name": "r"}) == (409, "conflict")
    may_clear.set()
    await wait_all_tasks_blocked()
    assert (await ann.command("history", {"channel": "room:r"}))["data"]["publications"] == []


class Held:
    """A broker whose answers about one channel wait until they may come."""

    def __init__(
        self, rooms: RoomsSite, monkeypatch: pytest.MonkeyPatch, method: str, channel: str
    ) -> None:
        broker = type(rooms.site.server.context.broker)
        real, self.may_come = getattr(broker, method), trio.Event()

        async def wait(broker: Any, *args: Any, **kwargs: Any) -> Any:
            if args[0] == channel:
                await self.may_come.wait()
            return await real(broker, *args, **kwargs)

        monkeypatch.setattr(broker, method, wait)


async def _answered(client: RawClient, command_id: str) -> tuple[Any, list[str]]:
    """The answer to a command, and the types of what came before it."""
    before = []
    while (message := await client.receive_json()).get("id") != command_id:
        before.append(message["type"])
    return message, before


#: What a command waits for in the broker, the command, and what it asks beside the channel.
WAITS: list[tuple[str, str, dict[str, Any]]] = [
    ("open", "subscribe", {}),
    ("open", "join_room", {"since": {"epoch": "e", "offset": 0}}),
    ("open", "subscribe", {"presence": True}),
    ("presence", "join_room", {"presence": True}),
    ("history", "history", {}),
    ("presence", "presence", {}),
]


@pytest.mark.parametrize("by", ["removal", "policy", "deletion"])
async def test_who_is_removed_on_the_way_in_does_not_get_in(
    rooms: RoomsSite, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """While a broker is asked, the rules may change: they are asked again in the step that lets in, or tells."""
    cases = [(*wait, False) for wait in WAITS] + [("presence", "join_room", {"presence": True}, True)]
    client = await rooms.connect("bob")
    for number, (method, door, more, is_in) in enumerate(cases):
        room = f"r{number}"
        channel = f"room:{room}"
        await rooms.create("ann", room)
        if is_in:
            assert await enters(client, room)
        with monkeypatch.context() as patch:
            held = Held(rooms, patch, method, channel)
            where = {"room": room} if "room" in door else {"channel": channel}
            await client.send_json({"type": door, "data": {**where, **more}, "id": room})
            await wait_all_tasks_blocked()
            match by:
                case "removal":
                    await rooms.done("ann", "DELETE", f"/{room}/members/bob")
                case "policy":
                    await rooms.done("ann", "PATCH", f"/{room}", {"policy": "invited"})
                case _:
                    # Somebody else keeps the name at once.
                    await rooms.done("ann", "DELETE", f"/{room}")
                    asked = {"name": room, "policy": "invited", "owner_id": "cleo"}
                    await rooms.done("root", "POST", "", asked, roles=("admin",))
            held.may_come.set()
            told, _ = await _answered(client, room)
        assert told["data"].get("code") == "forbidden", (door, more, told)
        assert not rooms.site.server.context.hub.subscribers_of(channel), (door, more)
        assert not await enters(client, room)


async def test_who_missed_something_and_is_removed_meanwhile_gets_none_of_it(
    rooms: RoomsSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replay is prepared from the history: what it would have sent stays unsent, and nothing follows."""
    await rooms.create("ann", "r")
    ann, bob = await rooms.connect("ann"), await rooms.connect("bob")
    assert await enters(ann, "r")
    assert await says(ann, "r") == "published"
    epoch = (await ann.command("history", {"channel": "room:r"}))["data"]["epoch"]
    held = Held(rooms, monkeypatch, "history", "room:r")
    since = {"epoch": epoch, "offset": 0}
    await bob.send_json({"type": "join_room", "data": {"room": "r", "since": since}, "id": "held"})
    await wait_all_tasks_blocked()
    await rooms.done("ann", "DELETE", "/r/members/bob")
    held.may_come.set()
    told, before = await _answered(bob, "held")
    assert (before, told["data"]["code"]) == (["unsubscribed"], "forbidden")
    assert await says(ann, "r") == "published"
    await bob.send_json({"type": "ping", "id": "last"})
    assert (await _answered(bob, "last"))[1] == []


async def test_what_is_still_to_be_told_of_a_deleted_room_is_in_nobodys_history(
    rooms: RoomsSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is closed until the last event that an app has left there is out and forgotten."""
    await rooms.create("ann", "r", "invited")
    sam = await rooms.connect("sam")
    held = Held(rooms, monkeypatch, "publish", "room:r")
    tables = rooms.site.server.context.push.tables
    await tables.write(lambda connection: put_event(connection, "room:r", "note", {"text": "a secret"}))
    await rooms.done("ann", "DELETE", "/r")
    assert not await enters(sam, "r")
    held.may_come.set()
    await trio.sleep(5)
    assert await enters(sam, "r")
    assert (await sam.command("history", {"channel": "room:r"}))["data"]["publications"] == []


@pytest.mark.parametrize("trouble", ["refused", "hangs"])
async def test_a_room_that_cannot_be_forgotten_keeps_no_other_from_it(
    rooms: RoomsSite, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    """Each is tried, whatever comes of the one before it; those that fail are tried again, and administrators who
    have entered meanwhile are out when it is done."""
    push = rooms.site.server.context.push
    clear, is_well = push.clear_history, False

    async def fail(channel: str) -> Any:
        if channel == "room:a" and not is_well:
            if trouble == "hangs":
                await trio.sleep_forever()
            return Refusal(ErrorCode.UNAVAILABLE, "the disk is full")
        return await clear(channel)

    monkeypatch.setattr(push, "clear_history", fail)
    for name in ("a", "b"):
        await rooms.create("ann", name)
        await rooms.done("ann", "DELETE", f"/{name}")
    await trio.sleep(15)
    await rooms.create("bob", "b")
    assert await rooms.refused("bob", "POST", "", {"name": "a"}) == (409, "conflict")
    root = await rooms.connect("root", roles=("admin",))
    assert await enters(root, "a")
    is_well = True
    await trio.sleep(15)
    assert (await next_of(root, "unsubscribed"))["data"] == {"channel": "room:a"}
    assert push.members_of("room:a") == []
    await rooms.create("bob", "a")


async def test_two_who_create_one_room_at_once_do_not_both_own_it(rooms: RoomsSite) -> None:
    """One of them does; the other is told that the name is taken."""
    statuses = []

    async def create(user: str) -> None:
        statuses.append((await rooms.ask(user, "POST", "", {"name": "r"}))[0])

    async with trio.open_nursery() as nursery:
        for user in ("ann", "bob", "cleo"):
            nursery.start_soon(create, user)
    assert sorted(statuses) == [201, 409, 409]


async def test_a_room_handed_over_and_its_new_owner_removed_has_one_owner(rooms: RoomsSite) -> None:
    """Whichever comes first, the other is refused: a room is never without its owner."""
    await rooms.create("ann", "r")
    await rooms.invite("ann", "r", "adam", "bob", role="admin")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rooms.ask, "ann", "PUT", "/r/members/bob", {"role": "owner"})
        nursery.start_soon(rooms.ask, "ann", "DELETE", "/r/members/bob")
    found = await rooms.done("ann", "GET", "/r/members")
    owner = (await rooms.done("ann", "GET", "/r"))["owner_id"]
    assert [each["user_id"] for each in found["members"] if each["role"] == "owner"] == [owner]
