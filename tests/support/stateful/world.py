"""A whole server on virtual time, of the same parts as any other, watched from all sides."""

import dataclasses
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from copy import copy
from functools import cache
from socket import socket
from typing import cast

import msgspec
import pytest
import structlog.testing
import trio
from trio.testing import wait_all_tasks_blocked

from support.site import configured
from support.stateful.network import Line, ScriptedSocket, ScriptedStream, ScriptedTrio
from support.stateful.watched import SlowBroker, WatchedConnection, WatchedHub
from support.stateful.witness import Truth, Witness
from support.tasks import living_tasks
from tidings.protocol.close_codes import CloseCode, is_sendable
from tidings.server import shutdown
from tidings.server.app import Server
from tidings.server.auth import Authenticator
from tidings.server.config import Limits
from tidings.server.delivery import hub as hub_module
from tidings.server.delivery import outbox as outbox_module
from tidings.server.edge import connection as connection_module
from tidings.server.edge import dispatch, front
from tidings.server.edge import transport as transport_module
from tidings.server.edge.alarms import Alarms
from tidings.server.edge.transport import SocketTransport, StreamTransport, Transport
from tidings.server.limits import Admission
from tidings.server.push import Push

# So small that a handful of frames meets every limit.
LIMITS = Limits(
    message_bytes=700,
    outbox_bytes=6 * 700 + 1024,
    channels_per_connection=4,
    connections_per_user=3,
    command_burst=16,
    command_rate=10,
    fragments_per_message=4,
)

# As small, where the server has constants.
SMALL = {
    (hub_module, "OFFERS_PER_TURN"): 2,
    (hub_module, "PENDING_PUBLICATIONS"): 5,
    (outbox_module, "JOIN_BYTES"): 1000,
    (shutdown, "CLOSES_PER_TURN"): 2,
    (dispatch, "ERRORS_AT_ONCE"): 3,
}

# A channel that nobody listens to soon begins another life; but never while a slow broker is being asked for it.
IDLE_CHANNELS = 1
ALL_CHANNELS = 1000

#: Stands in every token, and in the reasons that clients give for their closes.
CANARY = "canary-7d1f"

_ISSUED: list[str] = []

_WALL_CLOCK = 1_900_000_000.0


def wall_clock() -> float:
    """Unix seconds, moving with virtual time."""
    try:
        return _WALL_CLOCK + trio.current_time()
    except RuntimeError:
        return _WALL_CLOCK


@cache
def _authenticator() -> Authenticator:
    return Authenticator(configured().auth, clock=wall_clock)


@cache
def token(user: str, group: str | None = None, ttl: int = 86400) -> str:
    """A token that was issued when virtual time began."""
    issued = _authenticator().issue(user, group_id=group, ttl=ttl, session_id=CANARY)
    _ISSUED.append(issued)
    return issued


@cache
def _server(engine: str) -> Server:
    """One for all examples: each puts together anew what keeps state, and shares what does not."""
    config = configured(limits=LIMITS)
    return Server(
        msgspec.structs.replace(config, server=msgspec.structs.replace(config.server, engine=engine))
    )


def watch(patch: pytest.MonkeyPatch) -> None:
    """Make the limits small, and put the witnesses and the scripted network in their places."""
    for (module, name), value in SMALL.items():
        assert hasattr(module, name)
        patch.setattr(module, name, value)
    patch.setattr(front, "Connection", WatchedConnection)
    patch.setattr(transport_module, "trio", ScriptedTrio())
    # Numbered anew in each example, so that ids are as long in every run of it.
    patch.setattr(connection_module, "_numbers", itertools.count(1))


