# mypy: ignore-errors
"""picows on uvloop: callbacks instead of tasks, and each message sent from one buffer to all.

Run by path with the Python of the peers' own environment. `send_reuse_external_bytearray` is the library's way to
send without a copy: the head of the frame goes into the 14 bytes before the message.
"""

from collections import defaultdict

import uvloop
from contract import BACKLOG, answer_lines, ready
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

HEAD = 14

rooms: defaultdict[bytes, set[WSTransport]] = defaultdict(set)


class Member(WSListener):
    """One connection."""

    def __init__(self, room: set[WSTransport]) -> None:
        super().__init__()
        self.room = room

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Enter the room."""
        self.room.add(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Send a message to the room; answer a close frame. Pings the library answers."""
        kind = frame.msg_type
        if kind == WSMsgType.TEXT or kind == WSMsgType.BINARY:  # noqa: PLR1714  no tuple for each message
            message = bytearray(HEAD + frame.payload_size)
            message[HEAD:] = frame.get_payload_as_memoryview()
            for member in self.room:
                member.send_reuse_external_bytearray(kind, message, HEAD)
        elif kind == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Leave it."""
        self.room.discard(transport)


def enter(request: WSUpgradeRequest) -> Member:
    """Take the path for the room."""
    return Member(rooms[request.path])


async def main() -> None:
    """Serve until standard input ends."""
    ended = answer_lines()
    server = await ws_create_server(enter, "127.0.0.1", 0, backlog=BACKLOG)
    ready(server.sockets[0].getsockname()[1])
    await ended.wait()
    server.close()  # without waiting for those who are connected


if __name__ == "__main__":
    uvloop.run(main())
