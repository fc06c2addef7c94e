"""Two hundred devices in twenty groups and their dashboards, by the command that measures them."""

import pytest
import trio

from tidings.bench.report import Report
from tidings.bench.scenarios import lines
from tidings.bench.workbench import workbench

#: As many on the database that most servers have; on the other enough to meet themselves.
ALL, SOME = 10_000, 4_000


async def judged(count: int, url: str) -> Report:
    """Run it, with the bounds that the command has, and with its processes' own."""
    with trio.fail_after(120):
        async with workbench() as bench:
            return await lines.run(lines.Options(lines=count, store=url), bench)


@pytest.mark.slow
async def test_all_figures_of_a_crowd_equal_a_recount(records_url: str) -> None:
    """Every dashboard hears of each line of its group once; snapshot, HTTP and database are what the rows say."""
    report = await judged(SOME if records_url else ALL, records_url)
    assert [f"{check.promise}: {check.found}" for check in report.checks if not check.kept] == []
    assert len(report.checks) == 11
