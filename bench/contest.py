"""Servers side by side in one run: who takes part, what each run found, and what may be concluded from it."""

import resource
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter
from cyclopts.validators import Number

from tidings.bench.options import PEERS, Common
from tidings.bench.processes import Child, ChildFailed
from tidings.bench.quantiles import median
from tidings.bench.replies import FleetState, Rounds
from tidings.bench.report import Report, microseconds
from tidings.bench.rivals import rivals
from tidings.bench.server import Settings
from tidings.bench.workbench import Clients, Workbench, poll, progress

OURS = "tidings"
FLOOR = "floor"

# Above it the load is no longer sure to be the faster side.
BUSY = 0.8

# Until everybody has what was sent last.
SETTLE_SECONDS = 30.0

# Deliveries before the first run, at least: a just-in-time compiler takes some ten thousand for its work. Not more
# rounds than that, where there are few clients.
WARM_UP_DELIVERIES = 20_000
_WARM_UP_ROUNDS = 500

# What a process has open beside its connections, generously.
_OTHER_DESCRIPTORS = 100


@dataclass(frozen=True, kw_only=True)
class ContestOptions(Common):
    """What can be set of a scenario with several servers."""

    runs: Annotated[
        int, Parameter(help="Runs of each server, in turn; medians are over runs.", validator=Number(gte=1))
    ] = 5
    peers: Annotated[
        tuple[str, ...],
        Parameter(
            help="Servers to compare with, in the same run: their names, `all` or `none`.",
            consume_multiple=True,
        ),
    ] = (FLOOR, "trio-websocket")
    peers_directory: Annotated[Path, Parameter(help="Where `peers --install` put them.")] = PEERS


@dataclass(frozen=True)
class Other:
    """A server that speaks our protocol and is measured beside ours."""

    name: str
    title: str
    program: Sequence[str]


@dataclass
class Entry:
    """A server that takes part."""

    name: str
    title: str
    server: Child
    profile: str
    failed: str = ""
    """Why its figures do not count."""
    acknowledged: bool = False
    """Whether its clients ask for an answer to each message."""
    _clients: Clients | None = None
    runs: list[Rounds] = field(default_factory=list)

    @property
    def clients(self) -> Clients:
        """Its clients of now."""
        assert self._clients is not None
        return self._clients

    @clients.setter
    def clients(self, clients: Clients) -> None:
        self._clients = clients

    @property
    def per_delivery(self) -> list[float]:
        """Server CPU seconds for a delivery, run by run."""
        return [run.server_cpu / run.deliveries for run in self.runs]

    @property
    def cpu(self) -> float:
        """The median of the runs."""
        return median(self.per_delivery)

    @property
    def counts(self) -> bool:
        """Whether its figures count."""
        return not self.failed and bool(self.runs)

    def figure(self, of: str) -> float:
        """The median over the runs of a figure by its name: completion, per_second, load, p50 and so on."""
        return median([_FIGURES[of](run) for run in self.runs])

    @property
    def worst(self) -> float:
        """The worst latency of all runs: a median of the worst ones would be one that was exceeded."""
        return max(run.latency.worst for run in self.runs)

    def fail(self, report: Report, why: str) -> None:
        """Take it out of the comparison, and say so."""
        if not self.failed:
            self.failed = why
            report.check(f"{self.title}: went through with it", kept=False, found=why)


_FIGURES: dict[str, Any] = {
    "completion": lambda run: median(run.completion),
    "per_second": lambda run: run.deliveries / sum(run.completion),
    "load": lambda run: run.load_share,
    "p50": lambda run: run.latency.p50,
    "p90": lambda run: run.latency.p90,
    "p99": lambda run: run.latency.p99,
    "p999": lambda run: run.latency.p999,
}


def refuse_too_many(clients: int) -> None:
    """Raises ChildFailed where a process may not have so many descriptors."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if clients + _OTHER_DESCRIPTORS > most:
        raise ChildFailed(
            f"{clients:,} clients need as many descriptors in one process, which may have {most:,}: "
            "raise `ulimit -Hn`, or take fewer"
        )


def title_of(options: ContestOptions) -> str:
    """Our server's name in tables."""
    return f"{OURS}, {options.engine}" + ", TLS" * options.tls


def settings_of(options: ContestOptions) -> Settings:
    """Our server's settings: messages follow each other as fast as they can, and no client keeps to its rate.

    Heartbeats stay out of the measured minute: the peers have none, and what they cost is a figure of its own.
    """
    return Settings(
        command_rate=1e6,
        command_burst=1_000_000,
        ping_interval=3600.0,
        engine=options.engine,
        tls=options.tls,
    )


async def enter(
    options: ContestOptions, bench: Workbench, report: Report, others: Sequence[Other] = ()
) -> list[Entry]:
    """Start ours, the others, and those of the peers that are installed; name in the report who is missing.

    Raises ChildFailed.
    """
    settings = settings_of(options)
    entries = [Entry(OURS, title_of(options), await bench.server(settings), "tidings")]
    entries += [
        Entry(other.name, other.title, await bench.other(other.name, other.program, settings), "tidings")
        for other in others
    ]
    found = rivals(options.peers, options.peers_directory, report)
    if options.tls and found:
        report.warnings.append("the peers speak no TLS and are left out")
        found = {}
    for name, peer in found.items():
        try:
            child = await bench.peer(name, peer)
        except ChildFailed as error:
            report.warnings.append(f"{name} is left out, it did not start: {error}")
        else:
            entries.append(Entry(name, peer.title, child, "broadcast"))
    return entries


