"""Real clients among light ones in one room: whether both see the same, and how soon."""

from dataclasses import asdict, dataclass
from typing import Annotated

import msgspec
from cyclopts import Parameter
from cyclopts.validators import Number

from tidings.bench.crosscheck import crosscheck
from tidings.bench.options import Common
from tidings.bench.report import Report
from tidings.bench.server import Settings
from tidings.bench.workbench import Workbench, expect


@dataclass(frozen=True, kw_only=True)
class Options(Common):
    """What can be set."""

    clients: Annotated[int, Parameter(help="Light clients in the room.", validator=Number(gte=1))] = 500
    real: Annotated[
        int, Parameter(help="Real clients, and as many light ones next to them.", validator=Number(gte=1))
    ] = 20
    rate: Annotated[float, Parameter(help="Publications a second.", validator=Number(gt=0))] = 20.0
    payload: Annotated[int, Parameter(help="Bytes of text in each.", validator=Number(gte=1))] = 256
    seconds: Annotated[float, Parameter(help="How long.", validator=Number(gt=0))] = 10.0


async def run(options: Options, bench: Workbench) -> Report:
    """Run it. Raises ChildFailed."""
    report = Report(
        f"crosscheck: {options.real} real clients among {options.clients:,} light ones, {options.rate:g} "
        f"publications/s of {options.payload} B for {options.seconds:g} s"
    )
    server = await bench.server(Settings(engine=options.engine, command_rate=1e6, tls=options.tls))
    expect(1)
    clients = await bench.clients("light", tls=options.tls)
    await clients.connect(server.ready.port, options.clients)
    found = await crosscheck(
        bench,
        server,
        clients,
        count=options.real,
        seconds=options.seconds,
        rate=options.rate,
        payload=options.payload,
        tls=options.tls,
    )
    found.tell(report)
    report.check("the server logged no fault", not server.errors(), server.errors()[:3] or "none")
    report.raw = {
        "options": asdict(options),
        "publications": found.publications,
        "latency": msgspec.to_builtins({"light": found.light, "beside": found.beside, "real": found.real}),
    }
    return report
