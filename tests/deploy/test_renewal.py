"""certbot's deploy hook: a renewed certificate is what newcomers are shown, and its key stays its owner's."""

import re
import signal
import ssl
import subprocess
import time
from functools import partial
from pathlib import Path

import httpx
import pytest
import trio
from support.process import PATIENCE, running
from support.proxies import DEPLOY, SECONDS, Proxy, renew, until
from support.readme import section
from support.secure import Certificates, serial_of

pytestmark = pytest.mark.slow

DOCUMENT = "docs/operations.md"
HOOK = DEPLOY / "renewed-certificate"

# What belongs to whom, with which mode.
NGINX = {"fullchain.pem": "-o root -g root -m 644", "privkey.pem": "-o root -g root -m 600"}
HAPROXY = {"tidings.pem": "-o root -g root -m 600"}
SERVER = {"fullchain.pem": "-o root -g tidings -m 640", "privkey.pem": "-o root -g tidings -m 640"}


def _check(told: list[str], name: str, places: Path, owners: dict[str, str]) -> None:
    """Everything in its place with its owner and mode, no key lying about beside it, and then the reload, once."""
    for file, owner in owners.items():
        assert any(line.startswith(f"install {owner} ") and f"/{file}" in line for line in told), told
        assert f"{(places / file).stat().st_mode & 0o777:o}" == owner[-3:]
    assert {file.name for file in places.iterdir()} == set(owners)
    assert [line for line in told if line.startswith("systemctl ")] == [
        f"systemctl try-reload-or-restart {name}"
    ]
    assert told[-1].startswith("systemctl ")


async def test_a_proxy_shows_the_new_certificate(proxy: Proxy) -> None:
    """After the hook and the reload that it asks for; and the document's command sees an end that is near."""
    name = proxy.program.name
    old = await proxy.open()
    proxy.certificates.replace()
    told = renew(name, proxy.folder)
    _check(
        told,
        name,
        proxy.folder / ("etc/ssl/tidings" if name == "nginx" else "etc/haproxy"),
        NGINX if name == "nginx" else HAPROXY,
    )
    await proxy.reload()
    new = await proxy.open()
    assert serial_of(new) != serial_of(old)
    assert isinstance(new.stream, trio.SSLStream)
    ends = ssl.cert_time_to_seconds(new.stream.getpeercert()["notAfter"])
    for client in (old, new):
        await client.aclose()
    [watch] = re.findall(r"^openssl s_client .*$", section("TLS", DOCUMENT), re.MULTILINE)
    watch = watch.replace("tidings.example.com:443", proxy.authority)
    assert watch.count("1209600") == 1
    # Fourteen days from now it is good; a minute after its end it is not.
    verdicts = {"1209600": 0, f"{ends - time.time() + 60:.0f}": 1}
    for seconds, status in verdicts.items():
        command = ["sh", "-c", watch.replace("1209600", seconds)]
        with trio.fail_after(SECONDS):
            done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
        assert done.returncode == status, done.stdout + done.stderr


async def test_the_challenge_reaches_certbot(proxy: Proxy) -> None:
    """Over plain HTTP and nothing else: where the document has certbot listen, with the hook that deploy/ has."""
    told = section("TLS", DOCUMENT)
    assert "--http-01-address 127.0.0.1 --http-01-port 8402" in told, "as in both files"
    assert f"--deploy-hook '/usr/local/sbin/{HOOK.name} nginx'" in told
    assert f"install -m 755 deploy/{HOOK.name} /usr/local/sbin/" in told

    async def certbot(stream: trio.SocketStream) -> None:
        asked = await stream.receive_some()
        assert asked.startswith(b"GET /.well-known/acme-challenge/a-token HTTP/1.")
        await stream.send_all(b"HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\nthe proof")
        await stream.aclose()

    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            listen = partial(trio.serve_tcp, certbot, proxy.certbot_port, host="127.0.0.1")
            await nursery.start(listen)
            base = f"http://127.0.0.1:{proxy.plain_port}"
            async with httpx.AsyncClient(base_url=base, verify=False, timeout=PATIENCE) as issuer:
                answer = await issuer.get("/.well-known/acme-challenge/a-token")
                assert (answer.status_code, answer.text) == (200, "the proof")
                assert (await issuer.get("/.well-known/security.txt")).status_code == 301
            nursery.cancel_scope.cancel()


async def test_the_server_shows_the_new_certificate(tmp_path: Path) -> None:
    """With TLS of its own: after the hook, and the signal that the unit's reload is, without a restart."""
    certificates = Certificates(tmp_path)
    renew("tidings", tmp_path)
    places = tmp_path / "etc/tidings"
    files = [f"tls.cert={places}/fullchain.pem", f"tls.key={places}/privkey.pem"]
    arguments = ["serve", "--port", "0", *(part for setting in files for part in ("--set", setting))]
    async with running(*arguments, folder=tmp_path) as server:
        old = await certificates.open(server.port)
        certificates.replace()
        _check(renew("tidings", tmp_path), "tidings", places, SERVER)
        server.signal(signal.SIGHUP)
        await until(lambda: "certificate reloaded" in server.log)
        new = await certificates.open(server.port)
        assert serial_of(new) != serial_of(old)
        for client in (old, new):
            await client.aclose()


def test_a_call_that_is_wrong_changes_nothing(tmp_path: Path) -> None:
    """Without certbot's word for where the certificate is, or for a program that it does not know, it fails."""
    for lineage, name in (({}, "nginx"), ({"RENEWED_LINEAGE": str(tmp_path)}, "apache2")):
        done = subprocess.run(
            [HOOK, name],
            env={"PATH": str(tmp_path)} | lineage,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert done.returncode == 2, done.stderr
        assert "certbot" in done.stderr or "usage" in done.stderr
    assert not any(tmp_path.iterdir())
