"""The tables and plots of `fanout`."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from tidings.bench.contest import FLOOR, OURS, Entry, named
from tidings.bench.growth import Stage
from tidings.bench.open_loops import OpenResult
from tidings.bench.quantiles import CURVE_SHARES, median
from tidings.bench.replies import Quantiles
from tidings.bench.report import Bars, Curve, Distribution, Lines, Plot, Table, microseconds, milliseconds

_NOT_COUNTED = "not counted"


def ratio_to(entry: Entry, other: Entry | None) -> str:
    """CPU as a multiple of another's."""
    return "" if other is None else f"{entry.cpu / other.cpu:.2f}"


def run_range(values: Sequence[float]) -> str:
    """The least and the most, in microseconds."""
    return f"{microseconds(min(values))}-{microseconds(max(values))}"


def _five(latency: Quantiles) -> list[str]:
    values = latency.p50, latency.p90, latency.p99, latency.p999, latency.worst
    return [milliseconds(value) for value in values]


def tables(entries: Sequence[Entry], opened: Mapping[str, OpenResult]) -> list[Table]:
    """What it costs, and how long it takes."""
    ours, floor = named(entries, OURS), named(entries, FLOOR)
    found = [
        Table(
            ["server", "CPU µs/delivery", "range", "times ours", "times the floor", "completion ms", "deliveries/s",
             "load CPU"],
            [_costs(entry, ours, floor) for entry in entries],
        ),
        Table(
            ["closed loop, latency in ms", "p50", "p90", "p99", "p99.9", "max of all runs"],
            [
                [entry.title, *_medians(entry)] if entry.counts else [entry.title, _NOT_COUNTED, *[""] * 4]
                for entry in entries
            ],
        ),
    ]  # fmt: skip
    if opened:
        found.append(
            Table(
                ["open loop, one run each, latency in ms from when due", "rate, messages/s", "p50", "p90", "p99",
                 "p99.9", "max", "CPU µs/delivery", "load CPU"],
                [_opened(entry, opened[entry.name]) for entry in entries if entry.name in opened],
            )
        )  # fmt: skip
    return found


def _costs(entry: Entry, ours: Entry | None, floor: Entry | None) -> list[str]:
    if not entry.counts:
        return [entry.title, _NOT_COUNTED, *[""] * 6]
    return [
        entry.title,
        microseconds(entry.cpu),
        run_range(entry.per_delivery),
        ratio_to(entry, ours),
        ratio_to(entry, floor),
        milliseconds(entry.figure("completion")),
        f"{entry.figure('per_second'):,.0f}",
        f"{entry.figure('load'):.0%}",
    ]


def _medians(entry: Entry) -> list[str]:
    return [
        *(milliseconds(entry.figure(name)) for name in ("p50", "p90", "p99", "p999")),
        milliseconds(entry.worst),
    ]


def _opened(entry: Entry, result: OpenResult) -> list[str]:
    rate = f"{result.published / max(result.seconds, 1e-9):.1f}"
    if not entry.counts:
        return [entry.title, rate, _NOT_COUNTED, *[""] * 6]
    if result.overloaded:
        return [entry.title, rate, f"overloaded after {result.seconds:.1f} s", *[""] * 6]
    return [
        entry.title,
        rate,
        *_five(result.latency),
        microseconds(result.cpu),
        f"{result.load_share:.0%}",
    ]


def plots(entries: Sequence[Entry], opened: Mapping[str, OpenResult], clients: int) -> list[Plot]:
    """The same, to be seen."""
    counted = [entry for entry in entries if entry.counts]
    found: list[Plot] = [
        Bars(
            f"Server CPU for a delivery, {clients:,} clients",
            "µs",
            [entry.title for entry in counted],
            [entry.cpu * 1e6 for entry in counted],
            [(min(entry.per_delivery) * 1e6, max(entry.per_delivery) * 1e6) for entry in counted],
            [entry.title for entry in counted if entry.name == OURS],
        ),
        Distribution(
            "Latency, one message at a time",
            [_curve(entry.title, _middle([run.latency.curve for run in entry.runs])) for entry in counted],
        ),
    ]
    keeping_up = [entry for entry in counted if entry.name in opened and not opened[entry.name].overloaded]
    if keeping_up:
        found.append(
            Distribution(
                "Latency at a set rate, from when a message was due",
                [_curve(entry.title, opened[entry.name].latency.curve) for entry in keeping_up],
            )
        )
    return found


def _middle(curves: Iterable[Sequence[float]]) -> list[float]:
    """Share by share the median of the runs."""
    return [median(values) for values in zip(*curves, strict=True)]


def _curve(label: str, values: Sequence[float]) -> Curve:
    return Curve(label, CURVE_SHARES[: len(values)], [value * 1e3 for value in values])


def growth_table(stages: Sequence[Stage], titles: Mapping[str, str]) -> Table:
    """A row for each number of clients."""
    others = [name for name in titles if name not in (OURS, FLOOR)]
    head = ["clients", "ours, CPU µs/delivery", "times the floor", "completion ms", "our KiB/connection"]
    return Table(
        [*head, *(f"{name}, µs" for name in others)],
        [
            [
                f"{stage.clients:,}",
                _known(stage.cpu, OURS, microseconds),
                f"{stage.to_floor(OURS):.2f}" if {OURS, FLOOR} <= stage.cpu.keys() else "",
                _known(stage.completion, OURS, milliseconds),
                f"{stage.memory / 1024:.1f}",
                *(_known(stage.cpu, name, microseconds) for name in others),
            ]
            for stage in stages
        ],
    )


def growth_plots(stages: Sequence[Stage], titles: Mapping[str, str]) -> list[Plot]:
    """CPU, completion and memory against the number of clients."""

    def lines(values: Sequence[Mapping[str, float]], scale: float) -> list[Curve]:
        curves = []
        for name, title in titles.items():
            points = [
                (stage.clients, value[name] * scale)
                for stage, value in zip(stages, values, strict=True)
                if name in value
            ]
            curves.append(Curve(title, [x for x, _ in points], [y for _, y in points]))
        return curves

    cpu = lines([stage.cpu for stage in stages], 1e6)
    completion = lines([stage.completion for stage in stages], 1e3)
    memory = Curve(
        titles.get(OURS, OURS),
        [stage.clients for stage in stages],
        [stage.memory / 1024 for stage in stages],
    )
    return [
        Lines("CPU of a delivery against clients", "clients", "µs", cpu, log_x=True, log_y=True),
        Lines("Until the last one has it", "clients", "ms", completion, log_x=True, log_y=True),
        Lines("Memory of a connection", "clients", "KiB", [memory], log_x=True),
    ]


def _known(values: Mapping[str, float], name: str, show: Callable[[float], str]) -> str:
    return show(values[name]) if name in values else ""
