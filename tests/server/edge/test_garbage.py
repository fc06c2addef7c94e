"""An ended connection leaves nothing that only a collection over all the living would find."""

import gc
from collections.abc import Iterator

import msgspec
import pytest
import trio
from support.client import RawClient, masked
from support.hostile import BAD_FRAMES
from support.hostile_deflate import BAD_DEFLATE
from support.site import Site, configured, memory_site
from trio.testing import MockClock, wait_all_tasks_blocked

from tidings.protocol.close_codes import CloseCode
from tidings.protocol.frames import Opcode
from tidings.server.app import ENGINES
from tidings.server.config import Compression
from tidings.server.edge.connection import Connection


@pytest.fixture
def uncollected() -> Iterator[None]:
    """No collection for the time of the test: what is left in a cycle stays to be seen, and nothing else is."""
    gc.collect()
    gc.disable()
    # For good, as everything that was collected before the first test: no test has to walk through it again.
    gc.freeze()
    yield
    gc.enable()


def _left() -> int:
    return sum(isinstance(found, Connection) for found in gc.get_objects())


async def _end(site: Site, client: RawClient, sent: bytes) -> None:
    await client.send(sent)
    with trio.move_on_after(1_000):
        await client.closed()
    await client.aclose()
    await site.server.context.admission.wait_empty()
    await wait_all_tasks_blocked()


@pytest.mark.parametrize("engine", sorted(ENGINES))
async def test_no_end_leaves_a_cycle(autojump_clock: MockClock, uncollected: None, engine: str) -> None:
    """Every rule that a peer can break, its close, its disappearance and ours: the connection is gone at once."""
    config = configured(compression=Compression(enabled=engine == "native"))
    config = msgspec.structs.replace(config, server=msgspec.structs.replace(config.server, engine=engine))
    rows = {name: sent for name, (sent, _) in BAD_FRAMES.items()}
    rows |= {"a close": masked(Opcode.CLOSE, b"\x03\xe8")}
    if engine == "native":
        # The library's reader, cancelled with further messages in hand, leaves a cycle of its own.
        rows["bad JSON"] = 60 * masked(Opcode.TEXT, b"{")
    leaving: dict[str, int] = {}
    async with memory_site(config) as site:
        before = _left()
        for name, sent in rows.items():
            await _end(site, await site.connect(), sent)
            leaving[name] = _left() - before
        if engine == "native":
            for name, row in BAD_DEFLATE.items():
                client = await site.open()
                offer = {"Sec-WebSocket-Extensions": "permessage-deflate"}
                status, _, _ = await client.handshake(token=site.token(), headers=offer)
                assert status == 101
                await _end(site, client, row[0]())
                leaving[name] = _left() - before
        answered = await site.connect()
        await answered.command("ping")
        await _end(site, answered, b"")
        leaving["answered last"] = _left() - before
        gone = await site.connect()
        await gone.aclose()
        await site.server.context.admission.wait_empty()
        leaving["gone"] = _left() - before
        ours = await site.connect()
        for connection in list(site.server.front.connections):
            connection.close(CloseCode.DISCONNECTED)
            del connection
        await _end(site, ours, b"")
        leaving["ours"] = _left() - before
    assert not {name: count for name, count in leaving.items() if count}
