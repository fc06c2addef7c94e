"""A user's inbox, as devices see it: what was not acknowledged comes again, once for each device."""

import time
from typing import Any

import pytest
import trio
from support.client import RawClient
from support.site import Site, configured, memory_site

from tidings.server.config import ChannelRule, Inbox

pytestmark = pytest.mark.usefixtures("autojump_clock")

OWN = "user:alice"


async def notify(site: Site, count: int = 1, **more: Any) -> None:
    """Send the user some notifications."""
    for number in range(count):
        await site.server.context.push.to_user(
            "alice", "notification", {"title": str(number), "message": "m"}, **more
        )


async def device(site: Site, name: str = "", *, token: str | None = None) -> tuple[RawClient, Any]:
    """A connection of a device, and what `connected` said of its inbox."""
    client = await site.open()
    path = f"/ws?device={name}" if name else "/ws"
    status, _, body = await client.handshake(path, token=token or site.token())
    assert status == 101, body
    connected = await client.receive_json()
    assert connected["type"] == "connected"
    return client, connected["data"]["inbox"]


async def waiting(client: RawClient) -> list[int]:
    """The offsets of what comes by itself."""
    await trio.testing.wait_all_tasks_blocked()
    await client.send_json({"type": "ping", "data": {}, "id": "p"})
    found = []
    while (message := await client.receive_json()).get("id") != "p":
        found.append(message["offset"] if "offset" in message else -message["data"]["offset"])
    return found


async def test_what_came_while_away_waits(site: Site) -> None:
    """A user who was never there gets everything kept, in order, on the first connection."""
    await notify(site, 3)
    phone, inbox = await device(site, "phone")
    assert inbox["offset"] == 0
    assert await waiting(phone) == [1, 2, 3]
    await notify(site)
    assert (await phone.receive_json())["offset"] == 4


async def test_what_is_acknowledged_does_not_come_again(site: Site) -> None:
    """Each device has a position of its own; without an ack everything comes again."""
    await notify(site, 3)
    phone, _ = await device(site, "phone")
    tablet, _ = await device(site, "tablet")
    assert await waiting(phone) == await waiting(tablet) == [1, 2, 3]
    acked = await phone.command("ack", {"channel": OWN, "offset": 2})
    assert (acked["type"], acked["data"]) == ("acked", {"channel": OWN, "offset": 2})
    await phone.aclose()
    await tablet.aclose()
    phone, at_phone = await device(site, "phone")
    tablet, at_tablet = await device(site, "tablet")
    assert (at_phone["offset"], at_tablet["offset"]) == (2, 0)
    assert await waiting(phone) == [3]
    assert await waiting(tablet) == [1, 2, 3]


async def test_an_ack_never_goes_back(site: Site) -> None:
    """An older one, as of a second tab, is answered with the newer position."""
    await notify(site, 3)
    phone, _ = await device(site, "phone")
    await phone.command("ack", {"channel": OWN, "offset": 3})
    assert (await phone.command("ack", {"channel": OWN, "offset": 1}))["data"]["offset"] == 3


async def test_connections_without_a_name_share_a_position(site: Site) -> None:
    """What one of them acknowledged does not come to the next."""
    await notify(site, 2)
    first, _ = await device(site)
    await first.command("ack", {"channel": OWN, "offset": 2})
    second, inbox = await device(site)
    assert inbox["offset"] == 2
    assert await waiting(second) == []


async def test_a_later_new_device_starts_where_the_furthest_is(site: Site) -> None:
    """A second phone is not told a week's old news."""
    await notify(site, 3)
    phone, _ = await device(site, "phone")
    await phone.command("ack", {"channel": OWN, "offset": 2})
    _, inbox = await device(site, "new")
    assert inbox["offset"] == 2


@pytest.mark.parametrize("offset", [4, 10**18, -1], ids=["beyond", "far beyond", "negative"])
async def test_acknowledging_what_was_not_sent_is_refused(site: Site, offset: int) -> None:
    """The field is named and nothing changes."""
    await notify(site, 3)
    phone, _ = await device(site, "phone")
    assert await waiting(phone) == [1, 2, 3]
    answer = await phone.command("ack", {"channel": OWN, "offset": offset})
    assert answer["data"]["code"] == "invalid_data"
    assert "$.data.offset" in answer["data"]["message"]
    _, inbox = await device(site, "phone")
    assert inbox["offset"] == 0


@pytest.mark.parametrize("channel", ["user:bob", "room:a", "all"])
async def test_only_ones_own_inbox_takes_acks(site: Site, channel: str) -> None:
    """Other channels keep no positions of devices."""
    phone, _ = await device(site, "phone")
    answer = await phone.command("ack", {"channel": channel, "offset": 0})
    assert answer["data"]["code"] == "forbidden"


async def test_a_seventeenth_device_is_turned_away() -> None:
    """It is told why, with 3504; the others and unnamed connections are served."""
    async with memory_site(configured(inbox=Inbox(devices=2))) as site:
        for name in ("a", "b"):
            client, _ = await device(site, name)
            await client.aclose()
        third = await site.open()
        assert (await third.handshake("/ws?device=c", token=site.token()))[0] == 101
        messages, closed = await third.until_closed()
        assert closed.code == 3504
        assert messages[0]["data"]["code"] == "limit_reached"
        assert "device" in messages[0]["data"]["message"]
        await device(site, "a")


