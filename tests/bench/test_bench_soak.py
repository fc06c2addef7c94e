"""The mixed load, for seconds; and that each of its checks can fail."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import pytest
import trio

from tidings.bench.hostile import ATTACKS
from tidings.bench.mixture import MixtureOptions, Sums
from tidings.bench.options import Engine
from tidings.bench.processes import ChildFailed
from tidings.bench.replies import Attacked, Churned, FleetState
from tidings.bench.report import Report
from tidings.bench.scenarios import soak
from tidings.bench.server import Settings
from tidings.bench.workbench import workbench

SECONDS = 90


def broken(report: Report) -> list[str]:
    return [f"{check.promise}: {check.found}" for check in report.checks if not check.kept]


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "tls"), [("native", True), ("reference", False)])
async def test_some_seconds_of_everything_leave_nothing(engine: Engine, tls: bool) -> None:
    """Each kind of load takes place and is met; every close is accounted for; the empty server is as it was."""
    options = soak.Options(
        minutes=0.08, every=0.5, clients=15, rate=60, payload=16000, small=12, rooms=4, small_rate=40, idle=10,
        ping_interval=0.8, churn=16, comers=8, slow=2, outbox_bytes=800_000, hostile=8, http=2, engine=engine,
        tls=tls,
    )  # fmt: skip
    with trio.fail_after(SECONDS):
        async with workbench() as bench:
            report = await soak.run(options, bench)
    assert broken(report) == []
    assert any("no verdict on memory" in warning for warning in report.warnings)
    sums = report.raw["sums"]
    assert min(sums["churned"]["ways"].values()) > 0
    assert sums["requests"] > 0
    assert sums["sealed"] >= 2
    assert {plot.title for plot in report.plots} == {
        "Memory of the server", "Connections", "Latency of the steady room, look by look",
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["native", "reference"])
async def test_each_hostile_connection_is_refused_as_it_must_be(engine: str) -> None:
    """All kinds, once."""
    with trio.fail_after(SECONDS):
        async with workbench() as bench:
            server = await bench.server(Settings(engine=engine))
            hostile = await bench.hostile()
            found = await hostile.ask(Attacked, "attack", port=server.ready.port, count=0, seed=3)
    assert found.wrong == []
    assert found.done == dict.fromkeys(ATTACKS, 1)


async def test_a_server_that_welcomes_everything_is_found_out() -> None:
    """Whoever answers 101 to all and says nothing more has refused nobody but who vanished by himself."""

    async def welcome(stream: trio.SocketStream) -> None:
        received = b""
        while b"\r\n\r\n" not in received:
            received += await stream.receive_some(65536)
        await stream.send_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        await stream.aclose()

    with trio.fail_after(SECONDS):
        async with workbench() as bench, trio.open_nursery() as nursery:
            hostile = await bench.hostile()
            [listener] = await nursery.start(partial(trio.serve_tcp, welcome, 0, host="127.0.0.1"))
            port = listener.socket.getsockname()[1]
            found = await hostile.ask(Attacked, "attack", port=port, count=0, seed=3)
            nursery.cancel_scope.cancel()
    assert found.wrong_count == len(ATTACKS) - 1


@pytest.mark.slow
async def test_the_small_rooms_are_others_than_the_steady_one() -> None:
    """One small room would bear its name."""
    with trio.fail_after(SECONDS):
        async with workbench() as bench:
            with pytest.raises(ChildFailed, match="--rooms"):
                await soak.run(soak.Options(rooms=1), bench)


STATE = FleetState(
    joined=200, received=6, missing=0, repeated=0, pings=1, problem_count=0, problems=[], lowest=3, highest=3,
    published=3, acknowledged=3, load_share=0.1, expected=6,
)  # fmt: skip


def good() -> Sums:
    return Sums(
        states={"steady": STATE, "small": msgspec.structs.replace(STATE, joined=150), "idle": STATE},
        dropped={"steady": 0, "small": 0, "idle": 0},
        churned=Churned(
            came=6, refused={}, ways={"closed": 3, "reset": 2, "killed": 1}, late=0, received=9,
            problem_count=0, problems=[],
        ),
        slow=3,
        sealed=3,
        attacks=Counter({"no mask": 2}),
        attack_closes=Counter({"1002": 2}),
        requests=5,
        statuses=Counter({"200": 5}),
    )  # fmt: skip


def _fleet(name: str, **fields: Any) -> Callable[[Sums], None]:
    def change(sums: Sums) -> None:
        sums.states[name] = msgspec.structs.replace(sums.states[name], **fields)

    return change


def _churned(**fields: Any) -> Callable[[Sums], None]:
    def change(sums: Sums) -> None:
        assert sums.churned is not None
        sums.churned = msgspec.structs.replace(sums.churned, **fields)

    return change


def _counted(**fields: int) -> Callable[[Sums], None]:
    def change(sums: Sums) -> None:
        for name, value in fields.items():
            setattr(sums, name, value)

    return change


FAULTS: dict[str, Callable[[Sums], None]] = {
    **{f"steady: {name}": _fleet("steady", **{name: value})
       for name, value in {"joined": 199, "lowest": 2, "highest": 4, "published": 4, "missing": 1, "repeated": 1,
                           "problem_count": 1, "received": 5}.items()},
    "steady: nothing published": _fleet("steady", lowest=0, highest=0, published=0),
    **{f"small: {name}": _fleet("small", **{name: value})
       for name, value in {"joined": 149, "received": 5, "missing": 1, "problem_count": 1}.items()},
    "idle: gone": _fleet("idle", joined=199),
    "idle: no pings": _fleet("idle", pings=0),
    "comers: one stayed": _churned(came=7),
    "comers: refused": _churned(refused={"HTTP/1.1 503": 1}),
    "comers: late": _churned(late=1),
    "comers: a problem": _churned(problem_count=1),
    "comers: nobody reset": _churned(came=4, ways={"closed": 3, "reset": 0, "killed": 1}),
    "slow: not sealed": _counted(sealed=2),
    "slow: nobody": _counted(sealed=0, slow=0),
    "hostile: welcomed": _counted(wrong_count=1),
    "hostile: nobody": lambda sums: sums.attacks.clear(),
    "HTTP: refused": lambda sums: sums.statuses.update({"503": 1}),
    "HTTP: broken off": lambda sums: sums.failures.update({"end of TCP": 1}),
    "HTTP: nothing answered": lambda sums: sums.statuses.clear(),
    "not let go": lambda sums: sums.dropped.update({"idle": 1}),
}  # fmt: skip


def _judged(sums: Sums) -> list[str]:
    report = Report("soak")
    soak.judge_load(report, MixtureOptions(), sums)
    return broken(report)


def test_what_went_well_breaks_no_promise() -> None:
    """Nor do kinds of load that were not asked for."""
    assert _judged(good()) == []
    report = Report("soak")
    sums = good()
    sums.slow = sums.sealed = 0
    sums.attacks.clear()
    sums.statuses.clear()
    soak.judge_load(report, MixtureOptions(slow=0, hostile=0, http=0), sums)
    assert broken(report) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_breaks_one_promise(fault: str) -> None:
    """And no other one."""
    sums = good()
    FAULTS[fault](sums)
    assert len(_judged(sums)) == 1


def test_the_closes_that_there_must_be() -> None:
    """By how everybody left."""
    assert good().expected() == {"1000": 553, "1002": 2, "1006": 3, "3008": 3}
