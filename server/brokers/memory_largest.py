"""Who holds the most, to a sixteenth: everybody by classes of size."""

from collections import OrderedDict, defaultdict
from typing import Final, Generic, Protocol, TypeVar

# Classes within each power of two: the largest and the smallest of one differ by less than a sixteenth. With
# a heap instead the largest itself would be found, and a publication into a full memory cost microseconds more.
_BITS: Final = 4

SMALLEST: Final = 1 << _BITS
"""Nobody may hold fewer bytes than this, but none at all."""


class Holder(Protocol):
    """Somebody who holds bytes. The last three are 0 at first, and `Largest`'s own."""

    bytes: int
    at_least: int
    """The first size of its class; 0 where it is in none."""
    below: int
    """The first size of the next class."""
    rank: int
    """Its class: a larger number for larger sizes."""


H = TypeVar("H", bound=Holder)


class Largest(Generic[H]):
    """Finds one of those that hold the most. Every call is O(1); about 150 bytes a holder."""

    def __init__(self) -> None:
        """Begin with nobody."""
        # In the order in which they came into a class. A plain dict would walk over those that left.
        self._classes: defaultdict[int, OrderedDict[H, None]] = defaultdict(OrderedDict)
        self._peopled = 0
        """A bit for each class that somebody is in; some 600."""

    def __bool__(self) -> bool:
        """Whether there is anybody."""
        return self._peopled != 0

    def place(self, holder: H) -> None:
        """Put who holds something into its class: whenever `bytes` has left `at_least` to `below`."""
        if holder.at_least:
            self._take(holder)
        size = holder.bytes
        shift = size.bit_length() - _BITS - 1
        leading = size >> shift
        holder.at_least = leading << shift
        holder.below = (leading + 1) << shift
        holder.rank = rank = (shift << _BITS) + leading
        others = self._classes[rank]
        if not others:
            self._peopled |= 1 << rank
        others[holder] = None

    def leave(self, holder: H) -> None:
        """Forget somebody; idempotent."""
        if holder.at_least:
            self._take(holder)
            holder.at_least = holder.below = holder.rank = 0

    def find(self) -> H:
        """Somebody than whom nobody holds a sixteenth more; there must be somebody."""
        return next(iter(self._classes[self._peopled.bit_length() - 1]))

    def _take(self, holder: H) -> None:
        others = self._classes[holder.rank]
        del others[holder]
        if not others:
            self._peopled ^= 1 << holder.rank
