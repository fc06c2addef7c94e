"""docs/operations.md: what it tells people to run, run; what it tells them to write, read by the server."""

import re
import signal
import sys
from pathlib import Path

import httpx
import pytest
import trio
from support.process import PATIENCE, Running, running
from support.proxies import DEPLOY
from support.readme import ROOT, commands_of
from support.site import SECRET
from support.tokens import forged

from tidings.client import AsyncPublisher
from tidings.server.config import load

pytestmark = pytest.mark.slow

DOCUMENT = "docs/operations.md"

# What only root on a machine with systemd, users and a network may do. All else is the real thing.
_STUBS = """
set -eu
systemctl() { echo "systemctl $*"; }
runuser() {
    [ "$1 $2 $3" = "-u tidings --" ] && shift 3
    # A user of its own, who is at home nowhere else: it could not look for a .env elsewhere.
    [ "$PWD" = "$HOME_OF_TIDINGS" ]
    "$@"
}
install() { command install $(printf '%s\\n' "$@" | sed '/^-o$/,+1d; /^-g$/,+1d'); }
"""


class Machine:
    """A folder that stands for the machine of the document."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in (
            "etc/tidings",
            "etc/prometheus",
            "etc/systemd/system",
            "var/lib/tidings",
            "var/backups",
        ):
            (folder / name).mkdir(parents=True)
        (folder / "deploy").symlink_to(DEPLOY)
        toml = (DEPLOY / "tidings.toml").read_text().replace("port = 8000", "port = 0")
        (folder / "etc/tidings/tidings.toml").write_text(self.placed(toml))
        (folder / "etc/tidings/environment").write_text(f"TIDINGS_AUTH_SECRET='{SECRET}'\n")

    def placed(self, text: str) -> str:
        """With the document's paths below the folder."""
        return re.sub(r"(?<![\w./])/(etc|var)/", rf"{self.folder}/\1/", text)

    async def type(self, commands: str) -> str:
        """Run a block as the document has it; what it printed. Fails where any of it does."""
        commands = self.placed(commands).replace(
            "/opt/tidings/bin/tidings", f"{sys.executable} -m tidings.server"
        )
        with trio.fail_after(60):
            done = await trio.run_process(
                ["bash", "-c", _STUBS + commands],
                cwd=self.folder,
                env={
                    "PATH": "/usr/bin:/bin",
                    "COLUMNS": "200",
                    "HOME_OF_TIDINGS": str(self.folder / "var/lib/tidings"),
                },
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )
        assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
        return done.stdout.decode()

    async def start(self, unit: str) -> None:
        """As systemd starts a unit that was copied to its place."""
        text = (self.folder / "etc/systemd/system" / unit).read_text().replace("\\\n", "")
        settings = dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))
        umask, environment = settings["UMask"], settings["EnvironmentFile"]
        await self.type(f"umask {umask}; set -a; . {environment}; set +a\n{settings['ExecStart']}")

    def serve(self) -> list[str]:
        """The arguments of the server, as the unit has them."""
        return ["serve", "--config", str(self.folder / "etc/tidings/tidings.toml")]


async def _logs_in(server: Running, username: str, password: str) -> list[str]:
    """The roles of whoever logs in so."""
    base = f"http://127.0.0.1:{server.port}"
    async with httpx.AsyncClient(base_url=base, verify=False, timeout=PATIENCE) as api:
        given = {"username": username, "password": password}
        answer = await api.post("/api/auth/login", json=given)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["user"]["roles"])


async def _kept(server: Running) -> list[object]:
    """What waits in alice's inbox."""
    alice = await server.connect(forged())
    history = await alice.command("history", {"channel": "user:alice"})
    await alice.aclose()
    return [publication["data"] for publication in history["data"]["publications"]]


async def test_its_commands_work(tmp_path: Path) -> None:
    """Figures, the first login, Prometheus's token, a copy of a living server, the restore of it, an upgrade."""
    machine = Machine(tmp_path)
    operate, first = commands_of("systemd", DOCUMENT)
    scrape = commands_of("Metrics and alerts", DOCUMENT)[0]
    copy, restore = commands_of("Backup and restore", DOCUMENT)
    [upgrade] = commands_of("Upgrades and restarts", DOCUMENT)
    admin = forged(sub="root", roles=["admin"])
    async with running(*machine.serve(), folder=tmp_path) as server:

        async def publish(number: int) -> None:
            async with AsyncPublisher(f"http://127.0.0.1:{server.port}", token=admin) as publisher:
                await publisher.to_user("alice", "news", {"n": number})

        await publish(1)
        # A free port is not one that the configuration knows; and once is enough.
        printed = await machine.type(operate.replace("--watch", f"--url http://127.0.0.1:{server.port}"))
        assert 'trusted_proxies = ["127.0.0.1"]' in printed
        assert "connections" in printed
        password = (await machine.type(first)).strip()
        assert await _logs_in(server, "root", password) == ["admin"]
        assert "systemctl start tidings-token.service" in await machine.type(scrape)
        await machine.start("tidings-token.service")
        kept = tmp_path / "etc/prometheus/tidings.token"
        assert kept.stat().st_mode & 0o777 == 0o640
        token = kept.read_text().strip()
        client = await server.open()
        await client.send(
            f"GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        )
        status, _, body = await client.response()
        assert (status, b"tidings_connections" in body) == (200, True)
        await client.aclose()
        await machine.type(copy)
        await publish(2)
        assert await _kept(server) == [{"n": 1}, {"n": 2}]
        server.signal(signal.SIGTERM)
        assert await server.ended() == 0
    await machine.type(restore)
    assert "nothing to do" in await machine.type(
        upgrade.replace("/opt/tidings/bin/pip install", ": pip install")
    )
    async with running(*machine.serve(), folder=tmp_path) as server:
        assert await _kept(server) == [{"n": 1}], "as it was when it was copied"


def test_its_settings_are_the_servers(tmp_path: Path) -> None:
    """Each block of TOML is taken; keys of the kernel exist, and so does each setting that is named in passing."""
    text = (ROOT / DOCUMENT).read_text("utf-8")
    blocks = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 2
    for name in ("fullchain.pem", "privkey.pem"):
        (tmp_path / name).touch()
    for block in blocks:
        (tmp_path / "tidings.toml").write_text(block.replace("/etc/tidings", str(tmp_path)))
        load(tmp_path / "tidings.toml", environ={}, dotenv=None)
    config = load(environ={}, dotenv=None)
    for section, key in re.findall(
        r"`(server|auth|limits|heartbeat|http|history|compression|store|tls)\.(\w+)`", text
    ):
        assert hasattr(getattr(config, section), key), f"{section}.{key}"
    [written] = re.findall(r"<<'END'\n(.*?)END\n", text, re.DOTALL)
    for key in re.findall(r"^(net\.[\w.]+) = ", written, re.MULTILINE):
        assert Path("/proc/sys", key.replace(".", "/")).exists(), key
