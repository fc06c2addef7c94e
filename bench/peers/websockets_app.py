# mypy: ignore-errors
"""websockets on uvloop: its own `broadcast()`, to the members of a room.

Run by path with the Python of the peers' own environment. A message is taken as the bytes that it came in and
sent on as these, which the library's documentation advises where nobody looks at them.
"""

from collections import defaultdict

import uvloop
from contract import BACKLOG, answer_lines, ready
from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed

# At the end of the process, for those who are still connected.
CLOSE_SECONDS = 1

rooms: defaultdict[str, set[ServerConnection]] = defaultdict(set)


async def handle(connection: ServerConnection) -> None:
    """Send whatever this client says to its room."""
    room = rooms[connection.request.path]
    room.add(connection)
    try:
        while True:
            broadcast(room, await connection.recv(decode=False), text=True)
    except ConnectionClosed:
        pass
    finally:
        room.discard(connection)


async def main() -> None:
    """Serve until standard input ends."""
    ended = answer_lines()
    server = await serve(
        handle,
        "127.0.0.1",
        0,
        backlog=BACKLOG,
        compression=None,
        ping_interval=None,
        close_timeout=CLOSE_SECONDS,
    )
    ready(next(iter(server.sockets)).getsockname()[1])
    await ended.wait()


if __name__ == "__main__":
    uvloop.run(main())
