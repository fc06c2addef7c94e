"""Dialects without a word for acknowledging: what the kernel took counts as received."""

from typing import Any

import pytest
import trio
from support.client import RawClient
from support.site import Site

from tidings.protocol.dialects.native import NativeDialect

pytestmark = pytest.mark.usefixtures("autojump_clock")


class Silent(NativeDialect):
    """As the native one, of clients that never acknowledge and know no positions."""

    acknowledges = False

    def encode_answer(
        self, kind: str, data: Any, time_ms: int, command_id: str | None = None
    ) -> bytes | None:
        """Nothing about positions."""
        return None if kind == "position" else super().encode_answer(kind, data, time_ms, command_id)


@pytest.fixture
def site(site: Site) -> Site:
    """A server whose default dialect is silent."""
    silent = Silent(site.server.context.registry)
    site.server.context.dialects["native"] = silent  # type: ignore[index]  # a dict, while a test puts it together
    return site


async def phone(site: Site) -> tuple[RawClient, int]:
    """A connection of a device, and where its inbox begins."""
    client = await site.open()
    await client.handshake("/ws?device=phone", token=site.token())
    connected = await client.receive_json()
    offset: int = connected["data"]["inbox"]["offset"]
    return client, offset


async def notify(site: Site, count: int, size: int = 1) -> None:
    for _ in range(count):
        await site.server.context.push.to_user("alice", "news", {"text": "x" * size})


async def test_what_was_sent_is_acknowledged_for_it(site: Site) -> None:
    """Live or replayed: a second later it does not come again, also while the connection goes on."""
    await notify(site, 2)
    client, offset = await phone(site)
    assert offset == 0
    for _ in range(2):
        await client.receive_json()
    await notify(site, 1)
    await client.receive_json()
    await trio.sleep(1.5)
    [device] = await site.server.context.broker.devices("user:alice")
    assert (device.name, device.acknowledged) == ("phone", 3)


async def test_a_connection_that_ends_has_its_last_noted(site: Site) -> None:
    """Within the second, too: what went out before the end does not come twice."""
    client, _ = await phone(site)
    await notify(site, 1)
    await client.receive_json()
    await client.send_close()
    await client.closed()
    await trio.sleep(2)
    _, offset = await phone(site)
    assert offset == 1


async def test_what_never_went_out_comes_again(site: Site) -> None:
    """A peer that stopped reading has not received what waited for it: what was dropped is not taken as read."""
    client, _ = await phone(site)
    await notify(site, 1)
    await client.receive_json()
    await trio.sleep(1.5)
    # More than the outbox holds, and nobody reads: closed as a slow consumer.
    await notify(site, 6, size=200_000)
    await trio.sleep(10)
    assert not site.server.context.hub.connections
    _, offset = await phone(site)
    assert offset == 1


class Absent(Silent):
    """For whose clients nothing waits: they have no words for it."""

    has_inbox = False


async def test_who_has_no_inbox_neither_gets_nor_takes_what_waits_for_others(site: Site) -> None:
    """It hears what comes while it is there, and is no device: all of that still waits for the user's others."""
    site.server.context.dialects["native_msgpack"] = Absent(site.server.context.registry)  # type: ignore[index]
    await notify(site, 2)
    client = await site.open()
    status, _, _ = await client.handshake("/ws?device=desk&dialect=native_msgpack", token=site.token())
    assert status == 101
    connected = await client.receive_json()
    assert connected["data"].get("inbox") is None
    assert set(connected["data"]["channels"]) == {"all", "user:alice"}
    await notify(site, 1)
    assert (await client.receive_json())["offset"] == 3
    await trio.sleep(1.5)
    await client.send_close()
    await client.closed()
    await trio.sleep(2)
    broker = site.server.context.broker
    assert await broker.devices("user:alice") == []
    other, offset = await phone(site)
    assert offset == 0
    assert [(await other.receive_json())["offset"] for _ in range(3)] == [1, 2, 3]


async def test_who_has_no_inbox_is_let_in_where_it_is_full_of_devices(site: Site) -> None:
    """It needs no place of its own there, whatever name it bears."""
    site.server.context.dialects["native_msgpack"] = Absent(site.server.context.registry)  # type: ignore[index]
    broker = site.server.context.broker
    for number in range(16):
        await broker.attach("user:alice", f"d{number}")
    for dialect, expected in (("native_msgpack", "connected"), ("native", "error")):
        client = await site.open()
        await client.handshake(f"/ws?device=another&dialect={dialect}", token=site.token())
        assert (await client.receive_json())["type"] == expected
