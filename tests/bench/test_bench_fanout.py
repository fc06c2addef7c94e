"""`fanout` with few clients: real processes, real sockets, real time."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from support import slow_server

from tidings.bench import contest, open_loops
from tidings.bench.contest import FLOOR, OURS, Other
from tidings.bench.growth import Stage, check_growth
from tidings.bench.processes import ChildFailed
from tidings.bench.report import Report
from tidings.bench.scenarios import fanout
from tidings.bench.workbench import workbench

SECONDS = 90

# Enough for a small run to be whole; what it measures is not judged here.
SMALL = fanout.Options(clients=60, rounds=4, runs=2, seconds=0.5)


@pytest.fixture(autouse=True)
def cold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the warm-up of a just-in-time compiler: it is most of the work, and no figure is judged."""
    monkeypatch.setattr(contest, "WARM_UP_DELIVERIES", 1000)


async def measured(options: fanout.Options, *others: Other) -> Report:
    with trio.fail_after(SECONDS):
        async with workbench() as bench:
            return await fanout.run(options, bench, others=others)


def broken(report: Report) -> list[str]:
    """Promises that are not of figures: this machine's are not judged in a test."""
    return [
        f"{check.promise}: {check.found}"
        for check in report.checks
        if not check.kept and " CPU " not in check.promise and "ratio to the floor" not in check.promise
    ]


@pytest.mark.slow
async def test_a_peer_is_measured_beside_ours_and_one_that_is_missing_is_named(tmp_path: Path) -> None:
    """Same clients, same rounds, everything delivered on both; who is not there is not left out in silence."""
    options = replace(SMALL, peers=("trio-websocket", FLOOR), peers_directory=tmp_path)
    report = await measured(options)
    assert broken(report) == []
    assert [row[0].split(",")[0] for row in report.tables[0].rows] == ["tidings", "trio-websocket"]
    assert all(run["deliveries"] == 240 for runs in report.raw["servers"].values() for run in runs)
    assert any(FLOOR in warning and "--install" in warning for warning in report.warnings)
    assert [check.kept for check in report.checks if "times less CPU" in check.promise] != []


@pytest.mark.slow
async def test_many_rooms_grow_and_stay_apart() -> None:
    """In each room its own message; the stages are measured on the way to the most clients."""
    options = replace(SMALL, runs=1, rooms=3, sweep=(30, 90), peers=("send-loop",))
    report = await measured(options)
    assert [stage["clients"] for stage in report.raw["growth"]] == [30, 60, 90]
    assert [row[0] for row in report.tables[-1].rows] == ["30", "60", "90"]
    assert [entry for entry in broken(report) if not entry.startswith("memory")] == []
    assert any("without the floor" in warning for warning in report.warnings)


@pytest.mark.slow
async def test_with_tls_ours_is_measured_and_the_peers_are_left_out_aloud() -> None:
    """Every client verifies the certificate of the run."""
    report = await measured(replace(SMALL, runs=1, rooms=2, tls=True))
    assert broken(report) == []
    assert [row[0] for row in report.tables[0].rows] == ["tidings, native, TLS"]
    assert any("TLS" in warning for warning in report.warnings)


@pytest.mark.slow
async def test_a_server_that_cannot_keep_up_is_stopped_and_called_overloaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What it had taken on is delivered all the same."""
    monkeypatch.setattr(open_loops, "BACKLOG_SECONDS", 0.02)
    options = fanout.Options(
        clients=100, rounds=2, runs=1, rate=3000, seconds=1.0, peers=("trio-websocket",)
    )
    report = await measured(options)
    rows = {row[0].split(",")[0]: row for row in report.tables[2].rows}
    assert rows["trio-websocket"][2].startswith("overloaded")
    assert report.raw["open"]["trio-websocket"]["overloaded"]
    assert broken(report) == []


@pytest.mark.slow
async def test_a_slower_server_shows() -> None:
    """A fan-out that gives way at each delivery stands in the same table, complete, and clearly above ours."""
    assert slow_server.__file__ is not None
    planted = Other("planted", "planted", (sys.executable, slow_server.__file__))
    options = fanout.Options(clients=200, rounds=10, runs=3, seconds=0, peers=("none",))
    report = await measured(options, planted)
    assert broken(report) == []
    times_ours = {row[0]: float(row[3]) for row in report.tables[0].rows}
    assert times_ours["planted"] > 1.3


async def test_more_clients_than_descriptors_are_refused_before_anything_starts() -> None:
    """With the limit in the words, and not in the middle of connecting."""
    async with workbench() as bench:
        with pytest.raises(ChildFailed, match="descriptors"):
            await fanout.run(fanout.Options(clients=10**9), bench)
        with pytest.raises(ChildFailed, match="no peer is called"):
            with trio.fail_after(SECONDS):
                await fanout.run(fanout.Options(clients=5, peers=("nobody",)), bench)


def stage(clients: int, ours: float, memory: float) -> Stage:
    return Stage(clients, {OURS: ours, FLOOR: 2.0}, {}, memory)


@pytest.mark.parametrize(
    ("last", "kept"),
    [
        (stage(15_000, 3.5, 10_900.0), [True, True]),
        (stage(15_000, 3.7, 10_000.0), [False, True]),
        (stage(15_000, 3.0, 11_100.0), [True, False]),
        (stage(15_000, 3.0, 8_900.0), [True, False]),
    ],
)
def test_growth_is_judged_by_ratio_and_by_memory(last: Stage, kept: list[bool]) -> None:
    """1.2 of the ratio to the floor, a tenth of the memory either way."""
    report = Report("growth")
    check_growth(report, [stage(1000, 3.0, 10_000.0), last], {OURS: "ours", FLOOR: "floor"})
    assert [check.kept for check in report.checks] == kept
