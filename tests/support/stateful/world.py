"""A whole server on virtual time, of the same parts as any other, watched from all sides."""

import dataclasses
import itertools
from collections import Counter
from copy import copy
from socket import socket
from typing import Any, cast

import trio
from trio.testing import wait_all_tasks_blocked

from support.stateful.book import Book
from support.stateful.disk import Disk
from support.stateful.network import Line, ScriptedSocket, ScriptedStream
from support.stateful.promised import Truth
from support.stateful.setting import (
    ALL_CHANNELS,
    CHANNELS,
    GRACE,
    IDLE_CHANNELS,
    INBOX,
    LIMITS,
    authenticator,
    logged_in_ms,
    server_of,
    wall_clock,
)
from support.stateful.watched import WatchedBroker, WatchedHub
from support.stateful.witness import Witness
from tidings.protocol.close_codes import CloseCode, is_sendable
from tidings.protocol.errors import Refusal
from tidings.protocol.positions import Position
from tidings.server.brokers.base import Broker
from tidings.server.brokers.by_policy import PolicyBroker
from tidings.server.brokers.durable import DurableBroker
from tidings.server.brokers.memory import MemoryBroker
from tidings.server.delivery.history import Histories
from tidings.server.delivery.inbox import Inboxes
from tidings.server.delivery.presence import Presence
from tidings.server.edge import front
from tidings.server.edge.alarms import Alarms
from tidings.server.edge.transport import SocketTransport, StreamTransport, Transport
from tidings.server.limits import Admission
from tidings.server.policies import Policies
from tidings.server.push import OUTBOX_SHARE, Push


