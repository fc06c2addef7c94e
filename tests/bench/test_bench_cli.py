"""What the command line refuses at once, and how it takes an interruption."""

import signal
import sys
from pathlib import Path

import pytest
import trio

from tidings.bench import cli
from tidings.bench.options import Output
from tidings.bench.report import Report
from tidings.bench.workbench import Workbench


@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_whatever_asks_it_to_end_interrupts_a_run_also_within_nurseries(asked: signal.Signals) -> None:
    """So that each block is left, and nothing stays behind."""

    async def scenario() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            await trio.lowlevel.checkpoint()
            signal.raise_signal(asked)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), cli.interruptible():
        trio.run(scenario)
    assert signal.getsignal(signal.SIGTERM) is before


def test_other_failures_come_out_as_they_are() -> None:
    """A group without an interruption in it is none."""
    with pytest.raises(ExceptionGroup), cli.interruptible():
        raise ExceptionGroup("", [ValueError()])


@pytest.mark.parametrize(
    "arguments",
    [
        ["storm", "--rounds", "0"],
        ["storm", "--rate", "0"],
        ["slow", "--clients", "0"],
        ["soak", "--churn", "0.5"],
        ["dead", "--clients", "10", "--dead", "10"],
        ["dead", "--dead", "3"],
        ["idle", "--json", "missing/results.json"],
        ["idle", "--picture", "missing/picture.svg"],
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_started(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a word to standard error: not when minutes of figures are there and lost."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tidings.bench.workbench.running", None)
    with pytest.raises(SystemExit) as ended:
        cli.app(arguments)
    assert ended.value.code in (1, 2)


def test_every_run_leaves_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where nobody named a place for it; raw samples of an earlier run are not taken for this one's."""
    monkeypatch.chdir(tmp_path)
    old = tmp_path / "build" / "bench" / "trial" / "samples" / "old.f64"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"12345678")

    async def scenario(_bench: Workbench) -> Report:
        await trio.lowlevel.checkpoint()
        found = Report("trial: nothing")
        found.check("it ends", True, "it did")
        return found

    with pytest.raises(SystemExit) as ended:
        cli._execute("trial", scenario, Output())
    assert ended.value.code == 0
    left = old.parent.parent
    assert "it ends" in (left / "report.md").read_text()
    assert "it ends" in (left / "report.html").read_text()
    assert b'"kept": true' in (left / "results.json").read_bytes()
    assert not old.exists()


def test_without_what_draws_the_report_has_no_plots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody asked for them; how to get them is said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)

    async def scenario(_bench: Workbench) -> Report:
        await trio.lowlevel.checkpoint()
        return Report("trial: nothing")

    with pytest.raises(SystemExit) as ended:
        cli._execute("trial", scenario, Output())
    assert ended.value.code == 0
    assert "pip install 'tidings[bench]'" in capsys.readouterr().out
    assert (tmp_path / "build/bench/trial/report.md").exists()
