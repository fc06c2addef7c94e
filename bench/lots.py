"""What came of clients that stopped reading, lot by lot: the promises about them, tables and plots."""

from typing import NamedTuple

import msgspec

from tidings.bench.backlog import SLOW_CONSUMER, Watch
from tidings.bench.holdings import Holdings
from tidings.bench.quantiles import CURVE_SHARES
from tidings.bench.replies import ClientState, Quantiles
from tidings.bench.report import Curve, Distribution, Lines, Report, Table, milliseconds

# What resident memory may grow beside the bytes that wait: the allocator takes and returns whole arenas, and
# each connection that waits has up to 64 KiB joined for its next send, which its limit counts already.
ALLOCATOR_BYTES = 4 * 2**20


class Bounds(NamedTuple):
    """What is promised of each lot."""

    outbox_bytes: int
    """That may wait for one client."""
    patience: float
    """Seconds within which all must be sealed."""
    required_ratio: float
    """How many times the others' p99 may be what it was."""


class Outcome(msgspec.Struct, frozen=True):
    """What became of a lot."""

    count: int
    reading: Quantiles
    """Latencies of the others while the lot still read."""
    stopped: Quantiles
    """The same from their stop until the last one's close is counted."""
    first_sealed: float | None
    """Seconds from the stop until the first is out of the hub; None: within the patience nobody was."""
    last_sealed: float | None
    closed: float | None
    """Seconds from the stop until all closes were counted."""
    waiting: int
    """Bytes in all that were seen to wait for the lot, at most."""
    most: int
    """For one of them."""
    grown: int
    """Bytes by which resident memory was larger than at its largest before."""
    closes: dict[str, int]
    victim: ClientState
    read_on: float
    """Seconds for which the one that resumed read."""
    problems: list[str]
    holdings: Holdings
    load_share: float

    @property
    def ratio(self) -> float:
        """The others' p99, against what it was; infinite where nothing was measured."""
        if not (self.reading.count and self.stopped.count):
            return float("inf")
        return self.stopped.p99 / self.reading.p99


def judge(report: Report, bounds: Bounds, outcome: Outcome, alone: Holdings) -> None:
    """The promises about one lot."""
    who, most = f"{outcome.count} stopped", outcome.count * bounds.outbox_bytes
    was_sealed = outcome.last_sealed is not None
    report.check(
        f"{who}: all are out of the hub while the load goes on",
        was_sealed,
        f"{outcome.last_sealed:.2f} s after they stopped"
        if was_sealed
        else f"not within {bounds.patience:g} s",
    )
    if not was_sealed:
        report.warnings.append(
            f"{who}: not all were over their limit: raise --patience, --rate or --payload, or lower "
            "--outbox-bytes"
        )
    report.check(
        f"{who}: p99 of the others at most {bounds.required_ratio:g} times what it was while all were reading",
        outcome.ratio <= bounds.required_ratio,
        f"{outcome.ratio:.2f} times, {milliseconds(outcome.stopped.p99)} ms",
    )
    report.check(
        f"{who}: what waited for them stayed within their limits",
        0 < outcome.waiting <= most and outcome.most <= bounds.outbox_bytes,
        f"at most {outcome.waiting:,} of {most:,} B seen, and {outcome.most:,} of {bounds.outbox_bytes:,} B "
        "for one",
    )
    report.check(
        f"{who}: resident memory grew by no more than their limits (and {ALLOCATOR_BYTES / 2**20:g} MiB for "
        "the allocator)",
        outcome.grown <= most + ALLOCATOR_BYTES,
        f"{outcome.grown / 2**20:.1f} of {most / 2**20:.1f} MiB",
    )
    report.check(
        f"{who}: each close is recorded as 3008, and no other",
        outcome.closes == {SLOW_CONSUMER: outcome.count} and outcome.closed is not None,
        outcome.closes,
    )
    victim = outcome.victim
    report.check(
        f"{who}: the one that resumed read whole frames only, in order, then close 3008 and the end of TCP",
        victim.is_gone
        and victim.close_code == int(SLOW_CONSUMER)
        and not victim.reset
        and not outcome.problems,
        f"{victim.received} publications up to offset {victim.last}, close {victim.close_code}, "
        f"{'reset' if victim.reset else f'ended after {outcome.read_on:.2f} s'} {outcome.problems or ''}",
    )
    report.check(
        f"{who}: hub, tasks, descriptors and objects are what they were with the room alone",
        outcome.holdings == alone,
        outcome.holdings.difference(alone) or "equal",
    )


def latencies(rows: dict[str, Quantiles], outcomes: list[Outcome]) -> Table:
    """What the others felt, phase by phase."""
    ratios = {f"{outcome.count} of them stopped": f"{outcome.ratio:.2f}" for outcome in outcomes}
    return Table(
        ["latency of the others, ms", "deliveries", "p50", "p90", "p99", "p99.9", "max", "p99 to all reading"],
        [
            [name, f"{found.count:,}",
             *map(milliseconds, (found.p50, found.p90, found.p99, found.p999, found.worst)),
             ratios.get(name, "")]
            for name, found in rows.items()
        ],
    )  # fmt: skip


def lots(bounds: Bounds, outcomes: list[Outcome]) -> Table:
    """What became of each lot."""

    def seconds(found: float | None) -> str:
        return "never" if found is None else f"{found:.2f}"

    return Table(
        ["clients that stopped", "first sealed, s", "last sealed, s", "all closed, s", "waited at most, KiB",
         "for one, KiB", "bound, KiB", "of the bound", "resident memory grew, MiB", "closed with 3008"],
        [
            [
                str(outcome.count),
                *map(seconds, (outcome.first_sealed, outcome.last_sealed, outcome.closed)),
                f"{outcome.waiting / 1024:,.0f}",
                f"{outcome.most / 1024:,.0f}",
                f"{outcome.count * bounds.outbox_bytes / 1024:,.0f}",
                f"{outcome.waiting / (outcome.count * bounds.outbox_bytes):.0%}",
                f"{outcome.grown / 2**20:.1f}",
                str(outcome.closes.get(SLOW_CONSUMER, 0)),
            ]
            for outcome in outcomes
        ],
    )  # fmt: skip


def plots(bounds: Bounds, rows: dict[str, Quantiles], watch: Watch) -> list[Distribution | Lines]:
    """The others' latencies, and what waited in the course of the run."""
    looks = watch.looks
    shares = [
        100 * look.outbox_bytes / (look.stopped * bounds.outbox_bytes) if look.stopped else 0.0
        for look in looks
    ]
    return [
        Distribution(
            "Latency of those who read, by whether others stop reading",
            [
                Curve(name, CURVE_SHARES, [value * 1e3 for value in found.curve])
                for name, found in rows.items()
            ],
        ),
        Lines(
            "Bytes waiting in the hub, of the limits of those who stopped",
            "seconds",
            "% of clients that stopped x outbox_bytes",
            [Curve("waiting", [look.at for look in looks], shares)],
            marks=watch.marks,
        ),
        Lines(
            "Memory of the server",
            "seconds",
            "resident MiB",
            [Curve("resident", [look.at for look in looks], [look.resident / 2**20 for look in looks])],
            marks=watch.marks,
        ),
    ]
