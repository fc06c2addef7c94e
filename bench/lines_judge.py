"""What a run of the line board must have come to: promises of a report, each with what was found."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tidings.bench.lines_crowd import Settled
from tidings.bench.lines_plan import Figures
from tidings.bench.lines_recount import Counted, Recount
from tidings.bench.report import Report


@dataclass(frozen=True)
class Told:
    """What HTTP says."""

    groups: Mapping[int, Counted]
    accounts: Mapping[str, Counted]


def judge_dashboards(report: Report, settled: Settled, lines: Sequence[int], dashboards: int) -> None:
    """What they have heard: `lines` are those of each group, to which so many dashboards are dealt out."""
    wanted = sum(lines) + sum(lines[number % len(lines)] for number in range(dashboards))
    wrong = (settled.missing, settled.repeated, settled.foreign)
    report.check(
        "each dashboard heard of each line of its group once, and of no other's",
        wrong == (0, 0, 0) and settled.heard == wanted,
        "{:,} of {:,} deliveries; {} missing, {} repeated, {} of others".format(
            settled.heard, wanted, *wrong
        ),
    )
    report.check(
        "each answer and each event was right",
        not settled.problem_count,
        f"{settled.problem_count} problems {settled.problems or ''}",
    )
    report.check("each dashboard shows what a new one is shown", not settled.stale, settled.stale or "all")


def judge_figures(
    report: Report,
    settled: Settled,
    counted: Recount,
    told: Told,
    planned: Mapping[str, Figures],
    codes: Mapping[int, str],
) -> None:
    """What is shown, against the rows, and these against what was planned. `codes`: by the groups' ids."""
    rows = {account: Figures(each.total, each.duplicate) for account, each in counted.accounts.items()}
    report.check(
        "the rows are what the devices sent",
        rows == planned and not counted.repeated,
        f"{counted.lines:,} rows, {sum(each.duplicate for each in rows.values()):,} duplicates, "
        f"{counted.repeated} messages twice",
    )
    accounts = {name: counted.accounts.get(name, Counted(0, 0, 0, 0)) for name in counted.groups}
    groups = {
        group: _sum(accounts[name] for name, of in counted.groups.items() if of == group) for group in codes
    }
    report.check(
        "the figures in the database equal the recount",
        counted.kept == accounts,
        f"{len(accounts)} accounts",
    )
    shown = {
        name: Counted(each.total, each.today, each.duplicate, each.today_duplicate)
        for name, each in settled.accounts.items()
    }
    report.check("a dashboard's figures of each account do", shown == accounts, f"{len(shown)} accounts")
    boards = {
        code: Counted(each.total, each.today, each.duplicate, each.today_duplicate)
        for code, each in settled.groups.items()
    }
    wanted = {codes[group]: figures for group, figures in groups.items()}
    report.check("… and of each group", boards == wanted, f"{len(boards)} groups")
    held = Counter(codes[group] for group in counted.groups.values())
    online = {code: (each.accounts, each.online) for code, each in settled.groups.items()}
    report.check(
        "all accounts are shown online",
        online == {code: (held[code], held[code]) for code in codes.values()},
        f"{sum(each for _, each in online.values()):,}",
    )
    report.check("what HTTP says of each group does", told.groups == groups, f"{len(told.groups)} groups")
    report.check("… and of each account", told.accounts == accounts, f"{len(told.accounts)} accounts")


def _sum(figures: Iterable[Counted]) -> Counted:
    return Counted(*map(sum, zip(Counted(0, 0, 0, 0), *figures, strict=True)))
