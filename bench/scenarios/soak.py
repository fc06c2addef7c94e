"""Everything at once for minutes: rooms, comings and goings, slow and hostile peers, HTTP; then what is left."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import msgspec
from cyclopts import Parameter

from tidings.bench.holdings import Holdings
from tidings.bench.mixture import API_KEY, Mixture, MixtureOptions, Sums
from tidings.bench.options import Positive
from tidings.bench.processes import ChildFailed
from tidings.bench.quantiles import median
from tidings.bench.report import Curve, Lines, Report, Table, milliseconds
from tidings.bench.sampling import Sample
from tidings.bench.server import Settings
from tidings.bench.trend import Trend, trend
from tidings.bench.workbench import Workbench, expect

# The part of the run of which memory counts. Before it the allocator and the server's bounded tables fill.
COUNTED = 0.5

# A slope over less is no verdict: what the allocator takes and gives back in a minute is more than a leak.
LEAST_SECONDS = 60.0

# Long, so that whoever stops reading, and so answers no ping, is found by what waits for it and not by that.
PONG_SECONDS = 120.0

# Rows in which the course of the run is told.
ROWS = 10

BUSY = 0.8


@dataclass(frozen=True, kw_only=True)
class Options(MixtureOptions):
    """What can be set."""

    minutes: Annotated[Positive, Parameter(help="Length of the run.")] = 5.0
    most_growth: Annotated[
        float, Parameter(help="KiB a minute by which memory may grow in the second half of the run.")
    ] = 512.0


async def run(options: Options, bench: Workbench) -> Report:
    """Run it. Raises ChildFailed."""
    if options.rooms < 2:
        raise ChildFailed("--rooms: at least 2, beside the steady one")
    report = Report(
        f"soak: {options.minutes:g} minutes of mixed load on one server ({options.engine} engine"
        f"{', TLS' if options.tls else ''}), seed {options.seed}"
    )
    expect(6 + int(options.minutes * 2))
    server = await bench.server(
        Settings(
            engine=options.engine,
            tls=options.tls,
            outbox_bytes=options.outbox_bytes,
            ping_interval=options.ping_interval,
            pong_timeout=PONG_SECONDS,
            api_key=API_KEY,
        )
    )
    mixture = Mixture(options, bench, server)
    empty = await mixture.warm_up()
    failures: list[str] = []
    try:
        await mixture.run(options.minutes * 60)
    except* ChildFailed as group:
        failures = [str(error) for error in _leaves(group)]
    if failures:
        raise ChildFailed("; ".join(failures))
    left = await mixture.leave(empty)
    sums, samples = mixture.sums, mixture.sampler.samples
    judge_load(report, options, sums)
    report.check(
        "the empty server holds what it held before anybody came",
        left == empty,
        left.difference(empty) or "equal",
    )
    expected = sums.expected()
    report.check(
        "each close is recorded with its reason",
        sums.closes == expected,
        sums.closes if sums.closes == expected else f"{sums.closes} instead of {expected}",
    )
    report.check("the server logged no fault", not server.errors(), server.errors()[:3] or "none")
    line = judge_memory(report, samples, options.most_growth)
    if sums.load_share > BUSY:
        report.warnings.append(
            f"the load used {sums.load_share:.0%} of its core: latencies are its own as much as the server's"
        )
    report.tables += [_course(samples), _done(sums), _held(empty, samples, left)]
    report.plots += _plots(samples, line)
    report.raw = {
        "options": asdict(options),
        "samples": msgspec.to_builtins(samples),
        "memory": None if line is None else line._asdict(),
        "sums": msgspec.to_builtins(sums),
        "holdings": {"empty": msgspec.to_builtins(empty), "left": msgspec.to_builtins(left)},
    }
    return report


def _leaves(group: BaseExceptionGroup[ChildFailed]) -> list[ChildFailed]:
    """The failures in a group of groups."""
    found: list[ChildFailed] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


def judge_load(report: Report, options: MixtureOptions, sums: Sums) -> None:
    """That each kind of load took place, and met what it was promised."""
    assert sums.churned is not None
    steady, small, idle = (sums.states[name] for name in ("steady", "small", "idle"))
    report.check(
        "the steady room's ledger: every publication, once, in order",
        steady.joined == options.clients
        and steady.lowest == steady.highest == steady.published > 0
        and steady.received == steady.expected
        and not (steady.missing or steady.repeated or steady.problem_count),
        f"{steady.joined} clients at offset {steady.lowest}-{steady.highest} of {steady.published}, "
        f"{steady.problem_count} problems {steady.problems[:3] or ''}",
    )
    report.check(
        f"the ledger of the {options.rooms} small rooms",
        small.joined == options.small
        and small.received == small.expected > 0
        and not (small.missing or small.repeated or small.problem_count),
        f"{small.received:,} of {small.expected:,}, {small.problem_count} problems {small.problems[:3] or ''}",
    )
    report.check(
        "the idle answered pings, and stayed",
        idle.joined == options.idle and (idle.pings > 0 or not options.idle) and not idle.problem_count,
        f"{idle.joined} of {options.idle}, {idle.pings:,} pings",
    )
    churned = sums.churned
    report.check(
        "whoever came was let in, saw everything in order, and could leave in each way",
        all(churned.ways.values())
        and churned.came == sum(churned.ways.values())
        and not (churned.refused or churned.late or churned.problem_count),
        f"{churned.came:,} came, left {churned.ways}, {churned.received:,} deliveries, "
        f"{churned.refused or 'none'} refused, {churned.late} late, {churned.problem_count} problems "
        f"{churned.problems[:3] or ''}",
    )
    if options.slow:
        report.check(
            "whoever stopped reading was closed with 3008 while the load went on",
            sums.sealed == sums.slow > 0,
            f"{sums.sealed} of {sums.slow}",
        )
    if options.hostile:
        report.check(
            "each hostile connection was refused as it must be",
            sum(sums.attacks.values()) > 0 and not sums.wrong_count,
            f"{sum(sums.attacks.values()):,} of {len(sums.attacks)} kinds, {sums.wrong_count} otherwise "
            f"{sums.wrong[:3] or ''}",
        )
    if options.http:
        report.check(
            "every HTTP request answered 200",
            set(sums.statuses) == {"200"} and not sums.failures,
            f"{dict(sums.statuses)} {dict(sums.failures) or ''}",
        )
    report.check(
        "the steady, the small and the idle left in order",
        not any(sums.dropped.values()),
        f"{sum(sums.dropped.values())} closing handshakes did not end",
    )


def judge_memory(report: Report, samples: Sequence[Sample], most_growth: float) -> Trend | None:
    """Whether memory grows; None, with a warning, where the run was too short to say.

    `most_growth` in KiB a minute. The promise is broken when the slope is certainly above it: by the lower
    end of its confidence interval, since what the allocator does by itself is no leak. Where the upper end is
    above it as well, so that nothing is certain, a warning says so.
    """
    counted = [sample for sample in samples if sample.at > samples[-1].at * COUNTED]
    if samples[-1].at * (1 - COUNTED) < LEAST_SECONDS:
        report.warnings.append(
            f"no verdict on memory: it takes {LEAST_SECONDS / (1 - COUNTED) / 60:g} minutes and more"
        )
        return None
    line = trend([sample.at for sample in counted], [float(sample.memory) for sample in counted])
    slope, lower, upper = (rate * 60 / 1024 for rate in (line.slope, line.lower, line.upper))
    middle = line.at((counted[0].at + counted[-1].at) / 2)
    report.check(
        f"memory grows by no more than {most_growth:g} KiB a minute",
        lower <= most_growth,
        f"{slope:+.0f} KiB a minute (95 %: {lower:+.0f} and more, {upper:+.0f} and less), "
        f"{line.slope * 3600 / middle:+.1%} an hour of {middle / 2**20:.1f} MiB, over the last "
        f"{counted[-1].at - counted[0].at:.0f} s",
    )
    if lower <= most_growth < upper:
        report.warnings.append(
            f"memory: not certain, growth of up to {upper:.0f} KiB a minute cannot be told from none; more "
            "--minutes can"
        )
    return line


def _course(samples: Sequence[Sample]) -> Table:
    size = -(-len(samples) // ROWS)
    slices = [samples[at : at + size] for at in range(0, len(samples), size)]

    def middle(part: Sequence[Sample], of: Callable[[Sample], float]) -> float:
        return median([of(sample) for sample in part])

    return Table(
        ["medians until, s", "connections", "sockets", "tasks", "descriptors", "own memory MiB", "PSS MiB",
         "server CPU", "p99 ms", "worst p99 ms", "closes so far"],
        [
            [
                f"{part[-1].at:.0f}",
                f"{middle(part, lambda sample: sample.connections):.0f}",
                f"{middle(part, lambda sample: sample.sockets):.0f}",
                f"{middle(part, lambda sample: sample.tasks):.0f}",
                f"{middle(part, lambda sample: sample.descriptors):.0f}",
                f"{middle(part, lambda sample: sample.memory) / 2**20:.1f}",
                f"{middle(part, lambda sample: sample.proportional) / 2**20:.1f}",
                f"{middle(part, lambda sample: sample.cpu_share):.0%}",
                milliseconds(middle(part, lambda sample: sample.p99)),
                milliseconds(max(sample.p99 for sample in part)),
                f"{sum(part[-1].closes.values()):,}",
            ]
            for part in slices
        ],
    )  # fmt: skip


def _done(sums: Sums) -> Table:
    assert sums.churned is not None
    rows = [
        ["publications of the steady room", f"{sums.states['steady'].published:,}"],
        ["deliveries of it", f"{sums.states['steady'].received:,}"],
        ["deliveries of the small rooms", f"{sums.states['small'].received:,}"],
        ["pings answered by the idle", f"{sums.states['idle'].pings:,}"],
        ["clients that came and went", f"{sums.churned.came:,}"],
        *([f"of them {way}", f"{count:,}"] for way, count in sums.churned.ways.items()),
        ["clients that stopped reading", f"{sums.slow:,}"],
        ["hostile connections", f"{sum(sums.attacks.values()):,}"],
        *([f"of them: {kind}", f"{count:,}"] for kind, count in sorted(sums.attacks.items())),
        ["HTTP requests", f"{sums.requests:,}"],
        ["CPU of the load", f"{sums.load_share:.0%}"],
    ]
    return Table(["what was done", "in all"], rows)


def _held(empty: Holdings, samples: Sequence[Sample], left: Holdings) -> Table:
    last = samples[-1]
    during = {
        "connections": last.connections,
        "sockets": last.sockets,
        "tasks": last.tasks,
        "descriptors": last.descriptors,
    }
    remains = left.numbers()
    return Table(
        ["what the server holds", "empty", "at the end of the load", "all gone"],
        [
            [name, f"{number:,}", f"{during[name]:,}" if name in during else "", f"{remains[name]:,}"]
            for name, number in empty.numbers().items()
        ],
    )


def _plots(samples: Sequence[Sample], line: Trend | None) -> list[Lines]:
    at = [sample.at for sample in samples]
    memory = [
        Curve("its own", at, [sample.memory / 2**20 for sample in samples]),
        Curve("proportional set size", at, [sample.proportional / 2**20 for sample in samples]),
    ]
    marks: list[tuple[float, str]] = []
    if line is not None:
        ends = [at[-1] * COUNTED, at[-1]]
        memory.append(Curve("its own, by least squares", ends, [line.at(end) / 2**20 for end in ends]))
        marks.append((ends[0], "counted from here"))
    return [
        Lines("Memory of the server", "seconds", "MiB", memory, marks=marks),
        Lines(
            "Connections",
            "seconds",
            "connections",
            [
                Curve("in the hub", at, [float(sample.connections) for sample in samples]),
                Curve("sockets", at, [float(sample.sockets) for sample in samples]),
            ],
        ),
        Lines(
            "Latency of the steady room, look by look",
            "seconds",
            "p99, ms",
            [Curve("p99", at, [sample.p99 * 1e3 for sample in samples])],
        ),
    ]
