# mypy: ignore-errors
"""A FastAPI server as teams write it: a token check, a ConnectionManager, `connected` in JSON.

Run by path with the Python of the peers' own environment (`requirements.txt` beside it), which knows nothing
of this project: FastAPI is nothing that the project needs.
"""

import asyncio
import gc
import json
import os
import sys
import uuid
from collections import defaultdict

import jwt
import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect, status

SECRET = os.environ["TIDINGS_AUTH_SECRET"]

# The same as ours: the comparison is of two servers, not of collector settings.
GC_THRESHOLDS = (50_000, 20, 100)


class ConnectionManager:
    """Who is connected."""

    def __init__(self) -> None:
        self.active: dict[str, set[WebSocket]] = defaultdict(set)

    async def connect(self, user: str, websocket: WebSocket) -> None:
        """Accept and register."""
        await websocket.accept()
        self.active[user].add(websocket)

    def disconnect(self, user: str, websocket: WebSocket) -> None:
        """Forget."""
        self.active[user].discard(websocket)
        if not self.active[user]:
            del self.active[user]


app = FastAPI()
manager = ConnectionManager()


@app.websocket("/ws")
async def endpoint(websocket: WebSocket, token: str = "") -> None:
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
        asyncio.get_running_loop().add_reader(0, self._asked)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        port = self.servers[0].sockets[0].getsockname()[1]
        print(json.dumps({"ready": True, "port": port}), flush=True)

    def _asked(self) -> None:
        if not os.read(0, 65536):
            self.should_exit = True
            return
        gc.collect()
        print(json.dumps({"done": True}), flush=True)


def main() -> None:
    """Serve until standard input ends."""
    # What `pip install uvicorn[standard]` gives; its log goes where ours goes, to a file by standard error.
    log = uvicorn.config.LOGGING_CONFIG
    log["handlers"]["access"]["stream"] = "ext://sys.stderr"
    config = uvicorn.Config(app, port=0, loop="uvloop", http="httptools", ws="auto", log_config=log)
    Server(config).run()


if __name__ == "__main__":
    sys.exit(main())
