"""What came of losing connections and servers: promises, tables, and the return of a crowd as a plot."""

from collections.abc import Sequence

from tidings.bench.report import Curve, Lines, Report, Table
from tidings.bench.resume_drill import Drill, Outcome
from tidings.bench.resume_judge import PROMISES
from tidings.bench.resume_slow import SlowOutcome
from tidings.bench.resume_storm import MISSED, Returned

# Readings of the history, by however many clients that return to one channel at once.
MOST_READS = 50

# Of the publications that are due while the server listens: with fewer the machine was busy, with far fewer it was
# no drill.
BUSY = 0.8
TOO_FEW = 0.25


def tell_drill(report: Report, options: Drill, outcome: Outcome) -> None:
    """The ledger drill."""
    sheet, findings, gaps = outcome.sheet, outcome.findings, outcome.gaps
    cuts = outcome.cuts.total()
    back = [kill.last_back - kill.up for kill in outcome.kills]
    accepted = len(sheet.accepted)
    durable = sum(each.channel in sheet.durable for each in sheet.accepted)
    report.tables.append(
        Table(
            ["ledger drill", "count"],
            [
                [
                    "clients, channels",
                    f"{options.clients}, {len({each.channel for each in sheet.streams})}",
                ],
                ["publications acknowledged", f"{accepted:,}"],
                ["… of these on disk", f"{durable:,}"],
                ["… a second while the server listened", f"{outcome.published / outcome.up_seconds:,.0f}"],
                ["batches sent again", f"{outcome.retries:,}"],
                ["publications handed over", f"{outcome.deliveries:,}"],
                *([f"cut: {way}", f"{count:,}"] for way, count in sorted(outcome.cuts.items())),
                ["killed with SIGKILL", f"{len(outcome.kills)}"],
                ["connections with everything subscribed", f"{outcome.connections:,}"],
                ["channels recovered on return", f"{outcome.recovered:,}"],
                ["… not recovered, and said so", f"{outcome.unrecovered:,}"],
                ["publications replayed, at most", f"{outcome.replayed:,}"],
                *([f"gaps announced: {what}", f"{count:,}"] for what, count in sorted(gaps.items())),
                ["kill to listening again, s", _seconds([kill.up - kill.at for kill in outcome.kills])],
                ["listening to the last client back, s", _seconds(back)],
            ],
        )
    )
    for kind, promise in PROMISES.items():
        count = findings.counts[kind]
        report.check(
            promise, not count, f"{count:,}: {'; '.join(findings.told[kind])}" if count else "none broke it"
        )
    report.check(
        "at the end everybody stood at the end of every channel",
        outcome.quiet,
        f"{len(sheet.streams):,} subscriptions",
    )
    # What was due while the server was away was not all made good.
    wanted = options.rate * (options.seconds - outcome.seconds + outcome.up_seconds)
    happened = {
        "publications as asked for": outcome.published >= TOO_FEW * wanted,
        "cuts": cuts,
        "kills": len(outcome.kills),
        "recoveries": outcome.recovered,
        "publications replayed": outcome.replayed,
        "gaps announced": gaps.total(),
        "publications on disk": durable,
    }
    missing = [what for what, count in happened.items() if not count and (what != "kills" or options.kills)]
    report.check(
        "the drill was one: there was something to lose, and it was tried",
        not missing and len(outcome.kills) == options.kills,
        f"no {', no '.join(missing)}" if missing else f"{cuts:,} cuts, {len(outcome.kills)} kills",
    )
    report.check("drill: the server logged no fault", not outcome.errors, outcome.errors[:3] or "none")
    if outcome.published < BUSY * wanted:
        report.warnings.append(
            f"drill: only {outcome.published:,} of {wanted:,.0f} publications: the machine was too busy for --rate"
        )