class World:
    """One server and its clients, of one example."""

    def __init__(self, engine: str, nursery: trio.Nursery, truth: Truth, broker_turns: int) -> None:
        server = copy(_server(engine))
        self.nursery = nursery
        self.truth = truth
        self.witnesses: list[Witness] = []
        self.scopes: dict[Witness, trio.CancelScope] = {}
        self.serving: set[Witness] = set()
        self.serial = itertools.count(1)
        self.shutting_down = False
        self.hub = WatchedHub()
        self.broker = SlowBroker(
            self.hub.deliver,
            clock=wall_clock,
            monotonic=trio.current_time,
            idle_channels=ALL_CHANNELS if broker_turns else IDLE_CHANNELS,
        )
        self.broker.turns = broker_turns
        self.hub.release = self.broker.release
        self.context = server.context = dataclasses.replace(
            server.context,
            hub=self.hub,
            broker=self.broker,
            push=Push(server.context.registry, self.hub, self.broker, outbox_bytes=LIMITS.outbox_bytes),
            authenticator=_authenticator(),
            admission=Admission(total=100, per_address=10),
            refusals=Counter(),
            alarms=Alarms(),
            draining=False,
            wall_clock=wall_clock,
        )
        self.front = server.front = front.Front(
            self.context, messages=server._dispatcher(self.context), http=server._service
        )
        server.start_parts(nursery)

    def open(self, user: str, *, binary: bool, over_tls: bool, room: int) -> Witness:
        """A new client whose connection is served; it has said nothing yet."""
        line = Line(room)
        witness = Witness(self.truth, line, f"192.0.2.{len(self.witnesses)}", user, binary=binary)
        witness.was_slow = over_tls or room < 65536
        self.witnesses.append(witness)
        self.hub.witnesses[witness.peer] = witness
        sock = ScriptedSocket(line)
        transport: Transport = (
            StreamTransport(ScriptedStream(line), cast(socket, sock))
            if over_tls
            else SocketTransport(cast(socket, sock))
        )
        scope = self.scopes[witness] = trio.CancelScope()
        self.serving.add(witness)

        async def serve() -> None:
            with scope:
                await self.front.serve(transport, witness.peer)
            self.serving.discard(witness)

        self.nursery.start_soon(serve)
        self.nursery.start_soon(witness.read)
        return witness

    def living(self) -> list[Witness]:
        """Clients that are there, as far as they know."""
        return [witness for witness in self.witnesses if not witness.line.client_ended and not witness.over]

    async def publish(self, channel: str, size: int) -> None:
        """Publish one event from inside."""
        payload = {"serial": next(self.serial), "x": "x" * size}
        await self.context.push.publish(channel, "news", payload)

    # --- what holds ----------------------------------------------------------------------------------

    def check(self) -> None:
        """After every step."""
        registered = [witness for witness in self.witnesses if witness.registered]
        figures = self.hub.statistics()
        assert figures.connections == len(registered)
        assert figures.users == len({witness.user for witness in registered})
        assert figures.subscriptions == sum(len(witness.subscribed) for witness in registered)
        assert figures.channels == len({name for witness in registered for name in witness.subscribed})
        now = trio.current_time()
        heartbeat = self.context.config.heartbeat
        for witness in self.serving:
            connection = witness.connection
            if connection is not None:
                outbox = connection._outbox
                assert connection.pending_bytes <= LIMITS.outbox_bytes
                assert sum(map(len, outbox._chunks)) - outbox._offset == connection.pending_bytes
            # Whoever is silent is let go in time.
            silent = now - witness.said_at
            assert silent <= heartbeat.ping_interval + heartbeat.pong_timeout + heartbeat.close_timeout + 1

    async def quiet(self) -> None:
        """Without any time passing, everybody who reads gets everything, whoever else does not."""
        now = trio.current_time()
        await wait_all_tasks_blocked()
        assert trio.current_time() == now
        for witness in self.witnesses:
            if witness.line.stalled:
                continue
            if witness.is_open:
                witness.assert_complete()
            elif witness.ending is not None and witness.answers_pings and not witness.was_slow:
                self._assert_told(witness)

    @staticmethod
    def _assert_told(witness: Witness) -> None:
        """The server has closed somebody who reads: the reason is there, unless a reset overtook it."""
        line = witness.line
        if not (line.was_reset or (line.client_ended and witness.closed is None) or witness.cancelled):
            assert witness.closed is not None, f"{witness.peer} was closed without a word"

    async def end(self, how: str) -> None:
        """Everybody reads and is complete; then all leave, and nothing of them is left."""
        for witness in self.witnesses:
            witness.line.resume()
        await self.quiet()
        for witness in self.living():
            match how:
                case "cancel":
                    self.cancel(witness)
                case "close":
                    witness.line.close_client()
                case "vanish":
                    witness.line.stall()
                case _:
                    witness.line.reset()
        with trio.fail_after(60):
            await self.context.admission.wait_empty()
        for witness in self.witnesses:
            witness.line.resume()
        await wait_all_tasks_blocked()
        self._assert_ends()

    def cancel(self, witness: Witness) -> None:
        """Cancel whoever serves it, wherever that is."""
        if witness in self.serving:
            witness.cancelled = True
            self.scopes[witness].cancel()

    def _assert_ends(self) -> None:
        closes: Counter[int] = Counter()
        for witness in self.witnesses:
            assert witness.over
            connection = witness.connection
            if connection is None:
                assert witness.closed is None
                continue
            recorded = connection.closed
            assert recorded is not None
            closes[recorded.code] += 1
            if recorded.code == CloseCode.SLOW_CONSUMER:
                assert witness.was_slow, "3008 for one who reads at once"
            if witness.closed is not None:
                code = recorded.code if is_sendable(recorded.code) else None
                # Cancelled between its echo of the peer's close and noting it, it knows only that it was cancelled.
                unknown = witness.cancelled and recorded.code == CloseCode.ABNORMAL
                assert witness.closed[0] == code or unknown, (witness.closed, recorded)
        assert self.hub.statistics().closes == closes

    def assert_nothing_left(self) -> None:
        """All have gone."""
        hub = self.hub
        left = {
            name: value
            for name, value in vars(hub).items()
            if name not in ("_closes", "witnesses", "positions") and hasattr(value, "__len__") and value
        }
        assert not left
        figures = hub.statistics()
        assert (figures.connections, figures.users, figures.channels, figures.subscriptions) == (0, 0, 0, 0)
        assert figures.outbox_bytes == 0
        assert not self.broker._listened
        assert not self.front.connections
        assert (self.context.admission.open, self.context.admission.addresses) == (0, 0)
        assert self.front.busy.inside == 0
        assert len(self.context.alarms) == 0


