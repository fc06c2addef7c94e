"""What the memory broker promises beyond the contract."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fakes import run_now

from tidings.protocol.positions import Position
from tidings.protocol.publications import Publication
from tidings.server.brokers.base import Receipt
from tidings.server.brokers.memory import IDLE_CHANNELS, MemoryBroker
from tidings.server.config.channels import ChannelRule
from tidings.server.policies import Policies

NOTHING_KEPT = Policies({"*": ChannelRule(history_size=0)})


def nowhere(publication: Publication) -> None:
    """A hub that forgets."""


def publish(broker: MemoryBroker, channel: str) -> Position:
    """Publish, in one step."""
    return receipt(broker, channel).position


def receipt(broker: MemoryBroker, channel: str, payload: bytes = b"{}") -> Receipt:
    """Publish, in one step; returns all that the publisher is told."""
    return run_now(broker.publish(channel, "news", payload))


def test_publishing_delivers_in_the_publishers_own_step() -> None:
    """Neither `publish` nor `open` yields, and the hub has the publication when `publish` returns."""
    delivered: list[Publication] = []
    broker = MemoryBroker(delivered.append, clock=lambda: 1234.5678)
    start = run_now(broker.open("room:a"))
    position = publish(broker, "room:a")
    assert delivered == [
        Publication("room:a", "news", b"{}", start.offset + 1, start.epoch, 1_234_567, None)
    ]
    assert (position.epoch, position.offset) == (start.epoch, start.offset + 1)


def test_a_channel_begins_at_zero_with_an_epoch_of_its_own() -> None:
    """A new channel has offset 0, and no two lives share an epoch."""
    broker = MemoryBroker(nowhere)
    positions = [run_now(broker.open(f"room:{number}")) for number in range(1000)]
    assert {position.offset for position in positions} == {0}
    assert len({position.epoch for position in positions}) == 1000
    assert run_now(MemoryBroker(nowhere).open("room:0")).epoch != positions[0].epoch


def test_a_listened_channel_keeps_its_epoch_whatever_others_do() -> None:
    """No number of idle channels makes the broker forget one that somebody listens to."""
    broker = MemoryBroker(nowhere, idle_channels=2)
    start = run_now(broker.open("room:a"))
    publish(broker, "room:a")
    for number in range(20):
        publish(broker, f"room:{number}")
    assert publish(broker, "room:a") == Position(start.epoch, 2)


def test_a_forgotten_channel_begins_a_new_life() -> None:
    """Past the bound the longest unused channel is forgotten: its next publication has a new epoch."""
    broker = MemoryBroker(nowhere, idle_channels=2)
    first = publish(broker, "room:a")
    publish(broker, "room:b")
    assert publish(broker, "room:a") == Position(first.epoch, 2), "used again, so now b is the oldest"
    old = publish(broker, "room:b")
    publish(broker, "room:a")
    publish(broker, "room:c")
    again = publish(broker, "room:b")
    assert (old.offset, again.offset) == (2, 1)
    assert again.epoch != old.epoch


def test_a_released_channel_is_the_last_to_be_forgotten() -> None:
    """A channel rests from its release on; opened in time, it goes on where it was."""
    broker = MemoryBroker(nowhere, idle_channels=2)
    start = run_now(broker.open("room:a"))
    publish(broker, "room:a")
    publish(broker, "room:b")
    publish(broker, "room:c")
    broker.release("room:a")
    assert run_now(broker.open("room:a")) == Position(start.epoch, 1)
    broker.release("room:a")
    publish(broker, "room:c")
    publish(broker, "room:d")
    assert run_now(broker.open("room:a")).epoch != start.epoch


OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["publish", "open", "release"]), st.sampled_from("abcdef")), max_size=60
)


@given(OPERATIONS, st.integers(1, 4), st.sampled_from([Policies(), NOTHING_KEPT]))
def test_memory_is_bounded_and_positions_never_repeat(
    steps: list[tuple[str, str]], idle: int, policies: Policies
) -> None:
    """Whatever is opened, released and published: idle channels keep to the bound, no position comes twice."""
    broker = MemoryBroker(nowhere, idle_channels=idle, policies=policies)
    listened: set[str] = set()
    given_out: set[tuple[str, Position]] = set()
    epochs: dict[str, str] = {}
    for step, channel in steps:
        if step == "publish":
            position = publish(broker, channel)
            assert (channel, position) not in given_out
            given_out.add((channel, position))
            if channel in listened:
                assert position.epoch == epochs[channel]
            epochs[channel] = position.epoch
        elif step == "open":
            position = run_now(broker.open(channel))
            if channel in listened:
                assert position.epoch == epochs[channel]
            listened.add(channel)
            epochs[channel] = position.epoch
        else:
            broker.release(channel)
            listened.discard(channel)
        assert set(broker._listened) == listened
        assert len(broker._idle) <= idle
        assert not any(broker._idle.find(name) for name in broker._listened)


@pytest.mark.parametrize("channels", [IDLE_CHANNELS + 500])
def test_the_default_bound_holds(channels: int) -> None:
    """Ten thousand idle channels are kept, and no more."""
    broker = MemoryBroker(nowhere)
    for number in range(channels):
        publish(broker, f"room:{number}")
    assert len(broker._idle) == IDLE_CHANNELS


def test_nothing_here_ever_yields() -> None:
    """Every call of the contract is done in one step."""
    broker = MemoryBroker(nowhere)
    run_now(broker.attach("user:bob", "phone"))
    publish(broker, "user:bob")
    run_now(broker.announce("room:a", "joined", b"{}"))
    assert run_now(broker.acknowledge("user:bob", "phone", 1)) == 1
    assert len(run_now(broker.history("user:bob", 0, limit=10, most_bytes=10**6)).publications) == 1
    assert run_now(broker.clear("user:bob")).offset == 1
    assert len(run_now(broker.devices("user:bob"))) == 1
    run_now(broker.tell_nodes(b"nobody takes it"))
