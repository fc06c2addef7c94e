"""Publications of one channel that clients are coming back to, kept at hand with their frames."""

import structlog

from tidings.protocol.dialects.base import Dialect
from tidings.protocol.frames import Framing, Opcode
from tidings.protocol.publications import Publication

# After so many publications without anybody asking for an older one, nobody is coming back any more.
UNASKED = 1_000

_log = structlog.get_logger("tidings.history")


class Entry:
    """A publication, and the frame for each way in which somebody wants it."""

    __slots__ = ("_frames", "publication")

    def __init__(self, publication: Publication) -> None:
        self.publication = publication
        self._frames: dict[tuple[Dialect, Framing], bytes] = {}

    def frame(self, dialect: Dialect, framing: Framing) -> bytes:
        """The same bytes as in the live fan-out, made once; b"" where the dialect has no such message."""
        key = dialect, framing
        frame = self._frames.get(key)
        if frame is None:
            frame = self._frames[key] = self._make(dialect, framing)
        return frame

    def _make(self, dialect: Dialect, framing: Framing) -> bytes:
        try:
            message = dialect.encode_publication(self.publication)
        except Exception:
            # A fault of the dialect: live, too, it cost this one message and nothing else.
            _log.exception("encoding failed", dialect=dialect.name, event_type=self.publication.event)
            return b""
        if message is None:
            return b""
        return framing(Opcode.BINARY if dialect.binary else Opcode.TEXT, message)


class Recent:
    """What was read of a channel's history, and what has come since; lives as long as the hub's channel.

    Memory: at most `limit` bytes of payloads, beside some 300 bytes and the frames of each publication; past
    it the one that has been here for longest gives way.
    """

    __slots__ = ("_bytes", "_entries", "_limit", "_unasked", "epoch")

    def __init__(self, epoch: str, limit: int) -> None:
        self.epoch = epoch
        self._limit = limit
        self._entries: dict[int, Entry] = {}
        self._bytes = 0
        self._unasked = 0

    def feed(self, publication: Publication) -> bool:
        """Keep what has just been published; False when it is not worth going on."""
        self.add(publication)
        self._unasked += 1
        return self._unasked < UNASKED

    def add(self, publication: Publication) -> None:
        """Keep a publication, unless it is there."""
        if publication.epoch != self.epoch or publication.offset in self._entries:
            return
        self._entries[publication.offset] = Entry(publication)
        self._bytes += len(publication.payload)
        while self._bytes > self._limit and self._entries:
            oldest = next(iter(self._entries))
            self._bytes -= len(self._entries.pop(oldest).publication.payload)

    def page(self, after: int, until: int, *, most: int, most_bytes: int) -> list[Entry]:
        """What is here of (after, until], from `after + 1` on without a hole; empty where that one is not here.

        At most `most` entries, and no more than the first that brings their payloads to `most_bytes`.
        """
        self._unasked = 0
        found: list[Entry] = []
        size = 0
        for offset in range(after + 1, min(until, after + most) + 1):
            entry = self._entries.get(offset)
            if entry is None or size >= most_bytes:
                break
            found.append(entry)
            size += len(entry.publication.payload)
        return found

    def forget(self) -> None:
        """Keep nothing: the history was deleted, or has begun anew."""
        self._entries.clear()
        self._bytes = 0