def tell_storm(report: Report, found: Returned) -> None:
    """The return of a crowd."""
    all_of_them = f"{found.clients:,} clients"
    report.tables.append(
        Table(
            [f"{all_of_them} return to one channel", ""],
            [
                ["publications each had missed, at least", f"{MISSED}"],
                ["… and that came meanwhile", f"{found.meanwhile}"],
                ["readings of the history", f"{found.reads:g}"],
                ["first client has everything, s", f"{found.first:.2f}"],
                ["last handshake, s", f"{found.seconds:.2f}"],
                ["last client has everything, s", f"{found.last:.2f}"],
                ["handshakes/s", f"{found.joined / found.seconds:,.0f}"],
                ["server's CPU for each, µs", f"{found.server_cpu / max(found.joined, 1) * 1e6:,.0f}"],
                ["returned only after a retransmission", f"{found.resent:,}"],
                ["closed with 3008", f"{found.slow:g}"],
                ["load, of its core", f"{found.load_share:.0%}"],
            ],
        )
    )
    report.plots.append(
        Lines(
            f"{all_of_them} return to one channel, having missed {MISSED} publications",
            "seconds",
            "% that have everything",
            [
                Curve(
                    "everything missed has come",
                    [0.0, *found.curve],
                    [0.0, *_shares(len(found.curve), found.complete, found.clients)],
                )
            ],
        )
    )
    report.check(
        f"{all_of_them} at once: at most {MOST_READS} readings of the history, and at least one",
        0 < found.reads <= MOST_READS,
        f"{found.reads:g}",
    )
    report.check(
        f"{all_of_them} at once: everybody returned, and got everything missed",
        found.cut == found.joined == found.complete == found.clients and not found.refused,
        f"{found.joined:,} joined, {found.complete:,} complete {found.refused or ''}",
    )
    report.check(
        f"{all_of_them} at once: nobody was closed with 3008, or otherwise",
        not found.slow and not found.closes,
        found.closes or f"{found.slow:g}",
    )
    report.check(
        f"{all_of_them} at once: to everybody the same bytes, all that was acknowledged, once, in order",
        found.same and not found.problem_count,
        "; ".join(found.problems[:3]) or ("the same" if found.same else "not what was acknowledged"),
    )
    report.check(
        f"{all_of_them} at once: each return recovered, by the server's own count",
        found.recovered == found.joined and not found.unrecoverable,
        f"{found.recovered:,.0f} recovered, {found.unrecoverable:,.0f} not",
    )
    if found.load_share > BUSY:
        report.warnings.append(
            f"the crowd used {found.load_share:.0%} of its core: its times are its own too"
        )


def tell_slow(report: Report, outcome: SlowOutcome) -> None:
    """The slow readers of a long backlog."""
    size = f"{outcome.backlog:,} x {outcome.payload:,} B"
    report.tables.append(
        Table(
            [f"{size}, read at KiB/s", "until the backlog was there, s", "MiB", "whole"],
            [
                [
                    f"{reader.rate / 1024:,.0f}",
                    f"{reader.seconds:.1f}" if reader.seconds else "never",
                    f"{reader.received / 2**20:.1f}",
                    "yes" if outcome.is_whole(reader) else "no",
                ]
                for reader in outcome.readers
            ],
        )
    )
    for reader in outcome.readers:
        report.check(
            f"{size} to one who reads {reader.rate / 1024:,.0f} KiB/s: whole, in order, and then live",
            outcome.is_whole(reader),
            f"{len(reader.ids):,} of {len(outcome.ids):,}, recovered: {reader.recovered} "
            f"{reader.problems[:2] or ''}",
        )
    report.check(
        f"{size}: no slow reader was closed with 3008",
        not outcome.slow and all(reader.close_code is None for reader in outcome.readers),
        f"{outcome.slow:g}; at most {outcome.outbox / 1024:,.0f} KiB waited for all of them",
    )


def _seconds(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.2f}" for value in values) or "none"


def _shares(points: int, complete: int, clients: int) -> list[float]:
    return [100 * complete / clients * (step + 1) / points for step in range(points)]
