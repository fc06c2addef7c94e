"""The Autobahn cases against `tidings echo` in a process of its own: what CI runs of `make conformance`."""

import socket
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
import trio
from conformance.run import app
from support.conformance import (
    ALLOWED,
    PROTOCOL,
    SECTIONS,
    CannotRun,
    Verdict,
    faults,
    objections,
    run_cases,
    run_sections,
)
from support.process import running

from tidings.server.app import ENGINES

Echo = Callable[[str], AbstractAsyncContextManager[str]]

# A case that hangs fails by itself only after a minute, or eight.
_PATIENCE = 300

# Of each kind of section 9 one of the dearest, once with text and once without: 16 MiB whole, 4 MiB in 65,536
# fragments or chopped by TCP, 1,000 round trips. The long ones have them all.
_LIMITS = ("9.1.6", "9.4.1", "9.5.1", "9.8.6")

# Data that does not shrink; and of the sets of parameters the one that asks for nothing, the smallest window, not
# kept, and several offers; by 1,000 messages of 1 KiB. The long ones have each set, and each kind of data.
_SMALL = ("12.5.4", *(f"13.{parameters}.4" for parameters in (1, 5, 7)))

# Each kind of data and each set of parameters by 8 KiB in fragments of 256 bytes; and 64 KiB, more than any window,
# with the greatest window and with the smallest, kept or not. The rest, up to 128 KiB of what does not shrink,
# takes ten minutes; and 13.1.11, which asks for nothing, is 12.1.11 again.
_LARGE = (
    *(f"12.{data}.11" for data in range(1, 6)),
    *(f"13.{parameters}.11" for parameters in range(2, 8)),
    *("13.1.9", "13.3.9", "13.5.9"),
)


@pytest.fixture
def echo(tmp_path: Path) -> Echo:
    """Starts `tidings echo` with an engine; its address. At the end it must have logged no fault."""

    @asynccontextmanager
    async def start(engine: str) -> AsyncIterator[str]:
        async with running("echo", "--port", "0", "--engine", engine, folder=tmp_path) as server:
            with trio.fail_after(_PATIENCE):
                yield f"ws://127.0.0.1:{server.port}/"
            assert faults(server.log) == []

    return start


@pytest.mark.parametrize("engine", sorted(ENGINES))
async def test_every_case_of_the_protocol_passes(echo: Echo, engine: str) -> None:
    """All 247 cases of RFC 6455 itself (sections 1 to 7 and 10) pass on every engine."""
    async with echo(engine) as address:
        verdicts = await run_sections(address, PROTOCOL)
    assert objections(verdicts, {section: SECTIONS[section] for section in PROTOCOL}) == []
    assert len(verdicts) == 247


async def test_large_messages_pass(echo: Echo) -> None:
    """Messages of many MiB, in one frame or 65,536, come back whole and in time."""
    async with echo("native") as address:
        verdicts = await run_cases(address, _LIMITS, at_once=2)
    assert objections(verdicts, {"9": 4}) == []


async def test_compressed_messages_pass(echo: Echo) -> None:
    """What was compressed comes back as it was, under sets of parameters that a client may ask for."""
    async with echo("native") as address:
        verdicts = await run_cases(address, _SMALL, at_once=2)
    assert objections(verdicts, {"12": 1, "13": 3}) == []


@pytest.mark.slow
async def test_every_case_of_limits_and_speed_passes(echo: Echo) -> None:
    """All 54 cases of section 9 pass on the native engine."""
    async with echo("native") as address:
        verdicts = await run_sections(address, ["9"])
    assert objections(verdicts, {"9": 54}) == []


@pytest.mark.slow
async def test_large_compressed_messages_pass(echo: Echo) -> None:
    """Compressed messages longer than the window, fragmented or whole, come back as they were."""
    async with echo("native") as address:
        verdicts = await run_cases(address, _LARGE, at_once=2)
    assert objections(verdicts, {"12": 5, "13": 9}) == []


async def test_what_an_engine_cannot_do_is_no_success(echo: Echo) -> None:
    """A case that needs what the server has not is UNIMPLEMENTED, which is an objection and names the case."""
    async with echo("reference") as address:
        verdicts = await run_cases(address, ["12.1.1", "1.1.1"])
    assert {verdict.case: verdict.kind for verdict in verdicts} == {
        "12.1.1": "UNIMPLEMENTED",
        "1.1.1": "OK",
    }
    (objection,) = objections(verdicts, {"1": 1, "12": 1})
    assert objection.startswith("case 12.1.1: UNIMPLEMENTED (")


