"""The accept loop: it outlives whatever accept() says, and sets every socket up to notice a dead peer."""

import errno
import socket

import pytest
import structlog.testing
import trio
from hypothesis import given
from hypothesis import strategies as st
from support.client import RawClient
from support.site import Site, configured, memory_site
from support.tasks import quiet, unharmed
from support.web import WebClient
from trio.testing import MockClock

from tidings.server.app import Server
from tidings.server.config import Limits
from tidings.server.edge.connection import Connection
from tidings.server.edge.front import open_listeners
from tidings.server.edge.handshake import client_address

_HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


class Failing(socket.socket):
    """A listener whose `accept` fails in given ways before it works."""

    failures: list[int]

    def accept(self) -> tuple[socket.socket, object]:
        """Fail, or accept."""
        if self.failures:
            raise OSError(self.failures.pop(0), "planted")
        return super().accept()


def _failing(failures: list[int]) -> Failing:
    listener = Failing()
    listener.failures = failures
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    listener.setblocking(False)
    return listener


@pytest.mark.parametrize(
    ("number", "logged"),
    [
        (errno.ECONNABORTED, 0),
        (errno.ECONNRESET, 0),
        (errno.EPROTO, 0),
        (errno.EPERM, 0),
        (errno.EMFILE, 1),
        (errno.ENFILE, 1),
        (errno.ENOBUFS, 1),
        (errno.ENOMEM, 1),
    ],
)
async def test_the_accept_loop_survives(number: int, logged: int) -> None:
    """A peer gone again, or a machine out of descriptors, never ends the accepting, nor floods the log."""
    server = Server(configured())
    with trio.fail_after(10), _failing(3 * [number]) as listener, structlog.testing.capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.front.listen, listener, nursery)
            client = RawClient(await trio.open_tcp_stream(*listener.getsockname()))
            await client.send(_HEALTH)
            assert (await client.response())[0] == 200
            assert not listener.failures
            await client.aclose()
            nursery.cancel_scope.cancel()
    # Once a second: the few tenths that this takes may lie in two of them.
    errors = sum(line["log_level"] == "error" for line in logs)
    assert errors in range(logged, 2 * logged + 1)


async def test_a_broken_listener_is_a_fault() -> None:
    """What is no passing trouble is raised, and not retried for ever."""
    server = Server(configured())
    with trio.fail_after(10), _failing([errno.EINVAL]) as listener:
        async with await trio.open_tcp_stream(*listener.getsockname()):
            with pytest.raises(ExceptionGroup) as raised:
                async with trio.open_nursery() as nursery:
                    await server.front.listen(listener, nursery)
        (error,) = raised.value.exceptions
        assert isinstance(error, OSError)
        assert error.errno == errno.EINVAL


async def test_every_socket_notices_a_dead_peer(live_site: Site) -> None:
    """Keepalive and a user timeout agree with the heartbeat's bound: each sees what the others miss."""
    async with unharmed(live_site) as peers:
        await peers.connect("alice")
        (connection,) = live_site.server.context.hub.connections_of("alice")
        assert isinstance(connection, Connection)
        sock = connection._transport._socket  # type: ignore[attr-defined]
        assert not sock.getblocking()
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        options = {
            "TCP_NODELAY": 1,
            "TCP_KEEPIDLE": 20,
            "TCP_KEEPINTVL": 5,
            "TCP_KEEPCNT": 2,
            "TCP_USER_TIMEOUT": 30_000,
        }
        found = {name: sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in options}
        assert found == options


def test_a_host_of_several_addresses_has_one_port() -> None:
    """With port 0 all addresses of a host share the port that the first one got."""
    listeners = open_listeners("localhost", 0)
    try:
        assert len({listener.getsockname()[1] for listener in listeners}) == 1
        assert not any(listener.getblocking() for listener in listeners)
    finally:
        for listener in listeners:
            listener.close()


def test_a_port_that_is_taken_leaves_no_listener() -> None:
    """When one address cannot be listened on, none is: the error is raised and nothing stays open."""
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        open_listeners("127.0.0.1", taken.getsockname()[1])


async def test_a_connection_of_memory_is_served_like_a_socket(
    site: Site, autojump_clock: MockClock
) -> None:
    """The front serves any stream as it serves a socket, and closes it."""
    client = await site.open()
    await client.send(_HEALTH)
    assert (await client.response())[0] == 200
    assert await client.at_end()
    await quiet(site)


async def test_a_socket_too_many_is_answered_once(autojump_clock: MockClock) -> None:
    """Beyond the caps a health check is answered, and sent away: it must not keep a refusal's place."""
    async with memory_site(configured(limits=Limits(connections_total=1))) as site:
        first = WebClient(await site.open())
        assert "connection" not in (await first.get("/healthz")).fields
        second = WebClient(await site.open())
        answer = await second.get("/healthz")
        assert (answer.status, answer.fields["connection"]) == (200, "close")
        assert await second.rest() == b""
        await first.raw.aclose()
        await second.raw.aclose()
        await quiet(site)


TRUSTED = ("10.0.0.0/8", "::1")


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", [b"203.0.113.9"], "192.0.2.1"),  # nobody trusted said so
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [b"203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", [b" 203.0.113.9 "], "203.0.113.9"),
        ("10.0.0.1", [b"198.51.100.7, 203.0.113.9"], "203.0.113.9"),  # the first is the client's own claim
        ("10.0.0.1", [b"198.51.100.7", b"203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", [b"203.0.113.9, 10.0.0.2"], "203.0.113.9"),
        ("10.0.0.1", [b"203.0.113.9, 10.0.0.2, ::1"], "203.0.113.9"),
        ("10.0.0.1", [b"10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", [b"2001:db8::1"], "2001:db8::1"),
        ("10.0.0.1", [b"2001:DB8:0::1"], "2001:db8::1"),
        ("::1", [b"203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", [b"unknown"], "10.0.0.1"),
        ("10.0.0.1", [b"203.0.113.9, unknown"], "10.0.0.1"),
        ("10.0.0.1", [b"203.0.113.9, unknown, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", [b"\xff, \x00"], "10.0.0.1"),
        ("10.0.0.1", [b",,,"], "10.0.0.1"),
        ("10.0.0.1", [b"203.0.113.9,"], "203.0.113.9"),
        ("no address", [b"203.0.113.9"], "no address"),
    ],
)
def test_the_clients_address_is_what_trusted_proxies_say(
    peer: str, forwarded: list[bytes], address: str
) -> None:
    """Read from its end, as far as trusted proxies wrote it; a claim of the client's own is never believed."""
    headers = [(b"x-forwarded-for", value) for value in forwarded]
    assert client_address(peer, headers, TRUSTED) == address


@given(st.sampled_from(["192.0.2.1", "10.0.0.1", "::1"]), st.lists(st.binary(max_size=60), max_size=3))
def test_no_forwarding_raises(peer: str, forwarded: list[bytes]) -> None:
    """Whatever the header holds, the answer is an address: one that a proxy named, or the peer's own."""
    address = client_address(peer, [(b"x-forwarded-for", value) for value in forwarded], TRUSTED)
    assert address == peer or peer != "192.0.2.1"
