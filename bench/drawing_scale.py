"""From values to pixels: linear and logarithmic scales, their ticks, and how numbers are written."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# Below this share of the highest value the lowest one does not pull the axis away from zero.
_NEAR_ZERO = 0.6

# What is measured stays far within; beyond, sums of floats would overflow.
_HUGE = 1e300

# From here on digits are harder to count than an exponent is to read.
_LONG = 1e12


@dataclass(frozen=True)
class Scale:
    """An axis: values from `low` to `high` on pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    ticks: Sequence[float]
    log: bool = False

    def at(self, value: float) -> float:
        """The pixel of a value; NaN for one that has none: infinite, or not positive on a log scale."""
        if not is_drawable(value, log=self.log):
            return math.nan
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        place = math.log(value) if self.log else value
        return self.start + (place - low) / (high - low) * (self.end - self.start)

    @property
    def from_zero(self) -> bool:
        """Whether lengths on it can be compared."""
        return not self.log and self.low <= 0 <= self.high


def is_drawable(value: float, *, log: bool) -> bool:
    """Whether a value has a place on a scale."""
    return math.isfinite(value) and abs(value) <= _HUGE and (value >= 1 / _HUGE or not log)


def scale(
    values: Iterable[float], start: float, end: float, *, log: bool, ticks: int = 5, tight: bool = False
) -> Scale:
    """One that has room for all values, and begins at zero where that leaves them room enough.

    With `tight` it ends at the outermost values, not at ticks. Without any positive value it is linear
    even where `log` is wanted.
    """
    values = [
        value if abs(value) >= 1 / _HUGE else 0.0 for value in values if is_drawable(value, log=False)
    ]
    positive = [value for value in values if is_drawable(value, log=True)]
    if log and positive:
        low, high = min(positive), max(positive)
        if low == high:
            low, high = low / 2, high * 2
        found = log_ticks(low, high, ticks)
        if not tight:
            # Room to the outer ticks' side, not to the next power: half a decade of nothing helps nobody.
            low, high = min(low / 1.12, found[0]), max(high * 1.12, found[-1])
        return Scale(low, high, start, end, [tick for tick in found if low <= tick <= high], log=True)
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if not tight and 0 <= low < _NEAR_ZERO * high:
        low = 0.0
    if high - low <= 1e-12 * max(abs(low), abs(high)):
        low, high = (0.0, 2 * high or 1.0) if high >= 0 else (2 * low, 0.0)
    found = linear_ticks(low, high, ticks)
    if not tight:
        low, high = found[0], found[-1]
    return Scale(low, high, start, end, [tick for tick in found if low <= tick <= high])


def linear_ticks(low: float, high: float, count: int) -> list[float]:
    """About `count` round numbers, the first not above `low` and the last not below `high`."""
    rough = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(step for step in (1, 2, 2.5, 5, 10) if step * power >= rough * (1 - 1e-9)) * power
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{number * step:.12g}") for number in range(first, last + 1)]


def log_ticks(low: float, high: float, count: int) -> list[float]:
    """Round numbers at and around `low` and `high`: of 1, 2, 5, or of powers of ten where there are many."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for steps in ((1, 2, 5), (1, 3), (1,)):
        found = [float(f"{step}e{power}") for power in range(first, last + 1) for step in steps]
        inside = [tick for tick in found if low <= tick <= high]
        if len(inside) <= count + 2:
            break
    else:
        every = -(-(last - first) // max(count, 1))
        return [float(f"1e{power}") for power in range(first, last + 1, every)]
    # One more on a side where the values go far beyond the last of them.
    below = [tick for tick in found if tick < low][-1:]
    above = [tick for tick in found if tick > high][:1]
    if below and (not inside or below[0] > low / 1.6):
        inside = [*below, *inside]
    if above and (len(inside) < 2 or above[0] < high * 1.6):
        inside = [*inside, *above]
    return inside


def number(value: float) -> str:
    """A figure for people: `0.0312`, `0.90`, `4.56`, `31.2`, `1,234`; a dash for none."""
    if not math.isfinite(value):
        return "–"
    size = abs(value)
    if size >= _LONG:
        return f"{value:.2e}"
    if size >= 100:
        return f"{value:,.0f}"
    if size >= 10:
        return f"{value:.1f}"
    if size >= 0.1:
        return f"{value:.2f}"
    return f"{value:.3g}" if value else "0"


def round_number(value: float) -> str:
    """A tick: as short as it can be said."""
    if abs(value) >= _LONG or 0 < abs(value) < 1e-6:
        return f"{value:.0e}"
    short = f"{value:,.6f}".rstrip("0").rstrip(".")
    return "0" if short == "-0" else short


def spread_out(wanted: Sequence[float], sizes: Sequence[float], low: float, high: float) -> list[float]:
    """Places near the wanted ones, in the same order, so that things of these sizes do not overlap.

    They stay between `low` and `high` as far as there is room.
    """
    order = sorted(range(len(wanted)), key=lambda at: wanted[at])
    # Neighbours that would overlap form a block, which stands where its members would be on average.
    blocks: list[tuple[list[int], float]] = []
    for at in order:
        members, middle = [at], wanted[at]
        while True:
            size = sum(sizes[member] for member in members)
            middle = min(max(middle, low + size / 2), max(high - size / 2, low + size / 2))
            if not blocks:
                break
            before, place = blocks[-1]
            if place + sum(sizes[member] for member in before) / 2 <= middle - size / 2:
                break
            blocks.pop()
            members = [*before, *members]
            middle = sum(wanted[member] for member in members) / len(members)
        blocks.append((members, middle))
    places = [0.0] * len(wanted)
    for members, middle in blocks:
        edge = middle - sum(sizes[member] for member in members) / 2
        for member in members:
            places[member] = edge + sizes[member] / 2
            edge += sizes[member]
    return places
