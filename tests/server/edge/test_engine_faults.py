"""A fault of the engine, or of a handler, costs what it was about and nothing else."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog.testing
import trio
import trio.testing
from support.client import Closed, masked
from support.served import served, with_handler
from support.site import Site
from support.tasks import converse, living_tasks, peers_of
from trio.testing import MockClock

from tidings.protocol.close_codes import CloseCode
from tidings.protocol.dialects.base import Command
from tidings.protocol.frames import Opcode
from tidings.protocol.messages.answers import Pong
from tidings.server.delivery.outbox import Outbox
from tidings.server.edge.engines.seam import Engine, EngineLimits, Upgrade, WebSocket
from tidings.server.edge.session import Answer, Outcome, Session
from tidings.server.edge.transport import Transport


class Planted(RuntimeError):
    """The exception that these tests plant."""


class Faulty:
    """A WebSocket whose `receive` raises in the place of the second message."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._left = 1
        self.framing = websocket.framing
        self.send_frame, self.ping, self.close = websocket.send_frame, websocket.ping, websocket.close

    def allow(self, message_bytes: int) -> None:
        """Passed on."""
        self._websocket.allow(message_bytes)

    def receive_nowait(self) -> str | bytes | None:
        """Only `receive` tells."""
        return None

    async def receive(self) -> str | bytes:
        """A message, or the fault."""
        message = await self._websocket.receive()
        if not self._left:
            raise Planted("receive")
        self._left -= 1
        return message


class FaultyEngine:
    """A real engine, with a fault in every connection made while `fault` is set."""

    name = "faulty"

    def __init__(self, real: Engine) -> None:
        self._real = real
        self.fault = ""
        self.fire = trio.Event()
        """Set off the faults in tasks of the engine's own."""

    @asynccontextmanager
    async def accept(
        self,
        upgrade: Upgrade,
        transport: Transport,
        outbox: Outbox,
        limits: EngineLimits,
        on_control: Callable[[int], None],
    ) -> AsyncIterator[WebSocket]:
        """Accept, or fail in one of the ways an engine can."""
        if self.fault == "accept":
            raise Planted("accept")
        async with (
            self._real.accept(upgrade, transport, outbox, limits, on_control) as websocket,
            trio.open_nursery() as nursery,
        ):
            match self.fault:
                case "task":
                    nursery.start_soon(self._fail)
                    yield websocket
                case "group":
                    nursery.start_soon(self._fail)
                    nursery.start_soon(self._fail)
                    yield websocket
                case "receive":
                    yield Faulty(websocket)
                case _:
                    yield websocket
            nursery.cancel_scope.cancel()

    async def _fail(self) -> None:
        await self.fire.wait()
        raise Planted("task")


async def _fail() -> None:
    raise Planted("task")


@pytest.mark.parametrize("fault", ["accept", "task", "group", "receive"])
async def test_an_engines_fault_ends_one_connection(
    site: Site, autojump_clock: MockClock, fault: str
) -> None:
    """Wherever the engine raises: that connection ends with 1011 and is logged, its neighbours notice nothing."""
    engine = FaultyEngine(site.server.context.engine)
    site.server.context.engine = engine
    with living_tasks() as tasks, structlog.testing.capture_logs() as logs:
        async with peers_of(site) as peers:
            neighbour = await peers.connect("neighbour")
            await neighbour.command("join_room", {"room": "r"})
            engine.fault = fault
            client = await peers.open()
            try:
                await client.handshake(token=site.token("alice"))
                assert (await client.command("ping"))["type"] == "pong"
                engine.fire.set()
                await client.send_json({"type": "ping"})
                closed = await client.closed()
            except Closed as ended:
                closed = ended
            # Without a WebSocket there is nothing to say 1011 with.
            assert closed.code == (None if fault == "accept" else 1011)
            engine.fault = ""
            await client.aclose()
            await trio.testing.wait_all_tasks_blocked()
            assert site.server.context.hub.statistics().closes == {1011: 1}
            assert not site.server.context.hub.connections_of("alice")
            await converse(neighbour)
            await converse(await peers.connect("alice"))
        assert tasks.living == 0
    (error,) = [line for line in logs if line["log_level"] == "error"]
    assert error["event"] == "connection failed"


