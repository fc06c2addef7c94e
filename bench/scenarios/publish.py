"""Back ends publish over HTTP as fast as they can, while a room under load goes on."""

from dataclasses import asdict, dataclass
from typing import Annotated

import msgspec
import trio
from cyclopts import Parameter

from tidings.bench.observe import cpu_seconds
from tidings.bench.replies import Done, FleetState, HttpRun, Quantiles
from tidings.bench.report import Report, Table, milliseconds
from tidings.bench.server import Settings
from tidings.bench.workbench import Workbench, poll, progress

OK = "200"

# Handed to the server and the publishers of this run alone.
API_KEY = "bench-" + "k" * 32

DRAIN_SECONDS = 10.0
WARM_UP_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class Options:
    """What can be set."""

    seconds: Annotated[float, Parameter(help="Length of each phase.")] = 10.0
    connections: Annotated[int, Parameter(help="HTTP connections, each with one request under way.")] = 16
    payload: Annotated[int, Parameter(help="Bytes of text in a publication.")] = 256
    clients: Annotated[int, Parameter(help="WebSocket clients in the room beside; 0 for none.")] = 200
    rate: Annotated[float, Parameter(help="Publications a second in that room.")] = 20.0
    required_rate: Annotated[float, Parameter(help="HTTP requests a second that must be reached.")] = 2000.0


async def run(options: Options, bench: Workbench) -> Report:
    """Run it. Raises ChildFailed."""
    report = Report(
        f"publish: POST /api/v1/publish of {options.payload} B on {options.connections} kept-alive connections, "
        f"alone and beside a room of {options.clients:,} under {options.rate:g} publications/s"
    )
    server = await bench.server(Settings(api_key=API_KEY))
    load = await bench.http_load()
    port = server.ready.port

    async def publish(seconds: float) -> tuple[HttpRun, float]:
        """A run, and the server's CPU seconds meanwhile."""
        before = cpu_seconds(server.pid)
        fields = {"port": port, "connections": options.connections, "seconds": seconds}
        found = await load.ask(HttpRun, "run", payload=options.payload, key=API_KEY, **fields)
        return found, cpu_seconds(server.pid) - before

    await publish(WARM_UP_SECONDS)
    progress("HTTP alone")
    alone, alone_cpu = await publish(options.seconds)
    runs = {"alone": (alone, alone_cpu)}
    latency: dict[str, Quantiles] = {}
    if options.clients:
        clients = await bench.clients("client")
        await clients.connect(port, options.clients)
        await clients.ask(Done, "load", rate=options.rate, payload=options.payload)
        await trio.sleep(WARM_UP_SECONDS)
        for phase in ("before", "during", "after"):
            progress(f"a room under load, {phase} the HTTP publishers")
            await clients.ask(Done, "phase", name=phase)
            if phase == "during":
                runs["beside a room"] = await publish(options.seconds)
            else:
                await trio.sleep(options.seconds)
        await clients.ask(Done, "load_end")

        async def look() -> FleetState:
            return await clients.ask(FleetState, "state")

        state = await poll(look, lambda seen: seen.lowest == seen.published, DRAIN_SECONDS)
        report.check(
            "the room's ledger: every publication, once, in order",
            state.joined == options.clients
            and state.lowest == state.highest == state.published > 0
            and not (state.missing or state.repeated or state.problem_count),
            f"{state.joined} clients at offset {state.lowest}-{state.highest} of {state.published}, "
            f"{state.problem_count} problems {state.problems or ''}",
        )
        for phase in ("before", "during", "after"):
            latency[phase] = await clients.ask(Quantiles, "latency", phase=phase)
    _judge(report, options, runs)
    report.check("the server logged no fault", not server.errors(), server.errors()[:3] or "none")
    report.tables += _tables(runs, latency)
    report.raw = {
        "options": asdict(options),
        "runs": {name: msgspec.to_builtins(found) | {"cpu": cpu} for name, (found, cpu) in runs.items()},
        "latency": msgspec.to_builtins(latency),
    }
    return report


def _judge(report: Report, options: Options, runs: dict[str, tuple[HttpRun, float]]) -> None:
    for name, (found, _) in runs.items():
        report.check(
            f"{name}: every request answered 200, on the connection it came by",
            set(found.statuses) == {OK} and not found.failures,
            f"{found.statuses} {found.failures or ''}",
        )
    rate = runs["alone"][0].requests / runs["alone"][0].seconds
    report.check(
        f"{options.required_rate:,.0f} requests a second", rate >= options.required_rate, f"{rate:,.0f}"
    )


def _tables(runs: dict[str, tuple[HttpRun, float]], latency: dict[str, Quantiles]) -> list[Table]:
    tables = [
        Table(
            ["POST /api/v1/publish", "requests/s", "CPU µs a request", "p50 ms", "p99 ms", "max ms"],
            [
                [
                    name,
                    f"{found.requests / found.seconds:,.0f}",
                    # The room's share is in it, where there is one.
                    f"{cpu / max(found.requests, 1) * 1e6:.0f}",
                    *map(milliseconds, (found.latency.p50, found.latency.p99, found.latency.worst)),
                ]
                for name, (found, cpu) in runs.items()
            ],
        )
    ]
    if latency:
        head = ["latency in the room, ms", "deliveries", "p50", "p90", "p99", "p99.9", "max"]
        rows = [
            [name, f"{found.count:,}",
             *map(milliseconds, (found.p50, found.p90, found.p99, found.p999, found.worst))]
            for name, found in latency.items()
        ]  # fmt: skip
        tables.append(Table(head, rows))
    return tables
