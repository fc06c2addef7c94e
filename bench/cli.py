"""The command line of the benchmarks: `tidings bench SCENARIO`, `python -m tidings.bench SCENARIO`."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import msgspec
import trio
from cyclopts import App, Parameter

from tidings.bench import page, peers
from tidings.bench.observe import cores, foreign_cpu_seconds, machine, siblings
from tidings.bench.options import PEERS, REPORTS, Output
from tidings.bench.processes import ChildFailed
from tidings.bench.progress import end
from tidings.bench.report import Report
from tidings.bench.scenarios import (
    commit,
    crosscheck,
    dead,
    drain,
    engines,
    fanout,
    garbage,
    idle,
    ingest,
    lines,
    micro,
    publish,
    resume,
    slow,
    soak,
    storm,
)
from tidings.bench.workbench import Workbench, workbench

app = App(
    name="bench",
    help="Benchmarks: thousands of simulated clients against a server on a core of its own.",
    version_flags=[],
    default_parameter=Parameter(negative=()),
    help_epilogue="bench/README.md explains method and limits.",
)

# Each module has `Options` and `run(options, bench) -> Report`; its first line is the command's help.
SCENARIOS: dict[str, ModuleType] = {
    "fanout": fanout,
    "ingest": ingest,
    "dead": dead,
    "storm": storm,
    "idle": idle,
    "slow": slow,
    "resume": resume,
    "micro": micro,
    "crosscheck": crosscheck,
    "soak": soak,
    "drain": drain,
    "publish": publish,
    "commit": commit,
    "lines": lines,
    "engines": engines,
    "gc": garbage,
}


def _command(name: str, module: ModuleType) -> Callable[..., None]:
    def command(options: Any = module.Options(), *, output: Any = Output()) -> None:  # noqa: B008  frozen
        _execute(name, partial(module.run, options), output)

    everything = Parameter(name="*")
    command.__annotations__["options"] = Annotated[module.Options, everything]
    command.__annotations__["output"] = Annotated[Output, everything]
    command.__doc__ = module.__doc__
    return command


for _name, _module in SCENARIOS.items():
    app.command(_command(_name, _module), name=_name)


@app.command(name="peers")
def show_peers(
    *,
    install: Annotated[bool, Parameter(help="Install what is missing, into the directory.")] = False,
    directory: Annotated[Path, Parameter(help="Where the peers' environments are.")] = PEERS,
) -> None:
    """The servers to compare with: which of them are installed, and what the others need."""
    try:
        if install:
            peers.install(directory)
        print(peers.listing(directory))
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"tidings bench: {directory}: {error}", file=sys.stderr)
        raise SystemExit(1) from None


@contextmanager
def interruptible() -> Iterator[None]:
    """Have what asks a process to end (as `timeout` or a closed terminal does) taken for Ctrl-C.

    Else directory and network of the run would stay behind. Interruption comes out as KeyboardInterrupt, also
    from within nurseries.
    """
    asked = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(each, lambda *_: signal.raise_signal(signal.SIGINT)) for each in asked]
    try:
        yield
    except BaseExceptionGroup as group:
        if group.subgroup(KeyboardInterrupt) is None:
            raise
        raise KeyboardInterrupt from None
    finally:
        for each, handler in zip(asked, before, strict=True):
            signal.signal(each, handler)


def _check_writable(*files: Path | None) -> None:
    """Raise OSError now, and not when minutes of figures are to be written."""
    for file in files:
        if file is not None:
            file.open("ab").close()


def _samples(directory: Path) -> Path:
    """An empty directory for raw samples, in a report's. Raises OSError."""
    samples = directory / "samples"
    samples.mkdir(parents=True, exist_ok=True)
    for old in samples.glob("*.f64"):
        old.unlink()  # of another run: they would seem to belong to this one
    return samples


def _execute(name: str, scenario: Callable[[Workbench], Awaitable[Report]], output: Output) -> None:
    """Run a scenario and print what it found; exit 0 when every promise was kept, else 1."""
    available = os.sched_getaffinity(0)
    server_core, load_core = cores()
    if server_core == load_core:
        print("warning: one core for server and load: only CPU times mean something", file=sys.stderr)
    elif load_core in siblings(server_core):
        print(
            "warning: server and load are two threads of one core: each slows the other down, CPU times too",
            file=sys.stderr,
        )
    directory = output.report or REPORTS / name
    try:
        if output.report is not None or output.picture is not None:
            page.check()
        _check_writable(output.json, output.picture)
        samples = _samples(directory)
        about = machine()
        began, foreign = time.monotonic(), foreign_cpu_seconds()

        async def main() -> Report:
            async with workbench(samples) as bench:
                # This process, which mostly waits, shares the core of the load, never the server's.
                os.sched_setaffinity(0, {load_core})
                return await scenario(bench)

        with interruptible():
            report = trio.run(main)
    except (ChildFailed, page.CannotDraw, OSError) as error:
        end()
        print(f"tidings bench: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        end()
        print("tidings bench: interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    finally:
        end()
        os.sched_setaffinity(0, available)
    share = (foreign_cpu_seconds() - foreign) / (time.monotonic() - began)
    about |= report.about | {"other processes meanwhile": f"{share:.0%} of a core"}
    print(report)
    print("\n".join(f"{name}: {value}" for name, value in about.items()))
    checks: list[Any] = [vars(check) for check in report.checks]
    result = {"machine": about, "kept": report.kept, "checks": checks, **report.raw}
    results = msgspec.json.format(msgspec.json.encode(result)) + b"\n"
    if output.json is not None:
        output.json.write_bytes(results)
    (directory / "results.json").write_bytes(results)
    try:
        print(f"report: {page.write(directory, report, about)}")
    except page.CannotDraw as error:
        # Nobody has asked for the page: what needs no plots is there all the same.
        print(f"report: {directory / 'report.md'} ({error})")
    if output.picture is not None:
        try:
            page.picture(report.plots[0], output.picture)
        except (IndexError, ValueError):
            print(
                "tidings bench: no picture: this report's first plot is missing or empty", file=sys.stderr
            )
    raise SystemExit(0 if report.kept else 1)
