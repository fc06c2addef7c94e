"""The ledger drill in real processes and real time: cut lines, a killed server, nothing lost and nothing silent."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from tidings.bench.observe import cores
from tidings.bench.report import Report
from tidings.bench.resume_client import DrillClient
from tidings.bench.resume_drill import Drill, Outcome, drill
from tidings.bench.resume_judge import PROMISES, judge
from tidings.bench.resume_ledger import Sheet
from tidings.bench.resume_publisher import DrillPublisher
from tidings.bench.resume_report import tell_drill
from tidings.client import Reconnect

# httpx leaves the body of a request to the garbage collector when the server dies while it is being sent, and trio
# says so.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <async_generator object ByteStream:pytest.PytestUnraisableExceptionWarning"
)

# Beside what is asked for: starting, connecting, coming back and becoming quiet on a machine that does more.
SLACK_SECONDS = 150


async def drilled(options: Drill, directory: Path) -> tuple[Outcome, Report]:
    with trio.fail_after(options.seconds + SLACK_SECONDS):
        outcome = await drill(options, directory, cores()[0])
    report = Report("drill")
    tell_drill(report, options, outcome)
    return outcome, report


def broken(report: Report) -> list[str]:
    return [f"{check.promise}: {check.found}" for check in report.checks if not check.kept]


@pytest.mark.slow
async def test_forty_clients_lose_nothing_behind_tls_when_the_server_is_killed_once(tmp_path: Path) -> None:
    """Durable channels have no gap, no repetition, one order; memory channels announce what they lost."""
    options = Drill(clients=40, seconds=8, rate=150, kills=1, cut_every=5, tls=True)
    outcome, report = await drilled(options, tmp_path)
    assert broken(report) == []
    assert len(report.checks) >= len(PROMISES)
    assert outcome.sheet.kept
    assert all(outcome.sheet.kept.values())
    # Whoever was in a memory channel knew its epoch, and was told of the next one.
    told = [gap for stream in outcome.sheet.streams for gap in stream.gaps if gap.last is None]
    assert len(told) >= sum(stream.channel not in outcome.sheet.durable for stream in outcome.sheet.streams)


@pytest.mark.slow
async def test_a_hundred_clients_lose_nothing_in_half_a_minute_with_two_kills(tmp_path: Path) -> None:
    """The whole of it, as `tidings bench resume` runs it, in half of its time with half of its clients and rate."""
    options = Drill(clients=100, seconds=30, rate=250, seed=2)
    outcome, report = await drilled(options, tmp_path)
    assert broken(report) == []
    assert len(outcome.kills) == 2
    # On a quiet machine each client is cut more than once; on a busy one coming back takes of the time.
    assert outcome.cuts.total() > options.clients // 2


@pytest.mark.slow
async def test_who_was_cut_in_the_last_moment_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A channel that keeps nothing has the last word for nobody who comes later: they are told of a gap."""

    clients: list[DrillClient] = []
    said: list[Sequence[str]] = []

    class Watched(DrillClient):
        async def live(self, *args: Any, **options: Any) -> None:
            clients.append(self)
            await super().live(*args, **options)

    class LastMoment(DrillPublisher):
        async def say(self, channels: Sequence[str]) -> None:
            # The first word in every channel is before the drill, the second after it.
            if len(said) == 1:
                for client in clients:
                    assert await client.cut(reset=True)
            said.append(channels)
            await super().say(channels)

    monkeypatch.setattr("tidings.bench.resume_drill.DrillClient", Watched)
    monkeypatch.setattr("tidings.bench.resume_drill.DrillPublisher", LastMoment)
    # For so long that some are away while it is said.
    monkeypatch.setattr("tidings.bench.resume_client.RECONNECT", Reconnect(base=2.0, cap=2.0, stable=1.0))
    outcome, _ = await drilled(Drill(clients=30, seconds=1, rate=50, kills=0), tmp_path)
    assert outcome.quiet
    assert any(stream.gaps for stream in outcome.sheet.streams)
    assert len(said) > 2


@pytest.mark.slow
async def test_a_drill_in_which_nothing_is_kept_keeps_no_promise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With durable channels in memory only, the ledger says so: a check that cannot fail is none."""
    monkeypatch.setattr("tidings.bench.resume_server.LOG", "none")
    # Nobody will have heard everything, however long it is waited for.
    monkeypatch.setattr("tidings.bench.resume_drill.QUIET_SECONDS", 8.0)
    _, report = await drilled(Drill(clients=10, seconds=5, rate=100, kills=1, cut_every=5), tmp_path)
    found = broken(report)
    for kind in ("promised", "gap", "kept"):
        assert any(PROMISES[kind] in each for each in found), kind


def test_a_drill_in_which_nothing_happened_proves_nothing() -> None:
    """A ledger without entries balances, and yet no promise was tried."""
    sheet = Sheet()
    nothing = Outcome(
        sheet=sheet,
        findings=judge(sheet),
        cuts=Counter(),
        kills=[],
        seconds=1.0,
        published=0,
        quiet=True,
        connections=0,
        recovered=0,
        unrecovered=0,
        replayed=0,
        retries=0,
    )
    report = Report("drill")
    tell_drill(report, Drill(), nothing)
    (found,) = broken(report)
    assert "there was something to lose" in found
    report = Report("drill")
    tell_drill(report, Drill(), replace(nothing, quiet=False, errors=["a fault"]))
    assert len(broken(report)) == 3
