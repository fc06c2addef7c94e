"""The HTTP routes of kept rooms: who may do what, what is told of it, and what is refused in which words."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from support.kept_rooms import (
    SERVICE,
    Directory,
    RoomsSite,
    enters,
    inline_site,
    next_of,
    rooms_config,
    says,
)
from trio.testing import MockClock, wait_all_tasks_blocked

from tidings.server.apps.rooms import pace
from tidings.server.apps.rooms.rules import Change, Rules
from tidings.server.config import History
from tidings.server.extension import Identity

ADMIN = {"roles": ("admin",)}


@pytest.fixture
async def rooms(tmp_path: Path, autojump_clock: MockClock) -> AsyncIterator[RoomsSite]:
    """A server that keeps rooms."""
    async with inline_site(rooms_config(tmp_path, owned=3, members=4)) as site:
        yield site


async def test_who_creates_a_room_owns_it(rooms: RoomsSite) -> None:
    """The answer says all that is kept; the same name again is a conflict, whoever asks."""
    created = await rooms.create("ann", "team:a.b", "invited", title="Team", topic="Plans")
    assert created.pop("created_at").endswith("Z")
    assert created == {
        "name": "team:a.b",
        "title": "Team",
        "topic": "Plans",
        "policy": "invited",
        "owner_id": "ann",
        "role": "owner",
        "members": 1,
        "online": 0,
    }
    assert await rooms.refused("bob", "POST", "", {"name": "team:a.b"}) == (409, "conflict")


async def test_a_wrong_room_is_refused(rooms: RoomsSite) -> None:
    """Names, titles, topics and policies are checked, and unknown fields are none."""
    for body in (
        {"name": "a b"},
        {"name": ""},
        {"name": "a" * 129},
        {"name": "a", "policy": "closed"},
        {"name": "a", "title": "x" * 129},
        {"name": "a", "title": "two\nlines"},
        {"name": "a", "title": "yb\u202elobby"},
        {"name": "a", "topic": "\0"},
        {"name": "a", "topic": "\u2066June\u2069"},
        {"name": "a", "owner": "bob"},
    ):
        assert await rooms.refused("ann", "POST", "", body) == (400, "invalid_data"), body
    assert (await rooms.done("ann", "GET", ""))["rooms"] == []


async def test_a_user_owns_so_many_rooms(rooms: RoomsSite) -> None:
    """Beyond `rooms.owned` nothing is created or taken over, until one is deleted."""
    for name in ("a", "b", "c"):
        await rooms.create("ann", name)
    assert await rooms.refused("ann", "POST", "", {"name": "d"}) == (429, "limit_reached")
    await rooms.create("bob", "e")
    await rooms.invite("bob", "e", "ann")
    to_ann = await rooms.refused("bob", "PUT", "/e/members/ann", {"role": "owner"})
    assert to_ann == (429, "limit_reached")
    await rooms.done("ann", "DELETE", "/a")
    await rooms.create("ann", "d")


async def test_the_list_has_what_one_may_enter(rooms: RoomsSite) -> None:
    """Open rooms, and those that one is a member of; not those by invitation, nor those one was removed from."""
    await rooms.create("ann", "b-open")
    await rooms.create("ann", "c-told", "announcements")
    await rooms.create("ann", "a-closed", "invited")
    await rooms.invite("ann", "a-closed", "bob")
    await rooms.done("ann", "DELETE", "/b-open/members/cleo")

    async def listed(user: str, **more: object) -> list[tuple[str, str | None]]:
        found = await rooms.done(user, "GET", "", **more)
        assert found["next"] is None
        return [(room["name"], room["role"]) for room in found["rooms"]]

    assert await listed("bob") == [("a-closed", "member"), ("b-open", None), ("c-told", None)]
    assert await listed("cleo") == [("c-told", None)]
    assert [name for name, _ in await listed("root", **ADMIN)] == ["a-closed", "b-open", "c-told"]
    first = await rooms.done("bob", "GET", "?limit=2")
    assert [room["name"] for room in first["rooms"]] == ["a-closed", "b-open"]
    rest = await rooms.done("bob", "GET", f"?limit=2&after={first['next']}")
    assert [room["name"] for room in rest["rooms"]] == ["c-told"]
    assert rest["next"] is None


async def test_what_one_may_not_enter_is_refused_with_the_cure(rooms: RoomsSite) -> None:
    """Each route of a room: 404 where there is none, 403 where one may not enter, and the words say whom to ask."""
    await rooms.create("ann", "closed", "invited")
    for method, path, body in (
        ("GET", "", None),
        ("PATCH", "", {"title": "x"}),
        ("DELETE", "", None),
        ("GET", "/members", None),
        ("PUT", "/members/cleo", {"role": "member"}),
        ("DELETE", "/members/ann", None),
        ("GET", "/history", None),
        ("GET", "/presence", None),
    ):
        status, answer = await rooms.ask("bob", method, f"/closed{path}", body)
        assert (status, answer["error"]["code"]) == (403, "forbidden"), (method, path, answer)
        assert "invited" in answer["error"]["message"]
        assert await rooms.refused("bob", method, f"/none{path}", body) == (404, "not_found"), (
            method,
            path,
        )
        assert await rooms.refused("bob", method, f"/a%20b{path}", body) == (400, "invalid_data")
        if method != "DELETE":
            assert (await rooms.ask("ann", method, f"/closed{path}", body))[0] == 200, (method, path)


async def test_those_who_look_after_a_room_change_it(rooms: RoomsSite) -> None:
    """Owner and admins do, members do not; what is left out stays; who is in is told, once and of changes only."""
    await rooms.create("ann", "r", title="Old", topic="Same")
    await rooms.invite("ann", "r", "bob", role="admin")
    await rooms.invite("ann", "r", "cleo")
    assert await rooms.refused("cleo", "PATCH", "/r", {"title": "Hers"}) == (403, "forbidden")
    client = await rooms.connect("cleo")
    await client.command("join_room", {"room": "r"})
    changed = await rooms.done("bob", "PATCH", "/r", {"title": "New"})
    assert (changed["title"], changed["topic"], changed["policy"]) == ("New", "Same", "open")
    await rooms.done("bob", "PATCH", "/r", {"title": "New"})
    await rooms.done("ann", "PATCH", "/r", {"policy": "announcements"})
    told = [(await next_of(client, "room_changed"))["data"] for _ in range(2)]
    assert told == [
        {"room": "r", "change": "settings", "by": "bob"},
        {"room": "r", "change": "settings", "by": "ann"},
    ]


async def test_an_invitation_waits_in_the_inbox(rooms: RoomsSite) -> None:
    """Who is invited is told wherever they are, once; who is in the room hears of the new member."""
    await rooms.create("ann", "r", "invited", title="Team")
    bob, ann = await rooms.connect("bob"), await rooms.connect("ann")
    await ann.command("join_room", {"room": "r"})
    await rooms.invite("ann", "r", "bob", "bob")
    told = await next_of(bob, "room_invitation")
    assert told["data"] == {"room": "r", "title": "Team", "by": "ann"}
    about = await next_of(ann, "room_changed")
    assert about["data"] == {"room": "r", "change": "member", "by": "ann", "user_id": "bob"}
    await rooms.invite("ann", "r", "bob", role="admin")
    await bob.send_json({"type": "ping", "id": "last"})
    await wait_all_tasks_blocked()
    assert (await bob.receive_json())["type"] == "pong", "invited once"


async def test_only_the_owner_makes_admins_and_hands_the_room_over(rooms: RoomsSite) -> None:
    """Admins invite and remove members; over each other and the owner they have no power."""
    await rooms.create("ann", "r", "invited")
    await rooms.invite("ann", "r", "bob", "cleo", role="admin")
    await rooms.invite("bob", "r", "dan")
    forbidden, conflict = (403, "forbidden"), (409, "conflict")
    for method, user, role, refusal in (
        ("PUT", "dan", "admin", forbidden),
        ("PUT", "cleo", "member", forbidden),
        ("PUT", "ann", "member", conflict),
        ("PUT", "bob", "owner", forbidden),
        ("DELETE", "cleo", None, forbidden),
        ("DELETE", "ann", None, conflict),
    ):
        body = None if role is None else {"role": role}
        assert await rooms.refused("bob", method, f"/r/members/{user}", body) == refusal, (
            method,
            user,
            role,
        )
    assert await rooms.refused("dan", "PUT", "/r/members/eve", {"role": "member"}) == forbidden
    assert await rooms.refused("dan", "DELETE", "/r/members/bob") == forbidden
    assert await rooms.refused("ann", "PUT", "/r/members/eve", {"role": "owner"}) == conflict
    assert await rooms.refused("ann", "PUT", "/r/members/dan", {"role": "removed"}) == (400, "invalid_data")
    assert (await rooms.done("cleo", "PUT", "/r/members/cleo", {"role": "member"}))["role"] == "member"
    assert (await rooms.done("ann", "PUT", "/r/members/bob", {"role": "owner"}))["role"] == "owner"
    assert (await rooms.done("ann", "GET", "/r"))["role"] == "admin"
    room = await rooms.done("bob", "GET", "/r")
    assert (room["owner_id"], room["role"], room["members"]) == ("bob", "owner", 4)
    assert await rooms.refused("ann", "DELETE", "/r") == forbidden
    assert await rooms.refused("bob", "DELETE", "/r/members/bob") == conflict, "the owner does not leave"


async def test_who_leaves_may_be_invited_and_who_was_removed_must_be(rooms: RoomsSite) -> None:
    """Leaving is one's own affair; a removed user can neither enter nor undo it by leaving, until invited again."""
    await rooms.create("ann", "r")
    await rooms.invite("ann", "r", "bob", "cleo")
    left = await rooms.done("bob", "DELETE", "/r/members/bob")
    assert left == {"room": "r", "user_id": "bob", "removed": False}
    assert (await rooms.done("bob", "GET", "/r"))["role"] is None, "an open room stays open to who has left"
    removed = await rooms.done("ann", "DELETE", "/r/members/cleo")
    assert removed == {"room": "r", "user_id": "cleo", "removed": True}
    assert await rooms.refused("cleo", "DELETE", "/r/members/cleo") == (404, "not_found")
    assert await rooms.refused("cleo", "GET", "/r") == (403, "forbidden")
    await rooms.done("ann", "DELETE", "/r/members/dan")

    async def members(user: str) -> list[tuple[str, str]]:
        found = await rooms.done(user, "GET", "/r/members")
        return [(member["user_id"], member["role"]) for member in found["members"]]

    assert await members("ann") == [("ann", "owner"), ("cleo", "removed"), ("dan", "removed")]
    assert await members("bob") == [("ann", "owner")]
    await rooms.invite("ann", "r", "cleo")
    assert await members("cleo") == [("ann", "owner"), ("cleo", "member")]
    first = await rooms.done("ann", "GET", "/r/members?limit=2")
    assert (len(first["members"]), first["next"]) == (2, "cleo")
    rest = await rooms.done("ann", "GET", f"/r/members?limit=2&after={first['next']}")
    assert [member["user_id"] for member in rest["members"]] == ["dan"]


