"""What the load of the line board draws, and how its rows are counted: on both databases, by hand."""

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
import sqlalchemy
from hypothesis import given
from hypothesis import strategies as st

from tidings.bench.lines_crowd import Settled
from tidings.bench.lines_judge import Told, judge_dashboards, judge_figures
from tidings.bench.lines_peers import AccountFigures, Crowd, Dashboard, GroupFigures, Notes
from tidings.bench.lines_peers import Told as News
from tidings.bench.lines_plan import Figures, plan
from tidings.bench.lines_recount import Counted, Recount, recount
from tidings.bench.report import Report
from tidings.server.apps.lines.tables import metadata
from tidings.server.store.records.files import NAME

# Midday in London; in Kiritimati it is tomorrow already, in Pago Pago one in the morning.
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@given(
    groups=st.integers(1, 5),
    devices=st.integers(1, 12),
    lines=st.integers(0, 300),
    duplicates=st.sampled_from([0.0, 0.2, 0.9]),
    seed=st.integers(0, 99),
)
def test_a_plan_is_what_it_says(
    groups: int, devices: int, lines: int, duplicates: float, seed: int
) -> None:
    """As many lines as asked; its figures are those of whoever counts all messages once."""
    drawn = plan(groups=groups, devices=devices, lines=lines, duplicates=duplicates, seed=seed)
    messages: dict[Any, Any] = {}
    for part in drawn.parts:
        for device in part:
            for line in (line for frame in device.frames for line in frame):
                assert line.account in device.accounts
                # What is sent again is the same, and of the same device.
                assert messages.setdefault(line.message, (device.group, line)) == (device.group, line)
    assert len(messages) == lines == sum(drawn.lines[-1])
    counted = Counter((group, line.account, line.customer) for group, line in messages.values())
    assert counted == drawn.expected
    for account, figures in drawn.figures.items():
        found = [count for (_, of, _), count in counted.items() if of == account]
        assert figures == (sum(found), sum(found) - len(found))
    assert drawn.alone == {
        (account, customer) for (_, account, customer), count in counted.items() if count == 1
    }


def test_as_many_are_duplicates_as_are_asked_for() -> None:
    """About: an account without customers has nobody who could write again."""
    drawn = plan(groups=20, devices=200, lines=50_000, duplicates=0.2, seed=1)
    share = sum(each.duplicate for each in drawn.figures.values()) / 50_000
    assert 0.19 < share < 0.21
    frames = [frame for part in drawn.parts for device in part for frame in device.frames]
    assert sum(map(len, frames)) > 50_200, "some come twice"
    assert sum(len(frame) > 1 for frame in frames) > 1_000, "some come in arrays"


def ms(hour: int, day: int = 1) -> int:
    return int(datetime(2026, 3, day, hour, 30, tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("zone", "today"),
    [
        # Since 00:00 in the morning; the day of the other two begins at 10:00 and at 11:00 in UTC.
        ("UTC", Counted(4, 3, 1, 1)),
        ("Pacific/Kiritimati", Counted(4, 2, 1, 1)),
        ("Pacific/Pago_Pago", Counted(4, 1, 1, 1)),
    ],
)
def test_rows_are_counted_by_the_day_of_their_zone(tmp_path: Path, zone: str, today: Counted) -> None:
    """Duplicates are by the pair, whatever the column says; what the table of accounts keeps is told beside."""
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path / NAME}")
    metadata.create_all(engine)
    tables = metadata.tables
    moments = {"a": ms(11) - 86_400_000, "b": ms(5), "c": ms(10), "again": ms(11)}
    with engine.begin() as connection:
        connection.execute(
            tables["lines_groups"].insert(), {"id": 1, "name": "g", "time_zone": zone, "created_ms": 0}
        )
        account = {"id": 5, "group_id": 1, "line_account_id": "x", "display_name": "", "platform": ""}
        account |= {"online_status": "online", "created_ms": 0, "changed_ms": 0}
        kept = {
            "total_incoming": 9,
            "duplicate_incoming": 8,
            "today_incoming": 7,
            "today_duplicate": 6,
            "day": 1,
        }
        connection.execute(tables["lines_accounts"].insert(), account | kept)
        for message, moment in moments.items():
            customer = "c" if message == "again" else message
            line = {"group_id": 1, "account_id": 5, "incoming_line_id": customer, "message_id": message}
            line |= {"is_duplicate": False, "received_ms": moment}
            connection.execute(tables["lines_incoming"].insert(), line)
    engine.dispose()
    found = recount("", tmp_path, NOON)
    assert found.accounts == {"x": today}
    # Of another day: none of them is of today.
    assert found.kept == {"x": Counted(9, 0, 8, 0)}
    assert (found.groups, found.lines, found.repeated) == ({"x": 1}, 4, 0)


