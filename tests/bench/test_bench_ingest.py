"""`ingest` with few clients: real processes, real sockets, real time."""

import pytest
import trio

from tidings.bench import contest
from tidings.bench.processes import ChildFailed
from tidings.bench.report import Report
from tidings.bench.scenarios import ingest
from tidings.bench.workbench import workbench

SECONDS = 90


@pytest.fixture(autouse=True)
def cold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the warm-up of a just-in-time compiler: it is most of the work, and no figure is judged."""
    monkeypatch.setattr(contest, "WARM_UP_DELIVERIES", 500)


async def measured(options: ingest.Options) -> Report:
    with trio.fail_after(SECONDS):
        async with workbench() as bench:
            return await ingest.run(options, bench)


def broken(report: Report) -> list[str]:
    return [
        f"{check.promise}: {check.found}"
        for check in report.checks
        if not check.kept and " CPU " not in check.promise
    ]


@pytest.mark.slow
async def test_bursts_reach_all_of_each_room_once_in_order_and_are_answered_where_asked() -> None:
    """Rooms of 50, 10 and 2 at once, ours with and without ids, and a peer."""
    report = await measured(ingest.Options(clients=50, deliveries=2000, runs=1, peers=("send-loop",)))
    assert broken(report) == []
    assert [table.head[0] for table in report.tables] == [str(shape) for shape in ingest.SHAPES]
    for shape in ingest.SHAPES:
        runs = report.raw["shapes"][str(shape)]
        assert set(runs) == {"tidings", "tidings-ids", "send-loop"}
        for run in (run for each in runs.values() for run in each):
            assert run["deliveries"] == run["messages"] * shape.members
            assert run["messages"] % shape.burst == 0
    assert sum(" answered" in check.found for check in report.checks) == len(ingest.SHAPES)


@pytest.mark.slow
async def test_with_too_few_clients_the_larger_rooms_are_left_out_aloud_and_tls_encrypts() -> None:
    """What was not measured is named."""
    report = await measured(ingest.Options(clients=10, deliveries=500, runs=1, tls=True))
    assert broken(report) == []
    assert any("rooms of 50" in warning for warning in report.warnings)
    assert all(row[0].startswith("tidings, native, TLS") for table in report.tables for row in table.rows)


async def test_clients_that_fill_no_whole_rooms_are_refused() -> None:
    """Every room has all its members."""
    async with workbench() as bench:
        with pytest.raises(ChildFailed, match="multiple"):
            await ingest.run(ingest.Options(clients=75), bench)
