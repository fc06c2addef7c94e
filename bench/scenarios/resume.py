"""Connections cut, the server killed, thousands back at once: whether anything is lost, doubled or silent."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import trio
from cyclopts import Parameter

from tidings.bench.filesystem import tell_filesystem
from tidings.bench.kernel import check_descriptors
from tidings.bench.observe import cores
from tidings.bench.options import Common, Count, CountOrNone, Positive
from tidings.bench.processes import ChildFailed
from tidings.bench.profiles import CHANNEL
from tidings.bench.report import Report
from tidings.bench.resume_drill import Drill, Outcome, drill
from tidings.bench.resume_report import tell_drill, tell_slow, tell_storm
from tidings.bench.resume_server import mortal
from tidings.bench.resume_slow import ROOM, slow
from tidings.bench.resume_storm import storm
from tidings.bench.workbench import Workbench, expect

# Publications a second that go on while thousands return, or few read slowly.
LIVE_RATE = 4.0

# More than is published: nothing of it may be trimmed.
KEPT = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Options(Common):
    """What can be set."""

    clients: Annotated[
        CountOrNone, Parameter(help="Real clients of the ledger drill, on lines that are cut; 0: no drill.")
    ] = 200
    seconds: Annotated[Positive, Parameter(help="How long it is published and cut.")] = 60.0
    rate: Annotated[Positive, Parameter(help="Publications a second.")] = 500.0
    kills: Annotated[CountOrNone, Parameter(help="Times that the server is killed with SIGKILL.")] = 2
    cut_every: Annotated[
        Positive, Parameter(help="Seconds between two cuts of one client's line, on average.")
    ] = 12.0
    payload: Annotated[CountOrNone, Parameter(help="Bytes of text in a publication of the drill.")] = 200
    storm: Annotated[
        CountOrNone, Parameter(help="Light clients that return to one channel at once; 0: none.")
    ] = 10_000
    backlog: Annotated[
        CountOrNone, Parameter(help="Publications that slow readers have missed; 0: no slow readers.")
    ] = 1000
    backlog_payload: Annotated[Count, Parameter(help="Bytes of text in each of them.")] = 16_384
    slow: Annotated[
        tuple[Count, ...], Parameter(consume_multiple=True, help="KiB/s that each slow reader reads.")
    ] = (512, 2048)


async def run(options: Options, bench: Workbench) -> Report:
    """Run it. Raises ChildFailed."""
    check_descriptors(options.storm)
    if not (options.clients or options.storm or options.backlog):
        raise ChildFailed("--clients, --storm and --backlog are 0: nothing is left to do")
    if options.backlog and not options.slow:
        raise ChildFailed("--slow: name at least one rate, or leave the backlog out (--backlog 0)")
    parts = [
        f"{options.clients} clients under {options.rate:g} publications/s for {options.seconds:g} s, lines cut, "
        f"the server killed {options.kills} times"
        if options.clients
        else "",
        f"{options.storm:,} return at once" if options.storm else "",
        f"{options.backlog:,} x {options.backlog_payload:,} B read slowly" if options.backlog else "",
    ]
    report = Report(
        f"resume: {'; '.join(filter(None, parts))} ({options.engine} engine{', TLS' if options.tls else ''})"
    )
    directory = Path(bench.hold(tempfile.TemporaryDirectory(prefix="tidings-bench-data-")))
    tell_filesystem(report, directory, "set TMPDIR to a folder on one")
    report.raw = {"options": asdict(options)}
    expect(
        (3 + options.kills if options.clients else 0)
        + (3 if options.storm else 0)
        + (2 if options.backlog else 0)
    )
    with _plain_failures():
        if options.clients:
            await _drill(options, report, directory / "drill")
        if options.storm or options.backlog:
            await _return(options, report, directory / "return")
    return report


async def _drill(options: Options, report: Report, directory: Path) -> None:
    await trio.Path(directory).mkdir()
    hard = Drill(
        clients=options.clients,
        seconds=options.seconds,
        rate=options.rate,
        kills=options.kills,
        cut_every=options.cut_every,
        payload=options.payload,
        seed=options.seed,
        engine=options.engine,
        tls=options.tls,
    )
    outcome = await drill(hard, directory, cores()[0])
    tell_drill(report, hard, outcome)
    report.raw["drill"] = _raw(outcome)


async def _return(options: Options, report: Report, directory: Path) -> None:
    await trio.Path(directory).mkdir()
    server_core, load_core = cores()
    settings: dict[str, Any] = {"server.engine": options.engine}
    for channel in (CHANNEL, f"room:{ROOM}"):
        settings[f"channels.{channel}.durable"] = "true"
        settings[f"channels.{channel}.history_age"] = "86400"
        settings[f"channels.{channel}.history_size"] = KEPT
    async with mortal(directory, settings, core=server_core, tls=options.tls) as server:
        if options.storm:
            returned = await storm(
                server, load_core, clients=options.storm, rate=LIVE_RATE, payload=options.payload
            )
            tell_storm(report, returned)
            report.raw["storm"] = asdict(returned)
        if options.backlog:
            outcome = await slow(
                server,
                backlog=options.backlog,
                payload=options.backlog_payload,
                rates=[rate * 1024.0 for rate in options.slow],
                live=LIVE_RATE,
            )
            tell_slow(report, outcome)
            report.raw["slow"] = [
                {
                    "rate": reader.rate,
                    "seconds": reader.seconds,
                    "bytes": reader.received,
                    "publications": len(reader.ids),
                    "problems": reader.problems,
                }
                for reader in outcome.readers
            ]
        report.check(
            "return: the server logged no fault", not server.errors(), server.errors()[:3] or "none"
        )


def _raw(outcome: Outcome) -> dict[str, Any]:
    return {
        "accepted": len(outcome.sheet.accepted),
        "handed": outcome.deliveries,
        "seconds": outcome.seconds,
        "published": outcome.published,
        "cuts": dict(outcome.cuts),
        "gaps": dict(outcome.gaps),
        "kills": [
            {"down": kill.up - kill.at, "last_back": kill.last_back - kill.up} for kill in outcome.kills
        ],
        "connections": outcome.connections,
        "recovered": outcome.recovered,
        "unrecovered": outcome.unrecovered,
        "replayed": outcome.replayed,
        "retries": outcome.retries,
        "findings": msgspec.to_builtins(dict(outcome.findings.counts)),
    }


@contextmanager
def _plain_failures() -> Iterator[None]:
    """Raise what failed in a nursery as the one ChildFailed that whoever runs a scenario expects."""
    try:
        yield
    except BaseExceptionGroup as group:
        failed, others = group.split(ChildFailed)
        if failed is None or others is not None:
            raise
        raise _first(failed) from None


def _first(group: BaseExceptionGroup[ChildFailed]) -> ChildFailed:
    one = group.exceptions[0]
    return _first(one) if isinstance(one, BaseExceptionGroup) else one
