"""Devices that report customers to a line board, and its dashboards: every figure against a recount of the rows."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Final

import httpx
import msgspec
import trio
from cyclopts import Parameter
from cyclopts.validators import Number

from tidings.bench.lines_crowd import Ran, Settled
from tidings.bench.lines_judge import Told, judge_dashboards, judge_figures
from tidings.bench.lines_plan import plan
from tidings.bench.lines_recount import Counted, recount
from tidings.bench.observe import cpu_seconds, resident_bytes
from tidings.bench.options import DEFAULT_ENGINE, Count, Engine, NotNegative
from tidings.bench.profiles import TOKEN_SECONDS
from tidings.bench.replies import Done
from tidings.bench.report import Report, Table, milliseconds
from tidings.bench.scenarios.drain import port_of
from tidings.bench.workbench import Workbench, expect, progress
from tidings.server.auth import Authenticator
from tidings.server.config import Auth

# In turns: days that begin at different hours, and at half and quarter ones.
ZONES: Final = (
    *("Asia/Shanghai", "UTC", "America/New_York", "Asia/Kathmandu", "Europe/Berlin"),
    *("Asia/Tokyo", "Australia/Adelaide", "America/St_Johns", "Pacific/Kiritimati", "Pacific/Pago_Pago"),
)

# Of what was answered while devices sent as fast as they could: so much the open loop then asks for.
OPEN_SHARE: Final = 0.5


@dataclass(frozen=True, kw_only=True)
class Options:
    """What can be set."""

    engine: Annotated[Engine, Parameter(help="WebSocket engine of our server.")] = DEFAULT_ENGINE
    seed: Annotated[int, Parameter(help="Of everything that is drawn: who writes to whom, and when.")] = 1

    lines: Annotated[Count, Parameter(help="Incoming lines, in all.")] = 50_000
    duplicates: Annotated[
        float,
        Parameter(help="Share of them that are duplicates.", validator=Number(gte=0, lt=1)),
    ] = 0.2
    groups: Annotated[Count, Parameter(help="Groups, each with an activation code.")] = 20
    devices: Annotated[Count, Parameter(help="Devices, dealt out to the groups.")] = 200
    dashboards: Annotated[
        Count, Parameter(help="Dashboards, likewise; an administrator's comes in addition.")
    ] = 40
    window: Annotated[
        Count, Parameter(help="Lines that a device leaves unanswered, in the first half.")
    ] = 4
    rate: Annotated[
        NotNegative,
        Parameter(help="Lines a second in the second half; 0 for half of what the first half reached."),
    ] = 0.0
    store: Annotated[
        str, Parameter(help="The server's store.url: an empty database in PostgreSQL; SQLite unless given.")
    ] = ""


async def run(options: Options, bench: Workbench) -> Report:
    """Run it. Raises ChildFailed."""
    database = "PostgreSQL" if options.store else "SQLite"
    report = Report(
        f"lines: {options.lines:,} incoming lines, {options.duplicates:.0%} of them duplicates, from "
        f"{options.devices} devices in {options.groups} groups to {options.dashboards} dashboards and one of all, "
        f"on {database} ({options.engine} engine)"
    )
    expect(6)
    server = await bench.command(
        {
            "server.apps": '["*","lines"]',
            "server.engine": options.engine,
            "server.data_dir": "data",
            "store.url": options.store,
        }
    )
    port = await port_of(server)
    drawn = plan(
        groups=options.groups,
        devices=options.devices,
        lines=options.lines,
        duplicates=options.duplicates,
        seed=options.seed,
    )
    progress(f"{options.groups} groups")
    async with _administrator(bench, port) as http:
        made = [await _group(http, number) for number in range(options.groups)]
        crowd = await bench.lines_crowd()
        progress(f"{options.dashboards + 1} dashboards and {options.devices} devices come")
        await crowd.ask(
            Done,
            "connect",
            port=port,
            group_ids=[group["id"] for group in made],
            codes=[group["activation_code"] for group in made],
            devices=options.devices,
            dashboards=options.dashboards,
            lines=options.lines,
            duplicates=options.duplicates,
            seed=options.seed,
        )
        progress(f"{options.lines // 2:,} lines as fast as they are answered")
        spent = cpu_seconds(server.pid)
        closed = await crowd.ask(Ran, "run", part=0, window=options.window, rate=0.0)
        rate = options.rate or closed.lines / closed.seconds * OPEN_SHARE
        progress(f"{options.lines - options.lines // 2:,} lines, {rate:,.0f} a second")
        opened = await crowd.ask(Ran, "run", part=1, window=options.lines, rate=rate)
        spent = cpu_seconds(server.pid) - spent
        progress("what the dashboards have, and what new ones are shown")
        settled = await crowd.ask(Settled, "settle")
        progress("recount")
        counted = await trio.to_thread.run_sync(recount, options.store, bench.directory / "data")
        told = await _told(http, [group["id"] for group in made])
    judge_dashboards(report, settled, drawn.lines[-1], options.dashboards)
    codes = {group["id"]: group["activation_code"] for group in made}
    judge_figures(report, settled, counted, told, drawn.figures, codes)
    report.check("the server logged no fault", not server.errors(), server.errors()[:3] or "none")
    lines = closed.lines + opened.lines
    report.tables.append(
        Table(
            ["load", "lines", "lines/s", "p50 ms", "p99 ms", "max ms", "load's share of its core"],
            [
                _row(f"{options.window} a device unanswered", closed),
                _row(f"{rate:,.0f} a second", opened),
            ],
        )
    )
    report.tables.append(
        Table(
            ["server", ""],
            [
                ["CPU µs a line, with its deliveries", f"{spent / lines * 1e6:,.0f}"],
                ["memory at the end, MiB", f"{resident_bytes(server.pid) / 2**20:,.0f}"],
                ["updates of figures to dashboards", f"{settled.updates:,}"],
            ],
        )
    )
    report.raw = {
        "options": asdict(options),
        "closed": msgspec.to_builtins(closed),
        "open": msgspec.to_builtins(opened),
        "settled": msgspec.to_builtins(settled),
        "server_seconds": spent,
    }
    return report


def _row(name: str, ran: Ran) -> list[str]:
    figures = map(milliseconds, (ran.latencies.p50, ran.latencies.p99, ran.latencies.worst))
    return [name, f"{ran.lines:,}", f"{ran.lines / ran.seconds:,.0f}", *figures, f"{ran.cpu:.0%}"]


# --- HTTP --------------------------------------------------------------------------------------------------------


def _administrator(bench: Workbench, port: int) -> httpx.AsyncClient:
    token = Authenticator(Auth(secret=bench.secret)).issue("admin", roles=["admin"], ttl=TOKEN_SECONDS)
    return httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}/api/v1/lines",
        headers={"Authorization": f"Bearer {token}"},
        verify=False,
        timeout=60,
    )


async def _group(http: httpx.AsyncClient, number: int) -> dict[str, Any]:
    body = {"name": f"group {number}", "time_zone": ZONES[number % len(ZONES)]}
    made: dict[str, Any] = (await http.post("/groups", json=body)).raise_for_status().json()
    return made


async def _told(http: httpx.AsyncClient, groups: Sequence[int]) -> Told:
    """Read all figures, page by page."""
    of_groups: dict[int, Counted] = {}
    of_accounts: dict[str, Counted] = {}
    for group in groups:
        of_groups[group] = _figures(
            (await http.get(f"/groups/{group}")).raise_for_status().json()["figures"]
        )
        after: dict[str, int] = {}
        while True:
            page = (await http.get(f"/groups/{group}/accounts", params=after)).raise_for_status().json()
            of_accounts |= {each["line_account_id"]: _figures(each) for each in page["accounts"]}
            if not page["next"]:
                break
            after = {"after": page["next"]}
    return Told(of_groups, of_accounts)


def _figures(told: Mapping[str, Any]) -> Counted:
    names = ("total_incoming", "today_incoming", "duplicate_incoming", "today_duplicate")
    return Counted(*(told[name] for name in names))