def judged(**faults: Any) -> list[str]:
    """The promises that a run of one group with an account breaks, of which so much was otherwise."""
    settled: dict[str, Any] = {
        "problem_count": 0,
        "problems": [],
        "heard": 9,
        "missing": 0,
        "repeated": 0,
        "foreign": 0,
        "updates": 7,
        "stale": [],
        "groups": {"CODE": GroupFigures(1, 1, 3, 2, 1, 1)},
        "accounts": {"x": AccountFigures(3, 2, 1, 1)},
    }
    true = Counted(3, 2, 1, 1)
    rows: dict[str, Any] = {
        "accounts": {"x": true},
        "kept": {"x": true},
        "groups": {"x": 5},
        "messages": {("x", "m"): 1},
        "lines": 3,
    }
    told: dict[str, Any] = {"groups": {5: true}, "accounts": {"x": true}}
    planned = {"x": Figures(3, 1)}
    for name, fault in faults.items():
        part, _, field = name.partition("_")
        {"settled": settled, "rows": rows, "told": told}[part][field] = fault
    report = Report("")
    judge_dashboards(report, Settled(**settled), [3], 2)
    judge_figures(report, Settled(**settled), Recount(**rows), Told(**told), planned, {5: "CODE"})
    return [check.promise for check in report.checks if not check.kept]


@pytest.mark.parametrize(
    ("fault", "count"),
    [
        ({}, 0),
        ({"settled_problem_count": 1}, 1),
        ({"settled_heard": 8}, 1),
        ({"settled_missing": 1}, 1),
        ({"settled_repeated": 1}, 1),
        ({"settled_foreign": 1}, 1),
        ({"settled_stale": ["x"]}, 1),
        ({"settled_groups": {}}, 2),
        ({"settled_groups": {"CODE": GroupFigures(1, 0, 3, 2, 1, 1)}}, 1),
        ({"settled_groups": {"CODE": GroupFigures(1, 1, 3, 2, 1, 0)}}, 1),
        ({"settled_accounts": {}}, 1),
        ({"settled_accounts": {"x": AccountFigures(3, 1, 1, 1)}}, 1),
        ({"rows_kept": {"x": Counted(3, 2, 0, 1)}}, 1),
        ({"rows_messages": {("x", "m"): 2}}, 1),
        # The rows are the measure: all that is shown is wrong beside them.
        ({"rows_accounts": {"x": Counted(2, 2, 1, 1)}}, 6),
        ({"told_groups": {5: Counted(3, 2, 1, 0)}}, 1),
        ({"told_accounts": {}}, 1),
    ],
)
def test_each_fault_breaks_a_promise(fault: dict[str, Any], count: int) -> None:
    """Every figure is looked at, wherever it is shown."""
    assert len(judged(**fault)) == count, judged(**fault)


def test_a_dashboard_notes_what_it_should_not_have_heard() -> None:
    """Lines of other groups, twice, out of order, and duplicates that are none."""
    drawn = plan(groups=2, devices=2, lines=10, duplicates=0.0, seed=1)
    notes = Notes()
    crowd = Crowd(drawn, [11, 12], ["ONE", "TWO"], {"x": 0, "y": 1}, {}, notes, [])
    dashboard = Dashboard(cast("Any", None), crowd, [0], "dashboard")

    def problems(*lines: tuple[int, int, str, bool]) -> int:
        before = notes.count
        for number, group, customer, duplicate in lines:
            line = News(number, group, "x", incoming_line_id=customer, duplicate=duplicate)
            dashboard._incoming(line, 0.0)
        return notes.count - before

    assert problems((5, 11, "c", False), (6, 11, "d", False), (7, 11, "c", True)) == 0
    assert problems((8, 12, "e", False)) == 1
    assert problems((7, 11, "f", False)) == 1
    assert problems((8, 11, "d", False)) == 1
    assert problems((9, 11, "g", True)) == 1
    assert dashboard.heard[0, "x", "c"] == 2
