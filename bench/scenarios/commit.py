"""Publishing to durable channels on this disk: commits in groups against one each, and what the loop feels."""

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Final

import trio
from cyclopts import Parameter
from cyclopts.validators import Number

from tidings.bench.filesystem import tell_filesystem
from tidings.bench.observe import cores
from tidings.bench.options import Count
from tidings.bench.processes import ChildFailed
from tidings.bench.quantiles import median, quantiles
from tidings.bench.report import Report, Table, milliseconds
from tidings.bench.workbench import Workbench, progress
from tidings.server.brokers.durable import open_durable
from tidings.server.config.channels import ChannelRule
from tidings.server.policies import Policies
from tidings.server.store.requests import Operation
from tidings.server.store.store import Store
from tidings.server.store.writer import GroupWriter

# Enough for the first page of everything.
WARM_UP_SECONDS = 0.3
# How often somebody else in the loop wants his turn: more often, and looking is a tenth of what is looked at.
LOOK_SECONDS = 0.005
SYNCS = 50

# For the first commit of a phase, on a disk that others use.
PATIENCE_SECONDS = 30.0

POLICIES = Policies({"*": ChannelRule(durable=True, history_size=1000)})


@dataclass(frozen=True, kw_only=True)
class Options:
    """What can be set."""

    publishers: Annotated[
        int, Parameter(help="Tasks, each with one publication under way.", validator=Number(gte=1))
    ] = 64
    seconds: Annotated[float, Parameter(help="Length of each phase.", validator=Number(gt=0))] = 3.0
    rounds: Annotated[
        int, Parameter(help="Times that both are run, in turns.", validator=Number(gte=1))
    ] = 3
    payload: Annotated[int, Parameter(help="Bytes of text in a publication.", validator=Number(gte=0))] = (
        256
    )
    directory: Annotated[
        Path, Parameter(help="Where to put the databases: a directory on the disk to be measured.")
    ] = Path()
    channels: Annotated[
        tuple[Count, ...],
        Parameter(
            consume_multiple=True,
            help="Over how many channels they are spread, in turns: what each keeps is on pages of its own.",
        ),
    ] = (1, 20)
    required_ratio: Annotated[float, Parameter(help="How many times faster groups must be.")] = 10.0


class OneByOne(Store):
    """The same store, whose groups have one operation."""

    def _make_writer(self) -> GroupWriter[Operation]:
        return GroupWriter(self._commit, most_in_group=1)


KINDS: Final[Mapping[str, type[Store]]] = {"in groups": Store, "one by one": OneByOne}


@dataclass(frozen=True)
class Phase:
    """One run."""

    channels: int
    kind: str
    rate: float
    in_group: float
    waits: Sequence[float]
    """Seconds that a publication took."""
    lags: Sequence[float]
    """Seconds that a task of the loop woke too late."""
    idle_lags: Sequence[float]
    """As before anybody published."""


async def run(options: Options, _bench: Workbench) -> Report:
    """Run it. Raises ChildFailed, OSError, StoreRefused."""
    # Loop and writer, as in a server: each has a core.
    os.sched_setaffinity(0, cores())
    report = Report(
        f"commit: {options.publishers} publishers of {options.payload} B to durable channels, commits in groups"
        f" against one by one, {options.rounds} runs of {options.seconds:g} s each in turns"
    )
    phases: list[Phase] = []
    with tempfile.TemporaryDirectory(prefix="tidings-commit-", dir=options.directory) as name:
        tell_filesystem(report, Path(name), "name a --directory on one")
        syncs = _syncs(Path(name))
        for channels in options.channels:
            for number in range(options.rounds):
                for kind, store in KINDS.items():
                    progress(f"{_counted(channels)}, round {number + 1}: {kind}")
                    directory = Path(name) / f"{channels}-{number}-{store.__name__}"
                    found = await _phase(options, channels, kind, store(directory, POLICIES), directory)
                    phases.append(found)
    ratios = {channels: _ratio(phases, channels) for channels in options.channels}
    for channels, ratio in ratios.items():
        report.check(
            f"{_counted(channels)}: groups are {options.required_ratio:g} times as fast",
            ratio >= options.required_ratio,
            f"{ratio:.1f} times (median of {options.rounds} pairs)",
        )
    report.tables += _tables(phases, ratios)
    report.about["one sync of this disk, median"] = f"{milliseconds(median(syncs))} ms"
    report.raw = {
        "options": {key: str(value) for key, value in asdict(options).items()},
        "rates": [[phase.channels, phase.kind, phase.rate] for phase in phases],
        "ratios": ratios,
        "syncs": syncs,
    }
    return report


