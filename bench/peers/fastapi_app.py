# mypy: ignore-errors
"""A FastAPI server as teams write it: a ConnectionManager under uvicorn[standard].

By itself it checks a token at `/ws`, says `connected` in JSON and keeps uvicorn's pings, as `engines` measures it.
With the argument `rooms` any path is a room, nobody is checked, what one says goes to all, and there are no pings.

Run by path with the Python of the peers' own environment (`requirements.txt` beside it), which knows nothing
of this project: FastAPI is nothing that the project needs.
"""

import asyncio
import os
import sys
import uuid
from collections import defaultdict

import jwt
import uvicorn
from contract import answer_lines, ready
from fastapi import FastAPI, WebSocket, WebSocketDisconnect, status

SECRET = os.environ["TIDINGS_AUTH_SECRET"]


class ConnectionManager:
    """Who is connected, by user or by room."""

    def __init__(self) -> None:
        self.active: dict[str, set[WebSocket]] = defaultdict(set)
        # One message after the other: a send that waits for a slow client must not let the next one pass.
        self.turns: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def connect(self, name: str, websocket: WebSocket) -> None:
        """Accept and register."""
        await websocket.accept()
        self.active[name].add(websocket)

    def disconnect(self, name: str, websocket: WebSocket) -> None:
        """Forget."""
        self.active[name].discard(websocket)
        if not self.active[name]:
            del self.active[name]

    async def broadcast(self, name: str, text: str) -> None:
        """Send to all; one that is gone costs the others nothing but its attempt."""
        async with self.turns[name]:
            for websocket in list(self.active[name]):
                try:
                    await websocket.send_text(text)
                except (RuntimeError, WebSocketDisconnect):
                    self.active[name].discard(websocket)


manager = ConnectionManager()


async def room_endpoint(websocket: WebSocket, room: str) -> None:
    """Send whatever this client says to its room."""
    await manager.connect(room, websocket)
    try:
        while True:
            await manager.broadcast(room, await websocket.receive_text())
    except WebSocketDisconnect:
        pass
    finally:
        manager.disconnect(room, websocket)


async def user_endpoint(websocket: WebSocket, token: str = "") -> None:
    """Check the token, register, say so, and read until the end."""
    try:
        claims = jwt.decode(token, SECRET, algorithms=["HS256"], options={"require": ["exp", "sub"]})
    except jwt.InvalidTokenError:
        await websocket.close(code=status.WS_1008_POLICY_VIOLATION)
        return
    user = claims["sub"]
    await manager.connect(user, websocket)
    try:
        said = {"connection_id": str(uuid.uuid4()), "user_id": user, "expires_at": claims["exp"]}
        await websocket.send_json({"type": "connected", "data": said})
        while True:
            await websocket.receive_text()
    except WebSocketDisconnect:
        pass
    finally:
        manager.disconnect(user, websocket)


class Server(uvicorn.Server):
    """Tells its port on standard output, and takes requests to collect garbage on standard input."""

    async def startup(self, sockets=None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        self.watching = asyncio.create_task(self.end_with_input(answer_lines()))
        ready(self.servers[0].sockets[0].getsockname()[1])

    async def end_with_input(self, ended: asyncio.Event) -> None:
        """Shut down when standard input has ended."""
        await ended.wait()
        self.should_exit = True


def main() -> None:
    """Serve until standard input ends."""
    app = FastAPI()
    # What `pip install uvicorn[standard]` gives; its log goes where ours goes, to a file by standard error.
    log = uvicorn.config.LOGGING_CONFIG
    log["handlers"]["access"]["stream"] = "ext://sys.stderr"
    options = {"port": 0, "loop": "uvloop", "http": "httptools", "ws": "auto", "log_config": log}
    if sys.argv[1:] == ["rooms"]:
        app.add_api_websocket_route("/{room:path}", room_endpoint)
        options |= {"ws_ping_interval": None, "ws_per_message_deflate": False}
    else:
        app.add_api_websocket_route("/ws", user_endpoint)
    Server(uvicorn.Config(app, **options)).run()


if __name__ == "__main__":
    sys.exit(main())
