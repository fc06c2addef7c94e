"""Four kinds of death, each as it is meant to be, and what is read of the kernel's table."""

import os
import sys

import pytest
import trio
import trio.testing
from support.site import memory_site

from tidings.bench import dead_report
from tidings.bench.departures import Departures
from tidings.bench.report import Report
from tidings.bench.scenarios import dead
from tidings.bench.tcp_table import Resets, Unacknowledged, count_unacknowledged, resets
from tidings.bench.workbench import workbench

SECONDS = 180

FEW = {"clients": 60, "dead": 30, "ping_interval": 0.6, "pong_timeout": 6.0, "seconds": 0.5}


async def measured(**options: object) -> Report:
    with trio.fail_after(SECONDS):
        async with workbench() as bench:
            return await dead.run(dead.Options(**FEW | options), bench)  # type: ignore[arg-type]


def broken(report: Report) -> list[str]:
    """What was broken, but for times on a machine that others use."""
    checks = [check for check in report.checks if not check.promise.startswith("p99 of the living")]
    assert len(checks) < len(report.checks)
    return [f"{check.promise}: {check.found}" for check in checks if not check.kept]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "tls", "may_all"), [("native", False, True), ("reference", True, False)]
)
async def test_the_dead_are_gone_in_time_and_leave_nothing(
    monkeypatch: pytest.MonkeyPatch, engine: str, tls: bool, may_all: bool
) -> None:
    """Each of them detected by what is to detect it, in hub, tasks, descriptors and objects.

    A black hole that cannot be made is left out aloud: the others share the dead, and table and warning say so.
    """
    # On a core that others use, whoever is to die later has to answer until then, and so do we.
    monkeypatch.setattr(dead, "DYING_NICENESS", 0)
    monkeypatch.setattr(dead, "PATIENCE_SECONDS", 30.0)
    monkeypatch.setattr(dead_report, "SLACK_SECONDS", 15.0)
    if not may_all:
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
    report = await measured(engine=engine, tls=tls)
    assert broken(report) == []
    counts = {name: death["count"] for name, death in report.raw["deaths"].items()}
    if os.geteuid():
        assert report.raw["left_out"] == "needs root"
        assert counts == {"stopped": 10, "reset": 10, "killed": 10}
        assert any("black hole is left out: needs root" in warning for warning in report.warnings)
        assert [report.tables[0].rows[-1][at] for at in (0, -1)] == ["black hole", "left out: needs root"]
    else:
        assert report.raw["left_out"] == ""
        assert counts == {"swallowed": 7, "stopped": 8, "reset": 8, "killed": 7}
    assert all(len(death["seconds"]) == death["count"] for death in report.raw["deaths"].values())
    held = report.raw["holdings"]
    assert held["living"]["descriptors"] == held["empty"]["descriptors"] + 30
    assert all(found["count"] for found in report.raw["latency"].values())


async def test_departures_are_told_once_with_user_code_and_moment(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Whoever leaves the hub, not who stays, however often the hub is told."""
    async with memory_site() as site:
        hub = site.server.context.hub
        before = await site.connect("earlier")
        departures = Departures(hub)
        leaves, _stays = await site.connect("group-7"), await site.connect("group-8")
        assert departures.told().departures == []
        [connection] = hub.connections_of("group-7")
        await leaves.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        hub.disconnect(connection)
        await before.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        told = departures.told().departures
        assert [(user, code) for user, code, _ in told] == [("group-7", 1006), ("earlier", 1006)]
        assert told[0][2] <= told[1][2]
        assert departures.told().departures == []


def table_line(local: str, remote: str, state: str, waiting: int) -> str:
    return f"   7: {local} {remote} {state} {waiting:08X}:00000003 01:00000018 00000000     0        0 5 2"


@pytest.mark.skipif(sys.byteorder != "little", reason="the lines are of a machine of this order")
def test_the_kernels_table_is_read_by_port_state_and_group() -> None:
    """A connection counts once, where it belongs, and only while it is established."""
    here, other = "0100007F:1F90", "0100007F:1F91"
    lines = [
        table_line(here, "0102037F:C001", "01", 0),
        table_line(here, "0102037F:C002", "01", 300),
        table_line(here, "0102037F:C002", "01", 300),  # told twice
        table_line(here, "0102037F:C003", "08", 999),  # closed by its peer
        table_line(here, "821E12C6:C001", "01", 18),
        table_line(other, "0102037F:C004", "01", 999),
        table_line("0102037F:C001", here, "01", 999),  # the client's end
        table_line(here, "0102047F:C001", "01", 999),  # of no group
    ]
    found = count_unacknowledged(lines, 8080, {"a": "127.3.", "hole": "198.18.30.", "none": "127.30."})
    assert found == {
        "a": Unacknowledged(2, 1, 300),
        "hole": Unacknowledged(1, 1, 18),
        "none": Unacknowledged(0, 0, 0),
    }


def test_resets_are_told_apart() -> None:
    """Those for unread data, and those that were asked for."""
    text = "TcpExt: TW TCPAbortOnData TCPAbortOnClose\nTcpExt: 9 3 4\nIpExt: InNoRoutes\nIpExt: 1\n"
    assert resets(text) == Resets(unread=4, asked=3)