class World:
    """One server and its clients, of one example; over restarts of the server, each a life of its own."""

    def __init__(
        self, engine: str, nursery: trio.Nursery, truth: Truth, broker_turns: int, disk: Disk | None
    ) -> None:
        self._template = server_of(engine)
        self.nursery = nursery
        self.truth = truth
        self.turns = broker_turns
        self.disk = disk
        self.policies = Policies(CHANNELS)
        self.book = Book(
            self.policies,
            lambda: int(wall_clock() * 1000),
            has_log=disk is not None,
            devices=INBOX.devices,
            device_age=INBOX.device_age,
        )
        self.witnesses: list[Witness] = []
        self.scopes: dict[Witness, trio.CancelScope] = {}
        self.serving: set[Witness] = set()
        self.serial = itertools.count(1)
        self.shutting_down = False
        self.closes: Counter[int] = Counter()
        """Of servers that are gone."""

    async def live(self, *, task_status: trio.TaskStatus[None]) -> None:
        """One life of the server, until it is cancelled."""
        server = copy(self._template)
        template = server.context
        self.hub = hub = WatchedHub(self.book)
        policies = self.policies
        memory = MemoryBroker(
            hub.deliver,
            policies=policies,
            moved=hub.moved,
            clock=wall_clock,
            monotonic=trio.current_time,
            idle_channels=ALL_CHANNELS if self.turns else IDLE_CHANNELS,
            devices=INBOX.devices,
            device_age=INBOX.device_age,
        )
        inner: Broker = memory
        if self.disk is not None:
            store = self.disk.start(policies, INBOX, wall_clock, trio.current_time)
            inner = PolicyBroker(
                memory, DurableBroker(store, policies, hub.deliver, hub.moved, clock=wall_clock), policies
            )
        self.memory = memory
        self.broker = broker = WatchedBroker(inner, self.book, self.turns)
        hub.release = broker.release
        histories = Histories(hub, broker, policies, clock=wall_clock)
        self.histories = histories
        push = Push(
            template.registry, hub, broker, outbox_bytes=LIMITS.outbox_bytes, forget=histories.forget
        )
        presence = Presence(
            hub,
            broker,
            policies,
            grace=GRACE,
            service_seconds=60.0,
            now_ms=lambda: int(wall_clock() * 1000),
        )
        hub.watcher = presence
        inboxes = Inboxes(
            hub,
            broker,
            histories,
            policies,
            template.registry,
            outbox_bytes=LIMITS.outbox_bytes,
            piece_bytes=LIMITS.outbox_bytes // OUTBOX_SHARE,
            device_age=INBOX.device_age,
        )
        server.messaging = dataclasses.replace(
            server.messaging,
            hub=hub,
            broker=broker,
            push=push,
            histories=histories,
            inboxes=inboxes,
            presence=presence,
        )
        self.context = server.context = dataclasses.replace(
            template,
            hub=hub,
            broker=broker,
            push=push,
            histories=histories,
            inboxes=inboxes,
            presence=presence,
            authenticator=authenticator(),
            admission=Admission(total=100, per_address=10),
            recoveries=Counter(),
            refusals=Counter(),
            alarms=Alarms(),
            draining=False,
            wall_clock=wall_clock,
        )
        self.front = server.front = front.Front(
            self.context, messages=server._dispatcher(self.context), http=server._service
        )
        with trio.CancelScope() as self._life:
            async with trio.open_nursery() as parts:
                server.start_parts(parts)
                task_status.started()

    async def restart(self) -> None:
        """Kill the server, and start another on what the disk has: connections and memory are gone."""
        if self.shutting_down:
            return
        hub = self.hub
        hub.is_dead = self.broker.is_dead = True
        if self.disk is not None:
            self.disk.kill()
        self.book.restart()
        for witness in self.witnesses:
            witness.hub_is_dead = True
            if witness in self.serving:
                self.cancel(witness)
                witness.line.reset()
        with trio.fail_after(60):
            await self.context.admission.wait_empty()
        await wait_all_tasks_blocked()
        self.closes.update(hub.statistics().closes)
        self._life.cancel()
        await wait_all_tasks_blocked()
        await self.nursery.start(self.live)
        self.truth.seen["restart"] += 1

    def open(
        self, user: str, *, binary: bool, over_tls: bool, room: int, session: str, late: bool, device: str
    ) -> Witness:
        """A new client whose connection is served; it has said nothing yet."""
        line = Line(room)
        witness = Witness(
            self.truth,
            self.book,
            line,
            f"192.0.2.{len(self.witnesses)}",
            user,
            binary=binary,
            session=session,
            logged_in_ms=logged_in_ms(late),
            device=device,
            is_steady=not self.turns,
        )
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

    async def publish(self, channel: str, size: int, **more: Any) -> None:
        """Publish one event from inside."""
        await self.put(channel, "news", {"serial": next(self.serial), "x": "x" * size}, **more)

    async def put(self, channel: str, event: str, payload: dict[str, Any], **more: Any) -> None:
        """Publish from inside, where the disk allows it."""
        checked = self.context.push.check(event, payload)
        assert not isinstance(checked, Refusal)
        outcome = await self.context.push.put(channel, checked, **more)
        if isinstance(outcome, Refusal):
            self.truth.seen[f"refused {outcome.code}"] += 1
            fails = self.disk is not None and self.disk.fails
            assert outcome.code == "conflict" or (outcome.code == "unavailable" and fails)

    def lose(self, channel: str) -> None:
        """Have a channel in memory begin a new life at some position, whoever listens."""
        state = self.memory._listened.get(channel)
        if state is None or self.book.is_durable(channel) or channel not in self.book.heads:
            return
        self.memory._histories.clear(state)
        state.epoch, state.offset, state.devices = f"lost.{next(self.serial)}", 0, None
        position = Position(state.epoch, 0)
        self.book.lost(channel, position)
        self.hub.moved(channel, position)
        self.truth.seen["lost"] += 1

    def position(self, channel: str, choice: str, own: Position | None) -> Position:
        """Where somebody may say that it was in a channel."""
        head = self.book.heads.get(channel, Position("none", 0))
        past = [epoch for epoch in self.book.epochs[channel] if epoch != head.epoch]
        match choice:
            case "own" if own is not None:
                return own
            case "ahead":
                return Position(head.epoch, head.offset + 2)
            case "negative":
                return Position(head.epoch, -2)
            case "past":
                return Position(past[-1] if past else "other", head.offset)
            case "zero":
                return Position(head.epoch, 0)
            case "head":
                return head
        return Position(head.epoch, max(0, head.offset - (int(choice) if choice.isdigit() else 2)))

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
        await self._check_kept()
        await self._check_members()
        assert trio.current_time() == now

    async def _check_kept(self) -> None:
        """Whatever was acknowledged is in the history until it is trimmed, byte for byte, and nothing else is."""
        for channel, head in list(self.book.heads.items()):
            if not (self.book.is_durable(channel) or self.hub.subscribers_of(channel)):
                continue
            found = await self.broker.inner.history(channel, 0, limit=10**6, most_bytes=10**9)
            sure, low = self.book.first(channel)
            assert found.position == head, (channel, found.position, head)
            assert low <= found.first <= sure, (channel, low, found.first, sure)
            log = self.book.between(channel, head.epoch, found.first - 1, head.offset)
            assert list(found.publications) == log, "the same position, the same bytes"

    async def _check_members(self) -> None:
        """Members are who is there, beside those who may be back in a moment."""
        now = trio.current_time()
        for channel in ("room:a", "room:b", "room:c"):
            there = {w.user for w in self.witnesses if w.registered and channel in w.subscribed}
            members = {each.user_id for each in await self.broker.inner.presence(channel)}
            assert there <= members, (channel, there, members)
            lately = {w.user for w in self.witnesses if w.left_at.get(channel, -GRACE - 1) >= now - GRACE}
            assert members <= there | lately, (channel, there, lately, members)
            if channel == "room:b":
                assert self.book.told_present[channel] == members

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
        assert self.closes + Counter(self.hub.statistics().closes) == closes

    def assert_nothing_left(self) -> None:
        """All have gone."""
        hub = self.hub
        left = {
            name: value
            for name, value in vars(hub).items()
            if name not in ("_closes", "_traffic", "witnesses", "book")
            and hasattr(value, "__len__")
            and value
        }
        assert not left
        figures = hub.statistics()
        assert (figures.connections, figures.users, figures.channels, figures.subscriptions) == (0, 0, 0, 0)
        assert figures.outbox_bytes == 0
        assert not self.memory._listened
        assert not self.front.connections
        assert (self.context.admission.open, self.context.admission.addresses) == (0, 0)
        assert self.front.busy.inside == 0
        assert len(self.context.alarms) == 0
