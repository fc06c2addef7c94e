"""A browser and a server for all tests of the console, another for whoever needs one, and pages for each test."""

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest
from support.console import CHROMIUM, PATIENCE_MS, SWITCHES, Demo, Visitors, playwright


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without a browser there is nothing to see."""
    lacking = "playwright" if find_spec("playwright") is None else "chromium" if CHROMIUM is None else None
    if lacking is not None:
        for item in items:
            if "tests/console/" in item.path.as_posix():
                item.add_marker(pytest.mark.skip(reason=f"{lacking} is not installed"))


@pytest.fixture(scope="session")
def browser(driver: Any) -> Iterator[Any]:
    """Chromium, without a window."""
    playwright.expect.set_options(timeout=PATIENCE_MS)
    browser = driver.chromium.launch(executable_path=CHROMIUM, args=list(SWITCHES))
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def shared_demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A server in demo mode, for all modules that neither set anything nor change its users.

    No test counts what others may add to.
    """
    demo = Demo(tmp_path_factory.mktemp("demo"))
    yield demo
    demo.close()


@pytest.fixture(scope="module")
def own_demo(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A server in demo mode, with the module's `SETTINGS`."""
    demo = Demo(tmp_path_factory.mktemp("demo"), request.module.SETTINGS)
    yield demo
    demo.close()


@pytest.fixture
def demo(request: pytest.FixtureRequest) -> Demo:
    """A module's own server, where it has `SETTINGS`, else the one that all others share."""
    own = hasattr(request.module, "SETTINGS")
    demo: Demo = request.getfixturevalue("own_demo" if own else "shared_demo")
    # A test that ends it, and fails before it starts it again, fails alone.
    if not demo.is_running:
        demo.start()
    return demo


@pytest.fixture
def open_console(browser: Any, demo: Demo) -> Iterator[Visitors]:
    """Opens pages of the console; at the end none may have complained, or spoken to another host."""
    visitors = Visitors(browser, demo)
    yield visitors
    visitors.close()
