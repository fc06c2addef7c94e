"""The server to be measured: the product's own `Server`, with an instrument and a way to look inside.

`python -m tidings.bench.server SETTINGS` with settings as JSON, and the secret in `TIDINGS_AUTH_SECRET`.
It takes requests on standard input and ends with it, or as the product does on SIGTERM.
"""

import gc
import os
import sys
import time
from functools import partial
from typing import Any

import msgspec
import trio

from tidings.bench.certificate import CERTIFICATE, KEY
from tidings.bench.collector import CollectorSettings, Pausing, collect_all
from tidings.bench.departures import Departures
from tidings.bench.profiles import CHANNEL, ROOM
from tidings.bench.replies import (
    Collected,
    Departed,
    Done,
    Pauses,
    Ready,
    Refused,
    ServerState,
    Waiting,
)
from tidings.protocol.dialects.base import Dialect
from tidings.protocol.errors import Refusal
from tidings.protocol.frames import Opcode
from tidings.protocol.payloads import check_payload
from tidings.server.app import Server
from tidings.server.config import Auth, Config, Heartbeat, History, Limits, Rooms, Tls
from tidings.server.config import Server as ServerSection
from tidings.server.edge.context import Context
from tidings.server.edge.session import Session
from tidings.server.logs import logging_to
from tidings.server.shutdown import Stop

# Classes of which a connection that is not forgotten would leave instances.
_TELLTALES = frozenset(
    {"Connection", "Outbox", "SocketTransport", "WebSocketConnection", "Task", "Nursery"}
)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a scenario changes of the product's defaults."""

    ping_interval: float = 20.0
    pong_timeout: float = 10.0
    close_timeout: float = Heartbeat().close_timeout
    drain_seconds: float = 30.0
    command_rate: float = 100.0
    command_burst: int = 200
    outbox_bytes: int = 1048576
    engine: str = ServerSection().engine
    host: str = ServerSection().host
    api_key: str = ""
    sink: bool = False
    """Whether messages end in a handler that does nothing, so that what is left is the engine."""
    collector: CollectorSettings = CollectorSettings()
    tls: bool = False
    """Whether to encrypt, with the certificate that the workbench has made."""

    def config(self, secret: str) -> Config:
        """The configuration, on a free port."""
        section: Any = msgspec.convert(
            {"host": self.host, "port": 0, "drain_seconds": self.drain_seconds, "engine": self.engine},
            ServerSection,
        )
        return Config(
            server=section,
            auth=Auth(secret=secret, api_keys=(self.api_key,) if self.api_key else ()),
            limits=Limits(
                command_rate=self.command_rate,
                command_burst=self.command_burst,
                outbox_bytes=self.outbox_bytes,
            ),
            tls=Tls(cert=str(CERTIFICATE), key=str(KEY)) if self.tls else Tls(),
            history=History(log="none"),
            heartbeat=Heartbeat(
                ping_interval=self.ping_interval,
                pong_timeout=self.pong_timeout,
                close_timeout=self.close_timeout,
            ),
            # Whatever fits into a message.
            rooms=Rooms(text_chars=Limits().message_bytes),
        )


class Sink:
    """Takes messages of either kind, and does nothing."""

    def __init__(self, _context: Context) -> None:
        pass

    def accepts(self, _dialect: Dialect) -> frozenset[Opcode]:
        """Both kinds."""
        return frozenset({Opcode.TEXT, Opcode.BINARY})

    async def handle(self, session: Session, message: str | bytes) -> None:
        """Do nothing."""


