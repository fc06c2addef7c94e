"""What the reference engine makes of bytes that are wrong twice."""

import pytest
import trio
from support.client import masked
from support.site import Site
from support.tasks import unharmed
from trio.testing import MockClock

from tidings.protocol.frames import Opcode


@pytest.mark.parametrize("together", [True, False], ids=["in one piece", "in two"])
async def test_the_first_fault_in_the_bytes_gives_the_code(
    site: Site, autojump_clock: MockClock, together: bool
) -> None:
    """Bad UTF-8 and, behind it, a message over the limit: 1007, however the bytes are chopped."""
    bad, too_big = masked(Opcode.TEXT, b"\xff"), masked(Opcode.TEXT, length=10**6)
    async with unharmed(site) as peers:
        client = await peers.connect()
        if together:
            await client.send(bad + too_big)
        else:
            await client.send(bad)
            await trio.testing.wait_all_tasks_blocked()
        assert (await client.closed()).code == 1007


async def test_one_message_after_another_may_straddle_every_read(
    site: Site, autojump_clock: MockClock
) -> None:
    """A client whose every segment ends within a frame is slow about none of its messages."""
    async with unharmed(site) as peers:
        client = await peers.connect()
        pings = [masked(Opcode.TEXT, b'{"type":"ping"}') for _ in range(30)]
        stream = b"".join(pings)
        size = len(pings[0])
        await client.send(stream[: size // 2])
        for at in range(size // 2, len(stream), size):
            await trio.sleep(15)
            await client.send(stream[at : at + size])
        for _ in pings:
            assert (await client.receive_json())["type"] == "pong"
