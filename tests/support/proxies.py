"""nginx and HAProxy as deploy/ configures them: real processes, on ports of a test's own, ended with it."""

import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
import trio
from msgspec.structs import replace

from support.client import RawClient
from support.secure import Certificates
from support.site import Site
from tidings.server.app import Listening, Server
from tidings.server.config import Config

DEPLOY: Final = Path(__file__).resolve().parents[2] / "deploy"

#: What the configurations tell to write into `server.trusted_proxies`.
TRUSTED: Final = ("127.0.0.1",)

#: A client's address that is no proxy's: all of 127.0.0.0/8 is this machine.
ELSEWHERE: Final = "127.0.0.2"

#: How long a proxy lets a WebSocket stand on which nothing moves, as shipped.
IDLE: Final = {"nginx": "proxy_read_timeout 120s;", "haproxy": "timeout tunnel 120s\n"}

# For a proxy to start or to reload on a busy machine; nothing waits for it to pass.
_PATIENCE: Final = 40

# A test's own time, on a busy machine.
SECONDS: Final = 60

# Runs beside the proxy. The end of its input comes with the end of the test process, however that ends; SIGTERM
# takes workers and those of earlier reloads along.
_KEEPER: Final = """
log=$1; shift
"$@" >>"$log" 2>&1 </dev/null & echo $!
read -r _; kill -TERM $! 2>/dev/null; wait $!
"""


# What only root on a machine with systemd and these users may do, told instead of done.
_ROOTS: Final = """
systemctl() { echo "systemctl $*"; }
install() {
    echo "install $*"
    command install $(printf '%s\\n' "$@" | sed '/^-o$/,+1d; /^-g$/,+1d')
}
"""


@dataclass(frozen=True)
class Program:
    """A reverse proxy, and what of its configuration is a test's own."""

    name: str
    command: tuple[str, ...]
    reload: tuple[str, ...]
    config: str
    places: Mapping[str, str]
    """Text that stands once in the configuration, and what stands there instead: ports, paths, and how many
    descriptors there may be, which a test's machine may not have. Nothing else."""


