"""The parts by themselves: what is timed is right, what is told is what was measured."""

import importlib.util
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from tidings.bench.micro.members import ROOM, outbox, room, takes_all, takes_nothing
from tidings.bench.micro.plugin import Measure, prose
from tidings.bench.micro.results import Case, Ran, Sizes
from tidings.bench.micro.wire import compressed, finished, fragments, inflated
from tidings.bench.processes import ChildFailed
from tidings.bench.report import Report
from tidings.bench.scenarios import micro
from tidings.bench.wire import TEXT
from tidings.bench.workbench import Workbench, workbench
from tidings.protocol.deflate import Inflater
from tidings.protocol.dialects.native import NativeDialect
from tidings.protocol.messages.builtin import builtin_registry
from tidings.protocol.parser import MessageParser

SECONDS = 60


def a_case(name: str, median: float = 2e-6, title: str = "") -> Case:
    return Case(name, "frames", title or name, "byte", 128, 1e-6, median, 1.5e-6, 3e-6, 5, 10)


class Stopwatch:
    """Stands for pytest-benchmark: calls, and counts."""

    def __init__(self) -> None:
        self.group = ""
        self.extra_info: dict[str, Any] = {}
        self.calls = 0

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.calls += 1
        function(*arguments)

    def pedantic(self, function: Callable[..., Any], *, setup: Callable[[], Any], rounds: int) -> None:
        for _ in range(rounds):
            self.calls += 1
            function(*setup()[0])


def measuring() -> tuple[Stopwatch, Measure]:
    stopwatch: Any = Stopwatch()
    return stopwatch, Measure(stopwatch, "group", Sizes(seconds=1e-9))


def test_a_part_that_gives_something_else_is_not_timed() -> None:
    """A fast wrong answer is no figure: the case fails before the clock runs."""
    stopwatch, measure = measuring()
    with pytest.raises(AssertionError, match="not what it should be: 5"):
        measure("sum", sum, (2, 3), verify=lambda total: total == 6)
    with pytest.raises(AssertionError, match="not what it should be"):
        measure.fresh("length", lambda: [2, 3], len, verify=lambda count: count == 3)
    assert stopwatch.calls == 0
    measure("sum", sum, (2, 3), verify=lambda total: total == 5)
    assert stopwatch.calls == 1


def test_what_a_part_uses_up_is_made_anew_for_each_call() -> None:
    """And for at least as many rounds as were asked for."""
    made: list[list[int]] = []

    def make() -> list[int]:
        made.append([1, 2])
        return made[-1]

    stopwatch, measure = measuring()
    measure.fresh(
        "pop", make, lambda numbers: numbers.pop(0), verify=lambda first: first == 1, per=2, each="x"
    )
    assert stopwatch.calls == Sizes().rounds
    assert made == [[2]] * (stopwatch.calls + 1)
    assert stopwatch.extra_info == {"title": "pop", "per": 2, "each": "x"}


@given(st.text(min_size=1, max_size=300).map(str.encode), st.integers(1, 20))
def test_fragments_and_compressed_messages_are_whole_messages(payload: bytes, count: int) -> None:
    """What the cases feed is what a client may send."""
    parser = MessageParser(max_message=10_000, max_fragments=100, inflater=Inflater())
    for data in (fragments(TEXT, payload, count), compressed(TEXT, payload)):
        parser.feed(data)
        assert parser.next_event() == payload.decode()
        assert not parser.is_inside


def test_what_deflates_is_inflated_independently() -> None:
    """zlib alone reads what the server compressed."""
    payload = prose(random.Random(1), 500).encode()
    parser = MessageParser(max_message=10_000, max_fragments=1, inflater=Inflater())
    frame = compressed(TEXT, payload)
    parser.feed(frame)
    assert parser.next_event() == payload.decode()
    assert len(frame) < len(payload)
    body = bytes(byte ^ frame[4 + at % 4] for at, byte in enumerate(frame[8:]))
    assert inflated(body) == payload


@given(st.integers(1, 5000), st.integers())
def test_prose_has_its_length_and_is_the_same_for_a_seed(length: int, seed: int) -> None:
    """Two runs measure the same text."""
    first, second = (prose(random.Random(seed), length) for _ in range(2))
    assert first == second
    assert len(first) == len(first.encode()) == length


async def test_a_coroutine_that_waits_is_no_part_to_be_timed() -> None:
    """It would be measured only as far as it got."""

    async def seven(*, after_others: bool) -> int:
        if after_others:
            await trio.lowlevel.checkpoint()
        return 7

    assert finished(seven(after_others=False)) == 7
    with pytest.raises(RuntimeError, match="waits"):
        finished(seven(after_others=True))


def test_members_send_or_keep_what_they_are_offered() -> None:
    """Sockets that take everything and nothing, under real outboxes."""
    willing, unwilling = outbox(takes_all), outbox(takes_nothing)
    for box in (willing, unwilling):
        box.offer(b"12345")
    assert (willing.bytes_sent, willing.pending_bytes) == (5, 0)
    assert (unwilling.bytes_sent, unwilling.pending_bytes) == (0, 5)
    hub, members = room(NativeDialect(builtin_registry()), 3)
    assert {id(found) for found in hub.subscribers_of(ROOM)} == {id(member) for member in members}