async def test_an_engines_fault_is_told_over_a_socket(live_site: Site) -> None:
    """Over a plain socket, too, the peer reads 1011 before TCP ends, also when it was still sending."""
    engine = FaultyEngine(live_site.server.context.engine)
    live_site.server.context.engine = engine
    with structlog.testing.capture_logs():
        async with peers_of(live_site) as peers:
            engine.fault = "receive"
            client = await peers.open()
            await client.handshake(token=live_site.token("alice"))
            await client.send(200 * masked(Opcode.TEXT, b'{"type":"ping"}'))
            assert (await client.closed()).code == 1011
            assert await client.at_end()


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("secret detail"),
        KeyError("secret detail"),
        ExceptionGroup("g", [ValueError("secret detail")]),
    ],
    ids=["RuntimeError", "KeyError", "group"],
)
async def test_a_handlers_fault_costs_one_command(autojump_clock: MockClock, error: Exception) -> None:
    """A handler that raises: `internal` under the command's id, nothing of the exception, the connection lives."""

    async def failing(session: Session, command: Command) -> Outcome:
        raise error

    with structlog.testing.capture_logs() as logs:
        async with served(with_handler("stats", failing)) as site, peers_of(site) as peers:
            client = await peers.connect()
            answer = await client.command("stats", id="s")
            assert (answer["type"], answer["data"]["code"], answer["id"]) == ("error", "internal", "s")
            assert "secret detail" not in answer["data"]["message"]
            await converse(client)
            for _ in range(60):  # the server's faults are not held against the client
                assert (await client.command("stats"))["data"]["code"] == "internal"
    assert any(line["event"] == "handler failed" for line in logs)


async def test_a_handlers_own_nursery_may_fail(autojump_clock: MockClock) -> None:
    """A handler with tasks of its own that raise is a failed handler, and its tasks are gone."""

    async def failing(session: Session, command: Command) -> Outcome:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(_fail)
        return Answer("pong", Pong())

    async with served(with_handler("stats", failing)) as site:
        with living_tasks() as tasks, structlog.testing.capture_logs():
            async with peers_of(site) as peers:
                client = await peers.connect()
                assert (await client.command("stats"))["data"]["code"] == "internal"
                await converse(client)
            assert tasks.living == 0


async def test_a_slow_close_of_a_handler_is_cut_off_with_its_connection(autojump_clock: MockClock) -> None:
    """A handler that runs when the connection closes is cancelled at `close_timeout`, and leaves nothing."""
    ended: list[Any] = []

    async def endless(session: Session, command: Command) -> Outcome:
        try:
            await trio.sleep(3600)
        finally:
            ended.append(trio.current_time())
        return None

    async with served(with_handler("stats", endless)) as site:
        with living_tasks() as tasks:
            async with peers_of(site) as peers:
                client = await peers.connect()
                await client.send_json({"type": "stats"})
                await trio.testing.wait_all_tasks_blocked()
                (connection,) = site.server.context.hub.connections_of("alice")
                connection.close(CloseCode.DISCONNECTED)
                assert (await client.closed()).code == 3503
                await site.server.context.admission.wait_empty()
                assert ended == [pytest.approx(2)]
            assert tasks.living == 0


async def test_a_peer_that_goes_ends_its_handler(autojump_clock: MockClock) -> None:
    """A handler whose client has gone does not run to its end for nobody."""
    ended: list[Any] = []

    async def endless(session: Session, command: Command) -> Outcome:
        try:
            await trio.sleep(3600)
        finally:
            ended.append(trio.current_time())
        return None

    async with served(with_handler("stats", endless)) as site, peers_of(site) as peers:
        client = await peers.connect()
        await client.send_json({"type": "stats"})
        await trio.testing.wait_all_tasks_blocked()
        await client.aclose()
        await site.server.context.admission.wait_empty()
        # The read task is busy with the handler: the loss shows when it looks again, at `handler_timeout`.
        assert ended[0] <= 10
