"""The sending half of a WebSocket, the same for every engine: all of it goes through the outbox."""

from tidings.protocol.frames import PING, Framing, build_close
from tidings.server.delivery.outbox import Outbox


class Sending:
    """What a WebSocket sends. An engine adds how it receives."""

    __slots__ = ("_outbox", "framing")

    def __init__(self, outbox: Outbox, framing: Framing) -> None:
        self._outbox = outbox
        self.framing = framing

    def receive_nowait(self) -> str | bytes | None:
        """None: an engine that reads ahead of `receive` says otherwise."""
        return None

    def send_frame(self, frame: bytes) -> None:
        """Offer whole frames."""
        self._outbox.offer(frame)

    def ping(self) -> None:
        """Send a ping. Its pong need not be matched to it: any byte proves life."""
        self._outbox.offer(PING)

    def close(self, code: int, reason: str) -> None:
        """Send a close frame behind what waits."""
        self._outbox.seal(build_close(code, reason))
