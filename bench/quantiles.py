"""Quantiles and medians."""

from collections.abc import Sequence

from tidings.bench.replies import Quantiles

# Where a drawn distribution is looked up: evenly in the number of nines.
CURVE_SHARES = tuple(round(1 - 10 ** (-step / 10), 6) for step in range(41))


def quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all do not exceed (nearest rank); 0 when there is none."""
    if not ordered:
        return 0.0
    rank = -int(-share * len(ordered) // 1)  # rounded up
    return ordered[max(rank, 1) - 1]


def quantiles(samples: Sequence[float]) -> Quantiles:
    """The usual ones."""
    ordered = sorted(samples)
    p50, p90, p99, p999, worst = (quantile(ordered, share) for share in (0.5, 0.9, 0.99, 0.999, 1.0))
    curve = [quantile(ordered, share) for share in CURVE_SHARES] if ordered else []
    return Quantiles(len(ordered), p50, p90, p99, p999, worst, curve=curve)


def median(samples: Sequence[float]) -> float:
    """The middle value, or the mean of the two in the middle."""
    ordered = sorted(samples)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2
