"""The fixtures of the cases, and the words by which their process says how far it is."""

import os
import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec
import pytest

from tidings.bench.micro.results import Collected, Ran, Sizes, Word
from tidings.server.tuning import tune_garbage_collector

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

# A round in which a state is made anew is one call: more would not make its median truer.
_MOST_FRESH_ROUNDS = 10_000

_T = TypeVar("_T")
_S = TypeVar("_S")

_PROSE = (
    "the room heard offset after rain channel that quiet some never reads one thousand members speak in "
    "turn and every message comes once each morning new clients arrive with tokens leave without a word"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the sizes, and where to tell."""
    parser.addoption("--micro-sizes", default="{}", help="Sizes of the cases, as JSON.")
    parser.addoption("--micro-tell", default=-1, type=int, help="Descriptor for words of progress.")


class _Told:
    """Writes a line for each case that is over."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def tell(self, word: Word) -> None:
        os.write(self._descriptor, msgspec.json.encode(word) + b"\n")

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.tell(Collected(len(session.items)))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        # Of a case that passed the call is told; what is skipped or fails may do so before.
        if report.when == "call" or report.outcome != "passed":
            self.tell(Ran(report.nodeid, report.outcome, _reason(report)))


def _reason(report: pytest.TestReport) -> str:
    if report.passed:
        return ""
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message if crash is not None else report.longrepr).strip().split("\n")[0]


def pytest_configure(config: pytest.Config) -> None:
    """Tell somebody, where there is somebody to be told."""
    descriptor = config.getoption("--micro-tell")
    if descriptor >= 0:
        config.pluginmanager.register(_Told(descriptor))


def pytest_collection_finish() -> None:
    """Set the collector as a server does, once everything is loaded."""
    tune_garbage_collector()


def pytest_benchmark_update_json(output_json: dict[str, Any]) -> None:
    """Leave out the times of single rounds: of some cases there are a hundred thousand."""
    for benchmark in output_json["benchmarks"]:
        benchmark["stats"].pop("data", None)


class Measure:
    """Times one part, after it has shown that it does what it should."""

    def __init__(self, benchmark: "BenchmarkFixture", group: str, sizes: Sizes) -> None:
        self._benchmark = benchmark
        self._sizes = sizes
        benchmark.group = group

    def __call__(
        self,
        title: str,
        function: Callable[..., _T],
        *arguments: Any,
        verify: Callable[[_T], bool],
        per: int = 1,
        each: str = "",
    ) -> None:
        """Time calls of `function` that find everything as the first one did.

        `verify` judges what the first call returned, outside the time taken. A call does `per` of `each`.
        """
        self._note(title, per, each)
        _judge(verify, function(*arguments))
        self._benchmark(function, *arguments)

    def fresh(
        self,
        title: str,
        make: Callable[[], _S],
        function: Callable[[_S], _T],
        *,
        verify: Callable[[_T], bool],
        per: int = 1,
        each: str = "",
    ) -> None:
        """Time calls that use up what `make` makes for each of them, which takes no part in the time."""
        self._note(title, per, each)
        begun = time.process_time()
        _judge(verify, function(make()))
        seconds = time.process_time() - begun
        rounds = int(self._sizes.seconds / max(seconds, 1e-9))
        self._benchmark.pedantic(  # type: ignore[no-untyped-call]
            function,
            setup=lambda: ((make(),), {}),
            rounds=max(self._sizes.rounds, min(rounds, _MOST_FRESH_ROUNDS)),
        )

    def _note(self, title: str, per: int, each: str) -> None:
        self._benchmark.extra_info.update(title=title, per=per, each=each)


def _judge(verify: Callable[[_T], bool], result: _T) -> None:
    if not verify(result):
        raise AssertionError(f"not what it should be: {repr(result)[:200]}")


@pytest.fixture
def sizes(request: pytest.FixtureRequest) -> Sizes:
    """What the cases are made with."""
    return msgspec.json.decode(request.config.getoption("--micro-sizes"), type=Sizes)


@pytest.fixture
def measure(request: pytest.FixtureRequest, benchmark: "BenchmarkFixture", sizes: Sizes) -> Measure:
    """What times; results stand in the group that the file names in GROUP."""
    return Measure(benchmark, cast(Any, request.module).GROUP, sizes)


@pytest.fixture
def text(sizes: Sizes) -> Callable[[int], str]:
    """Prose of a length, the same for a seed: it compresses as messages of people do."""
    return lambda length: prose(random.Random(sizes.seed), length)


def prose(source: random.Random, length: int) -> str:
    """So many characters, all ASCII."""
    known = _PROSE.split()
    words: list[str] = []
    size = 0
    while size < length:
        words.append(source.choice(known))
        size += len(words[-1]) + 1
    return " ".join(words)[:length].ljust(length, ".")
