"""Crowds that return and slow readers of a backlog, in real processes: few of them, and for a short while."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from tidings.bench.filesystem import filesystem_of, tell_filesystem
from tidings.bench.observe import cores
from tidings.bench.processes import ChildFailed
from tidings.bench.report import Lines, Report
from tidings.bench.resume_report import tell_slow, tell_storm
from tidings.bench.resume_server import mortal
from tidings.bench.resume_slow import Reader, SlowOutcome, slow
from tidings.bench.resume_storm import Returned, storm
from tidings.bench.resume_tape import Tape
from tidings.bench.scenarios import resume
from tidings.bench.workbench import workbench

SECONDS = 120


def broken(report: Report) -> list[str]:
    return [f"{check.promise}: {check.found}" for check in report.checks if not check.kept]


async def measured(options: resume.Options) -> Report:
    with trio.fail_after(SECONDS):
        async with workbench() as bench:
            return await resume.run(options, bench)


# --- the tape ------------------------------------------------------------------------------------------


def test_what_follows_on_the_tape_is_known_wherever_it_is_chopped() -> None:
    """Whole frames count; what is behind them is the beginning of the next one."""
    tape = Tape(10)
    frames = [b"one", b"second", b"3"]
    for offset, frame in enumerate(frames, 11):
        assert tape.take(offset, frame)
    assert tape.frames() == frames
    assert tape.last == 13
    everything = b"".join(frames)
    for end in range(len(everything) + 1):
        ends = [3, 9, 10]
        whole = sum(each <= end for each in ends)
        assert tape.follows(10, everything[:end]) == (10 + whole, ends[whole - 1] if whole else 0)
    assert tape.follows(11, b"second3") == (13, 7)


def test_what_is_not_on_the_tape_is_parsed() -> None:
    """Other bytes, more than there is yet, and positions from before."""
    tape = Tape(10)
    tape.take(11, b"one")
    assert tape.follows(10, b"onf") is None
    assert tape.follows(10, b"one!") is None
    assert tape.follows(9, b"one") is None
    assert tape.follows(12, b"") is None


def test_another_frame_at_a_known_place_is_found() -> None:
    """The same offset must have the same bytes at everybody."""
    tape = Tape(10)
    assert tape.take(11, b"one")
    assert tape.take(11, b"one")
    assert not tape.take(11, b"two")
    assert not tape.take(11, b"ones")
    assert tape.frames() == [b"one"]


# --- a crowd, and slow readers -------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("tls", [False, True])
async def test_a_crowd_returns_with_few_readings_and_slow_readers_miss_nothing(tls: bool) -> None:
    """Both parts as the command runs them, each promise kept."""
    report = await measured(
        resume.Options(
            clients=0, storm=150, backlog=120, backlog_payload=16_384, slow=(1024, 4096), tls=tls
        )
    )
    assert broken(report) == []
    assert report.raw["storm"]["complete"] == 150
    assert [reader["publications"] >= 120 for reader in report.raw["slow"]] == [True, True]
    (plot,) = report.plots
    assert isinstance(plot, Lines)
    assert plot.curves[0].y[-1] == 100


async def on_a_server(directory: Path, settings: dict[str, object]) -> tuple[Returned, SlowOutcome]:
    """A crowd and a slow reader on a server that is set otherwise."""
    with trio.fail_after(SECONDS):
        server_core, load_core = cores()
        async with mortal(directory, settings, core=server_core) as server:
            return (
                await storm(server, load_core, clients=20, rate=10.0, payload=100),
                await slow(server, backlog=60, payload=16_384, rates=[4e6], live=10.0),
            )


@pytest.mark.slow
async def test_a_server_that_keeps_too_little_breaks_the_promises(tmp_path: Path) -> None:
    """Nobody is recovered, and the tables say so: a check that cannot fail is none."""
    returned, slowly = await on_a_server(tmp_path, {"channels.room:*.history_size": 5})
    report = Report("resume")
    tell_storm(report, returned)
    tell_slow(report, slowly)
    found = broken(report)
    for promise in (
        "recovered, by the server's own count",
        "got everything missed",
        "the same bytes",
        "whole",
    ):
        assert any(promise in each for each in found), promise


KEPT = Returned(
    clients=9, cut=9, joined=9, refused={}, seconds=1.0, first=0.5, last=1.0, curve=[0.5, 1.0], complete=9,
    reads=50.0, recovered=9.0, unrecoverable=0.0, slow=0.0, closes={}, resent=0, server_cpu=0.1, load_share=0.1,
    meanwhile=3, same=True, problem_count=0, problems=[],
)  # fmt: skip


@pytest.mark.parametrize(
    ("change", "promise"),
    [
        ({}, ""),
        ({"reads": 51.0}, "readings of the history"),
        ({"reads": 0.0}, "readings of the history"),
        ({"joined": 8, "refused": {"end of TCP": 1}}, "everybody returned"),
        ({"complete": 8}, "everybody returned"),
        ({"slow": 1.0}, "3008"),
        ({"closes": {"3012": 1}}, "3008, or otherwise"),
        ({"same": False}, "the same bytes"),
        ({"problem_count": 1, "problems": ["client 3: offset 7"]}, "the same bytes"),
        ({"recovered": 8.0}, "recovered"),
        ({"unrecoverable": 1.0}, "recovered"),
    ],
)
def test_each_promise_of_a_return_can_be_broken(change: dict[str, Any], promise: str) -> None:
    """By the one figure that it is about."""
    report = Report("resume")
    tell_storm(report, replace(KEPT, **change))
    found = broken(report)
    assert bool(found) == bool(promise)
    assert all(promise in each for each in found[:1])


@pytest.mark.parametrize(
    ("reader", "slow_closes"),
    [
        (Reader(1.0, ids=["a", "b"], recovered=False), 0.0),
        (Reader(1.0, ids=["a"], recovered=True), 0.0),
        (Reader(1.0, ids=["b", "a"], recovered=True), 0.0),
        (Reader(1.0, ids=["a", "b"], recovered=True, problems=["offset 2 behind 0"]), 0.0),
        (Reader(1.0, ids=["a", "b"], recovered=True, close_code=3010), 0.0),
        (Reader(1.0, ids=["a", "b"], recovered=True), 1.0),
    ],
)
def test_each_promise_to_a_slow_reader_can_be_broken(reader: Reader, slow_closes: float) -> None:
    """And none is by one who has everything."""
    whole = Reader(1.0, ids=["a", "b"], recovered=True)
    for readers, closes, is_kept in (([whole], 0.0, True), ([whole, reader], slow_closes, False)):
        report = Report("resume")
        tell_slow(report, SlowOutcome(readers, 2, 10, ["a", "b"], closes, 0.0))
        assert report.kept is is_kept


# --- what is refused, and what is said -----------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [resume.Options(clients=0, storm=0, backlog=0), resume.Options(slow=()), resume.Options(storm=10**9)],
)
async def test_what_cannot_work_is_refused_before_anything_is_started(options: resume.Options) -> None:
    """With a word that names the option."""
    async with workbench() as bench:
        with pytest.raises(ChildFailed, match="--"):
            await resume.run(options, bench)


async def test_a_failure_within_nurseries_comes_out_as_one() -> None:
    """Whoever runs a scenario expects ChildFailed, and tells it without a traceback."""

    async def fail() -> None:
        await trio.lowlevel.checkpoint()
        raise ChildFailed("dead")

    async def nested() -> None:
        async with trio.open_nursery() as outer, trio.open_nursery() as inner:
            outer.start_soon(trio.sleep_forever)
            inner.start_soon(fail)

    with pytest.raises(ChildFailed, match="dead"), resume._plain_failures():
        await nested()
    with pytest.raises(ExceptionGroup), resume._plain_failures():
        raise ExceptionGroup("", [ChildFailed("dead"), ValueError("a mistake")])


def test_the_file_system_under_a_folder_is_told() -> None:
    """A promise about disks is worth nothing on one in memory."""
    assert filesystem_of(Path("/proc/self")) == "proc"
    assert filesystem_of(Path("/")) not in ("", "proc")


def test_data_in_memory_are_warned_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With the cure, and the name of what they were on; on a disk nobody is warned."""
    report = Report("title")
    for kind in ("ext4", "tmpfs"):
        monkeypatch.setattr("tidings.bench.filesystem.filesystem_of", lambda _, kind=kind: kind)
        tell_filesystem(report, tmp_path, "take another")
        assert report.about["data on"] == kind
    assert report.warnings == ["the data was on tmpfs, no disk: take another"]