_NGINX: Final = Program(
    "nginx",
    ("nginx", "-e", "{folder}/error.log", "-c", "{folder}/config", "-g", "daemon off;"),
    ("nginx", "-e", "{folder}/error.log", "-c", "{folder}/config", "-s", "reload"),
    "nginx.conf",
    {
        "pid /run/nginx.pid;": "pid {folder}/nginx.pid;",
        "worker_rlimit_nofile 65536;": "",
        "worker_connections 30000;": "worker_connections 2000;",
        "/var/log/nginx/error.log": "{folder}/error.log",
        "/var/log/nginx/access.log": "{folder}/access.log",
        "127.0.0.1:8000": "127.0.0.1:{server}",
        "127.0.0.1:8402": "127.0.0.1:{certbot}",
        "listen 80;": "listen 127.0.0.1:{plain};",
        "listen [::]:80;": "",  # not every machine has IPv6
        "listen 443 ssl http2;": "listen 127.0.0.1:{tls} ssl http2;",
        "listen [::]:443 ssl http2;": "",
        "/etc/ssl/tidings/fullchain.pem": "{folder}/etc/ssl/tidings/fullchain.pem",
        "/etc/ssl/tidings/privkey.pem": "{folder}/etc/ssl/tidings/privkey.pem",
        # Where Debian has compiled in folders that only root can write to.
        "\nhttp {\n": "\nhttp {{\n"
        + "".join(
            f"    {kind}_temp_path {{folder}}/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        ),
    },
)
_HAPROXY: Final = Program(
    "haproxy",
    # As Debian's unit starts it, but without telling systemd.
    ("haproxy", "-W", "-db", "-f", "{folder}/config"),
    ("kill", "-USR2", "{pid}"),
    "haproxy.cfg",
    {
        "maxconn 15000": "maxconn 1000",
        "log /dev/log local0": "log stdout format raw local0",
        "/run/haproxy/admin.sock": "{folder}/admin.sock",
        "/etc/haproxy/tidings.pem": "{folder}/etc/haproxy/tidings.pem",
        "127.0.0.1:8000": "127.0.0.1:{server}",
        "127.0.0.1:8402": "127.0.0.1:{certbot}",
        "bind :80,:::80 v6only": "bind 127.0.0.1:{plain}",
        "bind :443,:::443 v6only": "bind 127.0.0.1:{tls}",
    }
    # Only root can become somebody else.
    | (
        {}
        if os.geteuid() == 0
        else {"user haproxy": "", "group haproxy": "", "chroot /var/lib/haproxy": ""}
    ),
)
PROGRAMS: Final = {program.name: program for program in (_NGINX, _HAPROXY)}


@dataclass
class Proxy:
    """A proxy that runs; behind `server_port` there may be a server or none."""

    program: Program
    folder: Path
    certificates: Certificates
    pid: int
    plain_port: int
    tls_port: int
    server_port: int
    certbot_port: int

    @property
    def authority(self) -> str:
        """Host and port, as a browser says them."""
        return f"127.0.0.1:{self.tls_port}"

    async def open(self, source: str = ELSEWHERE, *, receive_buffer: int | None = None) -> RawClient:
        """A client's TLS connection from one of this machine's addresses, handshake done."""
        sock = trio.socket.socket()
        try:
            if receive_buffer is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            await sock.bind((source, 0))
            await sock.connect(("127.0.0.1", self.tls_port))
            transport = trio.SocketStream(sock)
            stream = trio.SSLStream(
                transport, self.trusting(), server_hostname="127.0.0.1", https_compatible=True
            )
            await stream.do_handshake()
        except BaseException:
            sock.close()
            raise
        return RawClient(stream)

    def trusting(self) -> ssl.SSLContext:
        """For clients that trust its certificate and speak HTTP/1.1."""
        context = ssl.create_default_context(cafile=self.certificates.trust_file())
        context.set_alpn_protocols(["http/1.1"])
        return context

    def workers(self) -> set[int]:
        """The processes that serve, those of earlier reloads too."""
        return set(map(int, Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()))

    async def reload(self) -> set[int]:
        """As an operator does after a change of the configuration; the old workers, who meet no newcomers now."""
        before = self.workers()
        values = {"folder": self.folder, "pid": self.pid}
        await trio.run_process([part.format(**values) for part in self.program.reload])
        await until(lambda: bool(self.workers() - before) and not any(map(self._listens, before)))
        return before

    def _listens(self, pid: int) -> bool:
        rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
        listening = {row[9] for row in rows if row[1].endswith(f":{self.tls_port:04X}") and row[3] == "0A"}
        with suppress(FileNotFoundError):  # it has ended
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                if str(descriptor.readlink()).removeprefix("socket:").strip("[]") in listening:
                    return True
        return False

    @property
    def log(self) -> str:
        """Everything it has written anywhere."""
        return "".join(path.read_text() for path in sorted(self.folder.glob("*log")))


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for what another process does and nothing tells; a test that waits in vain fails."""
    with trio.fail_after(_PATIENCE):
        while not is_so():  # noqa: ASYNC110  there is no event to wait for
            await trio.sleep(0.005)


@contextmanager
def running_proxy(name: str, *, changes: Mapping[str, str] | None = None) -> Iterator[Proxy]:
    """Run a proxy with the shipped configuration. Skips the test where the program is not installed.

    `changes` are further texts to replace, each of which must stand in it once.
    """
    program = PROGRAMS[name]
    if shutil.which(program.command[0]) is None:
        pytest.skip(f"no {name}: apt-get install {'nginx-light' if name == 'nginx' else name}")
    # Not pytest's folder: the workers are nobody in particular, and must get through to it.
    folder = Path(tempfile.mkdtemp(prefix=f"tidings-{name}-", dir="/tmp"))
    ports = [_reserved() for _ in range(4)]
    try:
        folder.chmod(0o755)
        certificates = Certificates(folder)
        renew(name, folder)
        plain, tls, server, certbot = (sock.getsockname()[1] for sock in ports)
        values = {"folder": folder, "plain": plain, "tls": tls, "server": server, "certbot": certbot}
        text = (DEPLOY / program.config).read_text()
        for old, new in {**program.places, **(changes or {})}.items():
            assert text.count(old) == 1, f"{program.config}: {old!r} stands there {text.count(old)} times"
            text = text.replace(old, new.format(**values))
        (folder / "config").write_text(text)
        command = [part.format(**values) for part in program.command]
        with _kept(folder / "output.log", command) as pid:
            proxy = Proxy(program, folder, certificates, pid, plain, tls, server, certbot)
            _wait_until_it_listens(proxy)
            yield proxy
    finally:
        for sock in ports:
            sock.close()
        shutil.rmtree(folder)


def renew(name: str, folder: Path) -> list[str]:
    """Run certbot's deploy hook as shipped, for what `Certificates` has written to a folder, which stands for `/`.

    Returns what it would have installed and reloaded, in order: files are given to nobody, nothing is reloaded.
    """
    live = folder / "live"
    for part, of_the_tests in (("fullchain.pem", "cert.pem"), ("privkey.pem", "key.pem")):
        live.mkdir(exist_ok=True)
        if not (live / part).is_symlink():
            # As certbot keeps them.
            (live / part).symlink_to(folder / of_the_tests)
    for owned_by_a_package in ("ssl", "haproxy", "tidings"):
        (folder / "etc" / owned_by_a_package).mkdir(parents=True, exist_ok=True)
    hook = (DEPLOY / "renewed-certificate").read_text().replace("/etc/", f"{folder}/etc/")
    done = subprocess.run(
        ["sh", "-c", _ROOTS + hook, "renewed-certificate", name],
        env={"PATH": os.defpath, "RENEWED_LINEAGE": str(live)},
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
        check=True,
    )
    return done.stdout.replace(f"{folder}/etc/", "/etc/").splitlines()


@asynccontextmanager
async def site_behind(proxy: Proxy, config: Config) -> AsyncIterator[Site]:
    """A server where the proxy expects it; `open` and `connect` of the site go through the proxy.

    A test that hangs fails after a minute.
    """
    section = replace(config.server, port=proxy.server_port, trusted_proxies=TRUSTED)
    server = Server(replace(config, server=section))
    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            site = _Behind(server, nursery)
            site.proxy = proxy

            async def run(*, task_status: trio.TaskStatus[list[Listening]]) -> None:
                await server.run(site.stop, task_status=task_status)

            site.listening = await nursery.start(run)
            yield site
            site.stop.abort.cancel()


class _Behind(Site):
    proxy: Proxy

    async def open(self) -> RawClient:
        return await self.proxy.open()


def _reserved() -> socket.socket:
    """A port that the kernel gives to nobody else; whoever listens there with SO_REUSEADDR still may."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    return sock


@contextmanager
def _kept(log: Path, command: list[str]) -> Iterator[int]:
    with subprocess.Popen(
        ["sh", "-c", _KEEPER, "keeper", str(log), *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PATH": os.defpath + ":/usr/sbin:/sbin"},
    ) as keeper:
        assert keeper.stdout is not None
        yield int(keeper.stdout.readline())
        keeper.communicate(b"\n", timeout=_PATIENCE)


def _wait_until_it_listens(proxy: Proxy) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", proxy.tls_port)).close()
        except ConnectionRefusedError:
            pass
        else:
            return
        # Nobody has waited for one that has died: it is a zombie.
        state = Path(f"/proc/{proxy.pid}/stat").read_text().rpartition(")")[2].split()[0]
        assert state != "Z", proxy.log
        assert time.monotonic() < deadline, proxy.log
        time.sleep(0.005)
