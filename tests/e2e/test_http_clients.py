"""The HTTP clients that people have, on real sockets, with TLS and without."""

import shutil
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import trio
from support.secure import Certificates
from support.site import Site, configured, listening_site
from support.web import deaf, echo

from tidings.server.config import Http
from tidings.server.http import Exchange


@dataclass
class Target:
    """A server on a real port, and what a client needs to trust it."""

    site: Site
    url: str
    trust: Path | None

    async def run(self, program: str, *arguments: str) -> str:
        """Run a client to its end; what it printed. It must succeed."""
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
        done = await trio.run_process(
            [program, *arguments], capture_stdout=True, capture_stderr=True, check=False
        )
        assert done.returncode == 0, (done.stdout, done.stderr)
        return done.stdout.decode()

    async def curl(self, *arguments: str) -> str:
        """Run curl."""
        trust = () if self.trust is None else ("--cacert", str(self.trust))
        return await self.run("curl", "--disable", "--silent", "--show-error", *trust, *arguments)


async def _handle(exchange: Exchange) -> None:
    if exchange.request.path == "/deaf":
        await deaf(exchange)
    elif exchange.request.path == "/pieces":
        await exchange.start(200, [(b"Content-Type", b"text/plain")])
        for number in range(100):
            await exchange.send(b"%d\n" % number * 100, more=True)
        await exchange.send(b"end")
    else:
        await echo(exchange)


@pytest.fixture(params=["plain", "tls"])
async def target(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Target]:
    """A server that echoes, without TLS and with it."""
    certificates = Certificates(tmp_path) if request.param == "tls" else None
    sections = {} if certificates is None else {"tls": certificates.config}
    with trio.fail_after(30):
        async with listening_site(configured(http=Http(body_bytes=2_000_000), **sections)) as site:
            site.server.front._http = _handle
            url = site.listening[0].url("http")
            yield Target(site, url, None if certificates is None else certificates.trust_file())


_PIECES = "".join(f"{number}\n" * 100 for number in range(100)) + "end"


async def test_httpx_keeps_its_connection(target: Target) -> None:
    """Requests of every framing go over one connection, and their answers come back whole."""

    async def upload() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b"x" * 1000

    trust = ssl.create_default_context(cafile=None if target.trust is None else str(target.trust))
    async with httpx.AsyncClient(base_url=target.url, verify=trust, trust_env=False) as client:
        answers = [
            await client.get("/a"),
            await client.post("/b", content=b"12345"),
            await client.post("/c", content=upload()),
            await client.get("/pieces"),
            await client.head("/a"),
            await client.post("/deaf", content=b"unread"),
            await client.delete("/d"),
        ]
        ports = {answer.extensions["network_stream"].get_extra_info("client_addr")[1] for answer in answers}
    assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 200, 403, 200]
    assert [len(answers[at].json()["body"]) for at in (0, 1, 2)] == [0, 5, 10_000]
    assert answers[3].text == _PIECES
    assert len(ports) == 1


async def test_curl_keeps_its_connection(target: Target) -> None:
    """Several URLs are fetched over one connection."""
    printed = await target.curl(
        "--write-out", "|%{num_connects}\n", *(f"{target.url}/{n}" for n in range(4))
    )
    assert [line.rpartition("|")[2] for line in printed.splitlines()] == ["1", "0", "0", "0"]
    assert '"target":"/3"' in printed


@pytest.mark.parametrize("headers", [["Transfer-Encoding: chunked"], ["Expect: 100-continue"], ["Expect:"]])
async def test_curl_uploads(target: Target, tmp_path: Path, headers: list[str]) -> None:
    """A body of a megabyte arrives in chunks, after 100, and at once, and the connection goes on."""
    file = tmp_path / "upload"
    file.write_bytes(b"x" * 1_000_000)
    fields = [part for header in headers for part in ("--header", header)]
    one = [*fields, "--data-binary", f"@{file}", "--write-out", "|%{http_code} %{num_connects}\n"]
    printed = await target.curl(*one, f"{target.url}/1", f"{target.url}/2")
    assert [line.rpartition("|")[2] for line in printed.splitlines()] == ["200 1", "200 0"]
    assert printed.count("x" * 1_000_000) == 2


@pytest.mark.parametrize("expect", ["Expect:", "Expect: 100-continue"])
@pytest.mark.parametrize(("path", "status"), [("/", "413"), ("/deaf", "403")])
async def test_curl_reads_an_early_refusal(
    target: Target, tmp_path: Path, path: str, status: str, expect: str
) -> None:
    """A refusal given before the body is read reaches a client that is in the middle of sending it."""
    file = tmp_path / "upload"
    file.write_bytes(b"x" * 8_000_000)
    printed = await target.curl(
        "--header", expect, "--data-binary", f"@{file}", "--write-out", "|%{http_code}", target.url + path
    )
    assert printed.endswith(f"|{status}")
    assert '"error"' in printed


@pytest.mark.parametrize("version", ["--http1.0", "--http1.1"])
async def test_curl_reads_an_answer_of_unknown_length(target: Target, version: str) -> None:
    """It comes in chunks for 1.1 and until the end of the connection for 1.0, whole in both."""
    assert await target.curl(version, f"{target.url}/pieces") == _PIECES


@pytest.mark.parametrize("body", [False, True])
async def test_ab_keeps_its_connections(target: Target, tmp_path: Path, body: bool) -> None:
    """ab, which speaks 1.0 and asks for keep-alive, gets it, and no request fails."""
    file = tmp_path / "body"
    file.write_bytes(b"x" * 1000)
    posting = ["-p", str(file), "-T", "text/plain"] if body else []
    printed = await target.run("ab", "-q", "-k", "-n", "200", "-c", "10", *posting, f"{target.url}/ab")
    figures = {
        name: value.split() for name, _, value in (line.partition(":") for line in printed.splitlines())
    }
    for name, count in {"Complete": "200", "Failed": "0", "Keep-Alive": "200"}.items():
        assert figures[f"{name} requests"][0] == count
    assert "Non-2xx responses" not in figures
