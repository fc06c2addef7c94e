"""The plugin as its users meet it: an inner run of pytest, with nothing of ours but the plugin."""

import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

_STRICT = ["-W", "error", "--strict-markers", "-p", "no:cacheprovider"]
_PLUGIN = ["-p", "tidings.server.testing.plugin"]
_TRIO = ["-p", "trio"]
_DOCS = Path(__file__).parents[3] / "docs" / "testing.md"


@pytest.fixture(autouse=True)
def _as_on_a_desk(monkeypatch: pytest.MonkeyPatch) -> None:
    """In CI pytest repeats whole messages in its summary."""
    monkeypatch.delenv("CI", raising=False)


def run(
    pytester: pytest.Pytester,
    source: str,
    *arguments: str,
    conftest: str = "",
    plugins: list[str] | None = None,
) -> pytest.RunResult:
    """Run a test file in a process of its own, where only the given plugins are loaded: it starts much sooner."""
    pytester.makepyfile(source)
    pytester.makeconftest(conftest)
    plugins = ["--disable-plugin-autoload", *_PLUGIN, *(_TRIO if plugins is None else plugins)]
    return pytester.runpytest_subprocess(*plugins, *_STRICT, *arguments, timeout=60)


def test_the_example_of_the_documentation_passes(pytester: pytest.Pytester) -> None:
    """As it stands on the page, every test of it, among all the plugins that are installed here.

    The page's fixture stands in the folder's conftest.
    """
    blocks = re.findall(r"```python\n(.*?)```", _DOCS.read_text(), re.DOTALL)
    example, fixture = sorted(blocks, key=len, reverse=True)
    pytester.makepyfile(example)
    pytester.makeconftest(f"import pytest\n\n{fixture}")
    # Installed, it is found by its entry point; registering it once more by hand would be refused.
    plugin = [] if entry_points(group="pytest11", name="tidings") else _PLUGIN
    result = pytester.runpytest_subprocess(*plugin, *_STRICT, timeout=60)
    result.assert_outcomes(passed=len(re.findall(r"^(?:async )?def test_", example, re.MULTILINE)))


def test_settings_come_from_the_fixture_and_from_markers(pytester: pytest.Pytester) -> None:
    """The nearest marker wins, and what it does not name stays.

    And a captured stream of another test is not written to: structlog keeps the standard output of the moment
    that it is imported in, which `capsys` closes.
    """
    result = run(
        pytester,
        """
        import pytest

        pytestmark = pytest.mark.tidings(settings={"limits.message_bytes": 2000, "limits.command_burst": 7})

        def test_first(capsys, tidings_server_thread):
            pass

        def test_after_it(tidings_server_thread):
            tidings_server_thread.connect()

        @pytest.mark.tidings(settings={"limits.message_bytes": 3000})
        @pytest.mark.trio
        async def test_trio(tidings_server):
            limits = tidings_server.settings.limits
            assert (limits.message_bytes, limits.command_burst, limits.channels_per_connection) == (3000, 7, 5)

        def test_thread(tidings_server_thread):
            limits = tidings_server_thread.settings.limits
            assert (limits.message_bytes, limits.command_burst, limits.channels_per_connection) == (2000, 7, 5)

        @pytest.mark.tidings(setings={})
        def test_slip(tidings_server_thread):
            pass
        """,
        conftest="""
        import pytest

        @pytest.fixture
        def tidings_settings():
            return {"limits.channels_per_connection": 5, "limits.message_bytes": 1000}
        """,
    )
    result.assert_outcomes(passed=4, errors=1)
    result.stdout.fnmatch_lines(["*setings; it takes settings, apps*"])


def test_where_pytest_trio_is_missing_the_error_says_what_to_do(pytester: pytest.Pytester) -> None:
    """A few lines, no traceback; the thread works all the same; and the mark alone makes no Trio test."""
    result = run(
        pytester,
        """
        import pytest

        def test_synchronous(tidings_server):
            pass

        def test_thread(tidings_server_thread):
            assert tidings_server_thread.connect().command("ping")["type"] == "pong"

        @pytest.mark.trio
        @pytest.mark.parametrize("_", range(2))
        async def test_marked(tidings_server, _):
            pass
        """,
        "-o",
        "markers=trio",
        plugins=[],
    )
    result.assert_outcomes(passed=1, errors=3)
    result.stdout.fnmatch_lines(["*pip install pytest-trio*", "*tidings_server_thread*"])
    assert result.stdout.str().count("pip install pytest-trio") == 3
    result.stdout.no_fnmatch_line("*Traceback*")


def test_a_crash_a_fault_and_a_left_connection(pytester: pytest.Pytester) -> None:
    """The first two fail their tests with the cause in the output; the third is nobody's business."""
    result = run(
        pytester,
        """
        import pytest
        import trio
        from tidings.server.delivery.hub import Hub
        from tidings.server.brokers.memory import MemoryBroker

        pytestmark = pytest.mark.trio

        async def test_crash(tidings_server, monkeypatch):
            await tidings_server.connect("alice")
            monkeypatch.setattr(Hub, "_begin", None)
            await tidings_server.push.broadcast("news", {})
            await trio.sleep_forever()

        async def test_fault(tidings_server, monkeypatch):
            alice = await tidings_server.connect("alice")
            monkeypatch.setattr(MemoryBroker, "open", None)
            await alice.command("subscribe", channel="room:x")

        async def test_left(tidings_server):
            await tidings_server.connect("alice")
        """,
    )
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(["*TypeError*", "*ServerFaults*"])


def test_who_does_not_use_it_pays_nothing(tmp_path: Path) -> None:
    """Loading the plugin imports nothing beyond pytest; its marker is there."""
    script = (
        "import sys, pytest\n"
        "import tidings.server.testing.plugin\n"
        "heavy = {'trio', 'structlog', 'msgspec', 'jwt', 'tidings.server.app'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_marker_is_documented(pytester: pytest.Pytester) -> None:
    """`pytest --markers` names it."""
    run(pytester, "", "--markers").stdout.fnmatch_lines(["@pytest.mark.tidings(settings={}, apps=*"])


def test_a_wrong_use_costs_nobody_else_anything(pytester: pytest.Pytester) -> None:
    """Each wrong use of the fixture gets the same helpful words, however it comes by it, and a right one works."""
    result = run(
        pytester,
        """
        import pytest

        def test_wrong(tidings_server):
            pass

        def test_thread(tidings_server_thread):
            assert tidings_server_thread.connect().command("ping")["type"] == "pong"

        @pytest.mark.parametrize("_", range(2))
        def test_wrong_by_name(request, _):
            request.getfixturevalue("tidings_server")

        @pytest.fixture
        def url(tidings_server):
            return tidings_server.url

        def test_wrong_by_another_fixture(url):
            pass

        @pytest.mark.trio
        async def test_right(tidings_server):
            assert (await (await tidings_server.connect("alice")).command("ping"))["type"] == "pong"

        class TestOwn:
            @pytest.fixture
            def tidings_server(self):
                return "a fixture of one's own"

            def test_own(self, tidings_server):
                assert "own" in tidings_server
        """,
    )
    result.assert_outcomes(passed=3, failed=2, errors=2)
    result.stdout.fnmatch_lines(["*pip install pytest-trio*", "*tidings_server_thread*"])
    assert result.stdout.str().count("pip install pytest-trio") == 4
    result.stdout.no_fnmatch_line("*AssertionError*")
    result.stdout.no_fnmatch_line("*Traceback*")
