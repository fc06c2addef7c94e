"""The end of a process: every client told, nothing acknowledged lost, and an exit code that says so."""

import json
import signal
import socket
from pathlib import Path

import pytest
import trio
from support.client import Closed, RawClient
from support.process import PATIENCE, Running, run, running, serve
from support.secure import Certificates, serial_of
from support.site import SECRET
from support.tasks import converse

from tidings.server.auth import Authenticator
from tidings.server.config import Auth

CLIENTS = 50


def _token(user: str) -> str:
    return Authenticator(Auth(secret=SECRET)).issue(user, ttl=600)


def _lines(server: Running) -> list[dict[str, object]]:
    return [json.loads(line) for line in server.log.splitlines()]


class Talker:
    """A client that says one thing after another in a room, and keeps a ledger until it is closed."""

    def __init__(self, client: RawClient) -> None:
        self.client = client
        self.acknowledged: list[int] = []
        self.heard = trio.Event()
        """Something of it was acknowledged."""
        self.received: list[int] = []
        self.told: dict[str, object] = {}
        self.code: int | None = None

    async def talk(self) -> None:
        """Until the server closes; then answer the close."""
        say = {"type": "room_message", "data": {"room": "r", "text": "hello"}, "id": "m"}
        try:
            await self.client.send_json(say)
            while True:
                message = await self.client.receive_json()
                match message["type"]:
                    case "room_message":
                        self.received.append(message["offset"])
                    case "published":
                        self.acknowledged.append(message["data"]["offset"])
                        self.heard.set()
                        await self.client.send_json(say)
                    case "disconnect":
                        self.told = message["data"]
        except Closed as closed:
            self.code = closed.code
            await self.client.send_close(closed.code)
            await self.client.aclose()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_under_load_tells_every_client(tmp_path: Path, number: signal.Signals) -> None:
    """Each of 50 talking clients reads `disconnect`, then close 3001; what was acknowledged it has seen; exit 0."""
    patient = ("server.drain_seconds=20", "heartbeat.close_timeout=20")
    async with running(*serve(*patient), folder=tmp_path) as server:
        talkers = [Talker(await server.connect(_token(f"user-{number}"))) for number in range(CLIENTS)]
        for talker in talkers:
            assert (await talker.client.command("join_room", {"room": "r"}))["type"] == "subscribed"
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                for talker in talkers:
                    nursery.start_soon(talker.talk)
                for talker in talkers:
                    await talker.heard.wait()
                server.signal(number)
        assert await server.ended() == 0
        delays = set()
        for talker in talkers:
            assert talker.code == 3001
            assert (talker.told["code"], talker.told["reconnect"]) == (3001, True)
            assert 0 <= float(str(talker.told["delay"])) <= 20
            delays.add(talker.told["delay"])
            assert talker.received == list(range(talker.received[0], talker.received[-1] + 1))
            assert set(talker.acknowledged) <= set(talker.received)
        assert len(delays) > CLIENTS / 2  # they do not all come back at once
        lines = _lines(server)
        assert lines[-1]["event"] == "drained"
        assert (lines[-1]["told"], lines[-1]["left"], lines[-1]["in_time"]) == (CLIENTS, 0, True)
        assert sum(line["event"] == "disconnected" and line["code"] == 3001 for line in lines) == CLIENTS


async def _stubborn(server: Running) -> RawClient:
    """A client that has been told to go, and does not answer its close."""
    client = await server.connect(_token("stubborn"))
    server.signal(signal.SIGTERM)
    assert (await client.receive_json())["type"] == "disconnect"
    assert (await client.closed()).code == 3001
    return client


async def _status(server: Running, path: str) -> int:
    client = await server.open()
    await client.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    status, _, _ = await client.response()
    await client.aclose()
    return status


async def test_newcomers_are_sent_away_while_it_drains_and_a_second_signal_cuts_short(
    tmp_path: Path,
) -> None:
    """503 at /readyz and for handshakes until the last has gone; another signal does not wait for it."""
    settings = serve("server.drain_seconds=60", "heartbeat.close_timeout=60")
    async with running(*settings, folder=tmp_path) as server:
        assert await _status(server, "/readyz") == 200
        client = await _stubborn(server)
        assert await _status(server, "/readyz") == 503
        assert await _status(server, "/healthz") == 200
        newcomer = await server.open()
        status, fields, body = await newcomer.handshake(token=_token("late"))
        assert (status, body["error"]["code"], int(fields["retry-after"]) > 0) == (503, "unavailable", True)
        await newcomer.aclose()
        server.signal(signal.SIGTERM)
        assert await server.ended() == 0
        assert await client.at_end()
        await client.aclose()
        assert "cut short" in server.log


async def test_the_drain_ends_in_its_time(tmp_path: Path) -> None:
    """A client that stays on is cut off after `drain_seconds`; the exit code is 0 all the same."""
    settings = serve("server.drain_seconds=0.3", "heartbeat.close_timeout=60")
    async with running(*settings, folder=tmp_path) as server:
        client = await _stubborn(server)
        assert await server.ended() == 0
        assert await client.at_end()
        await client.aclose()
        (drained,) = [line for line in _lines(server) if line["event"] == "drained"]
        assert (drained["told"], drained["left"], drained["in_time"]) == (1, 1, False)


async def test_a_port_in_use_is_told(tmp_path: Path) -> None:
    """Exit 1 and a sentence that names the port, without a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = await run("serve", "--port", str(port), folder=tmp_path, env={"TIDINGS_AUTH_SECRET": SECRET})
    assert done.returncode == 1
    assert done.stdout == ""
    assert f"127.0.0.1:{port}" in done.stderr
    assert "in use" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


async def test_sighup_reads_the_certificate_again(tmp_path: Path) -> None:
    """After SIGHUP new connections are shown the new certificate, and the old ones live on."""
    certificates = Certificates(tmp_path)
    settings = serve(f"tls.cert={certificates.config.cert}", f"tls.key={certificates.config.key}")
    async with running(*settings, folder=tmp_path) as server:
        assert "wss://" in server.banner
        old = await certificates.open(server.port)
        assert (await old.handshake(token=_token("alice")))[0] == 101
        certificates.replace()
        server.signal(signal.SIGHUP)
        while "reloaded" not in server.log:  # noqa: ASYNC110  a file tells nobody that it has grown
            await trio.sleep(0.01)
        new = await certificates.open(server.port)
        assert serial_of(new) != serial_of(old)
        await converse(old)
        for client in (old, new):
            await trio.aclose_forcefully(client.stream)
