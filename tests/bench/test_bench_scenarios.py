"""Each scenario with few clients: real processes, real sockets, real time."""

import pytest
import trio

from tidings.bench.report import Report
from tidings.bench.scenarios import drain, publish
from tidings.bench.workbench import workbench

SECONDS = 90


def broken(report: Report) -> list[str]:
    return [f"{check.promise}: {check.found}" for check in report.checks if not check.kept]


@pytest.mark.slow
async def test_a_drain_tells_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real command: told, closed, exit status 0."""
    monkeypatch.setattr(drain, "SLACK_SECONDS", 20.0)
    with trio.fail_after(SECONDS):
        async with workbench() as bench:
            report = await drain.run(drain.Options(clients=50, drain_seconds=5, close_timeout=20), bench)
    assert broken(report) == []


@pytest.mark.slow
async def test_http_publishers_and_a_room_side_by_side() -> None:
    """Every request is answered 200, and the room beside misses nothing."""
    options = publish.Options(seconds=1.5, connections=4, clients=20, required_rate=50)
    with trio.fail_after(SECONDS):
        async with workbench() as bench:
            report = await publish.run(options, bench)
    assert broken(report) == []
    assert all(run["requests"] > 50 for run in report.raw["runs"].values())
