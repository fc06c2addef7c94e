"""Real clients beside light ones: what they note, and what is made of the two kinds' figures."""

import signal
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import trio

from tidings.bench.crosscheck import CrossCheck, Group, Seen, judge
from tidings.bench.ledger import Ledger
from tidings.bench.processes import ChildFailed
from tidings.bench.quantiles import quantiles
from tidings.bench.real import RealClient
from tidings.bench.replies import Done, FleetState, Left, Quantiles
from tidings.bench.report import Report
from tidings.bench.scenarios import crosscheck
from tidings.bench.server import Settings
from tidings.bench.workbench import poll, workbench
from tidings.client import Gap, Publication

SECONDS = 60

# Publications of a check, and the offset after which they follow.
COUNT, FIRST = 10, 7

# What a run on a busy machine may break: it is about times.
ABOUT_TIMES = "not the slower measure"


def seen(title: str, number: int, latency: float, **changed: Any) -> Seen:
    """A group that got everything, but for what is changed."""
    fields: dict[str, Any] = {
        "joined": number,
        "received": 3000,
        "missing": 0,
        "repeated": 0,
        "pings": 0,
        "problem_count": 0,
        "problems": [],
        "lowest": FIRST + COUNT,
        "highest": FIRST + COUNT,
        "published": 0,
        "acknowledged": 0,
        "load_share": 0.1,
    }
    received = changed.pop("got", number * COUNT)
    samples = changed.pop("samples", received)
    clients: Any = None
    return Seen(
        Group(title, clients, number),
        msgspec.convert(fields | changed, FleetState),
        received,
        quantiles([latency] * samples),
    )


def judged(*, light: float = 1e-3, real: float = 2e-3, **changed: Any) -> CrossCheck:
    """Three groups; what is changed is of the real clients."""
    return judge(
        [seen("all", 100, light), seen("beside", 5, light), seen("real", 5, real, **changed)], FIRST, COUNT
    )


def broken(found: CrossCheck) -> list[str]:
    return [check.promise for check in found.checks if not check.kept]


def test_two_kinds_that_saw_the_same_agree() -> None:
    """Nothing is broken, and everybody's figures are handed on."""
    found = judged()
    assert broken(found) == []
    assert (found.light.p50, found.beside.p50, found.real.p50) == (1e-3, 1e-3, 2e-3)
    assert [row[1:4] for row in found.table.rows] == [
        ["100", "10", "1.00"],
        ["5", "10", "1.00"],
        ["5", "10", "2.00"],
    ]
    assert [len(curve.x) == len(curve.y) for curve in found.plot.curves] == [True] * 3


@pytest.mark.parametrize(
    "changed",
    [
        {"got": 49},
        {"got": 51},
        {"samples": 49},
        {"joined": 4},
        {"problem_count": 1, "problems": ["expected offset 8, got 9"]},
        {"lowest": FIRST + COUNT - 1},
        {"lowest": FIRST + COUNT + 1, "highest": FIRST + COUNT + 1},
    ],
)
def test_a_kind_that_saw_anything_else_is_found(changed: dict[str, Any]) -> None:
    """One too few or too many, one client gone or behind, one out of order."""
    (promise,) = broken(judged(**changed))
    assert promise.startswith("cross-check: real:")


def test_light_clients_that_are_the_slower_measure_are_found() -> None:
    """Then what they measure is themselves."""
    (promise,) = broken(judged(light=3e-3))
    assert ABOUT_TIMES in promise


def test_a_check_without_publications_proves_nothing() -> None:
    """All three kinds, and the comparison, are broken."""
    nothing: dict[str, Any] = {"got": 0, "lowest": FIRST, "highest": FIRST}
    groups = [seen(title, 5, 1e-3, **nothing) for title in ("all", "beside", "real")]
    assert len(broken(judge(groups, FIRST, 0))) == 4


def publication(offset: int) -> Publication:
    return Publication("room:bench", "room_message", None, offset, "e", None, raw=b'{"sent": 0.5}')


def test_a_real_client_notes_every_hole_and_what_comes_again() -> None:
    """What an application was handed is judged, whatever the client library thinks of it."""
    ledger, latencies = Ledger(), list[float]()
    client = RealClient(3, ledger, latencies.append)
    for offset in (5, 6, 8, 8):
        client.take(publication(offset))
    assert (ledger.received, ledger.missing, ledger.repeated, ledger.problem_count) == (4, 1, 1, 2)
    assert client.last == 8
    assert len(latencies) == 4
    client.take(Gap("room:bench", 9, 10, "e"))
    assert ledger.problem_count == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{}, {"tls": True, "engine": "reference"}], ids=["plain", "tls, reference"]
)
async def test_real_and_light_clients_see_the_same(options: dict[str, Any]) -> None:
    """Real sockets, real clients, one room."""
    with trio.fail_after(SECONDS):
        async with workbench() as bench:
            report = await crosscheck.run(
                crosscheck.Options(clients=20, real=3, seconds=1.0, rate=30, **options), bench
            )
    assert [check for check in report.checks if not check.kept and ABOUT_TIMES not in check.promise] == []
    publications = report.raw["publications"]
    assert publications >= 20
    assert {kind: found["count"] for kind, found in report.raw["latency"].items()} == {
        "light": 20 * publications,
        "beside": 3 * publications,
        "real": 3 * publications,
    }


async def until(look: Callable[[], Any], expected: Callable[[FleetState], bool]) -> FleetState:
    found: FleetState = await poll(look, expected, 10)
    return found


@pytest.mark.slow
async def test_real_clients_are_asked_as_light_ones_are_and_say_so_when_they_lose_their_server() -> None:
    """Publications heard, phases kept apart, what only light ones can do refused, all gone in the end.

    Without the server nobody comes back as if nothing had been missed; who cannot join is counted with the reason.
    """
    with trio.fail_after(SECONDS):
        async with workbench() as bench:
            server = await bench.server(Settings())
            clients = await bench.real_clients("real")
            with pytest.raises(ChildFailed, match="know nothing of ethernet"):
                await clients.connect(server.ready.port, 1, ethernet=1)
            joined = await clients.connect(server.ready.port, 2, server=server.pid)
            assert joined.joined == 2
            assert joined.server_cpu > 0
            for phase in ("one", "two"):
                await clients.ask(Done, "phase", name=phase)
                await server.ask(Done, "publish", payload=10)
                before = 0 if phase == "one" else 2
                await until(
                    lambda: clients.ask(FleetState, "state"),
                    lambda state, before=before: state.received == before + 2,  # type: ignore[misc]
                )
            counts = [
                (await clients.ask(Quantiles, "latency", phase=phase)).count
                for phase in ("one", "two", "no")
            ]
            assert counts == [2, 2, 0]
            assert (await clients.ask(Left, "leave")).dropped == 0
            assert (await clients.ask(FleetState, "state")).joined == 0
            assert (await clients.ask(FleetState, "state")).problem_count == 0

            await clients.connect(server.ready.port, 2)
            server.signal(signal.SIGKILL)
            state = await until(lambda: clients.ask(FleetState, "state"), lambda state: state.joined == 0)
            assert state.joined == 0
            assert state.problem_count >= 2
            with pytest.raises(ChildFailed, match="only 0 of 1 joined"):
                await clients.connect(server.ready.port, 1)


def test_the_outcome_goes_into_a_report() -> None:
    """Table, plot and promises, in three lines of any scenario."""
    report = Report("title")
    judged(got=1).tell(report)
    assert (len(report.tables), len(report.plots), len(report.checks)) == (1, 1, 4)
    assert not report.kept
