"""A plain trio-websocket server: `serve_websocket`, and a broadcast that is a loop of awaited sends."""

import gc
import sys
from functools import partial

import msgspec
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

from tidings.bench.replies import Ready

# The same as ours: the comparison is of two ways to fan out, not of collector settings.
_GC_THRESHOLDS = (50_000, 20, 100)

connections: set[WebSocketConnection] = set()


async def handle(request: WebSocketRequest) -> None:
    """Send whatever this client says to all."""
    websocket = await request.accept()
    connections.add(websocket)
    try:
        while True:
            await broadcast(await websocket.get_message())
    except ConnectionClosed:
        pass
    finally:
        connections.discard(websocket)


async def broadcast(text: str | bytes) -> None:
    """Send to all; one that is gone costs the others nothing but its attempt."""
    for websocket in list(connections):
        try:
            await websocket.send_message(text)
        except ConnectionClosed:
            connections.discard(websocket)


async def _run() -> None:
    async with trio.open_nursery() as nursery:
        server = await nursery.start(partial(serve_websocket, handle, "127.0.0.1", 0, ssl_context=None))
        sys.stdout.buffer.write(msgspec.json.encode(Ready(ready=True, port=server.port)) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    trio.run(_run)
