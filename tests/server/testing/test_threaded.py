"""The same server for tests without Trio: calls block, within bounds, and the thread is gone at the end."""

import threading
import time

import pytest
import trio
import websockets.sync.client
from support.tasks import descriptors

from tidings.server.config import ConfigError
from tidings.server.delivery.hub import Hub
from tidings.server.testing import threaded
from tidings.server.testing.journal import ServerFaults
from tidings.server.testing.site import ServerEnded
from tidings.server.testing.threaded import serving_in_thread


def threads_at_work() -> int:
    """All but those that Trio keeps for ten seconds, for whoever needs one next."""
    return sum(not thread.name.startswith("Trio thread ") for thread in threading.enumerate())


def test_a_test_without_trio_has_it_all() -> None:
    """Clients, publications, a restart and a proxy; afterwards no thread and no descriptor is left."""
    threads, files = threads_at_work(), descriptors()
    with serving_in_thread({"limits.message_bytes": 3000}) as server:
        assert server.settings.limits.message_bytes == 3000
        assert server.url == f"http://{server.host}:{server.port}"
        alice = server.connect("alice", channels=["room:x"])
        assert alice.connected["user_id"] == "alice"
        server.publish("room:x", "news", {"n": 1})
        assert alice.publication("room:x", "news")["data"] == {"n": 1}
        assert alice.command("ping")["type"] == "pong"
        assert alice.received() == []
        proxy = server.proxy()
        with websockets.sync.client.connect(
            f"{proxy.url('ws')}/ws?token={server.token('bob', ['admin'])}", proxy=None
        ) as foreign:
            foreign.recv(timeout=10)
            assert server.call(server.server.push.online_users) == ["alice", "bob"]
            server.call(proxy.reset)
            with pytest.raises(websockets.exceptions.ConnectionClosed):
                foreign.recv(timeout=10)
        server.restart(graceful=False)
        assert alice.closed().code is None
        watcher = server.watch("room:x")
        server.publish("room:x", "news", {"n": 2})
        assert watcher.message("news")["data"] == {"n": 2}
        assert watcher.close().code == 1000
        server.stop()
        with pytest.raises(ServerEnded, match="stopped"):
            server.connect()
        server.start()
        server.connect().reset()
    assert (threads_at_work(), descriptors()) == (threads, files)


def test_a_server_that_cannot_start_says_why() -> None:
    """At the beginning of the test, with the error itself."""
    with pytest.raises(ConfigError, match="no such key"), serving_in_thread({"limits.nonsense": 1}):
        pass


def test_a_crash_is_raised_by_the_next_call_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """No call waits for a loop that has gone."""
    with pytest.raises(BaseExceptionGroup) as raised, serving_in_thread() as server:  # noqa: PT012  the block's end raises
        server.connect("alice")
        monkeypatch.setattr(Hub, "_begin", None)
        server.publish("all", "news", {})
        server._thread.join(10)
        with pytest.raises(ServerEnded, match="TypeError"):
            server.publish("all", "news", {})
    assert raised.value.split(TypeError)[0]


def test_a_contained_fault_is_raised_at_the_end() -> None:
    """As in a Trio test."""
    with pytest.raises(ServerFaults, match="oh"), serving_in_thread() as server:
        server.faults.append({"event": "oh", "log_level": "error"})


def test_a_blocked_loop_costs_a_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call gives up, and so does the end of the test, naming the cause."""
    monkeypatch.setattr(threaded, "CALL_SECONDS", 0.05)
    monkeypatch.setattr(threaded, "GRACE_SECONDS", 0.05)
    go_on = threading.Event()
    with pytest.raises(TimeoutError, match="loop is blocked"), serving_in_thread() as server:  # noqa: PT012  the block's end raises
        server._enter(lambda: go_on.wait(20))
        with pytest.raises(TimeoutError, match="has not done this"):
            server.call(time.time)
    go_on.set()
    server._thread.join(20)
    assert not server._thread.is_alive()


def test_what_a_function_raises_is_raised_here() -> None:
    """Also a time-out of its own, which is no fault of the loop's."""

    async def late() -> None:
        raise TimeoutError("mine")

    with serving_in_thread() as server:
        with pytest.raises(TimeoutError, match="mine"):
            server.call(late)
        with pytest.raises(ZeroDivisionError):
            server.call(divmod, 1, 0)
        assert server.call(trio.current_time) > 0
