"""What all tests share."""

import gc
import os
import signal
from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from importlib.util import find_spec
from typing import Any, get_args

import pytest
import support.site
import trio
import trio.testing
from hypothesis import HealthCheck, settings
from support.later import Later
from support.records import postgresql_url, records_url
from support.site import Site, listening_site, memory_site

from tidings.server.config import Engine, Server
from tidings.server.tuning import YOUNG_OBJECTS

__all__ = ["postgresql_url", "records_url"]

# Folders of tests that take longer than others.
_LONGEST = {"simulation", "stateful"}

# A shared machine is noisy: an example's time says nothing about the code.
settings.register_profile("tidings", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tidings")


@pytest.fixture(scope="session")
def driver() -> Iterator[Any]:
    """Playwright's, of which a process has one, whichever tests use it."""
    if find_spec("playwright") is None:
        pytest.skip("playwright is not installed")
    with Later("playwright.sync_api").sync_playwright() as driver:
        yield driver


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--engine reference` runs the same tests on the other engine, wherever a test does not name one."""
    parser.addoption("--engine", default=Server().engine, choices=get_args(Engine), help="WebSocket engine")


def pytest_configure(config: pytest.Config) -> None:
    """Tell the sites of this run which engine is theirs; and be interruptible, also in a script's background."""
    support.site.ENGINE = config.getoption("--engine")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # So a shell without job control starts what it does not wait for, and children inherit it.
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Where everything is installed (CI), a test that skips itself is a test that failed."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if reporter and skipped and os.environ.get("CI"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter.write_line(f"{len(skipped)} skipped: nothing may be skipped in CI", red=True)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Without the collector: while tests are collected nearly nothing goes, and it walks through all that came."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish() -> None:
    """All tests and what they import stay to the end: the collector need not walk through them each time.

    Nor after every 700 objects: building a server makes a hundred times as many.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])


def _run_virtually(
    function: Any, *, clock: trio.abc.Clock | None = None, instruments: Sequence[trio.abc.Instrument] = ()
) -> Any:
    return trio.run(
        function, clock=clock or trio.testing.MockClock(autojump_threshold=0), instruments=instruments
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first: what comes last is waited for by every worker.

    And virtual time for whoever uses it by way of a fixture: pytest-trio looks at the test's own arguments only.
    """
    items.sort(key=lambda item: item.path.parent.name not in _LONGEST)
    for item in items:
        if "autojump_clock" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.trio(run=_run_virtually))


@pytest.fixture
async def site(autojump_clock: trio.testing.MockClock) -> AsyncIterator[Site]:
    """A server on memory streams and virtual time."""
    async with memory_site() as site:
        yield site


@pytest.fixture
async def live_site() -> AsyncIterator[Site]:
    """A server on a real port, in real time; a test that hangs fails after 30 s."""
    with trio.fail_after(30):
        async with listening_site() as site:
            yield site
