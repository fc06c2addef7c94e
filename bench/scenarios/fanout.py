"""One message to N clients in one room: what it costs the server, and when the last one has it."""

from dataclasses import asdict, dataclass
from typing import Annotated, Literal

import msgspec
from cyclopts import Parameter

from tidings.bench.observe import cores
from tidings.bench.peers import PEERS
from tidings.bench.processes import Child
from tidings.bench.quantiles import median
from tidings.bench.replies import FleetState, Rounds
from tidings.bench.report import Report, Table, microseconds, milliseconds
from tidings.bench.server import Settings
from tidings.bench.steer import receiving_on
from tidings.bench.workbench import Clients, Workbench, progress

OURS = "tidings"

# Above it the load is no longer sure to be the faster side.
BUSY = 0.8


@dataclass(frozen=True, kw_only=True)
class Options:
    """What can be set."""

    clients: Annotated[int, Parameter(help="Clients in the room.")] = 2000
    rounds: Annotated[int, Parameter(help="Messages in a run, one after another.")] = 30
    runs: Annotated[int, Parameter(help="Runs of each server, in turn; medians are over runs.")] = 5
    payload: Annotated[int, Parameter(help="Bytes of text in a message.")] = 256
    peers: Annotated[
        tuple[Literal["trio-websocket", "send-loop"], ...],
        Parameter(help="Servers to compare with, in the same run."),
    ] = ("trio-websocket", "send-loop")
    steer: Annotated[
        bool,
        Parameter(
            help="Have the receivers' half of TCP done on the load's core, as remote clients' machines"
            " would do it. Needs root."
        ),
    ] = False
    required_ratio: Annotated[
        float, Parameter(help="How many times less CPU than trio-websocket ours must need.")
    ] = 10.0


@dataclass
class _Entry:
    """A server with its clients."""

    name: str
    title: str
    server: Child
    clients: Clients
    runs: list[Rounds]

    @property
    def cpu(self) -> float:
        """Server CPU seconds for a delivery: the median of the runs."""
        return median([run.server_cpu / run.deliveries for run in self.runs])

    def row(self, ours: "_Entry") -> list[str]:
        completion = median([median(run.completion) for run in self.runs])
        shares = [run.load_share for run in self.runs]
        per_run = [run.server_cpu / run.deliveries for run in self.runs]
        return [
            self.title,
            microseconds(self.cpu),
            f"{microseconds(min(per_run))}-{microseconds(max(per_run))}",
            milliseconds(completion),
            milliseconds(median([run.latency.p50 for run in self.runs])),
            milliseconds(median([run.latency.p99 for run in self.runs])),
            f"{median([run.deliveries / sum(run.completion) for run in self.runs]):,.0f}",
            f"{median(shares):.0%}",
            f"{self.cpu / ours.cpu:.1f}",
        ]


async def run(options: Options, bench: Workbench) -> Report:
    """Run it. Raises ChildFailed; with `steer`, OSError where that is not to be had."""
    with receiving_on(cores()[1] if options.steer else None):
        return await _run(options, bench)


async def _run(options: Options, bench: Workbench) -> Report:
    report = Report(
        f"fanout: one message of {options.payload} B to {options.clients:,} clients in one room, "
        f"medians of {options.runs} alternating runs of {options.rounds}"
        + (", receivers' half of TCP on the load's core" if options.steer else "")
    )
    # Rounds follow each other as fast as they complete: no client speaks as often as its rate allows.
    # Heartbeats out of the measured minute: the peers have none, and what they cost is a figure of its own.
    server = await bench.server(Settings(command_rate=1e6, ping_interval=3600.0))
    entries = [_Entry(OURS, "tidings", server, await bench.clients("ours"), [])]
    for name in options.peers:
        peer = PEERS[name]
        child = await bench.peer(name, peer)
        entries.append(_Entry(name, peer.title, child, await bench.clients(f"of-{name}", "broadcast"), []))
    for entry in entries:
        await entry.clients.connect(entry.server.ready.port, options.clients)
        await _measure(entry, options, rounds=max(3, options.rounds // 10))  # warm-up
    for number in range(options.runs):
        for entry in entries if number % 2 else reversed(entries):
            entry.runs.append(await _measure(entry, options, options.rounds))
            progress(f"run {number + 1}: {entry.name} {microseconds(_per_delivery(entry.runs[-1]))} µs")
    ours = entries[0]
    report.tables.append(
        Table(
            ["server", "CPU µs/delivery", "range", "completion ms", "p50 ms", "p99 ms", "deliveries/s",
             "load CPU", "ratio of CPU"],
            [entry.row(ours) for entry in entries],
        )
    )  # fmt: skip
    for entry in entries:
        await _check_ledger(entry, report, options)
        if median([run.load_share for run in entry.runs]) > BUSY:
            report.warnings.append(
                f"the clients of {entry.title} used more than {BUSY:.0%} of their core: completion and latency "
                "are theirs as much as the server's (CPU per delivery is not affected)"
            )
    for entry in entries[1:]:
        if entry.name == "trio-websocket":
            ratio = entry.cpu / ours.cpu
            report.check(
                f"at least {options.required_ratio:g} times less CPU per delivery than {entry.title}",
                ratio >= options.required_ratio,
                f"{ratio:.1f} times",
            )
    report.check("the server logged no fault", not server.errors(), server.errors()[:3] or "none")
    report.raw = {
        "options": asdict(options),
        "servers": {entry.name: msgspec.to_builtins(entry.runs) for entry in entries},
    }
    return report


async def _measure(entry: _Entry, options: Options, rounds: int) -> Rounds:
    return await entry.clients.ask(
        Rounds, "closed_loop", rounds=rounds, payload=options.payload, server=entry.server.pid
    )


def _per_delivery(run: Rounds) -> float:
    return run.server_cpu / run.deliveries


async def _check_ledger(entry: _Entry, report: Report, options: Options) -> None:
    """Faster is only faster where nothing is missing."""
    state = await entry.clients.ask(FleetState, "state")
    complete = (
        state.joined == options.clients
        and state.received == state.published * options.clients
        and not state.problem_count
    )
    found = f"{state.received:,} of {state.published * options.clients:,}, {state.problem_count} problems"
    report.check(f"{entry.title}: every client got every message once, in order", complete, found)
