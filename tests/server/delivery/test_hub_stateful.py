"""The hub against a model: any order of commands, publications and half-done flushes."""

from collections import defaultdict
from contextlib import AbstractContextManager
from functools import partial
from operator import attrgetter

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from support.fakes import JSON, MSGPACK, Log, SteppedLoop, Witness, run_now

from tidings.protocol.positions import Position
from tidings.server.brokers.memory import MemoryBroker
from tidings.server.delivery import hub as hub_module
from tidings.server.delivery.hub import Hub

CHANNELS = st.sampled_from(["room:a", "room:b"])

# A flush begins in the second turn after a publication, and takes one more for every two subscribers.
TURNS = st.integers(0, 6)
NUMBERS = st.integers(0, 6)

# So few that a handful of subscribers and publications meet them.
OFFERS_PER_TURN = 2
PENDING_PUBLICATIONS = 5
IDLE_CHANNELS = 1

Hold = tuple[AbstractContextManager[None], str, Position]


class HubMachine(RuleBasedStateMachine):
    """Drives a hub whose flusher runs only in the turns that the machine gives it.

    Most rules publish something first and give the flusher a few turns, so that what they do meets
    publications that are pending, or a flush half done.
    """

    def __init__(self) -> None:
        super().__init__()
        self.hub = Hub()
        self.broker = MemoryBroker(self.hub.deliver, clock=lambda: 0.0, idle_channels=IDLE_CHANNELS)
        self.hub.release = self.broker.release
        self.loop = SteppedLoop(self.hub.run_flusher)
        self.log: Log = defaultdict(list)
        self.living: list[Witness] = []
        self.dead: list[Witness] = []
        self.positions: dict[str, Position] = {}
        self.serial = 0
        self.same_bytes: dict[tuple[bool, int], bytes] = {}
        self.slow: list[Hold] = []

    def client(self, number: int) -> Witness:
        return self.living[number % len(self.living)]

    # --- what happens --------------------------------------------------------------------------------

    @initialize(binaries=st.lists(st.booleans(), min_size=2, max_size=6), channel=CHANNELS)
    def begin(self, binaries: list[bool], channel: str) -> None:
        for binary in binaries:
            self.connect(binary, "alice", channel)

    @rule(binary=st.booleans(), user_id=st.sampled_from(["alice", "bob"]), channel=CHANNELS)
    def connect(self, binary: bool, user_id: str, channel: str) -> None:
        client = Witness(MSGPACK if binary else JSON, user_id, self.log)
        self.loop.call(lambda: self.hub.connect(client))
        self.living.append(client)
        self.subscribe(client, channel)

    @rule(channel=CHANNELS | st.just("all"), count=st.integers(0, PENDING_PUBLICATIONS + 2), turns=TURNS)
    def publish(self, channel: str, count: int, turns: int) -> None:
        def step() -> None:
            for _ in range(count):
                self.serial += 1
                payload = msgspec.json.encode({"serial": self.serial})
                position = run_now(self.broker.publish(channel, "news", payload)).position
                self.check_position(channel, position, published=1)
                self.log[channel].append((position, self.serial))

        self.loop.call(step)
        self.loop.turns(turns)

    @precondition(attrgetter("living"))
    @rule(number=NUMBERS, channel=CHANNELS, before=CHANNELS, count=st.integers(0, 2), turns=TURNS)
    def join_or_leave(self, number: int, channel: str, before: str, count: int, turns: int) -> None:
        self.publish(before, count, turns)
        client = self.client(number)
        if channel in client.since:
            self.unsubscribe(client, channel)
        else:
            self.subscribe(client, channel)

    @rule(channel=CHANNELS)
    def ask_broker(self, channel: str) -> None:
        """Somebody is about to subscribe, and its broker is slow."""

        def step() -> Hold:
            holding = self.hub.holding([channel])
            holding.__enter__()
            return holding, channel, run_now(self.broker.open(channel))

        hold = self.loop.call(step)
        self.check_position(channel, hold[2], published=0)
        self.slow.append(hold)

    @precondition(lambda self: self.slow and self.living)
    @rule(number=NUMBERS, before=CHANNELS, turns=TURNS, goes_on=st.booleans())
    def hear_from_broker(self, number: int, before: str, turns: int, goes_on: bool) -> None:
        """The broker has answered: the subscriber goes on, or was cancelled meanwhile."""
        self.publish(before, 1, turns)
        holding, channel, position = self.slow.pop(number % len(self.slow))
        client = self.client(number)
        if goes_on:
            told = self.loop.call(lambda: self.hub.subscribe(client, channel, position))
            self.subscribed(client, channel, told)
        self.loop.call(lambda: holding.__exit__(None, None, None))

    @precondition(attrgetter("living"))
    @rule(number=NUMBERS, channel=CHANNELS, before=CHANNELS, turns=TURNS)
    def repeat(self, number: int, channel: str, before: str, turns: int) -> None:
        """Subscribe, or unsubscribe, once too often."""
        self.publish(before, 1, turns)
        client = self.client(number)
        if channel in client.since:
            self.subscribe(client, channel)
        else:
            assert self.loop.call(lambda: self.hub.unsubscribe(client, channel)) is False

    @precondition(attrgetter("living"))
    @rule(number=NUMBERS, before=CHANNELS, count=st.integers(0, 2), turns=TURNS, after=TURNS)
    def reply(self, number: int, before: str, count: int, turns: int, after: int) -> None:
        """Answer one client, or (0) all, and see how it goes on."""
        self.publish(before, count, turns)
        for client in [self.client(number)] if number else self.living:
            self.reply_in_turn(client)
        self.loop.turns(after)

    @precondition(attrgetter("living"))
    @rule(number=NUMBERS, before=CHANNELS, turns=TURNS, waiting=st.booleans())
    def reply_now(self, number: int, before: str, turns: int, waiting: bool) -> None:
        client = self.client(number)
        if waiting:
            self.reply_in_turn(client)
        self.publish(before, 1, turns)
        frame = client.answer()
        client.at_once.add(len(client.answers) - 1)
        self.loop.call(lambda: self.hub.reply_now(client, frame))
        client.check(self.same_bytes)
        assert client.answered == len(client.answers)

    @precondition(attrgetter("living"))
    @rule(number=NUMBERS, before=CHANNELS, turns=TURNS, alive=st.booleans())
    def end(self, number: int, before: str, turns: int, alive: bool) -> None:
        """The server closes, and everything published before leaves first; or the peer is just gone."""
        client = self.client(number)
        self.reply_in_turn(client)
        self.publish(before, 1, turns)
        if alive:
            self.loop.call(lambda: self.hub.settle(client))
            self.assert_complete(client)
        self.disconnect(client)

    @rule()
    def flush(self) -> None:
        self.loop.settle()
        for client in self.living:
            self.assert_complete(client)

    # --- its parts -----------------------------------------------------------------------------------

    def reply_in_turn(self, client: Witness) -> None:
        frame = client.answer()
        self.loop.call(lambda: self.hub.reply(client, frame))

    def subscribe(self, client: Witness, channel: str) -> None:
        def step() -> Position:
            with self.hub.holding([channel]):
                return self.hub.subscribe(client, channel, run_now(self.broker.open(channel)))

        self.subscribed(client, channel, self.loop.call(step))

    def subscribed(self, client: Witness, channel: str, position: Position) -> None:
        self.check_position(channel, position, published=0)
        client.check(self.same_bytes)
        client.since.setdefault(channel, len(self.log[channel]))
        client.assert_complete(channel)

    def unsubscribe(self, client: Witness, channel: str) -> None:
        assert self.loop.call(lambda: self.hub.unsubscribe(client, channel)) is True
        client.end_subscription(channel)
        client.check(self.same_bytes)
        client.assert_complete(channel)

    def disconnect(self, client: Witness) -> None:
        """A flush under way may still offer it what was published before."""
        self.loop.call(lambda: self.hub.disconnect(client))
        for channel in list(client.since):
            client.end_subscription(channel)
        self.living.remove(client)
        self.dead.append(client)

    def check_position(self, channel: str, position: Position, *, published: int) -> None:
        """It follows the one before; only where nobody listened may a new life have begun."""
        before = self.positions.get(channel)
        self.positions[channel] = position
        if before is not None and position.epoch == before.epoch:
            assert position.offset == before.offset + published
        else:
            assert not any(channel in client.since for client in self.living)
            assert position.offset == published

    def assert_complete(self, client: Witness) -> None:
        client.check(self.same_bytes)
        assert client.answered == len(client.answers)
        for channel in client.since:
            client.assert_complete(channel)

    # --- what holds ----------------------------------------------------------------------------------

    @invariant()
    def holds(self) -> None:
        for client in (*self.living, *self.dead):
            client.check(self.same_bytes)
        figures = self.loop.call(self.hub.statistics)
        assert figures.connections == len(self.living)
        assert figures.users == len({client.identity.user_id for client in self.living})
        assert figures.subscriptions == sum(len(client.since) for client in self.living)
        assert figures.subscriptions == sum(map(len, self.hub._subscribers.values()))
        listened = {channel for client in self.living for channel in client.since}
        assert figures.channels == len(listened)
        assert set(self.broker._listened) == listened | {channel for _, channel, _ in self.slow}
        assert len(self.broker._idle) <= IDLE_CHANNELS

    def teardown(self) -> None:
        try:
            self.flush()
            for holding, _, _ in self.slow:
                self.loop.call(partial(holding.__exit__, None, None, None))
            self.slow.clear()
            for client in list(self.living):
                self.disconnect(client)
            self.loop.settle()
            self.holds()
            # Counted until somebody takes it, as the server does every ten seconds.
            self.hub.take_traffic()
            left = {name: value for name, value in vars(self.hub).items() if name != "_closes"}
            assert not any(value for value in left.values() if hasattr(value, "__len__")), left
        finally:
            self.loop.close()


def test_any_order_of_events_keeps_the_order_of_publications(monkeypatch: pytest.MonkeyPatch) -> None:
    """Delivered means subscribed then; in order, once, the same bytes for all; and nothing is left behind."""
    monkeypatch.setattr(hub_module, "OFFERS_PER_TURN", OFFERS_PER_TURN)
    monkeypatch.setattr(hub_module, "PENDING_PUBLICATIONS", PENDING_PUBLICATIONS)
    run_state_machine_as_test(
        HubMachine,
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            phases=set(Phase) - {Phase.explain},  # takes minutes
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