async def measure(entry: Entry, report: Report, **fields: Any) -> Rounds | None:
    """One closed loop; None from a peer that failed, which is then out. Raises ChildFailed when ours did."""
    try:
        return await entry.clients.ask(
            Rounds, "closed_loop", server=entry.server.pid, acknowledged=entry.acknowledged, **fields
        )
    except ChildFailed as error:
        if entry.name == OURS:
            raise
        entry.fail(report, str(error))
        await entry.server.end()  # whatever it still does must not disturb the others
        return None


async def take_turns(
    entries: list[Entry],
    report: Report,
    options: ContestOptions,
    samples: str,
    *,
    deliveries: int,
    **fields: Any,
) -> None:
    """Closed loops: a warm-up of each, then runs in alternating order; they replace the runs of before.

    `fields` say what a loop is, with so many deliveries a round; `samples` begins the names of the raw samples.
    """
    enough = min(-(-WARM_UP_DELIVERIES // deliveries), _WARM_UP_ROUNDS)
    warm = fields | {"rounds": max(2, fields["rounds"] // 10, enough)}
    for entry in entries:
        entry.runs = []
        if not entry.failed:
            await measure(entry, report, seed=f"{options.seed}/warm-up", **warm)
    for number in range(options.runs):
        for entry in entries if number % 2 else reversed(entries):
            if entry.failed:
                progress(f"{samples}, run {number + 1}: {entry.name} is out")
                continue
            run = await measure(entry, report, seed=f"{options.seed}/{number}", **fields)
            if run is None:
                continue
            entry.runs.append(run)
            await entry.clients.keep_samples("all", f"{samples}-{entry.clients.name}-{number + 1}")
            progress(
                f"{samples}, run {number + 1}: {entry.name} {microseconds(run.server_cpu / run.deliveries)} µs"
            )


async def settled(entry: Entry) -> FleetState:
    """Its clients, once they have all that was sent, or SETTLE_SECONDS later."""

    async def look() -> FleetState:
        return await entry.clients.ask(FleetState, "state")

    def complete(state: FleetState) -> bool:
        answered = not entry.acknowledged or state.answers >= state.published
        return state.received >= state.expected and answered

    return await poll(look, complete, SETTLE_SECONDS)


async def check_ledger(entry: Entry, report: Report, clients: int, where: str = "") -> None:
    """Faster is only faster where nothing is missing: else its figures do not count."""
    if entry.failed:
        return
    try:
        state = await settled(entry)
    except ChildFailed as error:
        if entry.name == OURS:
            raise
        entry.fail(report, str(error))
        return
    complete = (
        state.joined == clients
        and state.expected > 0
        and state.received == state.expected
        and not state.problem_count
        and (not entry.acknowledged or state.answers == state.published)
    )
    found = f"{state.received:,} of {state.expected:,}, {state.problem_count} problems {state.problems[:2] or ''}"
    if entry.acknowledged:
        found += f", {state.answers:,} of {state.published:,} answered"
    report.check(
        f"{entry.title}{where}: every client got every message once, in order", complete, found.strip()
    )
    if not complete:
        entry.failed = "deliveries are missing, or not in order"


def named(entries: Sequence[Entry], name: str) -> Entry | None:
    """The entry of a name, if it takes part and its figures count."""
    return next((entry for entry in entries if entry.name == name and entry.counts), None)


def check_ratio(
    report: Report, promise: str, ours: Entry, other: Entry, most: float, *, below: bool = False
) -> None:
    """That ours needs at most so many times the CPU of another, by medians; `below`: less than that."""
    ratio = ours.cpu / other.cpu
    each = [mine / theirs for mine, theirs in zip(ours.per_delivery, other.per_delivery, strict=True)]
    report.check(
        promise,
        ratio < most if below else ratio <= most,
        f"{ratio:.3f}, run by run {min(each):.3f}-{max(each):.3f}",
    )


def warn_of_busy(report: Report, entries: Sequence[Entry], where: str = "") -> None:
    """Where the load was not sure to be the faster side."""
    busy = [entry.title for entry in entries if entry.counts and entry.figure("load") > BUSY]
    if busy:
        report.warnings.append(
            f"the clients used more than {BUSY:.0%} of their core{where} with {'; '.join(busy)}: completion, "
            "latency and deliveries/s are theirs as much as the server's (CPU per delivery is not affected)"
        )


def raw_options(options: ContestOptions) -> dict[str, Any]:
    """The options, for the raw results."""
    return asdict(options) | {"peers_directory": str(options.peers_directory)}


def raw_runs(entries: Sequence[Entry]) -> dict[str, Any]:
    """The runs of those whose figures count, for the raw results."""
    return {entry.name: msgspec.to_builtins(entry.runs) for entry in entries if entry.counts}
