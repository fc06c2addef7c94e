"""Group commit beside single commits, for moments: a real disk, real threads."""

from pathlib import Path

import pytest
import trio

from tidings.bench.scenarios import commit
from tidings.bench.workbench import workbench


def _entries(directory: Path) -> list[Path]:
    return list(directory.iterdir())


@pytest.mark.slow
async def test_each_way_of_committing_is_measured_over_few_and_many_channels(tmp_path: Path) -> None:
    """Groups hold what is published at once, single commits one each; a ratio that nothing reaches is broken."""
    options = commit.Options(
        publishers=8, seconds=0.3, rounds=2, channels=(1, 3), directory=tmp_path, required_ratio=1e9
    )
    with trio.fail_after(60):
        async with workbench() as bench:
            report = await commit.run(options, bench)
    assert [(check.promise.split(":")[0], check.kept) for check in report.checks] == [
        ("1 channel", False),
        ("3 channels", False),
    ]
    assert set(report.raw["ratios"]) == {1, 3}
    assert all(rate > 0 for _, _, rate in report.raw["rates"])
    assert len(report.raw["rates"]) == 8
    speeds, lags = report.tables
    assert [row[:2] for row in speeds.rows] == [
        [channels, kind] for channels in ("1", "3") for kind in ("in groups", "one by one")
    ]
    sizes = [float(row[speeds.head.index("in a group")]) for row in speeds.rows]
    assert sizes[1] == sizes[3] == 1.0
    assert min(sizes[0], sizes[2]) > 2
    assert len(lags.rows) == 8
    assert _entries(tmp_path) == [], "the databases are gone"
