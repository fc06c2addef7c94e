"""A server for somebody's test: reachable, restartable, loud when it fails, and gone without a trace."""

import logging
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog
import structlog.testing
import trio
from support.tasks import descriptors, living_tasks
from trio.testing import MockClock

from tidings.protocol.frames import Opcode
from tidings.server.app import Server
from tidings.server.brokers.memory import MemoryBroker
from tidings.server.config import ConfigError
from tidings.server.delivery.hub import Hub
from tidings.server.testing import client as client_module
from tidings.server.testing.client import Closed, ConnectionRefused, RawClient, TimedOut
from tidings.server.testing.journal import ServerFaults
from tidings.server.testing.site import ServerEnded, TestServer, serving


@pytest.fixture
async def server() -> AsyncIterator[TestServer]:
    """A server; a test that hangs fails after 30 s."""
    with trio.fail_after(30):
        async with serving() as server:
            yield server


def files_in(folder: Path) -> list[Path]:
    """What lies in a folder."""
    return list(folder.iterdir())


async def test_it_leaves_no_task_no_socket_and_no_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also with clients and a proxy that nobody has closed, and after a restart."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = descriptors()
    with trio.fail_after(30), living_tasks() as tasks:
        async with serving() as server:
            proxy = await server.proxy()
            await server.connect("alice", through=proxy)
            proxy.stall()
            await server.connect("bob")
            await server.restart(graceful=False)
            await server.connect("carol", through=await server.proxy())
            assert tasks.living > 5
            assert files_in(tmp_path)
        assert tasks.living == 0, tasks.names.values()
    assert descriptors() == before
    assert not files_in(tmp_path)


async def test_settings_are_checked_and_hermetic(monkeypatch: pytest.MonkeyPatch) -> None:
    """They reach the server; a wrong one names the key; the environment counts nothing."""
    monkeypatch.setenv("TIDINGS_LIMITS_CHANNELS_PER_CONNECTION", "77")
    given = {
        "limits.message_bytes": 2000,
        "auth.open_rooms": False,
        "auth.user_claims": ("uid",),
        "endpoints./live": "native",
    }
    async with serving(given) as server:
        assert server.settings.limits.message_bytes == 2000
        assert server.settings.limits.channels_per_connection == 128
        client = await server.connect("alice", path="/live")
        assert client.connected["user_id"] == "alice"
        assert (await client.command("subscribe", channel="room:x"))["data"]["code"] == "forbidden"
    for name, said in (("limits.mesage_bytes", "did you mean message_bytes"), ("server.port", "its own")):
        with pytest.raises(ConfigError, match=said):
            async with serving({name: 1}):
                pass


async def test_virtual_time_is_refused(autojump_clock: MockClock) -> None:
    """Real sockets under a clock that jumps would only ever time out: the error says so."""
    with pytest.raises(TypeError, match="autojump_clock"):
        async with serving():
            pass


async def test_what_is_published_can_be_waited_for_in_any_order(server: TestServer) -> None:
    """A client finds the publication that is asked for, and keeps the others."""
    alice = await server.connect("alice", channels=["room:a", "room:b"])
    for channel, event in (
        ("room:a", "one"),
        ("room:b", "two"),
        ("room:a", "three"),
        ("user:alice", "four"),
    ):
        await server.push.publish(channel, event, {"in": channel})
    assert (await alice.publication("room:b"))["data"] == {"in": "room:b"}
    assert (await alice.publication(event="four"))["channel"] == "user:alice"
    assert (await alice.publication())["type"] == "one"
    assert [message["type"] for message in await alice.received()] == ["three"]
    assert await alice.received() == []


async def test_a_watcher_sees_what_is_published_to_others(server: TestServer) -> None:
    """For tests of what publishes: no need to be the one it is for."""
    watcher = await server.watch("user:bob", "room:x")
    await server.push.to_user("bob", "news", {"n": 1})
    await server.push.to_room("x", "news", {"n": 2})
    assert (await watcher.publication("room:x"))["data"] == {"n": 2}
    assert (await watcher.publication("user:bob"))["data"] == {"n": 1}