class TaskCount(trio.abc.Instrument):
    """How many tasks live, told by trio itself."""

    def __init__(self) -> None:
        self.living = 0

    def task_spawned(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002
        """Count one more."""
        self.living += 1

    def task_exited(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002
        """Count one less."""
        self.living -= 1


class Control:
    """The requests that the measured server takes."""

    def __init__(self, server: Server, stop: Stop, tasks: TaskCount, pausing: Pausing) -> None:
        self._server = server
        self._stop = stop
        self._tasks = tasks
        self._pausing = pausing
        self._departures: Departures | None = None

    async def do_stats(self, *, deep: bool = False) -> ServerState:
        """The server as it sees itself; `deep` collects garbage first and counts objects."""
        if deep:
            gc.collect()
        context = self._server.context
        numbers = msgspec.structs.asdict(context.hub.statistics())
        closes = numbers.pop("closes")
        return ServerState(
            statistics=numbers,
            closes={str(code): count for code, count in closes.items()},
            sockets=context.admission.open,
            addresses=context.admission.addresses,
            handled=len(self._server.front.connections),
            tasks=self._tasks.living,
            blocks=sys.getallocatedblocks(),
            objects=_telltales() if deep else {},
        )

    async def do_departed(self) -> Departed:
        """Who left the hub since the last time; the first time begins to take note."""
        if self._departures is None:
            self._departures = Departures(self._server.context.hub)
        return self._departures.told()

    async def do_waiting(self, *, group: str, count: int) -> Waiting:
        """The bytes that wait for each of the users GROUP-0 and on."""
        hub = self._server.context.hub
        found = [hub.connections_of(f"{group}-{number}") for number in range(count)]
        return Waiting([sum(one.pending_bytes for one in each) if each else None for each in found])

    async def do_publish(self, *, payload: int) -> Done:
        """Publish to the room, as another part of the product would: through the broker."""
        fields = {
            "sent": time.monotonic(),
            "id": "0",
            "room": ROOM,
            "user_id": "server",
            "username": "server",
            "text": "x" * payload,
        }
        context = self._server.context
        checked = check_payload(fields, context.registry.events["room_message"])
        if isinstance(checked, Refusal):
            raise TypeError(checked.message)
        await context.broker.publish(CHANNEL, "room_message", checked)
        return Done()

    async def do_pauses(self) -> Pauses:
        """The garbage collections since the last time."""
        return self._pausing.told()

    async def do_collect(self, *, frozen: bool = False) -> Collected:
        """Run a full garbage collection; `frozen`: among those too that were taken out of it."""
        return collect_all(frozen=frozen)

    async def do_stop(self) -> Done:
        """Shut down gracefully."""
        self._stop.request("asked")
        return Done()

    async def serve(self, requests: trio.lowlevel.FdStream, answers: trio.lowlevel.FdStream) -> None:
        """Answer requests until their end."""
        received = b""
        async for data in requests:
            *lines, received = (received + data).split(b"\n")
            for line in lines:
                fields = msgspec.json.decode(line)
                handler = getattr(self, f"do_{fields.pop('do')}")
                answer: msgspec.Struct
                try:
                    answer = await handler(**fields)
                except (TypeError, ValueError, LookupError) as error:
                    answer = Refused(f"{type(error).__name__}: {error}")
                await answers.send_all(msgspec.json.encode(answer) + b"\n")


def _telltales() -> dict[str, int]:
    counts = dict.fromkeys(sorted(_TELLTALES), 0)
    for item in gc.get_objects():
        name = type(item).__name__
        if name in _TELLTALES:
            counts[name] += 1
    return counts


async def _run(server: Server, tasks: TaskCount, collector: CollectorSettings) -> None:
    stop = Stop()
    pausing = Pausing()
    # Duplicates: FdStream makes them non-blocking and closes them.
    requests, answers = (trio.lowlevel.FdStream(os.dup(fd)) for fd in (0, 1))
    async with requests, answers, trio.open_nursery() as nursery:

        async def serve() -> None:
            await Control(server, stop, tasks, pausing).serve(requests, answers)
            stop.abort.cancel()  # whoever measured has gone

        async def until_stopped(*, task_status: trio.TaskStatus[Any]) -> None:
            await server.run(stop, signals=True, task_status=task_status)
            nursery.cancel_scope.cancel()

        listening = await nursery.start(until_stopped)
        await answers.send_all(msgspec.json.encode(Ready(ready=True, port=listening[0].port)) + b"\n")
        pausing.watch()
        nursery.start_soon(collector.keep_freezing)
        nursery.start_soon(serve)


def main() -> None:
    """Serve until the end."""
    settings = msgspec.json.decode(sys.argv[1], type=Settings)
    config = settings.config(os.environ["TIDINGS_AUTH_SECRET"])
    server = Server(config, messages=Sink if settings.sink else None)
    tasks = TaskCount()
    settings.collector.apply()
    with logging_to(sys.stderr, "json"):
        trio.run(partial(_run, server, tasks, settings.collector), instruments=[tasks])


if __name__ == "__main__":
    main()
