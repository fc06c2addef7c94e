"""A room as the load sees it: who is in it, what was said, and what has come."""

from tidings.bench.ledger import Batch
from tidings.bench.profiles import channel_of

# Batches kept of all rooms together. Clients of one room do not all get the same pieces when a server sends a
# message at a time and the one reads earlier than the other.
_KEPT = 256


class Room:
    """One of the rooms over which the clients of a process are divided."""

    __slots__ = (
        "_kept",
        "_most",
        "batch",
        "channel",
        "due",
        "folded",
        "members",
        "name",
        "number",
        "published",
    )

    def __init__(self, name: str, number: int, rooms: int) -> None:
        """Be the room of a name, one of so many; their numbers begin with 0."""
        self.name = name
        self.number = number
        self.channel = channel_of(name)
        self.members = 0
        """Clients that have joined and not gone."""
        self.published = 0
        self.due = 0
        """Deliveries that there must be in the end: for each publication as many as there were members."""
        self.folded = 0
        """Deliveries, but for those that `batch` has stamps of."""
        self.batch = Batch(b"", self.channel)
        self._kept: dict[bytes, Batch] = {}
        self._most = max(2, _KEPT // rooms)

    @property
    def received(self) -> int:
        """Deliveries so far."""
        batch = self.batch
        return self.folded + len(batch.stamps) * batch.count

    def batch_of(self, data: bytes) -> Batch:
        """What a piece of a stream holds. Raises Malformed."""
        batch = self._kept.get(data)
        if batch is None:
            batch = Batch(data, self.channel)
            if len(self._kept) >= self._most:
                self._kept.clear()
            self._kept[data] = batch
        return batch


def rooms_named(name: str, count: int) -> list[Room]:
    """The room of a name, or so many of names derived from it: `bench-0` and on."""
    if count == 1:
        return [Room(name, 0, 1)]
    return [Room(f"{name}-{number}", number, count) for number in range(count)]