def _counted(channels: int) -> str:
    return f"{channels} channel{'s' if channels > 1 else ''}"


def _of(phases: Sequence[Phase], channels: int, kind: str) -> list[Phase]:
    return [phase for phase in phases if (phase.channels, phase.kind) == (channels, kind)]


def _ratio(phases: Sequence[Phase], channels: int) -> float:
    """How many times faster groups were, by the median of the pairs."""
    groups, singles = (_of(phases, channels, kind) for kind in KINDS)
    return median([many.rate / one.rate for many, one in zip(groups, singles, strict=True)])


async def _phase(options: Options, channels: int, kind: str, store: Store, directory: Path) -> Phase:
    payload = b'{"text":"%s"}' % (b"x" * options.payload)
    waits: list[float] = []
    lags: list[float] = []

    async with open_durable(directory, POLICIES, lambda _: None, store=store) as broker:

        async def publish(number: int) -> None:
            while True:
                began = time.perf_counter()
                await broker.publish(f"user:{number % channels}", "notification", payload, user_id="bench")
                waits.append(time.perf_counter() - began)

        async def look() -> None:
            while True:
                began = time.perf_counter()
                await trio.sleep(LOOK_SECONDS)
                lags.append(time.perf_counter() - began - LOOK_SECONDS)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            await trio.sleep(WARM_UP_SECONDS)
            idle_lags, lags = lags, []
            for number in range(options.publishers):
                nursery.start_soon(publish, number)
            await trio.sleep(WARM_UP_SECONDS)
            waits, lags = [], []
            groups, began = store.groups, time.perf_counter()
            await trio.sleep(options.seconds)
            # However slow the disk is, there is something to compare.
            with trio.move_on_after(PATIENCE_SECONDS):
                while not waits:  # noqa: ASYNC110  nobody tells of it
                    await trio.sleep(LOOK_SECONDS)
            if not waits:
                raise ChildFailed(f"--directory: nothing was committed in {PATIENCE_SECONDS:g} s")
            seconds = time.perf_counter() - began
            count = len(waits)
            found = Phase(
                channels,
                kind,
                count / seconds,
                count / max(1, store.groups - groups),
                list(waits),
                list(lags),
                idle_lags,
            )
            nursery.cancel_scope.cancel()
    return found


def _syncs(directory: Path) -> list[float]:
    """Seconds that a page and its sync take, as a commit needs them at least."""
    found = []
    with (directory / "sync").open("wb", buffering=0) as file:
        for _ in range(SYNCS):
            began = time.perf_counter()
            file.write(b"x" * 4096)
            os.fdatasync(file.fileno())
            found.append(time.perf_counter() - began)
    return found


def _tables(phases: Sequence[Phase], ratios: Mapping[int, float]) -> list[Table]:
    rows, lag_rows = [], []
    for channels, ratio in ratios.items():
        for kind in KINDS:
            found = _of(phases, channels, kind)
            waits = quantiles([wait for phase in found for wait in phase.waits])
            rows.append(
                [
                    f"{channels}",
                    kind,
                    f"{median([phase.rate for phase in found]):,.0f}",
                    " ".join(f"{phase.rate:,.0f}" for phase in found),
                    f"{ratio:.1f}" if kind == "in groups" else "1",
                    f"{median([phase.in_group for phase in found]):.1f}",
                    *map(milliseconds, (waits.p50, waits.p99, waits.worst)),
                ]
            )
            for when, lags in (
                ("before", [lag for phase in found for lag in phase.idle_lags]),
                ("during", [lag for phase in found for lag in phase.lags]),
            ):
                lag = quantiles(lags)
                name = f"{_counted(channels)}, {kind}, {when}"
                lag_rows.append([name, *map(milliseconds, (lag.p50, lag.p99, lag.worst))])
    heads = [
        "channels",
        "commits",
        "publications/s",
        "runs",
        "times",
        "in a group",
        "p50 ms",
        "p99 ms",
        "max ms",
    ]
    return [
        Table(heads, rows),
        Table(["the loop woke a task too late by", "p50 ms", "p99 ms", "max ms"], lag_rows),
    ]
