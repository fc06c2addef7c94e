"""The command line of the benchmarks."""

import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import msgspec
import trio
from cyclopts import App, Parameter

from tidings.bench import subjects
from tidings.bench.observe import cores, foreign_cpu_seconds, machine
from tidings.bench.peers import install
from tidings.bench.processes import ChildFailed
from tidings.bench.report import Report
from tidings.bench.scenarios import dead, drain, engines, fanout, garbage, publish, slow
from tidings.bench.workbench import Workbench, workbench

app = App(
    name="bench",
    help="Benchmarks: thousands of simulated clients against a server on a core of its own.",
    version_flags=[],
    default_parameter=Parameter(negative=()),
    help_epilogue="bench/README.md explains method and limits.",
)

Json = Annotated[Path | None, Parameter(name="--json", help="File for the raw results.")]


@app.command(name="fanout")
def run_fanout(
    options: Annotated[fanout.Options, Parameter(name="*")] = fanout.Options(),  # noqa: B008  frozen
    *,
    json: Json = None,
) -> None:
    """One message to N clients: CPU per delivery and completion, beside other servers in the same run."""
    _execute(partial(fanout.run, options), json)


@app.command(name="dead")
def run_dead(
    options: Annotated[dead.Options, Parameter(name="*")] = dead.Options(),  # noqa: B008  frozen
    *,
    json: Json = None,
) -> None:
    """Half of the clients die without closing: detection against its bound, and what is left of them."""
    _execute(partial(dead.run, options), json)


@app.command(name="slow")
def run_slow(
    options: Annotated[slow.Options, Parameter(name="*")] = slow.Options(),  # noqa: B008  frozen
    *,
    json: Json = None,
) -> None:
    """A room under load in which two clients stop reading: what becomes of them, and of the others."""
    _execute(partial(slow.run, options), json)


@app.command(name="drain")
def run_drain(
    options: Annotated[drain.Options, Parameter(name="*")] = drain.Options(),  # noqa: B008  frozen
    *,
    json: Json = None,
) -> None:
    """SIGTERM to `tidings serve` under load: what every client is told, and how long it takes."""
    _execute(partial(drain.run, options), json)


@app.command(name="publish")
def run_publish(
    options: Annotated[publish.Options, Parameter(name="*")] = publish.Options(),  # noqa: B008  frozen
    *,
    json: Json = None,
) -> None:
    """HTTP publishers as fast as they can: requests a second, and a room's latency meanwhile."""
    _execute(partial(publish.run, options), json)


@app.command(name="engines")
def run_engines(
    options: Annotated[subjects.Options, Parameter(name="*")] = subjects.Options(),  # noqa: B008  frozen
    *,
    json: Json = None,
) -> None:
    """The WebSocket engines and FastAPI in turn: CPU of a handshake, memory, CPU of a message in."""
    _execute(partial(engines.run, options), json)


@app.command(name="gc")
def run_gc(
    options: Annotated[garbage.Options, Parameter(name="*")] = garbage.Options(),  # noqa: B008
    *,
    json: Json = None,
) -> None:
    """Settings of the garbage collector: its pauses and a room's latency beside many idle connections."""
    _execute(partial(garbage.run, options), json)


@app.command(name="peers")
def make_peers(environment: Path = subjects.PEERS) -> None:
    """Make the environment (a venv) of the peers that need one, with pip."""
    try:
        install(environment)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"tidings bench: {environment}: {error}", file=sys.stderr)
        raise SystemExit(1) from None


def _execute(scenario: Callable[[Workbench], Awaitable[Report]], json: Path | None) -> None:
    """Run a scenario and print what it found; exit 0 when every promise was kept, else 1."""
    available = os.sched_getaffinity(0)
    server_core, load_core = cores()
    if server_core == load_core:
        print("warning: one core for server and load: only CPU times mean something", file=sys.stderr)
    about = machine()
    began, foreign = time.monotonic(), foreign_cpu_seconds()

    async def main() -> Report:
        async with workbench() as bench:
            # This process, which mostly waits, shares the core of the load, never the server's.
            os.sched_setaffinity(0, {load_core})
            return await scenario(bench)

    try:
        report = trio.run(main)
    except ChildFailed as error:
        print(f"tidings bench: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("tidings bench: interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    finally:
        os.sched_setaffinity(0, available)
    share = (foreign_cpu_seconds() - foreign) / (time.monotonic() - began)
    about["other processes meanwhile"] = f"{share:.0%} of a core"
    print(report)
    print("\n".join(f"{name}: {value}" for name, value in about.items()))
    if json is not None:
        checks: list[Any] = [vars(check) for check in report.checks]
        result = {"machine": about, "kept": report.kept, "checks": checks, **report.raw}
        json.write_bytes(msgspec.json.format(msgspec.json.encode(result)) + b"\n")
    raise SystemExit(0 if report.kept else 1)
