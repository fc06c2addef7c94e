"""A room under load in which one client never reads, and one stops and reads on when it is too late."""

from dataclasses import asdict, dataclass
from typing import Annotated

import msgspec
import trio
from cyclopts import Parameter

from tidings.bench.processes import Child
from tidings.bench.replies import Clients as ClientList
from tidings.bench.replies import ClientState, Done, FleetState, Present, Quantiles, ServerState
from tidings.bench.report import Report, Table, milliseconds
from tidings.bench.server import Settings
from tidings.bench.workbench import Clients, Workbench, poll, progress

SLOW_CONSUMER = 3008

# Their numbers; both sit behind an Ethernet's segment size, see `client.py`.
NEVER_READS = 0
RESUMES = 1

# After the seal, and within `close_timeout` (2 s): the frames in the kernel's buffers are still to be had.
RESUME_SECONDS = 0.5

# Until the closing handshake is over, or given up.
CLOSE_SECONDS = 2.0 + 1.0

DRAIN_SECONDS = 10.0

BUSY = 0.8


@dataclass(frozen=True, kw_only=True)
class Options:
    """What can be set."""

    clients: Annotated[int, Parameter(help="Clients in the room, the two slow ones included.")] = 500
    seconds: Annotated[
        float, Parameter(help="Length of the run; the first third is without slow ones.")
    ] = 15.0
    rate: Annotated[float, Parameter(help="Publications a second.")] = 80.0
    payload: Annotated[int, Parameter(help="Bytes of text in a publication.")] = 4096
    outbox_bytes: Annotated[int, Parameter(help="The server's limits.outbox_bytes.")] = 1048576


async def run(options: Options, bench: Workbench) -> Report:
    """Run it. Raises ChildFailed."""
    report = Report(
        f"slow: a room of {options.clients:,} under {options.rate:g} publications/s of {options.payload} B; "
        "one client never reads, one stops and resumes after it was sealed"
    )
    # The publishers take turns, and a few thousand clients at 100/s are far below any one's rate.
    server = await bench.server(Settings(outbox_bytes=options.outbox_bytes))
    clients = await bench.clients("client")
    await clients.connect(server.ready.port, options.clients, ethernet=2)

    await clients.ask(Done, "load", rate=options.rate, payload=options.payload)
    await trio.sleep(options.seconds / 15)  # warm-up
    await clients.ask(Done, "phase", name="before")
    await clients.ask(FleetState, "state")
    progress("load without slow clients")
    await trio.sleep(options.seconds / 3)

    progress("two clients stop reading")
    await clients.ask(Done, "phase", name="during")
    for number in (NEVER_READS, RESUMES):
        await clients.ask(Done, "stall", number=number)
    stopped = trio.current_time()
    end = stopped + options.seconds * 2 / 3
    watch = _Watch(server)
    sealed = await poll(
        watch.look, lambda present: not any(present.groups.values()), options.seconds * 2 / 3
    )
    sealed_after = trio.current_time() - stopped
    was_sealed = not any(sealed.groups.values())
    report.check(
        "both are out of the hub while the load goes on",
        was_sealed,
        f"{sealed_after:.2f} s after they stopped",
    )
    if not was_sealed:
        report.warnings.append("they were never over their limit: raise --seconds, --rate or --payload")
    progress(f"sealed after {sealed_after:.2f} s; one reads on")
    await trio.sleep(RESUME_SECONDS)
    await clients.ask(Done, "resume", number=RESUMES)
    resumed = trio.current_time()

    async def look() -> ClientState:
        return (await clients.ask(ClientList, "clients", numbers=[RESUMES])).clients[0]

    victim = await poll(look, lambda seen: seen.is_gone, CLOSE_SECONDS)
    read_on = trio.current_time() - resumed
    closes = await poll(watch.closes, lambda seen: seen.get(str(SLOW_CONSUMER), 0) == 2, CLOSE_SECONDS)
    while trio.current_time() < end:
        await watch.closes()
        await trio.sleep(0.1)
    await clients.ask(Done, "load_end")
    load_share = (await clients.ask(FleetState, "state")).load_share
    state = await _drained(clients)

    others = options.clients - 2
    report.check(
        "the others' ledger: every publication, once, in order",
        state.joined == others + 1  # whoever never reads does not notice its end
        and state.lowest == state.highest == state.published
        and not (state.missing or state.repeated or state.problem_count),
        f"{others} clients at offset {state.lowest}-{state.highest} of {state.published}, {state.missing} "
        f"missing, {state.repeated} repeated, {state.problem_count} problems {state.problems or ''}",
    )
    report.check(
        "the one that resumed read whole frames only, then close 3008 and the end of TCP",
        victim.is_gone and victim.close_code == SLOW_CONSUMER and not victim.reset,
        f"{victim.received} publications up to offset {victim.last}, close {victim.close_code}, "
        f"{'reset' if victim.reset else f'ended after {read_on:.2f} s'}",
    )
    report.check(
        "both closes are recorded as 3008, and no other", closes == {str(SLOW_CONSUMER): 2}, closes
    )
    most = 2 * options.outbox_bytes
    report.check(
        "what waited for them stayed within their limits",
        0 < watch.outbox_bytes <= most,
        f"at most {watch.outbox_bytes:,} of {most:,} B seen",
    )
    report.check("the server logged no fault", not server.errors(), server.errors()[:3] or "none")
    phases = {name: await clients.ask(Quantiles, "latency", phase=name) for name in ("before", "during")}
    report.tables.append(
        Table(
            ["latency of the others, ms", "deliveries", "p50", "p90", "p99", "p99.9", "max"],
            [
                [name, f"{found.count:,}",
                 *map(milliseconds, (found.p50, found.p90, found.p99, found.p999, found.worst))]
                for name, found in phases.items()
            ],
        )
    )  # fmt: skip
    if load_share > BUSY:
        report.warnings.append(f"the clients used {load_share:.0%} of their core: latencies are theirs too")
    report.raw = {
        "options": asdict(options),
        "latency": msgspec.to_builtins(phases),
        "sealed_after_seconds": sealed_after,
        "load_share": load_share,
        "outbox_bytes": watch.outbox_bytes,
        "state": msgspec.to_builtins(state),
        "resumed": msgspec.to_builtins(victim),
    }
    return report


class _Watch:
    """Looks at the server, and remembers the most that it saw waiting."""

    def __init__(self, server: Child) -> None:
        self._server = server
        self.outbox_bytes = 0

    async def look(self) -> Present:
        await self.closes()
        return await self._server.ask(Present, "present", groups={"client": (NEVER_READS, RESUMES)})

    async def closes(self) -> dict[str, int]:
        state = await self._server.ask(ServerState, "stats")
        self.outbox_bytes = max(self.outbox_bytes, state.statistics["outbox_bytes"])
        return state.closes


async def _drained(clients: Clients) -> FleetState:
    async def look() -> FleetState:
        return await clients.ask(FleetState, "state")

    return await poll(look, lambda state: state.lowest == state.published, DRAIN_SECONDS)
