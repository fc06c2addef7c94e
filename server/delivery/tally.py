"""How long something took, as counts in buckets, and the percentiles of a stretch of time."""

from bisect import bisect_left
from collections.abc import Sequence

import msgspec

Counts = tuple[int, ...]
"""So many in each bucket, and at the end those beyond the last bound."""


class Percentiles(msgspec.Struct, frozen=True):
    """What took how long, in seconds; null where nothing happened."""

    count: int
    p50: float | None
    p95: float | None
    p99: float | None


class Tally:
    """Counts durations in buckets. Kept beside Prometheus's histograms, whose counts are not for reading."""

    __slots__ = ("_bounds", "_counts")

    def __init__(self, bounds: Sequence[float]) -> None:
        """Take the buckets' upper bounds in seconds, rising."""
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)

    def observe(self, seconds: float) -> None:
        """Count one."""
        self._counts[bisect_left(self._bounds, seconds)] += 1

    @property
    def counts(self) -> Counts:
        """All so far. Two of them tell what happened in between."""
        return tuple(self._counts)

    def percentiles(self, before: Counts, after: Counts) -> Percentiles:
        """Of what was counted between two moments."""
        between = tuple(late - early for early, late in zip(before, after, strict=True))
        return Percentiles(
            sum(between), self._at(between, 0.5), self._at(between, 0.95), self._at(between, 0.99)
        )

    def _at(self, counts: Counts, share: float) -> float | None:
        """The duration that this share did not exceed, as Prometheus estimates it: evenly within a bucket.

        Beyond the last bound nothing is known but the bound.
        """
        rank = share * sum(counts)
        if not rank:
            return None
        below, lower = 0, 0.0
        for count, upper in zip(counts, self._bounds, strict=False):
            if below + count >= rank:
                return lower + (upper - lower) * (rank - below) / count
            below += count
            lower = upper
        return self._bounds[-1]
