"""Idle connections: the promises, and a small measurement on real sockets."""

from typing import Any

import msgspec
import pytest
import trio

from tidings.bench.processes import ChildFailed
from tidings.bench.report import Report
from tidings.bench.resting import Rested, mean_ping_interval
from tidings.bench.scenarios import idle
from tidings.bench.scenarios.idle import Options, check_promises
from tidings.bench.workbench import workbench

SECONDS = 90


def broken(report: Report) -> list[str]:
    return [f"{check.promise}: {check.found}" for check in report.checks if not check.kept]


RESTED = Rested(
    connections=1000, empty=0, memory=10_000, buffers=0, tasks=3, descriptors=1, watched=8, pings=4000,
    heartbeat=1e-4, load_share=0, living=1000, problems=[], faults=[],
)  # fmt: skip


def judged(*rested: Rested) -> list[str]:
    report = Report("title")
    check_promises(report, list(rested), Options(cycles=4))
    return [check.promise for check in report.checks if not check.kept]


def altered(**changed: Any) -> Rested:
    return msgspec.structs.replace(RESTED, **changed)


def test_memory_is_flat_when_the_most_is_within_a_tenth_of_the_least() -> None:
    """Whichever number of connections had which; and nothing that takes no memory is flat."""
    assert judged(RESTED, altered(connections=5000, living=5000, pings=20_000, memory=11_000)) == []
    for sizes in ((10_000, 11_001), (11_001, 10_000), (0, 0), (-1, -1)):
        found = judged(*(altered(memory=size) for size in sizes))
        assert [promise[:30] for promise in found] == ["memory of a connection is flat"]


@pytest.mark.parametrize(
    ("changed", "promise"),
    [
        ({"living": 999}, "1,000: all lived to the end, without a problem"),
        ({"problems": ["reset"]}, "1,000: all lived to the end, without a problem"),
        ({"pings": 3999}, "1,000: 4 heartbeats each"),
        ({"faults": ["Traceback"]}, "1,000: the server logged no fault"),
        ({"descriptors": 1.001}, "1,000: one descriptor each"),
    ],
)
def test_each_promise_of_idle_connections_can_be_broken_by_itself(
    changed: dict[str, Any], promise: str
) -> None:
    """And a measurement in which all is well breaks none."""
    assert judged(RESTED) == []
    assert judged(altered(**changed)) == [promise]


def test_pings_are_spread_over_the_last_fifth_of_the_interval() -> None:
    """So on average there is one in nine tenths of it."""
    assert mean_ping_interval(20.0) == pytest.approx(18.0)


async def test_more_connections_than_one_process_may_have_are_refused_at_once() -> None:
    """Before anything was started."""
    with trio.fail_after(SECONDS):
        async with workbench() as bench:
            with pytest.raises(ChildFailed, match="descriptors"):
                await idle.run(Options(clients=(10, 10**9)), bench)
            with pytest.raises(ChildFailed, match="at least one"):
                await idle.run(Options(clients=(0,)), bench)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        Options(clients=(80, 40), ping_interval=0.5, cycles=3, flat=50, peers=("send-loop",)),
        Options(clients=(40,), ping_interval=0.5, cycles=3, join=True, tls=True),
        Options(clients=(40,), cycles=0, engine="reference"),
    ],
    ids=["with a peer", "tls, in a room", "reference, no heartbeats"],
)
async def test_idle_connections_are_measured(options: Options) -> None:
    """Memory, tasks and descriptors of each, and of ours the heartbeats."""
    with trio.fail_after(SECONDS):
        async with workbench() as bench:
            report = await idle.run(options, bench)
    assert broken(report) == []
    servers = msgspec.convert(report.raw["servers"], dict[str, list[Rested]])
    assert sorted(servers) == sorted(["tidings", *options.peers])
    for name, rested in servers.items():
        assert [found.connections for found in rested] == sorted(options.clients)
        assert all(found.descriptors == 1 for found in rested)
        assert all(found.living == found.connections for found in rested)
        for found in rested:
            if name != "tidings":
                assert (found.tasks, found.pings) == (None, 0)
            else:
                assert found.memory > 0
                assert found.tasks in (1, 2, 3, 4)
                assert (found.pings > 0) == (options.cycles > 0)
                assert (found.heartbeat > 0) == (options.cycles > 0)
