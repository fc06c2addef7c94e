# mypy: ignore-errors
"""socketify: uWebSockets in C++ with its publish and subscribe; Python is called once for each message said.

Run by path with the Python of the peers' own environment. The loop is libuv's alone: socketify's `run()` drives it
from an asyncio loop that polls without a pause while there is work, and nothing here needs asyncio.
"""

import os
import sys
import threading

from contract import collect, ready
from socketify import App

# Above it a message is refused, or dropped for a client with so much waiting: what waits is nobody's loss here.
MAX_MESSAGE_BYTES = 16 * 2**20
NO_LIMIT = 0


def upgrade(response, request, context) -> None:
    """Take the path for the room."""
    response.upgrade(
        request.get_header("sec-websocket-key"),
        request.get_header("sec-websocket-protocol"),
        request.get_header("sec-websocket-extensions"),
        context,
        request.get_url(),
    )


def enter(websocket) -> None:
    """Subscribe to the room; the library unsubscribes who leaves."""
    websocket.subscribe(websocket.get_user_data())


def say(websocket, message, opcode) -> None:
    """Send to all who are subscribed, the speaker included."""
    app.publish(websocket.get_user_data(), message, opcode)


def answer_lines() -> None:
    """Answer what comes by standard input, in a thread: the server's waits in C++, without the interpreter."""
    for _ in sys.stdin:
        collect()
    os._exit(0)


app = App()
app.ws(
    "/*",
    {
        "compression": 0,
        "max_payload_length": MAX_MESSAGE_BYTES,
        "max_backpressure": NO_LIMIT,
        "idle_timeout": NO_LIMIT,
        "send_pings_automatically": False,
        "upgrade": upgrade,
        "open": enter,
        "message": say,
    },
)
app.listen({"host": "127.0.0.1", "port": 0}, lambda listening: ready(listening.port))
threading.Thread(target=answer_lines, daemon=True).start()
app.loop.uv_loop.run()
