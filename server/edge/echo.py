"""The engine under a connection, echoing: what conformance suites talk to."""

from tidings.protocol.frames import Opcode, build_frame
from tidings.server.edge.session import Session

#: Autobahn's largest messages are 16 MiB; more than that shows where a limit would be.
ECHO_MESSAGE_BYTES = 64 * 1024 * 1024


class Echo:
    """Sends every message back as it came, whoever sent it."""

    async def handle(self, session: Session, message: str | bytes) -> None:
        """Echo one message."""
        if isinstance(message, str):
            session.offer(build_frame(Opcode.TEXT, message.encode()))
        else:
            session.offer(build_frame(Opcode.BINARY, message))
