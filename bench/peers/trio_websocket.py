"""A plain trio-websocket server: `serve_websocket`, and a broadcast that is a loop of awaited sends."""

import gc
import os
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial

import msgspec
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

from tidings.bench.replies import Done, Ready

# The same as ours: the comparison is of two ways to fan out, not of collector settings.
_GC_THRESHOLDS = (50_000, 20, 100)


@dataclass
class Room:
    """Who hears what its members say."""

    members: set[WebSocketConnection] = field(default_factory=set)
    # One message after the other: each send is a moment in which another member's could overtake it.
    turns: trio.Lock = field(default_factory=trio.Lock)

    async def broadcast(self, text: str | bytes) -> None:
        """Send to all; one that is gone costs the others nothing but its attempt."""
        try:
            self.turns.acquire_nowait()  # `async with` would give up the turn of the loop even when it is free
        except trio.WouldBlock:
            await self.turns.acquire()
        try:
            for websocket in list(self.members):
                try:
                    await websocket.send_message(text)
                except ConnectionClosed:
                    self.members.discard(websocket)
        finally:
            self.turns.release()


rooms: defaultdict[str, Room] = defaultdict(Room)


async def handle(request: WebSocketRequest) -> None:
    """Send whatever this client says to its room."""
    room = rooms[request.path]
    websocket = await request.accept()
    room.members.add(websocket)
    try:
        while True:
            await room.broadcast(await websocket.get_message())
    except ConnectionClosed:
        pass
    finally:
        room.members.discard(websocket)


def say(line: msgspec.Struct) -> None:
    """Write a line."""
    sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
    sys.stdout.buffer.flush()


async def main() -> None:
    """Serve until standard input ends; collect garbage for each of its lines."""
    async with trio.open_nursery() as nursery:
        server = await nursery.start(partial(serve_websocket, handle, "127.0.0.1", 0, ssl_context=None))
        say(Ready(ready=True, port=server.port))
        async with trio.lowlevel.FdStream(os.dup(0)) as asked:
            async for data in asked:
                gc.collect()
                for _ in range(data.count(b"\n")):
                    say(Done())
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    trio.run(main)
