"""What `dead` has seen, judged and told: tables, promises and plots."""

from collections.abc import Mapping, Sequence

from tidings.bench.deaths import Death, Swallowed
from tidings.bench.holdings import Holdings
from tidings.bench.quantiles import CURVE_SHARES, quantile
from tidings.bench.replies import Quantiles
from tidings.bench.report import Curve, Distribution, Lines, Report, Table, milliseconds

PHASES = ("before", "during", "after")

# For the machine: the server's timers and our looking are not instantaneous.
SLACK_SECONDS = 1.0

# By how much the p99 of the living may rise while the others die.
LIVING_FACTOR = 1.5

BUSY = 0.8


def judge_deaths(report: Report, deaths: Sequence[Death], bound: float, left_out: str) -> Table:
    """The table of deaths, and what was promised of each. `bound`: seconds; `left_out`: why there was no hole."""
    allowed = bound + SLACK_SECONDS
    head = ["death", "clients", "first, s", "p50", "p99", "last", "bound", "close code", "on the wire"]
    rows: list[Sequence[str]] = []
    for death in deaths:
        death.seconds.sort()
        seen, is_real = death.judged()
        rows.append(death.row(bound, seen))
        last = quantile(death.seconds, 1.0)
        report.check(
            f"{death.title}: all {death.count:,} are out of the hub within {allowed:g} s",
            not death.remaining and last <= allowed,
            f"last after {last:.2f} s" + (f", {death.remaining:,} never" if death.remaining else ""),
        )
        report.check(
            f"{death.title}: each leaves with close code {death.code:d}",
            death.codes == {int(death.code): death.count},
            death.told_codes or "none left",
        )
        report.check(f"{death.title}: it was that on the wire", is_real, seen)
    if left_out:
        rows.append([Swallowed.title, "0", *[""] * 6, f"left out: {left_out}"])
    return Table(head, rows)


def judge_living(report: Report, latency: Mapping[str, Quantiles], shares: Mapping[str, float]) -> None:
    """What was promised of the living, and whether their latencies are their own doing."""
    before = latency["before"]
    for name in PHASES[1:]:
        found = latency[name]
        ratio = found.p99 / before.p99 if before.p99 else 0.0
        report.check(
            f"p99 of the living {name} is within {LIVING_FACTOR:g} of before",
            bool(found.count and before.count) and ratio <= LIVING_FACTOR,
            f"{milliseconds(found.p99)} ms, {ratio:.2f} of {milliseconds(before.p99)} ms",
        )
    busiest = max(shares.values())
    if busiest > BUSY:
        report.warnings.append(f"the living used {busiest:.0%} of their core: latencies are theirs too")


def holdings_table(
    columns: Mapping[str, Holdings], blocks: Mapping[str, int], memory: Mapping[str, int]
) -> Table:
    """What the server held at each moment; `memory` in bytes."""
    counts = [held.numbers() for held in columns.values()]
    rows = [[name, *(f"{count[name]:,}" for count in counts)] for name in counts[0]]
    rows.append(["memory: blocks in use", *(f"{count:,}" for count in blocks.values())])
    rows.append(["memory, MiB", *(f"{size / 2**20:.0f}" for size in memory.values())])
    return Table(["what the server holds", *columns], rows)


def plots(
    deaths: Sequence[Death], bound: float, latency: Mapping[str, Quantiles]
) -> list[Lines | Distribution]:
    """The dead that are left over time, and the latencies of the living by phase."""
    remaining = [
        Curve(
            death.title,
            [0.0, *death.seconds],
            [float(count) for count in range(death.count, death.remaining - 1, -1)],
        )
        for death in deaths
    ]
    shares = [share for share in CURVE_SHARES if share < 1]
    return [
        Lines(
            "The dead that the hub still has",
            "seconds after their death",
            "connections",
            remaining,
            marks=[(0.0, "deaths"), (bound, "ping_interval + pong_timeout")],
        ),
        Distribution(
            "Latency of the living",
            [
                Curve(name, shares, [value * 1e3 for value in found.curve[: len(shares)]])
                for name, found in latency.items()
                if found.count
            ],
        ),
    ]


def latency_table(latency: Mapping[str, Quantiles], shares: Mapping[str, float]) -> Table:
    """Latencies of the living by phase."""
    return Table(
        ["latency of the living, ms", "deliveries", "p50", "p90", "p99", "p99.9", "max", "load's core"],
        [
            [name, f"{found.count:,}",
             *map(milliseconds, (found.p50, found.p90, found.p99, found.p999, found.worst)), f"{shares[name]:.0%}"]
            for name, found in latency.items()
        ],
    )  # fmt: skip