def test_figures_are_read_as_they_were_written() -> None:
    """In the order of the run, under names without a path."""
    stats = {
        "min": 1e-6,
        "max": 9.0,
        "median": 2e-6,
        "q1": 1.5e-6,
        "q3": 3e-6,
        "rounds": 5,
        "iterations": 10,
    }
    told = {"title": "build, 128 B", "each": "byte", "per": 128}
    written = [
        {
            "fullname": f"../somewhere/cases_frames.py::{name}",
            "group": "frames",
            "stats": stats,
            "extra_info": told,
        }
        for name in ("case_b", "case_a")
    ]
    assert micro.read_cases(msgspec.json.encode({"benchmarks": written})) == [
        a_case(f"cases_frames.py::{name}", title="build, 128 B") for name in ("case_b", "case_a")
    ]


def test_medians_are_compared_with_those_of_the_same_part() -> None:
    """A part that was not there, or was of another size, has no ratio."""
    now = [a_case("same", 3e-6), a_case("resized", title="build, 256 B"), a_case("new")]
    before = {case.name: case for case in (a_case("same", 2e-6), a_case("resized"), a_case("gone"))}
    table = micro.table("frames", now, before)
    assert [*table.head[-2:]] == ["was µs", "now/was"]
    assert [[*row[-2:]] for row in table.rows] == [["2.000", "1.50"], ["", ""], ["", ""]]
    assert [*micro.table("frames", now, None).rows[0]] == [
        "same", "1.000", "3.000", "1.500", "333,333", "23.4 ns/byte",
    ]  # fmt: skip


def test_a_part_that_failed_breaks_the_report() -> None:
    """Failed, or silently without figures; one that was left out is named."""
    passed, failed = Ran("a", "passed"), Ran("b", "failed", "not what it should be: 5")
    skipped = Ran("c", "skipped", "no C function")

    def report(ran: list[Ran], cases: list[Case]) -> Report:
        return micro.make_report(micro.Options(), Sizes(), ran, cases, None)

    assert report([passed, skipped], [a_case("a")]).kept
    assert report([passed, skipped], [a_case("a")]).warnings == ["left out: no C function"]
    assert "not what it should be: 5" in str(report([passed, failed], [a_case("a")]))
    for ran, cases in (
        ([passed, failed], [a_case("a")]),
        ([passed], []),
        ([passed], [a_case("b")]),
        ([], []),
    ):
        assert not report(ran, cases).kept


async def refusal(options: micro.Options) -> str:
    bench: Any = None  # nothing is started
    with pytest.raises(ChildFailed) as caught:
        await micro.run(options, bench)
    return str(caught.value)


async def test_without_pytest_benchmark_the_cure_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra: nobody who only serves has it."""
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "pytest_benchmark" else object()
    )
    assert "pip install 'tidings[bench]'" in await refusal(micro.Options())


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"scenario": "fanout"}', '{"scenario": "micro", "cases": [7]}']
)
async def test_other_results_are_refused_before_anything_runs(tmp_path: Path, content: str) -> None:
    """And not after a minute of measuring."""
    file = tmp_path / "results.json"
    file.write_text(content, encoding="utf-8")
    assert "not results of `bench micro --json`" in await refusal(micro.Options(compare=file))


async def run(bench: Workbench, **options: Any) -> Report:
    return await micro.run(
        micro.Options(seconds=0.005, rounds=2, subscribers=50, payload=100, **options), bench
    )


@pytest.mark.slow
async def test_every_part_is_right_and_timed_and_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole scenario, whatever pytest it is started under; and again beside its own results."""
    monkeypatch.setenv("PYTEST_ADDOPTS", "--benchmark-disable")
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    with trio.fail_after(SECONDS):
        async with workbench() as bench:
            first = await run(bench)
            file = tmp_path / "results.json"
            file.write_bytes(msgspec.json.encode(first.raw))
            second = await run(bench, compare=file, select="outbox or build")
    assert [check.found for check in first.checks if not check.kept] == []
    assert first.warnings == []
    assert [table.head[0] for table in first.tables] == [
        "frames", "parser", "deflate", "decode", "encode", "outbox", "hub", "edge",
    ]  # fmt: skip
    assert all(0 < case["min"] <= case["q1"] <= case["median"] <= case["q3"] for case in first.raw["cases"])
    assert second.kept
    assert [table.head[0] for table in second.tables] == ["frames", "outbox"]
    assert all(float(row[-1]) > 0 for table in second.tables for row in table.rows)


@pytest.mark.slow
async def test_a_selection_of_nothing_and_one_that_is_none_are_refused() -> None:
    """Each with a reason."""
    with trio.fail_after(SECONDS):
        async with workbench() as bench:
            with pytest.raises(ChildFailed, match="no part is called 'quantum'"):
                await run(bench, select="quantum")
            with pytest.raises(ChildFailed, match="pytest ended with 4"):
                await run(bench, select="and and")
