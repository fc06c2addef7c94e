"""A pytest plugin: a real Tidings server for tests of what is built on it.

Imported in every run of pytest where Tidings is installed, so it imports nothing but pytest until a
fixture is used.
"""

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tidings.server.testing.site import TestServer
    from tidings.server.testing.threaded import ThreadServer

_MARKER = (
    "tidings(settings={}, apps=[]): settings by section.key and apps for tidings_server and"
    " tidings_server_thread; settings go over those of the fixture tidings_settings"
)

# What the marker may bear beside `settings` goes to the server as it is.
_PARTS = ("apps",)

# pytest-trio by its entry point, and as `-p pytest_trio.plugin` loads it.
_PYTEST_TRIO = ("trio", "pytest_trio.plugin")

_NO_TRIO = (
    "tidings_server runs in the test's own Trio loop, and this is no Trio test.\n"
    "In a Trio project: pip install pytest-trio, make the test async, and mark it @pytest.mark.trio or set"
    " trio_mode = true.\nWithout Trio: use tidings_server_thread, which any test can."
)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", _MARKER)


@pytest.fixture
def tidings_settings() -> dict[str, Any]:
    """Settings by `section.key` for every server of the module, class or folder that overrides this."""
    return {}


# A fixture rather than a hook: pytest keeps what a fixture raises, so that the next test starts anew. Raised
# from `pytest_fixture_setup`, it would leave the fixture half set up for every later test of the run.
@pytest.fixture
def _tidings_in_trio(request: pytest.FixtureRequest) -> None:
    """Say what is missing before whoever else handles async fixtures gives an obscure error."""
    is_there = any(map(request.config.pluginmanager.has_plugin, _PYTEST_TRIO))
    if not is_there or request.node.get_closest_marker("trio") is None:
        pytest.fail(_NO_TRIO, pytrace=False)


@pytest.fixture
async def tidings_server(
    _tidings_in_trio: None, request: pytest.FixtureRequest, tidings_settings: dict[str, Any]
) -> "AsyncIterator[TestServer]":
    """A server in the test's nursery, on a free port of 127.0.0.1. For Trio tests."""
    from tidings.server.testing.site import serving  # noqa: PLC0415  only when it is used

    settings, parts = _asked_for(request, tidings_settings)
    async with serving(settings, **parts) as server:
        yield server


@pytest.fixture
def tidings_server_thread(
    request: pytest.FixtureRequest, tidings_settings: dict[str, Any]
) -> "Iterator[ThreadServer]":
    """A server in a thread, on a free port of 127.0.0.1. For any test."""
    from tidings.server.testing.threaded import serving_in_thread  # noqa: PLC0415  only when it is used

    settings, parts = _asked_for(request, tidings_settings)
    with serving_in_thread(settings, **parts) as server:
        yield server


def _asked_for(
    request: pytest.FixtureRequest, settings: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings, and parts for the server, the test's own marker over its class's and module's."""
    settings = dict(settings)
    parts: dict[str, Any] = {}
    for marker in reversed(list(request.node.iter_markers("tidings"))):
        given = dict(marker.kwargs)
        settings |= given.pop("settings", {})
        unknown = sorted(given.keys() - set(_PARTS))
        if marker.args or unknown:
            wrong = ", ".join(unknown) or "an argument without a name"
            raise pytest.UsageError(
                f"@pytest.mark.tidings: {wrong}; it takes {', '.join(('settings', *_PARTS))}"
            )
        parts |= given
    return settings, parts
