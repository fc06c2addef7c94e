"""Whether something grows: a line through samples by least squares, and how sure its slope is."""

from collections.abc import Sequence
from itertools import pairwise
from math import inf, sqrt
from statistics import NormalDist
from typing import NamedTuple

# Of the one-sided bounds.
CONFIDENCE = 0.95

# However alike neighbouring samples are, they count as so many independent ones: else one slow wave in them
# would let the bounds go to infinity, and no growth would ever be certain.
LEAST_INDEPENDENT = 5.0


class Trend(NamedTuple):
    """A line, in units of the values and seconds of the times."""

    slope: float
    intercept: float
    lower: float
    """The slope is at least this, with CONFIDENCE."""
    upper: float
    """The slope is at most this, with CONFIDENCE."""

    def at(self, time: float) -> float:
        """The line's value at a time."""
        return self.intercept + self.slope * time


def trend(times: Sequence[float], values: Sequence[float]) -> Trend:
    """The line of least squares.

    Memory now resembles memory a second ago, so n samples tell less than n independent ones would: the
    bounds count them as n (1 - r) / (1 + r), r being the correlation of neighbouring residuals.
    With fewer than three samples, or all of one moment, nothing is known and the bounds are infinite.
    """
    count = len(times)
    if count != len(values):
        raise ValueError("as many times as values")
    mean_time = sum(times) / max(count, 1)
    mean_value = sum(values) / max(count, 1)
    spread = sum((time - mean_time) ** 2 for time in times)
    if count < 3 or not spread:
        return Trend(0.0, mean_value, -inf, inf)
    slope = (
        sum((time - mean_time) * (value - mean_value) for time, value in zip(times, values, strict=True))
        / spread
    )
    residuals = [
        value - mean_value - slope * (time - mean_time) for time, value in zip(times, values, strict=True)
    ]
    squares = sum(residual**2 for residual in residuals)
    independent = max(_independent(residuals, squares), min(LEAST_INDEPENDENT, count))
    freedom = max(independent - 2, 1.0)
    margin = _student(freedom) * sqrt(squares / freedom / spread)
    return Trend(slope, mean_value - slope * mean_time, slope - margin, slope + margin)


def _independent(residuals: Sequence[float], squares: float) -> float:
    if not squares:
        return float(len(residuals))
    neighbours = sum(one * other for one, other in pairwise(residuals))
    likeness = min(max(neighbours / squares, 0.0), 1.0)
    return len(residuals) * (1 - likeness) / (1 + likeness)


def _student(freedom: float) -> float:
    """Student's t at CONFIDENCE by the Cornish-Fisher expansion: within 2 % from 3 degrees on."""
    z = NormalDist().inv_cdf(CONFIDENCE)
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
