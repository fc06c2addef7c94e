"""The comparisons of engines and of collector settings, with few clients; and the promises they print."""

import gc
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import trio

from tidings.bench.collector import CollectorSettings, Pausing, collect_all
from tidings.bench.processes import ChildFailed
from tidings.bench.profiles import Arrival
from tidings.bench.replies import Collected, Collections, Quantiles
from tidings.bench.report import Report
from tidings.bench.scenarios import engines, garbage
from tidings.bench.scenarios.garbage import Found, Outcome
from tidings.bench.subjects import NOT_MEASURED, Entry, Options, Run, padded_ping
from tidings.bench.workbench import workbench
from tidings.protocol.dialects.base import Command
from tidings.protocol.dialects.native import NativeDialect
from tidings.protocol.messages.builtin import core_registry
from tidings.server.app import ENGINES
from tidings.server.auth import Authenticator
from tidings.server.config import Auth
from tidings.server.identity import Identity

SECONDS = 240
SECRET = "k" * 48


def broken(report: Report) -> list[str]:
    return [f"{check.promise}: {check.found}" for check in report.checks if not check.kept]


# --- the comparison of engines ---------------------------------------------------------------------------


def measured(name: str, *figures: float) -> Entry:
    """A server of whose runs every figure is the same."""
    runs = [
        Run(
            handshake=figure,
            close=figure,
            memory=figure,
            tasks=NOT_MEASURED,
            inbound=figure,
            dispatched=NOT_MEASURED,
            heartbeat=NOT_MEASURED,
            handshakes_per_second=1,
            load_share=0,
        )
        for figure in figures
    ]
    return Entry(name, name, runs=runs)


def promises(
    native: tuple[float, ...], reference: tuple[float, ...], fastapi: tuple[float, ...]
) -> list[bool]:
    """Handshake, memory and message against the reference engine; handshake against FastAPI."""
    report = Report("title")
    entries = {
        name: measured(name, *figures)
        for name, figures in (("native", native), ("reference", reference), ("fastapi", fastapi))
        if figures
    }
    engines.check_ratios(report, entries, Options())
    return [check.kept for check in report.checks]


def test_each_ratio_is_held_against_its_own_bound() -> None:
    """0.6 for a handshake, 0.65 for memory, 0.2 for a message, 0.6 against FastAPI; equal is kept."""
    assert promises((0.6,), (1.0,), (1.0,)) == [True, True, False, True]
    assert promises((0.63,), (1.0,), (1.0,)) == [False, True, False, False]
    assert promises((0.66,), (1.0,), (1.2,)) == [False, False, False, True]
    assert promises((0.2,), (1.0,), (0.3,)) == [True, True, True, False]


def test_ratios_are_those_of_the_medians() -> None:
    """One run in which the machine stood still breaks nothing, and one lucky run saves nothing."""
    assert promises((0.1, 0.1, 90.0), (1.0, 1.0, 1.0), ()) == [True, True, True]
    assert promises((0.9, 0.9, 0.1), (1.0, 1.0, 1.0), ()) == [False, False, False]


def test_without_the_native_engine_there_is_no_promise_but_a_warning() -> None:
    """A comparison that was not made does not pass for one that was."""
    report = Report("title")
    engines.check_ratios(report, {"reference": measured("reference", 1.0)}, Options())
    assert report.checks == []
    assert report.warnings


def test_the_padded_command_is_a_ping_without_an_id() -> None:
    """What the product's own handlers are measured with is not refused by them."""
    message = padded_ping(128)
    assert len(message) == 128
    command = NativeDialect(core_registry()).decode(message)
    assert isinstance(command, Command)
    assert (command.type, command.id) == ("ping", None)


def test_tokens_made_before_the_clock_are_each_users_own() -> None:
    """Nobody arrives under another one's name."""
    profile = Arrival(SECRET)
    profile.prepare(["one", "two", "last"])
    verify = Authenticator(Auth(secret=SECRET)).verify
    found = [verify(profile.path(user).partition("?token=")[2]) for user in ("one", "two", "another")]
    assert [identity.user_id for identity in found if isinstance(identity, Identity)] == [
        "one",
        "two",
        "another",
    ]


@pytest.mark.slow
async def test_the_engines_take_turns_and_each_is_measured() -> None:
    """Every figure of every engine; the lack of a peer is said, and how to get it. Some 40 s beside other work."""
    options = Options(
        runs=1, connections=60, messages=1200, talkers=2, idle=10, idle_seconds=1.5,
        peers_directory=Path("/nowhere"),
        handshake_ratio=50, memory_ratio=50, inbound_ratio=50,
    )  # fmt: skip
    with trio.fail_after(SECONDS):
        async with workbench() as bench:
            report = await engines.run(options, bench)
    assert broken(report) == []
    assert any("tidings.bench peers" in warning for warning in report.warnings)
    servers = report.raw["servers"]
    assert sorted(servers) == sorted(ENGINES)
    for runs in servers.values():
        (run,) = msgspec.convert(runs, list[Run])
        assert run.inbound < run.dispatched
        assert 0 < run.heartbeat < 1
        assert 0 < run.handshake < 1
        assert run.tasks in (1, 2, 3, 4)


