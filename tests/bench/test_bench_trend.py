"""What grows is found to grow, and what only moves is not."""

import random
from math import inf, isinf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.bench.report import Report
from tidings.bench.sampling import Sample
from tidings.bench.scenarios.soak import judge_memory
from tidings.bench.trend import trend

slopes = st.floats(-1e3, 1e3)


def sample(at: float, memory: float) -> Sample:
    return Sample(at, 1, 1, 1, 1, int(memory), 1, 0.1, 1, 0.001, {})


def wandering(count: int, likeness: float, size: float, seed: int) -> list[float]:
    """Noise whose neighbours are alike."""
    draw = random.Random(seed)
    found = [0.0]
    while len(found) < count:
        found.append(likeness * found[-1] + draw.gauss(0, size))
    return found


@given(slopes, slopes, st.integers(3, 200))
def test_a_line_is_found_again(slope: float, intercept: float, count: int) -> None:
    """Slope, place and bounds of samples that lie on a line."""
    found = trend([float(at) for at in range(count)], [intercept + slope * at for at in range(count)])
    assert found.slope == pytest.approx(slope, abs=1e-6)
    assert found.at(7) == pytest.approx(intercept + 7 * slope, abs=1e-4)
    assert found.lower <= found.slope <= found.upper
    assert found.upper - found.lower == pytest.approx(0, abs=1e-5)


@given(st.lists(st.floats(-1e6, 1e6), max_size=2))
def test_of_less_than_three_samples_nothing_is_known(values: list[float]) -> None:
    """The bounds say so."""
    found = trend([float(at) for at in range(len(values))], values)
    assert isinf(found.lower)
    assert isinf(found.upper)


def test_times_and_values_belong_together() -> None:
    """As many of the one as of the other."""
    with pytest.raises(ValueError, match="as many"):
        trend([1.0], [])


@pytest.mark.parametrize("likeness", [0.0, 0.5, 0.9])
def test_the_bounds_hold_as_often_as_they_say(likeness: float) -> None:
    """The true slope lies below the upper and above the lower one in nearly 95 of 100 cases, for memory too."""
    times = [float(at) for at in range(150)]
    below = above = 0
    for seed in range(400):
        noise = wandering(150, likeness, 1.0, seed)
        found = trend(times, [0.05 * at + value for at, value in zip(times, noise, strict=True)])
        below += found.lower <= 0.05
        above += found.upper >= 0.05
    # Of a likeness of 0.9, known from 150 samples, the correction catches most and not all.
    least = 340 if likeness > 0.8 else 365
    assert min(below, above) >= least


def test_neighbours_that_are_alike_widen_the_bounds() -> None:
    """As many samples, and less known."""
    times = [float(at) for at in range(150)]
    plain, alike = (trend(times, wandering(150, likeness, 1.0, 1)) for likeness in (0.0, 0.9))
    assert alike.upper - alike.lower > 2 * (plain.upper - plain.lower)


@pytest.mark.parametrize("power", [1, 2, 3])
def test_growth_is_certain_also_where_it_is_no_line(power: int) -> None:
    """A leak that accelerates is not excused by fitting no line."""
    times = [float(at) for at in range(150)]
    found = trend(times, [at**power for at in times])
    assert found.lower > 0.4 * found.slope > 0


def judged(memory: list[float], most_growth: float = 512) -> Report:
    report = Report("memory")
    judge_memory(report, [sample(float(at), value) for at, value in enumerate(memory)], most_growth)
    return report


def test_a_leak_breaks_the_promise_and_a_warm_up_does_not() -> None:
    """Only the second half counts; noise of a MiB neither hides 1 MiB a minute nor makes it."""
    noise = [2**20 * value for value in wandering(300, 0.5, 0.3, 7)]
    start = [50 * 2**20 + min(at, 100) * 2**18 + value for at, value in enumerate(noise)]
    assert judged(start).kept
    leaking = [value + at * 2**20 / 60 for at, value in enumerate(start)]
    assert not judged(leaking).kept
    assert "KiB a minute" in judged(leaking).checks[0].found


def test_a_short_run_has_no_verdict_and_says_so() -> None:
    """Neither kept nor broken: left out, and named."""
    report = judged([2.0**20 * at for at in range(100)])
    assert not report.checks
    assert "no verdict on memory" in report.warnings[0]
    assert judged([2.0**20 * at for at in range(125)], inf).checks


def test_what_is_too_noisy_to_tell_is_kept_with_a_warning() -> None:
    """A wide interval is no proof that nothing grows."""
    noise = [20 * 2**20 * value for value in wandering(300, 0.9, 0.3, 7)]
    found = judged([50 * 2**20 + value for value in noise])
    assert found.kept
    assert "not certain" in found.warnings[0]
    assert not judged([50.0 * 2**20] * 300).warnings
