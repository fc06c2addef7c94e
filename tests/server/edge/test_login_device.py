"""The device that a login names: a seat in the inbox where there is one, and never a reason to be turned away."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from support.client import RawClient
from support.site import Site, configured, memory_site

from tidings.server.config import Inbox

pytestmark = pytest.mark.usefixtures("autojump_clock")

OWN = "user:alice"


@pytest.fixture
async def full(autojump_clock: object) -> AsyncIterator[Site]:
    """A server that keeps two devices of a user, where alice has had both."""
    async with memory_site(configured(inbox=Inbox(devices=2))) as site:
        for name in ("desk", "phone"):
            client, inbox = await connect(site, device=name)
            assert inbox["offset"] == 0
            await client.aclose()
        yield site


async def connect(site: Site, path: str = "/ws", *, device: str = "") -> tuple[RawClient, Any]:
    """A connection by a login that names a device, and what `connected` said of its inbox."""
    client = await site.open()
    status, _, body = await client.handshake(path, token=site.token(device=device))
    assert status == 101, body
    connected = await client.receive_json()
    assert connected["type"] == "connected", connected
    return client, connected["data"]["inbox"]


async def notify(site: Site) -> None:
    """Tell alice something that waits for her devices."""
    await site.server.context.push.to_user("alice", "notification", {"title": "t", "message": "m"})


async def test_a_login_of_a_device_too_many_shares_the_seat_of_those_without_a_name(full: Site) -> None:
    """It is let in, hears what they have not acknowledged, and acknowledges for them; devices keep theirs."""
    await notify(full)
    tablet, inbox = await connect(full, device="tablet")
    assert inbox["offset"] == 0
    assert (await tablet.receive_json())["offset"] == 1
    assert (await tablet.command("ack", {"channel": OWN, "offset": 1}))["type"] == "acked"
    unnamed, inbox = await connect(full)
    assert inbox["offset"] == 1
    again, inbox = await connect(full, device="watch")
    assert inbox["offset"] == 1
    await notify(full)
    for client in (tablet, unnamed, again):
        assert (await client.receive_json())["offset"] == 2
    _, inbox = await connect(full, device="phone")
    assert inbox["offset"] == 0
    # Nobody had to make room for them.
    known = {device.name for device in await full.server.context.broker.devices(OWN)}
    assert known == {"", "desk", "phone"}


async def test_a_device_that_is_asked_for_is_not_replaced_by_another(full: Site) -> None:
    """Who names a device in the URL, or in `authenticate`, is told that there is no room for it, and closed."""
    by_url, by_message = await full.open(), await full.open()
    assert (await by_url.handshake("/ws?device=tablet", token=full.token(device="watch")))[0] == 101
    assert (await by_message.handshake())[0] == 101
    await by_message.send_json(
        {"type": "authenticate", "data": {"token": full.token(), "device": "tablet"}, "id": "a"}
    )
    for client in (by_url, by_message):
        messages, closed = await client.until_closed()
        assert (closed.code, messages[0]["data"]["code"]) == (3504, "limit_reached")
        assert "device" in messages[0]["data"]["message"]


async def test_a_login_of_a_known_device_has_its_own_seat(full: Site) -> None:
    """Also where there is no room for another one; and the URL's word goes before the login's."""
    await notify(full)
    phone, _ = await connect(full, device="phone")
    await phone.command("ack", {"channel": OWN, "offset": 1})
    for path, device, offset in (
        ("/ws", "phone", 1),
        ("/ws", "desk", 0),
        ("/ws?device=phone", "tablet", 1),
        ("/ws?device=desk", "phone", 0),
    ):
        _, inbox = await connect(full, path, device=device)
        assert inbox["offset"] == offset, (path, device)
