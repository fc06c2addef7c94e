"""The engine under a connection, echoing: what conformance suites talk to."""

from tidings.protocol.dialects.base import Dialect
from tidings.protocol.frames import Opcode
from tidings.protocol.headers import ANY_DATA
from tidings.server.edge.session import Session

#: Autobahn's largest messages are 16 MiB; more than that shows where a limit would be.
ECHO_MESSAGE_BYTES = 64 * 1024 * 1024


class Echo:
    """Sends every message back as it came, whoever sent it."""

    def accepts(self, dialect: Dialect) -> frozenset[Opcode]:  # noqa: ARG002  it understands none
        """Text and binary alike."""
        return ANY_DATA

    async def handle(self, session: Session, message: str | bytes) -> None:
        """Echo one message."""
        if isinstance(message, str):
            session.offer(session.framing(Opcode.TEXT, message.encode()))
        else:
            session.offer(session.framing(Opcode.BINARY, message))
