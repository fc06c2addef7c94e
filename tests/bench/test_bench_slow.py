"""Clients that stop reading, in real processes and real time: few of them, and for a short while."""

import pytest
import trio

from tidings.bench.options import Engine
from tidings.bench.processes import ChildFailed
from tidings.bench.report import Distribution, Lines, Report
from tidings.bench.scenarios import slow
from tidings.bench.workbench import workbench

SECONDS = 90

# No promise about time: the machine that runs the tests does other things too.
ANY = 1e9


def broken(report: Report) -> list[str]:
    return [f"{check.promise}: {check.found}" for check in report.checks if not check.kept]


async def measured(options: slow.Options) -> Report:
    with trio.fail_after(SECONDS):
        async with workbench() as bench:
            return await slow.run(options, bench)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "tls", "lots"),
    # Each engine, each transport, one lot and several, once: none of them knows of the others.
    [("native", False, (1, 3)), ("reference", True, (2,))],
)
async def test_slow_consumers_are_closed_lot_by_lot_and_the_others_miss_nothing(
    engine: Engine, tls: bool, lots: tuple[int, ...]
) -> None:
    """Every lot is sealed within its limits, counted, and gone; the others' ledger has no gap.

    What may wait is what comes in some two seconds: so long may a busy machine let the readers stand.
    """
    report = await measured(
        slow.Options(
            clients=15, slow=lots, seconds=0.5, rate=100, payload=16000, outbox_bytes=4_000_000,
            close_timeout=6, required_ratio=ANY, engine=engine, tls=tls,
        )
    )  # fmt: skip
    assert broken(report) == []
    assert [lot["closes"] for lot in report.raw["lots"]] == [{"3008": count} for count in lots]
    latencies, sealed = report.tables
    assert len(latencies.rows) == 2 + 2 * len(lots)
    assert [row[0] for row in sealed.rows] == [str(count) for count in lots]
    distribution, *lines = report.plots
    assert isinstance(distribution, Distribution)
    assert all(curve.y for curve in distribution.curves)
    words = [[word for _, word in plot.marks] for plot in lines if isinstance(plot, Lines)]
    assert words == 2 * [[f"{count} {word}" for count in lots for word in ("stop", "sealed")]]


@pytest.mark.slow
async def test_a_run_whose_load_fills_no_outbox_keeps_no_promise() -> None:
    """Nobody sealed, nothing waiting, no close, and no p99 that is none of what it was: nothing is proof."""
    options = slow.Options(
        clients=5, slow=(1,), seconds=0.5, rate=10, payload=10, patience=0.5, required_ratio=0
    )
    found = broken(await measured(options))
    for promise in (
        "out of the hub",
        "p99 of the others",
        "within their limits",
        "recorded as 3008",
        "whole frames",
    ):
        assert any(promise in each for each in found), promise


@pytest.mark.parametrize("lots", [(), (0,), (1, -1), (2, 2)])
async def test_a_lot_is_of_somebody_and_each_of_another_size(lots: tuple[int, ...]) -> None:
    """Else two rows of a table would bear one name."""
    async with workbench() as bench:
        with pytest.raises(ChildFailed, match="--slow"):
            await slow.run(slow.Options(slow=lots), bench)