async def test_a_command_has_its_own_answer(server: TestServer) -> None:
    """Publications that come before the answer are not lost, and an error is an answer too."""
    alice = await server.connect("alice", username="Alice", channels=["room:x"])
    answer = await alice.command("room_message", room="x", text="hi")
    assert answer["type"] == "published"
    assert (await alice.publication())["data"]["username"] == "Alice"
    assert (await alice.command("room_message", {"room": "y", "text": "hi"}))["type"] == "error"
    with pytest.raises(AssertionError, match="user:bob"):
        await alice.subscribe("user:bob")


@pytest.mark.parametrize("size", [10, 30_000])
async def test_both_encodings_and_all_lengths(server: TestServer, size: int) -> None:
    """Short and long messages go both ways, in JSON and in MessagePack."""
    alice = await server.connect("alice")
    for subprotocol in ("tidings.v1.json", "tidings.v1.msgpack"):
        alice = await server.connect("alice", subprotocols=[subprotocol], channels=["room:x"])
        await alice.command("room_message", room="x", text="é" * (size // 2))
        assert (await alice.publication())["data"]["text"] == "é" * (size // 2)
    await server.push.to_room("x", "news", {"text": "x" * 3 * size})
    assert len((await alice.publication())["data"]["text"]) == 3 * size


async def test_a_refused_handshake_says_why(server: TestServer) -> None:
    """Status and body, as the assertion that fails the test and as values."""
    with pytest.raises(ConnectionRefused, match="401") as raised:
        await server.connect(token="nonsense")
    assert (raised.value.status, raised.value.body["error"]["code"]) == (401, "unauthorized")


async def test_every_wait_is_bounded_and_says_what_there_was(
    server: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test that waits in vain fails soon, and shows what came instead."""
    assert client_module.PATIENCE < 10
    alice = await server.connect("alice")
    alice.patience = 0.05
    await server.push.to_user("alice", "other", {})
    with pytest.raises(TimedOut, match=r"news to room:x; there is: other"):
        await alice.publication("room:x", "news")
    monkeypatch.setattr(client_module, "KEPT_MESSAGES", 3)
    alice.patience = 5
    for _ in range(4):
        await server.push.to_user("alice", "other", {})
    with pytest.raises(AssertionError, match="nobody took"):
        await alice.publication("room:x")


async def test_endings_of_every_kind(server: TestServer) -> None:
    """Ours, the server's, a violation's and a crash's, each with its code."""
    alice = await server.connect("alice")
    assert (await alice.close(4000, "enough")).code == 4000
    bob = await server.connect("bob")
    server.push.disconnect("bob", reason="go")
    assert (await bob.closed()).code == 3503
    assert bob.pending[-1]["data"]["reason"] == "go"
    with pytest.raises(Closed):
        await bob.command("ping")
    carol = await server.connect("carol")
    await carol.send_frame(Opcode.PING, b"x" * 126)
    assert (await carol.closed()).code == 1002
    dave = await server.connect("dave")
    await dave.reset()
    with pytest.raises(Closed, match="by the test"):
        await dave.message()


async def test_a_restart_keeps_the_port_and_the_tokens(server: TestServer) -> None:
    """Clients are told, refused meanwhile, and come back with what they have."""
    port, token = server.port, server.token("alice")
    alice = await server.connect(token=token)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.stop)
        assert (await alice.closed()).code == 3001
    with pytest.raises(OSError, match="attempts to connect"):
        await trio.open_tcp_stream("127.0.0.1", port)
    with pytest.raises(ServerEnded):
        _ = server.push
    await server.stop()
    await server.start()
    assert server.port == port
    await server.connect(token=token)
    again = await server.connect("bob")
    await server.restart(graceful=False)
    assert (await again.closed()).code is None


async def test_the_port_is_reserved_while_nobody_listens(server: TestServer) -> None:
    """Nobody else is given it meanwhile. Without connections: those that have just ended would hold it, too."""
    await server.stop(graceful=False)
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", server.port))
    await server.start()


async def test_a_server_that_crashes_fails_the_test_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the test is waiting for is cancelled, and the cause is raised."""

    async def wait_in_vain() -> None:
        async with serving() as server:
            await server.connect("alice")
            # The hub's flusher fails in the background.
            monkeypatch.setattr(Hub, "_begin", None)
            await server.push.broadcast("news", {})
            await trio.sleep_forever()

    with trio.fail_after(20), pytest.raises(BaseExceptionGroup) as raised:
        await wait_in_vain()
    assert raised.value.split(TypeError)[0]


async def test_a_server_that_does_not_start_again_says_why(
    server: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The restart raises the cause, to whoever asked for it."""

    async def fail(*_: object, **__: object) -> None:
        raise LookupError("planted")

    monkeypatch.setattr(Server, "run", fail)
    with pytest.raises(BaseExceptionGroup) as raised:
        await server.restart(graceful=False)
    assert raised.value.split(LookupError)[0]
    monkeypatch.undo()
    await server.start()
    await server.connect("alice")


async def test_a_contained_fault_fails_the_test_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server survives a handler that fails, and answers; the test learns of it, unless it was meant."""

    async def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("planted")

    async def provoke(*, meant: bool) -> None:
        async with serving() as server:
            client = await server.connect("alice")
            monkeypatch.setattr(MemoryBroker, "open", fail)
            assert (await client.command("subscribe", channel="room:x"))["data"]["code"] == "internal"
            assert len(server.faults) == 1
            monkeypatch.undo()
            if meant:
                server.faults.clear()

    await provoke(meant=True)
    with pytest.raises(ServerFaults, match="planted") as raised:
        await provoke(meant=False)
    assert isinstance(raised.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize("is_configured", [False, True])
async def test_log_lines_go_to_the_standard_library(
    caplog: pytest.LogCaptureFixture, is_configured: bool
) -> None:
    """pytest shows them with the test that failed, and never on a stream that was closed since."""
    if is_configured:  # as `capture_logs` leaves it behind
        structlog.configure(processors=structlog.get_config()["processors"])
    else:
        structlog.reset_defaults()
    before = structlog.get_config()
    with caplog.at_level(logging.INFO):
        async with serving():
            pass
    assert (structlog.get_config(), structlog.is_configured()) == (before, is_configured)
    assert ("tidings.server", logging.INFO) in {(name, level) for name, level, _ in caplog.record_tuples}


async def test_a_configured_structlog_is_left_as_it_is() -> None:
    """Who has set structlog up sees the lines there; our note-taker is gone afterwards."""
    with structlog.testing.capture_logs() as logs:
        before = structlog.get_config()
        async with serving():
            assert structlog.get_config()["logger_factory"] is before["logger_factory"]
    assert "listening" in [line["event"] for line in logs]


async def test_two_servers_know_nothing_of_each_other() -> None:
    """Each has its own port and secret; either may end first."""
    async with serving() as one, serving() as two:
        assert one.port != two.port
        with pytest.raises(ConnectionRefused):
            await two.connect(token=one.token("alice"))
        await one.stop(graceful=False)
        await two.connect("alice")


async def test_a_client_on_any_stream() -> None:
    """What is no server of ours is an assertion with the bytes in it, and an end is an end."""
    near, far = trio.testing.memory_stream_pair()
    client = RawClient(near)
    await far.send_all(b"\x81\x80no mask")
    with pytest.raises(AssertionError, match="not a server's frame"):
        await client.message()
    near, far = trio.testing.memory_stream_pair()
    client = RawClient(near)
    await far.send_all(b"\x81\x05{")
    await far.aclose()
    assert (await client.closed()).reason == "TCP has ended"


async def test_a_client_answers_pings_and_closes() -> None:
    """While it waits for something, as the server expects of everybody; unmasked here: the key is random."""
    near, far = trio.testing.memory_stream_pair()
    client = RawClient(near)
    await far.send_all(b'\x89\x01x\x81\x0c{"type":"a"}\x88\x02\x03\xe8')
    assert (await client.message())["type"] == "a"
    assert (await client.closed()).code == 1000
    said = bytes(await far.receive_some())
    assert (said[0], said[1]) == (0x8A, 0x81)
    assert said[6] ^ said[2] == ord("x")
    assert said[7] == 0x88
