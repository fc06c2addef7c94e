"""Who holds the most: a heap that is put right only when somebody asks."""

from heapq import heapify, heappop, heappush, heapreplace
from itertools import count
from typing import Final, Generic, Protocol, TypeVar

# So many entries that stand for nobody any more are let lie; past as many as there are holders, too, they are
# cleared away. About 120 bytes each.
_SPARE: Final = 64


class Holder(Protocol):
    """Somebody who holds bytes. Who begins has 0 in all three; the last two are `Largest`'s own."""

    bytes: int
    ranked: int
    """It is ranked as if it held so many; `bytes` may be fewer, and never more once `rank` was called."""
    ticket: int
    """Its entry in the heap: another with an older ticket is void. 0 where it has none."""


H = TypeVar("H", bound=Holder)


class Largest(Generic[H]):
    """Finds the holder of the most bytes. About 150 bytes a holder.

    Nothing has to be said when a holder shrinks, and little when it grows: who is ranked too high is found at
    the top, and ranked anew, before anybody is given out. Each such step pays for a `rank` or for a shrinking
    that went before, so that every call is O(log n) in the end.
    """

    def __init__(self) -> None:
        """Begin with nobody."""
        # Equal ones in the order in which they were ranked, so that no two holders are ever compared.
        self._heap: list[tuple[int, int, H]] = []
        self._tickets = count(1)
        self._holders = 0

    def __len__(self) -> int:
        """How many are ranked."""
        return self._holders

    def rank(self, holder: H, *, ahead: int) -> None:
        """Rank who holds more `bytes` than it is ranked by, as if it held so many more: it need not come each time."""
        if not holder.ticket:
            self._holders += 1
        holder.ticket = ticket = next(self._tickets)
        holder.ranked = ranked = holder.bytes + ahead
        heap = self._heap
        heappush(heap, (-ranked, ticket, holder))
        if len(heap) > 2 * self._holders + _SPARE:
            heap[:] = [entry for entry in heap if entry[2].ticket == entry[1]]
            heapify(heap)

    def leave(self, holder: H) -> None:
        """Forget somebody; idempotent."""
        if holder.ticket:
            self._holders -= 1
            holder.ranked = holder.ticket = 0

    def find(self) -> H:
        """Whoever holds the most bytes; of several, the one ranked first. Raises IndexError where there is nobody."""
        heap = self._heap
        while True:
            negative, ticket, holder = heap[0]
            if holder.ticket != ticket:
                heappop(heap)
            elif holder.bytes < -negative:
                holder.ranked = holder.bytes
                heapreplace(heap, (-holder.bytes, ticket, holder))
            else:
                return holder
