"""The network whose router can swallow everything: real namespaces, real TCP."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from tidings.bench import netns
from tidings.bench.netns import Network, NoNetwork, network, tidy

SECONDS = 20

FAR = """
import socket, sys
with socket.socket() as far:
    far.bind((sys.argv[1], 0))
    far.settimeout(20)
    far.connect((sys.argv[2], int(sys.argv[3])))
    while data := far.recv(100):
        far.sendall(data.upper())
"""

HOLDER = """
from tidings.bench.netns import network
with network() as made:
    print(made.inside[-1], flush=True)
    input()
"""

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("ip") is None, reason="namespaces need root and iproute2"
)


def namespaces() -> list[str]:
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    return [line.split()[0] for line in listed.splitlines()]


def left_of(pid: int) -> list[str]:
    links = [name for _, name in socket.if_nameindex()]
    return [name for name in [*namespaces(), *links] if name == f"tidings{pid}" or f"-{pid}-" in name]


@contextmanager
def far_end(made: Network) -> Iterator[socket.socket]:
    """A connection from inside, whose other end answers in capitals."""
    with closing(socket.create_server((made.host, 0))) as listener:
        listener.settimeout(SECONDS)
        here = [made.host, str(listener.getsockname()[1])]
        far = subprocess.Popen([*made.inside, sys.executable, "-c", FAR, made.sources[-1], *here])
        try:
            with listener.accept()[0] as connection:
                connection.settimeout(SECONDS)
                assert connection.getpeername()[0] == made.sources[-1]
                yield connection
            assert far.wait(SECONDS) == 0
        finally:
            far.kill()
            far.wait()


@contextmanager
def holder() -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A process with a network, and the name of one of its namespaces."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
        tidy()


@pytest.mark.slow
@needs_root
def test_packets_pass_vanish_without_a_word_and_pass_again() -> None:
    """Neither end is told: what was sent meanwhile arrives in the end, on the same connection."""
    with network() as made, far_end(made) as connection:
        connection.sendall(b"before")
        assert connection.recv(100) == b"BEFORE"

        made.swallow()
        before = made.traffic()
        connection.sendall(b"meanwhile")
        # TCP sends it again and again, at growing distances; each time is a packet more.
        deadline = time.monotonic() + SECONDS
        while made.traffic().received < before.received + 2 and time.monotonic() < deadline:
            pass
        received, forwarded, told = made.traffic()
        assert received >= before.received + 2
        assert (forwarded, told) == (before.forwarded, before.told)
        connection.setblocking(False)
        with pytest.raises(BlockingIOError):
            connection.recv(100)

        made.mend()
        connection.settimeout(SECONDS)
        assert connection.recv(100) == b"MEANWHILE"
        assert made.traffic().forwarded > forwarded


@pytest.mark.slow
@needs_root
def test_the_network_is_gone_after_its_block_also_by_an_exception() -> None:
    """Namespaces, link and route."""

    def interrupted() -> None:
        with network() as made:
            assert len(left_of(os.getpid())) == 3
            made.swallow()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert left_of(os.getpid()) == []


@pytest.mark.slow
@needs_root
def test_what_an_interrupted_making_has_made_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever step failed."""
    monkeypatch.setattr(netns, "_ROUTER", "echo no such luck >&2; exit 1")
    with pytest.raises(NoNetwork, match="no such luck"), network():
        raise AssertionError("nothing works without a router")
    assert left_of(os.getpid()) == []


@pytest.mark.slow
@needs_root
def test_an_interrupted_process_takes_its_network_with_it() -> None:
    """Ctrl-C."""
    with holder() as (process, name):
        assert name in namespaces()
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) != 0
        assert left_of(process.pid) == []


@pytest.mark.slow
@needs_root
def test_what_a_killed_process_has_left_is_removed_by_the_next_and_nothing_else() -> None:
    """A leftover goes; the network of a run that lives stays."""
    with holder() as (living, kept), holder() as (killed, left):
        killed.kill()
        killed.wait()
        assert left in namespaces()
        with network():
            assert left_of(killed.pid) == []
            assert kept in namespaces()
            assert len(left_of(living.pid)) == 3


@pytest.mark.slow
@needs_root
def test_a_port_where_nobody_listens_is_told() -> None:
    """As is a firewall that drops what comes in."""
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as elsewhere,
        network() as made,
        pytest.raises(NoNetwork, match="does not answer"),
    ):
        made.check_reaches(elsewhere.getsockname()[1])


def test_without_root_there_is_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing is tried."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(netns, "_run", None)
    with pytest.raises(NoNetwork, match="needs root"), network():
        raise AssertionError("made without root")
