"""TLS on the server's own port: the same promises, and some that only TLS can break."""

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import MethodType

import msgspec
import pytest
import structlog.testing
import trio
import trio.testing
from support.client import RawClient, masked
from support.hostile import BAD_FRAMES, head
from support.secure import Certificates, serial_of
from support.site import Site, configured, listening_site
from support.tasks import converse, peers_of, quiet, reset, unharmed

from tidings.protocol.frames import Opcode
from tidings.server.config import Heartbeat, Limits


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    """The server's certificate, and who trusts it."""
    return Certificates(tmp_path)


@asynccontextmanager
async def _secure(certificates: Certificates, **heartbeat: float) -> AsyncIterator[Site]:
    config = configured(
        tls=certificates.config,
        limits=Limits(message_bytes=16_384, outbox_bytes=65_536),
        heartbeat=Heartbeat(**heartbeat),
    )
    with trio.fail_after(30):
        async with listening_site(config) as site:

            async def tls(site: Site) -> RawClient:
                return await certificates.open(site.port)

            site.open = MethodType(tls, site)  # type: ignore[method-assign]
            yield site


@pytest.fixture
async def secure_site(certificates: Certificates) -> AsyncIterator[Site]:
    """A server that speaks TLS; `site.open` and `site.connect` do, too."""
    async with _secure(certificates) as site:
        yield site


async def _plain(site: Site) -> RawClient:
    """A TCP connection to the TLS port, before any byte."""
    return RawClient(await trio.open_tcp_stream("127.0.0.1", site.port))


async def test_two_clients_chat_over_tls(secure_site: Site) -> None:
    """Handshake, rooms, publications and closes work as without TLS, and HTTP/1.1 is what is agreed on."""
    assert secure_site.listening[0].url("ws").startswith("wss://")
    async with unharmed(secure_site) as peers:
        alice, bob = await peers.connect("alice"), await peers.connect("bob")
        assert isinstance(alice.stream, trio.SSLStream)
        assert alice.stream.selected_alpn_protocol() == "http/1.1"
        for client in (alice, bob):
            await client.command("join_room", {"room": "r"})
        text = "é" * 5_000
        await alice.command("room_message", {"room": "r", "text": text})
        assert (await bob.receive_json())["data"]["text"] == text
        await bob.send_close(1000)
        assert (await bob.closed()).code == 1000
        assert await bob.at_end()


async def test_http_over_tls(secure_site: Site) -> None:
    """Plain HTTP requests and refusals are answered under TLS, too."""
    async with unharmed(secure_site) as peers:
        closing = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        for sent, expected in ((closing, 200), (head(key=None), 400)):
            client = await peers.open()
            await client.send(sent)
            assert (await client.response())[0] == expected
            assert await client.at_end()


@pytest.mark.parametrize(
    "name", ["opcode 0x3", "bad UTF-8", "over the limit, and a ping", "100,000 empty fragments"]
)
async def test_bad_frames_over_tls(secure_site: Site, name: str) -> None:
    """A violation is told by its close code, under TLS as without it."""
    sent, code = BAD_FRAMES[name]
    async with unharmed(secure_site) as peers:
        client = await peers.connect()
        await client.send(sent)
        assert (await client.closed()).code == code


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
        bytes(1000),
        b"\x16\x03\x01\x40\x00" + b"\x01" * 100,
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
        b"\x15\x03\x01\x00\x02\x02\x28",
    ],
    ids=["plain HTTP", "zeros", "truncated record", "truncated hello", "alert"],
)
async def test_garbage_at_the_tls_port_harms_nobody(certificates: Certificates, sent: bytes) -> None:
    """What is no TLS handshake ends its own connection, at once or at `handshake_timeout`."""
    async with _secure(certificates, handshake_timeout=0.3) as site, unharmed(site) as peers:
        client = peers.adopt(await _plain(site))
        await client.send(sent)
        await _at_end(client)


async def _at_end(client: RawClient) -> None:
    """Read until the server ends TCP, whatever alert it sends before."""
    try:
        while await client.stream.receive_some():
            pass
    except trio.BrokenResourceError:
        return


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"])
async def test_a_stalled_tls_handshake_is_cut_off(certificates: Certificates, sent: bytes) -> None:
    """A client that stops within the TLS handshake is gone at `handshake_timeout`."""
    async with _secure(certificates, handshake_timeout=0.1) as site:
        client = await _plain(site)
        await client.send(sent)
        await quiet(site)  # while the client is still there
        await client.aclose()