async def test_a_server_that_is_not_there_fails_every_case(unused_port: int) -> None:
    """Where nobody listens every case fails, with what kosoku says of it."""
    verdicts = await run_cases(f"ws://127.0.0.1:{unused_port}/", ["4.*"])
    assert Counter(verdict.kind for verdict in verdicts) == {"FAILED": 10}
    assert all("refused" in objection for objection in objections(verdicts, {"4": 10}))


async def test_a_run_that_breaks_down_is_no_success() -> None:
    """An address that is none ends the run with an exception, in kosoku's words, not with an empty list."""
    with pytest.raises(CannotRun):
        await run_cases("nonsense://", ["1.1.1"])


@pytest.fixture
def unused_port() -> int:
    """A port of 127.0.0.1 on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _verdict(case: str, behavior: str = "OK", close: str = "OK", to: float | None = None) -> Verdict:
    return Verdict(case, behavior, close, "said", "said of the close", 1000, 0.1, to)


@pytest.mark.parametrize("kind", ALLOWED)
def test_what_is_allowed_is_no_objection(kind: str) -> None:
    """OK, NON-STRICT and INFORMATIONAL pass."""
    assert objections([_verdict("3.1", kind, kind)], {"3": 1}) == []


@pytest.mark.parametrize("kind", ["FAILED", "ERROR", "UNIMPLEMENTED", "", "a word of a later version"])
def test_everything_else_is_an_objection(kind: str) -> None:
    """Any other word, for the messages or for the close, is an objection that names the case and the words."""
    (objection,) = objections([_verdict("3.1", kind)], {"3": 1})
    assert "case 3.1" in objection
    assert "(said)" in objection
    (objection,) = objections([_verdict("3.1", close=kind)], {"3": 1})
    assert "(said of the close)" in objection


def test_the_number_of_cases_counts() -> None:
    """Nothing run, a case left out, one too many, one twice: each is an objection."""
    ran = [_verdict("3.1"), _verdict("3.2")]
    assert objections(ran, {"3": 2}) == []
    assert objections([], {"3": 2}) == ["section 3: 0 cases ran of 2"]
    assert objections(ran[:1], {"3": 2}) == ["section 3: 1 cases ran of 2"]
    assert objections([*ran, _verdict("4.1.1")], {"3": 2}) == ["section 4: 1 cases ran of 0"]
    assert objections([ran[0], ran[0]], {"3": 2}) == ["case 3.1 ran more than once"]


def test_compression_that_does_not_compress_is_an_objection() -> None:
    """A server that negotiates compression and sends everything as it is, does not pass."""
    assert objections([_verdict("13.1.6", to=0.05)], {"13": 1}) == []
    assert objections([_verdict("13.1.1", to=1.1)], {"13": 1}) == []  # too short to shrink
    assert objections([_verdict("13.1.6", to=1.0)], {"13": 1}) != []
    assert objections([_verdict("12.1.18")], {"12": 1}) != []


def test_a_fault_in_the_log_is_found() -> None:
    """A line above `info`, and one that is no log line, such as a traceback's, is a fault; the others are none."""
    info, warning = '{"event":"x","level":"info"}', '{"event":"x","level":"warning"}'
    assert faults(f"{info}\n{warning}\nTraceback\n") == [warning, "Traceback"]


def _program(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int | str | None, str, str]:
    with pytest.raises(SystemExit) as ended:
        app(list(arguments))
    return ended.value.code, *capsys.readouterr()


def test_the_program_counts_and_exits_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    """`make conformance` tells how far it is, and ends with a line for each section and engine."""
    code, out, err = _program(capsys, "--engine", "reference", "--section", "3", "--section", "10")
    assert code == 0, (out, err)
    head, three, ten, end = (line.split() for line in out.splitlines())
    assert head[:2] == ["engine", "section"]
    assert [three[1], three[4], ten[1], ten[3]] == ["3", "7/7", "10", "1/1"]
    assert end[:2] == ["0", "objections"]
    assert "reference: 8 of 8 cases" in err


def test_the_program_names_failures_and_exits_with_1(
    unused_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """A failure is told at once and again at the end, by case, and the exit code says so."""
    code, out, err = _program(capsys, "--url", f"ws://127.0.0.1:{unused_port}/", "--section", "3")
    assert code == 1
    assert out.count("case 3.") == err.count("case 3.") == 7
    assert "7 objections" in out


def test_the_program_refuses_what_it_does_not_know() -> None:
    """Started as a file: an engine that is not there is refused by name, with those that are."""
    program = str(Path(__file__).with_name("run.py"))
    done = subprocess.run([sys.executable, program, "--engine", "warp"], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"'warp'; there are: native, reference" in done.stderr
