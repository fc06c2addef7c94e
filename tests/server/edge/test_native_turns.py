"""What the native engine does in one turn: one busy peer must not keep the loop to itself."""

import socket

import pytest
import trio
from support.client import KEY, masked

from tidings.protocol.frames import Opcode
from tidings.server.delivery.outbox import Outbox
from tidings.server.edge.engines.native import EVENTS_PER_TURN, NativeEngine
from tidings.server.edge.engines.seam import EngineLimits, Upgrade
from tidings.server.edge.transport import SocketTransport


@pytest.mark.parametrize("frame", [masked(Opcode.PONG), masked(Opcode.PING), masked(Opcode.TEXT, b"x")])
async def test_a_thousand_events_of_one_read_leave_others_their_turn(frame: bytes) -> None:
    """Control frames are work as messages are: after so many of either, everybody else runs."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    transport = SocketTransport(ours)
    outbox = Outbox(1_000_000, send=transport.send_nowait, on_overflow=print, on_broken=print)
    turns, counted = 0, 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    def count(units: int) -> None:
        nonlocal counted
        counted += units

    early = 1_000 * frame + masked(Opcode.TEXT, b"end")
    engine = NativeEngine()
    with theirs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(count_turns)
            upgrade = Upgrade(KEY.encode(), leftover=early)
            async with engine.accept(upgrade, transport, outbox, EngineLimits(100, 10), count) as websocket:
                while await websocket.receive() != "end":
                    pass
            nursery.cancel_scope.cancel()
        await transport.close()
    assert counted == (0 if frame[0] & 0x0F == Opcode.TEXT else 1_000)
    assert turns >= 1_000 // EVENTS_PER_TURN - 5
