"""From publications to messages and frames: the same bytes for everybody who shares dialect and framing."""

from collections.abc import Sequence

import structlog

from tidings.protocol.dialects.base import Dialect
from tidings.protocol.frames import Framing, Opcode
from tidings.protocol.messages.answers import Passed
from tidings.protocol.positions import Position
from tidings.protocol.publications import Publication

_log = structlog.get_logger("tidings.hub")


def encoded(dialect: Dialect, publications: Sequence[Publication]) -> list[bytes]:
    """Each publication as a whole message; those are left out that the dialect has no message for. Never raises."""
    messages = []
    for publication in publications:
        try:
            message = dialect.encode_publication(publication)
        except Exception:
            # A fault of the dialect: it must cost this one message, and never the flusher.
            _log.exception("encoding failed", dialect=dialect.name, event_type=publication.event)
            continue
        if message is not None:
            messages.append(message)
    return messages


def framed(dialect: Dialect, framing: Framing, messages: Sequence[bytes]) -> list[bytes]:
    """Each message as a frame, once for all who share the framing."""
    opcode = Opcode.BINARY if dialect.binary else Opcode.TEXT
    return [framing(opcode, message) for message in messages]


def position_frames(
    dialect: Dialect, framing: Framing, channel: str, position: Position, time_ms: int
) -> list[bytes]:
    """The word that a channel stands here, of one frame; of none where the dialect knows no positions."""
    told = Passed(channel, position.epoch, position.offset)
    message = dialect.encode_answer("position", told, time_ms)
    return [] if message is None else framed(dialect, framing, [message])