async def test_a_room_has_so_many_members(rooms: RoomsSite) -> None:
    """Beyond `rooms.members` nobody is invited; as many again can be removed, and a member always can."""
    await rooms.create("ann", "r")
    await rooms.invite("ann", "r", "m1", "m2", "m3")
    full = (429, "limit_reached")
    assert await rooms.refused("ann", "PUT", "/r/members/m4", {"role": "member"}) == full
    for user in ("x1", "x2", "x3", "x4"):
        await rooms.done("ann", "DELETE", f"/r/members/{user}")
    assert await rooms.refused("ann", "DELETE", "/r/members/x5") == full
    await rooms.done("ann", "DELETE", "/r/members/m1")
    await rooms.invite("ann", "r", "x1")
    assert (await rooms.done("ann", "GET", "/r"))["members"] == 4


async def test_a_page_of_history_is_no_longer_than_configured(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """`history.page_limit` holds here as for every channel; who asks for nothing gets no more either."""
    config = msgspec.structs.replace(rooms_config(tmp_path), history=History(log="none", page_limit=2))
    async with inline_site(config) as rooms:
        await rooms.create("ann", "r")
        ann = await rooms.connect("ann")
        await enters(ann, "r")
        for number in range(3):
            await says(ann, "r", f"{number}")
        assert await rooms.refused("ann", "GET", "/r/history?limit=3") == (400, "invalid_data")
        assert len((await rooms.done("ann", "GET", "/r/history"))["publications"]) == 2


async def test_history_and_presence_are_what_the_channel_has(rooms: RoomsSite) -> None:
    """A member who is not connected reads what was said, page by page, and sees who is in."""
    await rooms.create("ann", "r", "invited")
    await rooms.invite("ann", "r", "bob")
    await wait_all_tasks_blocked()
    client = await rooms.connect("ann")
    await client.command("join_room", {"room": "r"})
    for text in ("one", "two"):
        await client.command("room_message", {"room": "r", "text": text})
    page = await rooms.done("bob", "GET", "/r/history?limit=1")
    assert [each["data"]["text"] for each in page["publications"]] == ["one"], "and no change of members"
    assert page["channel"] == "room:r"
    query = f"?epoch={page['epoch']}&since={page['publications'][-1]['offset']}"
    rest = await rooms.done("bob", "GET", f"/r/history{query}")
    assert [each["data"]["text"] for each in rest["publications"]] == ["two"]
    assert (await rooms.done("bob", "GET", "/r/history?since=1"))["publications"] == rest["publications"]
    present = await rooms.done("bob", "GET", "/r/presence")
    assert present["channel"] == "room:r"
    assert [member["user_id"] for member in present["members"]] == ["ann"]
    assert (await rooms.done("bob", "GET", "/r"))["online"] == 1


async def test_the_servers_administrators_may_do_everything(rooms: RoomsSite) -> None:
    """In rooms that they are no members of, too."""
    await rooms.create("ann", "r", "invited")
    await rooms.done("root", "PATCH", "/r", {"title": "Theirs"}, **ADMIN)
    await rooms.done("root", "PUT", "/r/members/bob", {"role": "admin"}, **ADMIN)
    await rooms.done("root", "PUT", "/r/members/bob", {"role": "owner"}, **ADMIN)
    await rooms.done("root", "DELETE", "/r/members/ann", **ADMIN)
    assert (await rooms.done("root", "GET", "/r", **ADMIN))["owner_id"] == "bob"
    assert (await rooms.done("root", "DELETE", "/r", **ADMIN)) == {"name": "r"}


async def test_rooms_need_a_token(rooms: RoomsSite) -> None:
    """Without one the answer is 401, as everywhere."""
    client = await rooms.peers.open()
    await client.send(b"GET /api/v1/rooms HTTP/1.1\r\nHost: a\r\n\r\n")
    status, _, body = await client.response()
    assert (status, body["error"]["code"]) == (401, "unauthorized")


async def test_the_room_of_notices_is_nobodys(rooms: RoomsSite) -> None:
    """Everybody enters it, so nobody may keep it."""
    assert await rooms.refused("ann", "POST", "", {"name": "notifications"}) == (409, "conflict")


async def test_where_admins_create_rooms_others_do_not(tmp_path: Path, autojump_clock: MockClock) -> None:
    """`rooms.create = "admins"` says so."""
    async with inline_site(rooms_config(tmp_path, create="admins")) as rooms:
        assert await rooms.refused("ann", "POST", "", {"name": "r"}) == (403, "forbidden")
        await rooms.done("root", "POST", "", {"name": "r"}, **ADMIN)


async def test_where_rooms_are_closed_nobody_takes_a_name_without_a_grant(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """To listen is not enough; and whoever has a grant makes it nobody else's way in, neither at once nor later."""
    asked = {"name": "payroll", "policy": "invited"}
    forbidden = (403, "forbidden")
    async with inline_site(rooms_config(tmp_path, open_rooms=False)) as rooms:
        assert await rooms.refused("ann", "POST", "", asked) == forbidden
        listens = {"channels": ("room:payroll",), "verbs": ("subscribe",)}
        assert await rooms.refused("ann", "POST", "", asked, **listens) == forbidden
        for granted in ("room:payroll", "room:*"):
            grant = {"channels": (granted,)}
            for policy in ("open", "announcements"):
                status, answer = await rooms.ask("bob", "POST", "", {**asked, "policy": policy}, **grant)
                assert (status, answer["error"]["code"]) == forbidden
                assert "the policy may be invited - at `$.policy`" in answer["error"]["message"]
            await rooms.done("bob", "POST", "", asked, **grant)
            assert await rooms.refused("bob", "PATCH", "/payroll", {"policy": "open"}, **grant) == forbidden
            await rooms.done("bob", "PATCH", "/payroll", {"title": "Ours"}, **grant)
            await rooms.done("root", "PATCH", "/payroll", {"policy": "announcements"}, **ADMIN)
            await rooms.done("bob", "DELETE", "/payroll", **grant)
        await rooms.done("root", "POST", "", {"name": "payroll"}, **ADMIN)


async def test_nobody_takes_over_a_name_that_is_in_use(rooms: RoomsSite) -> None:
    """Where others are, or something that was said is kept, administrators create; who is there alone may."""
    conflict = (409, "conflict")
    ann, bob = await rooms.connect("ann"), await rooms.connect("bob")
    assert await enters(ann, "r")
    status, answer = await rooms.ask("eve", "POST", "", {"name": "r", "policy": "invited"})
    assert (status, answer["error"]["code"]) == conflict
    assert "in use: choose another, or ask an administrator" in answer["error"]["message"]
    assert await rooms.refused("eve", "DELETE", "/r") == (404, "not_found")
    assert await enters(bob, "r")
    assert await rooms.refused("ann", "POST", "", {"name": "r"}) == conflict
    await bob.command("leave_room", {"room": "r"})
    await rooms.create("ann", "r")
    await rooms.done("ann", "DELETE", "/r")
    assert await enters(ann, "said")
    assert await says(ann, "said") == "published"
    await ann.command("leave_room", {"room": "said"})
    assert await rooms.refused("ann", "POST", "", {"name": "said"}) == conflict
    await rooms.done("root", "POST", "", {"name": "said"}, **ADMIN)


async def test_a_room_belongs_to_a_user_and_never_to_a_key(rooms: RoomsSite) -> None:
    """A back end says whose it is; administrators give rooms to others, uncounted, users only to themselves."""
    status, answer = await rooms.ask(SERVICE, "POST", "", {"name": "a"})
    assert (status, answer["error"]["code"]) == (400, "invalid_data")
    assert answer["error"]["message"].endswith("at `$.owner_id`")
    forbidden = (403, "forbidden")
    assert await rooms.refused("ann", "POST", "", {"name": "a", "owner_id": "bob"}) == forbidden
    assert (await rooms.done("ann", "POST", "", {"name": "own", "owner_id": "ann"}))["role"] == "owner"
    for number in range(4):
        asked = {"name": f"n{number}", "owner_id": "bob", "policy": "invited"}
        made = await rooms.done(SERVICE, "POST", "", asked)
        assert (made["owner_id"], made["role"], made["members"]) == ("bob", None, 1)
    assert (await rooms.done("bob", "GET", "/n0"))["role"] == "owner"
    assert await rooms.refused("bob", "POST", "", {"name": "z"}) == (429, "limit_reached"), "his own are"
    await rooms.done(SERVICE, "PUT", "/own/members/bob", {"role": "member"})
    await rooms.done(SERVICE, "PUT", "/own/members/bob", {"role": "owner"})
    rooms.site.server.context.push.users = Directory("ann")
    unknown = await rooms.refused(SERVICE, "POST", "", {"name": "z", "owner_id": "bob"})
    assert unknown == (404, "not_found")
    await rooms.done(SERVICE, "POST", "", {"name": "z", "owner_id": "ann"})


async def test_a_service_is_no_member_also_where_a_user_has_its_name(rooms: RoomsSite) -> None:
    """The key's name is `service`: the user of that id and the key have nothing of each other's."""
    await rooms.done("service", "POST", "", {"name": "r", "policy": "invited"})
    assert (await rooms.done(SERVICE, "GET", "/r"))["role"] is None
    removed = await rooms.done(SERVICE, "DELETE", "/r/members/bob")
    assert removed["removed"]
    assert await rooms.refused(SERVICE, "DELETE", "/r/members/service") == (409, "conflict")
    await rooms.invite("service", "r", "ann", role="admin")
    await rooms.invite("service", "r", "ann", role="owner")
    left = await rooms.done(SERVICE, "DELETE", "/r/members/service")
    assert left["removed"], "the key does not leave for the user"
    token = Identity("ann", "ann", 2**33, kind="service")
    rules = Rules()
    rules.apply(Change("r", "invited", {"ann": "owner"}, is_whole=True))
    assert not rules.may_enter(token, "r")
    assert rules.role_of(token, "r") is None
    rules.apply(Change("r", "announcements"))
    assert not rules.may_speak(token, "r")


async def test_members_are_changed_at_a_pace(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond it the answer is 429, and says when to come again; each caller has their own, administrators none."""
    monkeypatch.setattr(pace, "CHANGES_AT_ONCE", 3)
    monkeypatch.setattr(pace, "CHANGES_PER_SECOND", 0.001)
    async with inline_site(rooms_config(tmp_path)) as rooms:
        await rooms.create("ann", "r")
        await rooms.invite("ann", "r", "bob", role="admin")
        await rooms.invite("ann", "r", "cleo")
        await rooms.done("ann", "DELETE", "/r/members/cleo")
        head = "DELETE /api/v1/rooms/r/members/cleo HTTP/1.1\r\nHost: a"
        token = f"Authorization: Bearer {rooms.token('ann')}"
        client = await rooms.peers.open()
        await client.send(f"{head}\r\n{token}\r\n\r\n".encode())
        status, headers, answer = await client.response()
        assert (status, answer["error"]["code"]) == (429, "rate_limited")
        assert 900 < int(headers["retry-after"]) <= 1000
        too_many = (429, "rate_limited")
        assert await rooms.refused("ann", "PUT", "/r/members/dan", {"role": "member"}) == too_many
        await rooms.done("bob", "DELETE", "/r/members/dan")
        for _ in range(4):
            await rooms.done(SERVICE, "DELETE", "/r/members/eve")
