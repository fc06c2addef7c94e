"""Every frame that a message can become fits the smallest outbox that the configuration accepts."""

from typing import Any

import msgspec
import pytest
from support.client import RawClient, masked
from support.site import configured, memory_site
from trio.testing import MockClock

from tidings.protocol.frames import Opcode
from tidings.server.config import Limits

MESSAGE_BYTES = 4096
LEAST_OUTBOX = 6 * MESSAGE_BYTES + 1024


async def ask(client: RawClient, dialect: str, kind: str, data: dict[str, Any]) -> Any:
    """The answer to a command in one encoding or the other."""
    codec, opcode = (msgspec.json, Opcode.TEXT) if dialect == "native" else (msgspec.msgpack, Opcode.BINARY)
    message = codec.encode({"type": kind, "data": data, "id": kind})
    assert len(message) <= MESSAGE_BYTES
    await client.send(masked(opcode, message))
    while (answer := await client.receive_json()).get("id") != kind:
        pass
    return answer


@pytest.mark.parametrize(
    ("speaks", "hears", "filling"),
    [
        ("native_msgpack", "native", [False] * 3_900),  # one byte becomes six with its comma
        ("native", "native_msgpack", [0.1] * 1_000),  # four become nine
    ],
)
async def test_one_message_never_closes_a_healthy_peer(
    autojump_clock: MockClock, speaks: str, hears: str, filling: list[object]
) -> None:
    """A message within the limits, told in another encoding, does not overflow an outbox that is empty."""
    limits = Limits(message_bytes=MESSAGE_BYTES, outbox_bytes=LEAST_OUTBOX)
    async with memory_site(configured(limits=limits)) as site:
        alice, bob = await site.open(), await site.open()
        for client, dialect, user in ((alice, speaks, "alice"), (bob, hears, "bob")):
            await client.handshake(f"/ws?dialect={dialect}&token={site.token(user)}")
            assert (await ask(client, dialect, "join_room", {"room": "lobby"}))["type"] == "subscribed"
        said = {"room": "lobby", "text": "hello", "more": filling}
        assert (await ask(alice, speaks, "room_message", said))["type"] in ("published", "error")
        assert (await ask(bob, hears, "ping", {}))["type"] == "pong"