# --- the collector ---------------------------------------------------------------------------------------


@pytest.fixture
def collector() -> Iterator[None]:
    """The collector's settings as they were."""
    thresholds, enabled = gc.get_threshold(), gc.isenabled()
    callbacks = list(gc.callbacks)
    yield
    gc.callbacks[:] = callbacks
    gc.set_threshold(*thresholds)
    if enabled:
        gc.enable()


@pytest.mark.usefixtures("collector")
def test_collections_are_counted_by_generation_and_forgotten_when_told() -> None:
    """With what they freed; a second look sees only what came after the first."""
    gc.disable()
    gc.collect()
    pausing = Pausing()
    pausing.watch()
    loop: list[object] = []
    loop.append(loop)
    del loop
    gc.collect(2)
    gc.collect(0)
    told = pausing.told().generations
    assert [generation.count for generation in told] == [1, 0, 1]
    assert told[2].freed >= 1
    assert told[2].worst == told[2].seconds > 0
    assert [generation.count for generation in pausing.told().generations] == [0, 0, 0]


@pytest.mark.usefixtures("collector")
def test_a_full_collection_tells_what_only_it_could_free() -> None:
    """Cyclic garbage, and how many objects were walked."""
    gc.disable()
    gc.collect()
    loop: list[object] = []
    loop.append(loop)
    del loop
    found = collect_all()
    assert found.freed >= 1
    assert found.tracked > 1000


@pytest.mark.usefixtures("collector")
def test_thresholds_take_the_place_of_the_bases() -> None:
    """Python's own stay where nothing else was asked for."""
    before = gc.get_threshold()
    CollectorSettings(base="python").apply()
    assert gc.get_threshold() == before
    CollectorSettings(base="python", thresholds=(7000, 8, 9)).apply()
    assert gc.get_threshold() == (7000, 8, 9)


async def test_freezing_goes_on_at_its_interval(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Again and again; and without an interval never."""
    times = []
    monkeypatch.setattr(gc, "freeze", lambda: times.append(trio.current_time()))
    begun = trio.current_time()
    with trio.move_on_after(3.5):
        await CollectorSettings(freeze_every=1.0).keep_freezing()
    assert [round(time - begun, 6) for time in times] == [1.0, 2.0, 3.0]
    await CollectorSettings().keep_freezing()


def phase(full: int, worst: float) -> Found:
    nothing = Quantiles(0, 0, 0, 0, 0, 0)
    generations = [Collections(3, worst, worst, 0), Collections(0, 0, 0, 0), Collections(full, 0, 0, 0)]
    return Found(nothing, generations, 1.0, 0)


@pytest.mark.parametrize(
    ("full", "cycles", "worst", "kept"),
    [
        (0, 0.9, 0.049, [True, True, True]),
        (1, 0.0, 0.0, [False, True, True]),
        (0, 1.0, 0.0, [True, False, True]),
        (0, 0.0, 0.051, [True, True, False]),
    ],
)
def test_the_products_settings_promise_rare_and_short_collections(
    full: int, cycles: float, worst: float, kept: list[bool]
) -> None:
    """None of all objects unasked, none for the sake of ended connections, and none longer than the bound."""
    report = Report("title")
    phases = {"under load": phase(full, worst), garbage.FULL: phase(1, 9.0)}
    outcome = Outcome(phases, Collected(9.0, 0, 0), cycles, {})
    garbage.check_promises(report, outcome, garbage.Options(most_pause=50))
    assert [check.kept for check in report.checks] == kept


@pytest.mark.slow
async def test_collector_settings_are_compared_side_by_side() -> None:
    """Those of Python and ours, with a room that misses nothing. Some 40 s beside other work."""
    options = garbage.Options(
        clients=60, room=5, rate=50, seconds=1.5, variants=("python", "product"), most_pause=1e4
    )
    with trio.fail_after(SECONDS):
        async with workbench() as bench:
            report = await garbage.run(options, bench)
    assert broken(report) == []
    variants = report.raw["variants"]
    assert list(variants) == ["python", "product"]
    python, product = (
        variants[name]["phases"]["connecting"]["generations"][0]["count"] for name in variants
    )
    assert python > product
    for variant in variants.values():
        assert variant["phases"][garbage.FULL]["generations"][2]["count"] == 1
        assert all(
            variant["phases"][name]["latency"]["count"] > 50 for name in list(variant["phases"])[1:3]
        )


async def test_an_unknown_variant_is_said_before_anything_starts(tmp_path: Path) -> None:
    """With those that there are."""
    async with workbench() as bench:
        with pytest.raises(ChildFailed, match="python, product"):
            await garbage.run(garbage.Options(variants=("pyhton",)), bench)
