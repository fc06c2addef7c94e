"""Each scenario with few clients: real processes, real sockets, real time."""

import pytest
import trio

from tidings.bench.report import Report
from tidings.bench.scenarios import dead, drain, fanout, publish, slow
from tidings.bench.workbench import workbench

SECONDS = 90


def broken(report: Report) -> list[str]:
    return [f"{check.promise}: {check.found}" for check in report.checks if not check.kept]


@pytest.mark.slow
async def test_fanout_compares_ours_with_a_peer_in_one_run() -> None:
    """Both deliver everything, and ours needs less."""
    options = fanout.Options(clients=100, rounds=5, runs=2, required_ratio=1.5)
    with trio.fail_after(SECONDS):
        async with workbench() as bench:
            report = await fanout.run(options, bench)
    assert broken(report) == []
    assert [row[0].split()[0] for row in report.tables[0].rows] == ["tidings", "trio-websocket,", "the"]
    assert all(run["deliveries"] == 500 for runs in report.raw["servers"].values() for run in runs)


@pytest.mark.slow
async def test_the_dead_are_gone_in_time_and_leave_nothing() -> None:
    """Killed and stopped ones, in hub, tasks, descriptors and objects."""
    options = dead.Options(clients=40, dead=20, ping_interval=0.6, pong_timeout=0.6)
    with trio.fail_after(SECONDS):
        async with workbench() as bench:
            report = await dead.run(options, bench)
    assert broken(report) == []
    assert (
        report.raw["holdings"]["living"]["descriptors"]
        == report.raw["holdings"]["empty"]["descriptors"] + 20
    )


@pytest.mark.slow
async def test_slow_consumers_are_closed_and_the_others_miss_nothing() -> None:
    """The ledger of the others is contiguous, and both closes are recorded."""
    options = slow.Options(clients=20, seconds=7.5, rate=100, payload=16000, outbox_bytes=200_000)
    with trio.fail_after(SECONDS):
        async with workbench() as bench:
            report = await slow.run(options, bench)
    assert broken(report) == []


@pytest.mark.slow
async def test_a_slow_scenario_whose_load_fills_no_outbox_does_not_pass() -> None:
    """A run in which nothing happened is no proof."""
    options = slow.Options(clients=5, seconds=3, rate=10, payload=10)
    with trio.fail_after(SECONDS):
        async with workbench() as bench:
            report = await slow.run(options, bench)
    assert any("out of the hub" in promise for promise in broken(report))


@pytest.mark.slow
async def test_a_drain_tells_everybody() -> None:
    """The real command: told, closed, exit status 0."""
    with trio.fail_after(SECONDS):
        async with workbench() as bench:
            report = await drain.run(drain.Options(clients=50, drain_seconds=5), bench)
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
