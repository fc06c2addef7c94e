"""Publications of one channel that clients are coming back to, kept at hand with their frames."""

from typing import Final

from tidings.protocol.dialects.base import Dialect
from tidings.protocol.frames import Framing
from tidings.protocol.publications import Publication
from tidings.server.config.channels import ChannelPolicy
from tidings.server.delivery.encoding import encoded, framed

# Beside its payload an entry has some 300 bytes, and a frame for each way in which somebody wants it, mostly one
# or two.
ENTRY_COST: Final = 300
PAYLOADS_COST: Final = 3


class Entry:
    """A publication, and the frame for each way in which somebody wants it."""

    __slots__ = ("_frames", "publication")

    def __init__(self, publication: Publication) -> None:
        self.publication = publication
        self._frames: dict[tuple[Dialect, Framing], bytes] = {}

    @property
    def cost(self) -> int:
        """About how many bytes it takes."""
        return ENTRY_COST + PAYLOADS_COST * len(self.publication.payload)

    def frame(self, dialect: Dialect, framing: Framing) -> bytes:
        """The same bytes as in the live fan-out, made once; b"" where the dialect has no such message."""
        key = dialect, framing
        frame = self._frames.get(key)
        if frame is None:
            messages = encoded(dialect, [self.publication])
            frame = self._frames[key] = b"".join(framed(dialect, framing, messages))
        return frame


class Recent:
    """What was read of a channel's history, and what has come since; `Histories` makes and drops it.

    Nothing is handed out that the channel's policy does not keep any more, whatever is still here.

    Memory: about `limit` bytes; past it the entry that has been here for longest gives way.
    """

    __slots__ = ("_entries", "_limit", "_policy", "asked_at", "cost", "epoch")

    def __init__(self, epoch: str, policy: ChannelPolicy, limit: int) -> None:
        self.epoch = epoch
        self._policy = policy
        self._limit = limit
        self._entries: dict[int, Entry] = {}
        self.cost = 0
        self.asked_at = 0.0
        """When somebody last asked for a page, on the event loop's clock."""

    def add(self, publication: Publication) -> None:
        """Keep a publication, unless it is there."""
        offset = publication.offset
        if publication.epoch != self.epoch or offset in self._entries:
            return
        entry = self._entries[offset] = Entry(publication)
        self.cost += entry.cost
        self._drop(offset - self._policy.history_size)
        while self.cost > self._limit:
            self._drop(next(iter(self._entries)))

    def page(
        self, after: int, until: int, *, head: int, now_ms: int, most: int, most_bytes: int
    ) -> list[Entry]:
        """What is here of (after, until], from `after + 1` on without a hole; empty where that one is not here.

        `head` is the channel's last offset, `now_ms` the wall clock: by them the policy says what is kept. At
        most `most` entries, and no more than the first that brings their payloads to `most_bytes`.
        """
        if after < head - self._policy.history_size:
            return []
        oldest_ms = now_ms - self._policy.history_age * 1000
        found: list[Entry] = []
        size = 0
        for offset in range(after + 1, min(until, after + most) + 1):
            entry = self._entries.get(offset)
            if entry is None or size >= most_bytes or entry.publication.time_ms < oldest_ms:
                break
            found.append(entry)
            size += len(entry.publication.payload)
        return found

    def _drop(self, offset: int) -> None:
        entry = self._entries.pop(offset, None)
        if entry is not None:
            self.cost -= entry.cost