async def test_the_first_message_may_name_the_device(site: Site) -> None:
    """As the query does in the handshake."""
    await notify(site, 2)
    client = await site.open()
    await client.handshake()
    await client.command("authenticate", {"token": site.token(), "device": "phone"})
    assert await waiting(client) == [1, 2]
    await client.command("ack", {"channel": OWN, "offset": 1})
    _, inbox = await device(site, "phone")
    assert inbox["offset"] == 1


@pytest.mark.parametrize("name", ["x" * 65, "a%0Ab", "%00"])
async def test_a_bad_device_name_is_refused(site: Site, name: str) -> None:
    """Before the upgrade, with the field's name; in `authenticate` as invalid data."""
    client = await site.open()
    status, _, body = await client.handshake(f"/ws?device={name}", token=site.token())
    assert status == 400
    assert "device" in body["error"]["message"]


async def test_an_excluded_login_is_told_the_position_only(site: Site) -> None:
    """Live and on return: the tabs of the login that caused it see no event, and no hole either."""
    mine, other = site.token(session_id="mine"), site.token(session_id="other")
    here, _ = await device(site, "here", token=mine)
    there, _ = await device(site, "there", token=other)
    await notify(site, 1, excluded_session="mine")
    await notify(site, 1)
    assert await waiting(here) == [-1, 2]
    assert await waiting(there) == [1, 2]
    again, _ = await device(site, "here", token=mine)
    assert await waiting(again) == [-1, 2]


async def test_a_changed_password_is_not_told_to_a_later_login(site: Site) -> None:
    """Who logged in with the new one knows; a login from before is told on its return."""
    push = site.server.context.push
    await push.to_user("alice", "user:password-changed", {"id": "alice"})
    await notify(site)
    before, _ = await device(site, "old", token=site.token(logged_in_ms=1000))
    assert await waiting(before) == [1, 2]
    after, _ = await device(site, "new", token=site.token(logged_in_ms=int(time.time() * 1000) + 1000))
    assert await waiting(after) == [-1, 2]


async def test_an_expired_inbox_says_where_it_begins() -> None:
    """What the limit has pushed out is not there: `connected` tells after which position everything comes."""
    rules = {"user:*": ChannelRule(history_size=3)}
    async with memory_site(configured(channels=rules)) as site:
        await notify(site, 5)
        phone, inbox = await device(site, "phone")
        assert inbox["offset"] == 2
        assert await waiting(phone) == [3, 4, 5]


async def test_a_device_that_was_away_for_too_long_goes_on_from_the_oldest() -> None:
    """Where its own position is no longer kept, `connected` says so, and what is there comes without a close."""
    rules = {"user:*": ChannelRule(history_size=3)}
    async with memory_site(configured(channels=rules)) as site:
        await notify(site, 1)
        phone, _ = await device(site, "phone")
        await phone.command("ack", {"channel": OWN, "offset": 1})
        await phone.aclose()
        await notify(site, 9)
        phone, inbox = await device(site, "phone")
        assert inbox["offset"] == 7
        assert await waiting(phone) == [8, 9, 10]


async def test_a_device_that_is_connected_is_never_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long nothing comes: who is new and wants its place costs it nothing that it has not acknowledged."""
    async with memory_site(configured(inbox=Inbox(devices=2, device_age=600))) as site:
        begun = time.time()
        monkeypatch.setattr(site.server.context.broker, "_clock", lambda: begun + trio.current_time())
        phone, _ = await device(site, "phone")
        phone.answers_pings = True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(phone.receive_json)
            await trio.sleep(1500)
            laptop, _ = await device(site, "laptop")
            await notify(site)
            await laptop.receive_json()
            await laptop.command("ack", {"channel": OWN, "offset": 1})
        await phone.aclose()
        phone, inbox = await device(site, "phone")
        assert inbox["offset"] == 0
        assert await waiting(phone) == [1]


async def test_without_an_inbox_nothing_waits() -> None:
    """A policy may keep nothing: then `connected` says that there is none."""
    rules = {"user:*": ChannelRule(history_size=0, durable=False)}
    async with memory_site(configured(channels=rules)) as site:
        await notify(site, 2)
        phone, inbox = await device(site, "phone")
        assert inbox is None
        assert await waiting(phone) == []
        await notify(site)
        assert (await phone.receive_json())["offset"] == 3


async def test_a_close_in_the_middle_of_the_first_replay_leaves_no_task(site: Site) -> None:
    """A device that goes at once is gone, and its position is where it was."""
    await notify(site, 50)
    phone, _ = await device(site, "phone")
    await phone.aclose()
    await trio.testing.wait_all_tasks_blocked()
    assert site.server.context.hub.connections == 0
    assert not site.server.front.connections
    again, inbox = await device(site, "phone")
    assert inbox["offset"] == 0
    assert len(await waiting(again)) == 50
