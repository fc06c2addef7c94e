"""The systemd units: systemd understands them, they grant little, and what is started drains in its time."""

import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from support.process import running
from support.proxies import DEPLOY
from support.site import SECRET

from tidings.server.config import Config
from tidings.server.limits import RESERVED_DESCRIPTORS

UNIT = DEPLOY / "tidings.service"
TOKEN, TIMER = DEPLOY / "tidings-token.service", DEPLOY / "tidings-token.timer"

# systemd's own scale, in tenths: 0 is a service that may do nothing, 100 one that is not confined at all.
EXPOSED_AT_MOST = 15

pytestmark = pytest.mark.slow


def _settings(unit: Path = UNIT) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    text = unit.read_text().replace("\\\n", "")
    for name, value in re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE):
        found[name].append(value)
    return found


def test_systemd_takes_them_and_finds_them_confined(tmp_path: Path) -> None:
    """No key that systemd does not know, no value that it does not take, and little that a break-in could do."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze: apt-get install systemd")
    # Where the server is installed on this machine.
    copies = [tmp_path / unit.name for unit in (UNIT, TOKEN, TIMER)]
    for copy in copies:
        copy.write_text(
            (DEPLOY / copy.name).read_text().replace("/opt/tidings/bin/tidings", sys.executable)
        )
    # Only what runs can be confined.
    services = [copy for copy in copies if copy.suffix == ".service"]
    confined = ["security", "--no-pager", "--offline=true", f"--threshold={EXPOSED_AT_MOST}"]
    for command, units in ((["verify", "--man=no"], copies), (confined, services)):
        done = subprocess.run(
            ["systemd-analyze", *command, *map(str, units)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert command[0] != "verify" or not done.stderr, done.stderr


def test_its_times_and_limits_fit_the_server() -> None:
    """It kills only after the drain, has descriptors for what is planned with, and allows what the server does."""
    settings, config = _settings(), Config()
    assert int(settings["TimeoutStopSec"][0]) > config.server.drain_seconds + config.heartbeat.close_timeout
    assert int(settings["LimitNOFILE"][0]) > 25_000 + RESERVED_DESCRIPTORS, (
        "what docs/capacity.md plans for"
    )
    assert settings["KillSignal"] == ["SIGTERM"]
    assert settings["Restart"] == ["on-failure"], "a server that was told to end must stay ended"
    # It raises its soft limit of descriptors, and lowers the priority of threads that hash.
    assert not any("@resources" in group for group in settings["SystemCallFilter"])
    assert "ProcSubset" not in settings, "/metrics reads /proc/stat"


def test_prometheus_has_a_token_that_lives() -> None:
    """As long as the server allows, so that three of the timer's attempts may fail before it ends."""
    [command], [calendar] = _settings(TOKEN)["ExecStart"], _settings(TIMER)["OnCalendar"]
    ttl = re.search(r" --ttl (\d+) ", command)
    assert ttl is not None
    assert int(ttl[1]) <= Config().auth.max_ttl
    assert calendar == "weekly"
    assert int(ttl[1]) > 4 * 7 * 86_400


async def test_its_command_runs_reloads_and_stops(tmp_path: Path) -> None:
    """ExecStart with the shipped configuration listens; SIGHUP leaves it running; its signal ends it with 0."""
    settings = _settings()
    [start], [state] = settings["ExecStart"], settings["StateDirectory"]
    program, *arguments = shlex.split(start)
    assert Path(program).name == "tidings"
    shipped = (DEPLOY / "tidings.toml").read_text()
    for of_its_own, of_the_test in (
        (f'"/var/lib/{state}"', f'"{tmp_path / state}"'),
        ("port = 8000", "port = 0"),
        ("drain_seconds = 30", "drain_seconds = 1"),
    ):
        assert shipped.count(of_its_own) == 1
        shipped = shipped.replace(of_its_own, of_the_test)
    (tmp_path / "tidings.toml").write_text(shipped)
    arguments = [str(tmp_path / "tidings.toml") if part.startswith("/etc/") else part for part in arguments]
    # As EnvironmentFile= brings it.
    env = {"TIDINGS_AUTH_SECRET": SECRET}
    async with running(*arguments, folder=tmp_path, env=env) as server:
        assert settings["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
        server.signal(signal.SIGHUP)
        client = await server.open()
        assert (await client.handshake())[0] == 101
        await client.aclose()
        server.signal(signal.Signals[settings["KillSignal"][0]])
        assert await server.ended() == 0
        assert "nothing to reload" in server.log
    assert (tmp_path / state / "tidings.db").exists()