# A long example takes some 5,000 rounds of the scheduler; one that spins takes no time, and any number.
_ROUNDS = 100_000


class _Bound(trio.abc.Instrument):
    """Ends an example in which tasks spin: under virtual time no deadline would."""

    def __init__(self, scope: trio.CancelScope) -> None:
        self._scope = scope
        self.left = _ROUNDS

    def before_io_wait(self, timeout: float) -> None:  # noqa: ARG002  as trio calls it
        self.left -= 1
        if self.left < 0:
            self._scope.cancel()


@contextmanager
def _bounded() -> Iterator[None]:
    with trio.fail_after(100_000) as scope:
        bound = _Bound(scope)
        trio.lowlevel.add_instrument(bound)
        try:
            yield
        finally:
            trio.lowlevel.remove_instrument(bound)
            assert bound.left >= 0, "tasks spin"


@asynccontextmanager
async def world(engine: str, truth: Truth, *, broker_turns: int, ending: str) -> AsyncIterator[World]:
    """A server that must have forgotten everything at the end, without a fault or a secret in its log."""
    connection_module._numbers = itertools.count(1)
    with structlog.testing.capture_logs() as logs, living_tasks() as tasks:
        async with trio.open_nursery() as nursery:
            with _bounded():
                this = World(engine, nursery, truth, broker_turns)
                parts = len(nursery.child_tasks)
                yield this
                await this.end(ending)
                this.assert_nothing_left()
                assert tasks.living == parts, list(tasks.names.values())
            nursery.cancel_scope.cancel()
    said = repr(logs)
    assert CANARY not in said
    assert not [issued for issued in _ISSUED if issued in said]
    wrong = [line for line in logs if line["log_level"] not in ("info", "debug")]
    assert not wrong, wrong