async def test_a_stalled_head_under_tls_is_cut_off(certificates: Certificates) -> None:
    """The time for the head counts the TLS handshake in, and ends with 408."""
    async with _secure(certificates, handshake_timeout=1.5) as site, unharmed(site) as peers:
        client = await peers.open()
        await client.send(b"GET /ws HTTP/1.1\r\n")
        assert (await client.response())[0] == 408


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /ws",
        head(key=None),
        head(),
        head() + masked(3),
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
async def test_a_tls_peer_that_resets_leaves_nothing(secure_site: Site, sent: bytes) -> None:
    """RST at any time after the TLS handshake ends that connection, without a fault in the log."""
    async with unharmed(secure_site) as peers:
        for _ in range(10):
            client = await peers.open()
            assert isinstance(client.stream, trio.SSLStream)
            if sent:
                await client.send(sent.replace(b"%TOKEN%", secure_site.token().encode()))
            reset(RawClient(client.stream.transport_stream))


async def test_a_tls_peer_that_resets_a_connection_leaves_nothing(secure_site: Site) -> None:
    """RST on a living connection, with and without a close or a violation under way."""
    async with unharmed(secure_site) as peers:
        for sent in (
            b"",
            masked(3),
            masked(Opcode.CLOSE, b"\x03\xe8"),
            masked(Opcode.TEXT, b"{}"),
            b"\x81",
        ):
            for _ in range(5):
                client = await peers.connect()
                assert isinstance(client.stream, trio.SSLStream)
                if sent:
                    await client.send(sent)
                reset(RawClient(client.stream.transport_stream))


async def test_a_replaced_certificate_is_for_newcomers(
    secure_site: Site, certificates: Certificates
) -> None:
    """After a reload new connections are shown the new certificate, and those that are there live on."""
    async with unharmed(secure_site) as peers:
        old = await peers.connect("alice")
        certificates.replace()
        before = await peers.open()
        assert serial_of(before) == serial_of(old)
        secure_site.server._reload_certificate()
        new = await peers.connect("bob")
        assert serial_of(new) != serial_of(old)
        for client in (old, new):
            await converse(client)


@pytest.mark.parametrize("broken", ["cert", "key"])
async def test_a_broken_certificate_replaces_nothing(
    secure_site: Site, certificates: Certificates, broken: str
) -> None:
    """A reload that fails is an error in the log; the old certificate stays in force."""
    async with peers_of(secure_site) as peers:
        old = await peers.connect("alice")
        certificates.spoil(broken)
        with structlog.testing.capture_logs() as logs:
            secure_site.server._reload_certificate()
        assert [line["log_level"] for line in logs] == ["error"]
        new = await peers.connect("bob")
        assert serial_of(new) == serial_of(old)
        await converse(new)


async def _narrow(site: Site, certificates: Certificates, user: str) -> RawClient:
    """A TLS client of whose bytes the kernel keeps few."""
    client = await certificates.open(site.port)
    assert isinstance(client.stream, trio.SSLStream)
    client.stream.transport_stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    assert (await client.handshake(token=site.token(user)))[0] == 101
    assert (await client.receive_json())["type"] == "connected"
    return client


@pytest.mark.parametrize("resumes", [True, False])
async def test_a_slow_consumer_over_tls(certificates: Certificates, resumes: bool) -> None:
    """3008 for a member that does not read: whole frames and the reason if it resumes in time, else a reset."""
    async with _secure(certificates, close_timeout=20 if resumes else 0.2) as site, peers_of(site) as peers:
        hub = site.server.context.hub
        reader = await peers.connect("reader")
        stuck = peers.adopt(await _narrow(site, certificates, "stuck"))
        for client in (reader, stuck):
            await client.command("join_room", {"room": "r"})
        total = 0
        while hub.connections_of("stuck"):
            total += 1
            payload = msgspec.json.encode({"n": total, "x": os.urandom(6_000).hex()})
            await site.server.context.broker.publish("room:r", "e", payload)
            assert (await reader.receive_json())["offset"] == total
        if not resumes:
            await reader.aclose()
            await quiet(site)
        messages, closed = await stuck.until_closed()
        assert closed.code == (3008 if resumes else None)
        assert [message["offset"] for message in messages] == list(range(1, len(messages) + 1))
        for message in messages:
            assert (message["data"]["n"], len(message["data"]["x"])) == (message["offset"], 12_000)
    assert hub.statistics().closes[3008] == 1
