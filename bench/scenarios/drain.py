"""SIGTERM to `tidings serve` with thousands of clients under load."""

import re
import signal
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Annotated

import msgspec
import trio
from cyclopts import Parameter

from tidings.bench.options import Common, Count, CountOrNone, Positive
from tidings.bench.processes import Child, ChildFailed
from tidings.bench.quantiles import quantiles
from tidings.bench.replies import Clients as ClientList
from tidings.bench.replies import ClientState, Done, FleetState
from tidings.bench.report import Report, Table
from tidings.bench.workbench import Clients, Workbench, expect, poll, progress

SHUTDOWN = 3001

# What the interpreter needs beside the drain itself.
SLACK_SECONDS = 1.0

WARM_UP_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class Options(Common):
    """What can be set."""

    clients: Annotated[Count, Parameter(help="Clients in the room.")] = 2000
    rate: Annotated[Positive, Parameter(help="Publications a second.")] = 20.0
    payload: Annotated[CountOrNone, Parameter(help="Bytes of text in a publication.")] = 256
    drain_seconds: Annotated[Positive, Parameter(help="The server's server.drain_seconds.")] = 30.0
    close_timeout: Annotated[Positive, Parameter(help="The server's heartbeat.close_timeout.")] = 2.0


async def run(options: Options, bench: Workbench) -> Report:
    """Run it. Raises ChildFailed."""
    report = Report(
        f"drain: SIGTERM to `tidings serve` with {options.clients:,} clients under {options.rate:g} "
        f"publications/s; drain_seconds = {options.drain_seconds:g} ({options.engine} engine"
        f"{', TLS' if options.tls else ''})"
    )
    expect(2)
    # The command that everybody runs, not the instrumented server: its exit status is what is promised.
    server = await bench.command(
        {
            "server.drain_seconds": options.drain_seconds,
            "server.engine": options.engine,
            "heartbeat.close_timeout": options.close_timeout,
        },
        tls=options.tls,
    )
    clients = await bench.clients("client", tls=options.tls)
    await clients.connect(await port_of(server), options.clients)
    await clients.ask(Done, "load", rate=options.rate, payload=options.payload, seed=str(options.seed))
    await trio.sleep(WARM_UP_SECONDS)
    before = await clients.ask(FleetState, "state")

    progress("SIGTERM")
    told_to = trio.current_time()
    server.signal(signal.SIGTERM)
    status = await server.wait(options.drain_seconds + SLACK_SECONDS)
    seconds = trio.current_time() - told_to
    await clients.ask(Done, "load_end")
    states = await _ended(clients)
    state = await clients.ask(FleetState, "state")

    report.check("exit status 0", status == 0, status)
    limit = options.drain_seconds + SLACK_SECONDS
    report.check(
        f"within the drain ({limit:g} s)", status is not None and seconds <= limit, f"{seconds:.2f} s"
    )
    told = Counter(client.told_code for client in states)
    report.check("every client got `disconnect` 3001", told == {SHUTDOWN: options.clients}, dict(told))
    delays = [client.told_delay for client in states if client.told_delay is not None]
    spread = quantiles(delays)
    report.check(
        "… saying to come back, spread over the drain",
        all(client.told_reconnect for client in states)
        and all(0 <= delay <= options.drain_seconds for delay in delays)
        and spread.worst > options.drain_seconds / 2,
        f"median {spread.p50:.1f} s, max {spread.worst:.1f} s",
    )
    closes = Counter(client.close_code for client in states)
    report.check("every client was closed with 3001", closes == {SHUTDOWN: options.clients}, dict(closes))
    resets = sum(client.reset for client in states)
    open_ = sum(not client.is_gone for client in states)
    report.check("… and its TCP ended in order", not resets and not open_, f"{resets} reset, {open_} open")
    lowest = min(client.last for client in states)
    report.check(
        "what was acknowledged before reached everybody",
        before.acknowledged > 0 and lowest >= before.acknowledged,
        f"acknowledged up to {before.acknowledged}, everybody has {lowest} or more",
    )
    report.check(
        "no gap, no repetition, nothing behind `disconnect`",
        not (state.missing or state.repeated or state.problem_count),
        f"{state.received:,} deliveries, {state.problem_count} problems {state.problems or ''}",
    )
    report.check("the server logged no fault", not server.errors(), server.errors()[:3] or "none")
    report.tables.append(
        Table(
            ["SIGTERM to exit", "s"],
            [["taken", f"{seconds:.2f}"], ["allowed (drain_seconds)", f"{options.drain_seconds:.2f}"]],
        )
    )
    report.raw = {
        "options": asdict(options),
        "seconds": seconds,
        "status": status,
        "delays": msgspec.to_builtins(spread),
        "state": msgspec.to_builtins(state),
    }
    return report


async def port_of(server: Child) -> int:
    """The port, from what the command tells a person."""
    for _ in range(20):
        found = re.search(r"wss?://127\.0\.0\.1:(\d+)/", await server.line())
        if found:
            return int(found[1])
    raise ChildFailed("tidings serve did not say where it listens")


async def _ended(clients: Clients) -> list[ClientState]:
    async def look() -> list[ClientState]:
        return (await clients.ask(ClientList, "clients", numbers=[])).clients

    return await poll(look, lambda states: all(client.is_gone for client in states), 5.0)
