"""What is printed: quantiles, medians, tables, and whether promises were kept."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.bench import observe
from tidings.bench.page_tables import best_cells
from tidings.bench.quantiles import median, quantile, quantiles
from tidings.bench.report import Report, Table

numbers = st.floats(-1e6, 1e6)


@given(st.lists(numbers, min_size=1), st.floats(0.001, 1.0))
def test_a_quantile_is_a_sample_that_enough_do_not_exceed(samples: list[float], share: float) -> None:
    """The nearest rank: no interpolation invents a latency that nobody had."""
    found = quantile(sorted(samples), share)
    assert found in samples
    assert sum(sample <= found for sample in samples) >= share * len(samples) - 1e-9 * len(samples)
    assert sum(sample < found for sample in samples) < share * len(samples) + 1e-9 * len(samples)


def test_known_quantiles() -> None:
    """A hundred numbers in any order; and none."""
    found = quantiles([float(number) for number in range(100, 0, -1)])
    assert (found.count, found.p50, found.p90, found.p99, found.p999, found.worst) == (
        100,
        50,
        90,
        99,
        100,
        100,
    )
    assert quantiles([]).worst == 0


@given(st.lists(numbers, min_size=1))
def test_half_the_samples_lie_on_each_side_of_the_median(samples: list[float]) -> None:
    """As many below as above."""
    found = median(samples)
    assert sum(sample < found for sample in samples) <= len(samples) / 2
    assert sum(sample > found for sample in samples) <= len(samples) / 2


def test_a_table_is_aligned_markdown() -> None:
    """The first column stands left, figures stand right."""
    assert str(Table(["name", "µs"], [["ours", "4.00"], ["a peer", "63.10"]])) == (
        "| name   |    µs |\n| ------ | ----: |\n| ours   |  4.00 |\n| a peer | 63.10 |"
    )


def test_one_broken_promise_breaks_the_report() -> None:
    """And it is named."""
    report = Report("title")
    verdicts = []
    for found in (3, 2):
        report.check("all three", found == 3, f"{found} of 3")
        verdicts.append(report.kept)
    assert verdicts == [True, False]
    assert "BROKEN  all three: 2 of 3" in str(report)


def test_a_rate_that_was_set_is_nobodys_merit() -> None:
    """Whoever was sent a little more is not the best at it."""
    rows = [["tidings", "60.9", "3.0"], ["a peer", "61.4", "2.0"]]
    assert best_cells(Table(["open loop", "rate, messages/s", "CPU µs"], rows), ()) == {(1, 2)}


@pytest.mark.parametrize(("told", "load"), [("0-1", 2), ("0,2", 1), ("0", 1), ("0-2", 1), (None, 1)])
def test_the_load_has_a_core_that_is_not_the_servers_other_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str | None, load: int
) -> None:
    """Where there is one; a kernel that does not tell is taken at its silence."""
    if told is not None:
        (tmp_path / "cpu0/topology").mkdir(parents=True)
        (tmp_path / "cpu0/topology/thread_siblings_list").write_text(told + "\n")
    monkeypatch.setattr(observe, "_CPUS", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1, 2})
    assert observe.cores() == (0, load)
