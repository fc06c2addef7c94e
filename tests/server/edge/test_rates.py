"""How much one connection may ask, and how often it may be wrong."""

from collections import Counter

import pytest
import trio
from support.client import Closed, RawClient, masked
from support.site import Site, configured, memory_site
from support.tasks import unharmed
from trio.testing import MockClock

from tidings.protocol.frames import Opcode
from tidings.server.config import Limits

PING = masked(Opcode.TEXT, b'{"type":"ping","id":"p"}')


async def _read(client: RawClient, count: int) -> list[str]:
    """The next messages: an answer's type, or an error's code."""
    messages = [await client.receive_json() for _ in range(count)]
    return [message["data"].get("code") or message["type"] for message in messages]


async def test_a_burst_is_free_and_more_is_refused(site: Site, autojump_clock: MockClock) -> None:
    """`command_burst` commands at once are answered; the next says `rate_limited` and when to come back."""
    async with unharmed(site) as peers:
        client = await peers.connect()
        await client.send(201 * PING)
        assert await _read(client, 200) == 200 * ["pong"]
        error = await client.receive_json()
        assert (error["type"], error["data"]["code"], error["id"]) == ("error", "rate_limited", "p")
        assert error["data"]["retry_after"] == pytest.approx(0.02)
        await trio.sleep(error["data"]["retry_after"])
        await client.send(PING)
        assert await _read(client, 1) == ["pong"]


async def test_a_little_too_early_is_too_early(site: Site, autojump_clock: MockClock) -> None:
    """`retry_after` is the earliest time, not a hint on the safe side."""
    async with unharmed(site) as peers:
        client = await peers.connect()
        await client.send(201 * PING)
        await _read(client, 200)
        retry_after = (await client.receive_json())["data"]["retry_after"]
        await trio.sleep(retry_after * 0.4)
        await client.send(PING)
        assert await _read(client, 1) == ["rate_limited"]


async def test_the_rate_holds_for_ever(autojump_clock: MockClock) -> None:
    """Commands at exactly `command_rate` a second are never refused; at twice as many every second one is."""
    config = configured(limits=Limits(command_rate=10, command_burst=5))
    async with memory_site(config) as site, unharmed(site) as peers:
        client = await peers.connect()
        for _ in range(300):
            await trio.sleep(0.1)
            await client.send(PING)
            assert await _read(client, 1) == ["pong"]


async def test_persistence_is_closed(site: Site, autojump_clock: MockClock) -> None:
    """Who goes on all the same, for another burst, is closed with 3013 and may come back."""
    async with unharmed(site) as peers:
        client = await peers.connect()
        await client.send(500 * PING)
        answers = Counter(await _read(client, 399))
        assert answers == {"pong": 200, "rate_limited": 199}
        said = await client.receive_json()
        assert (said["type"], said["data"]["code"], said["data"]["reconnect"]) == ("disconnect", 3013, True)
        assert (await client.closed()).code == 3013
    assert site.server.context.hub.statistics().closes[3013] == 1


@pytest.mark.parametrize("opcode", [Opcode.PING, Opcode.PONG])
async def test_control_frames_count(site: Site, autojump_clock: MockClock, opcode: Opcode) -> None:
    """A flood of pings or pongs is closed with 3013; as many as a burst of commands are not."""
    async with unharmed(site) as peers:
        client = await peers.connect()
        await client.send(200 * masked(opcode, b"x"))
        assert (await client.command("stats"))["data"]["code"] == "rate_limited"
        await client.send(200 * masked(opcode, b"x"))
        assert (await client.closed()).code == 3013


async def test_a_ping_is_answered_with_its_payload(site: Site, autojump_clock: MockClock) -> None:
    """A ping's pong bears the same payload (RFC 6455 section 5.5.3), also between the fragments of a message."""
    async with unharmed(site) as peers:
        client = await peers.connect()
        await client.send(masked(Opcode.TEXT, b'{"type":"pi', fin=False))
        await client.send(masked(Opcode.PING, b"x" * 125))
        await client.send(masked(Opcode.CONTINUATION, b'ng","id":"1"}'))
        assert await client.receive_frame() == (Opcode.PONG, b"x" * 125)
        assert (await client.receive_json())["id"] == "1"


@pytest.mark.parametrize(
    "wrong",
    [
        masked(Opcode.TEXT, b"not json"),
        masked(Opcode.TEXT, b'{"type":"nope"}'),
        masked(Opcode.TEXT, b'{"type":"subscribe"}'),
        masked(Opcode.TEXT, b'{"type":"subscribe","data":{"channel":"user:bob"}}'),
        masked(Opcode.TEXT, b'{"type":"leave_room","data":{"room":"r"}}'),
    ],
    ids=["bad_request", "unknown_type", "invalid_data", "forbidden", "not_found"],
)
async def test_who_is_always_wrong_is_closed(site: Site, autojump_clock: MockClock, wrong: bytes) -> None:
    """The fortieth error at once is still answered, and closes with 3509: such a client need not come back."""
    async with unharmed(site) as peers:
        client = await peers.connect()
        await client.send(60 * wrong)
        kinds = [(await client.receive_json())["type"] for _ in range(40)]
        assert kinds == 40 * ["error"]
        said = await client.receive_json()
        assert (said["type"], said["data"]["code"], said["data"]["reconnect"]) == (
            "disconnect",
            3509,
            False,
        )
        assert (await client.closed()).code == 3509


async def test_who_is_wrong_now_and_then_stays(site: Site, autojump_clock: MockClock) -> None:
    """One error a second, for ever, costs nobody the connection."""
    async with unharmed(site) as peers:
        client = await peers.connect()
        for _ in range(200):
            await client.send(masked(Opcode.TEXT, b"not json"))
            assert await _read(client, 1) == ["bad_request"]
            await trio.sleep(1)


async def test_being_too_fast_is_no_error_of_the_other_kind(site: Site, autojump_clock: MockClock) -> None:
    """`rate_limited` does not count towards 3509: a fast client is told 3013, which it may come back from."""
    async with unharmed(site) as peers:
        client = await peers.connect()
        await client.send(350 * PING)
        assert Counter(await _read(client, 350)) == {"pong": 200, "rate_limited": 150}
        assert (await client.command("ping"))["data"]["code"] == "rate_limited"


async def test_each_connection_has_its_own_rate(site: Site, autojump_clock: MockClock) -> None:
    """One tab's flood refuses nothing to another tab of the same user."""
    async with unharmed(site) as peers:
        flooding, calm = await peers.connect("alice"), await peers.connect("alice")
        await flooding.send(600 * PING)
        with pytest.raises(Closed):
            await _read(flooding, 600)
        assert (await calm.command("ping"))["type"] == "pong"
