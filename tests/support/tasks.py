"""Proof that a server has survived: living tasks, descriptors, what the hub holds, and a neighbour."""

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import structlog.testing
import trio
import trio.testing

from support.client import RawClient
from support.site import Site


class LivingTasks(trio.abc.Instrument):
    """Counts tasks by trio's own word, so that a forgotten one shows."""

    def __init__(self) -> None:
        self.living = 0
        """Tasks spawned since the start, less those that have exited."""
        self.names: dict[trio.lowlevel.Task, str] = {}

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        """Count a task in."""
        self.living += 1
        self.names[task] = task.name

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        """Count a task out."""
        self.living -= 1
        self.names.pop(task, None)


@contextmanager
def living_tasks() -> Iterator[LivingTasks]:
    """Count the tasks that come and go within the block."""
    tasks = LivingTasks()
    trio.lowlevel.add_instrument(tasks)
    try:
        yield tasks
    finally:
        trio.lowlevel.remove_instrument(tasks)


def descriptors() -> int:
    """Open descriptors of this process: client's and server's ends alike."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def reset(client: RawClient) -> None:
    """End TCP with RST in place of FIN; the stream is closed at once."""
    stream = client.stream
    assert isinstance(stream, trio.SocketStream)
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    stream.socket.close()


class Peers:
    """The clients of one test, closed at its end whatever became of them."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._clients: list[RawClient] = []

    async def open(self) -> RawClient:
        """A new connection, before any byte."""
        return self.adopt(await self.site.open())

    async def connect(self, user: str = "alice", **more: Any) -> RawClient:
        """A client that is authenticated and has read `connected`."""
        return self.adopt(await self.site.connect(user, **more))

    def adopt(self, client: RawClient) -> RawClient:
        """Close this client, too, at the end."""
        self._clients.append(client)
        return client

    async def aclose(self) -> None:
        """Close all of them, without a farewell."""
        for client in self._clients:
            await trio.aclose_forcefully(client.stream)


async def converse(client: RawClient) -> None:
    """Ping, and hear one's own word in a room: all that a connection does still works."""
    assert (await client.command("ping"))["type"] == "pong"
    assert (await client.command("join_room", {"room": "echo"}))["type"] == "subscribed"
    await client.send_json({"type": "room_message", "data": {"room": "echo", "text": "heard?"}})
    while (message := await client.receive_json())["type"] != "room_message":
        pass
    assert message["data"]["text"] == "heard?"


async def quiet(site: Site) -> None:
    """Wait until the server has let go of every peer; then it must hold nothing that was theirs."""
    context = site.server.context
    with trio.fail_after(20):
        # First let it accept what waits in the listener's backlog, or there would be nothing to wait for.
        await trio.testing.wait_all_tasks_blocked()
        await context.admission.wait_empty()
        await trio.testing.wait_all_tasks_blocked()
    hub = context.hub
    held = (hub._channels, hub._subscribers, hub._users, hub._replies, site.server.front.connections)
    assert not any(held), held
    assert (context.admission.open, context.admission.addresses) == (0, 0)
    figures = hub.statistics()
    assert (figures.connections, figures.users, figures.channels, figures.subscriptions) == (0, 0, 0, 0)
    assert figures.outbox_bytes == 0


@asynccontextmanager
async def peers_of(site: Site) -> AsyncIterator[Peers]:
    """Clients that are closed at the end; then the server must have let go of them."""
    peers = Peers(site)
    try:
        # Under virtual time a hang fails at once; real time has the deadline of `live_site`.
        with trio.fail_after(1_000_000):
            yield peers
    finally:
        await peers.aclose()
    await quiet(site)


@asynccontextmanager
async def unharmed(site: Site) -> AsyncIterator[Peers]:
    """Whatever the peers do in the block: a neighbour is served all the time, and afterwards nothing is left.

    Nothing that a peer does may show as a fault of ours either: no line of the log is an error.
    """
    before = descriptors()
    with living_tasks() as tasks, structlog.testing.capture_logs() as logs:
        async with peers_of(site) as peers:
            # Under virtual time a silent neighbour would be found dead: it comes afterwards.
            neighbour = await peers.connect("neighbour") if site.listening else None
            yield peers
            await converse(neighbour or await peers.connect("neighbour"))
        assert tasks.living == 0, tasks.names.values()
        faults = [line for line in logs if line["log_level"] in ("error", "critical", "exception")]
        assert not faults, [(line["event"], repr(line.get("exc_info"))) for line in faults]
    assert descriptors() == before
