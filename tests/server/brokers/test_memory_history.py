"""What the memory broker keeps, and what it lets go first."""

from hypothesis import given
from hypothesis import strategies as st
from support.fakes import run_now

from tidings.protocol.publications import Publication
from tidings.server.brokers.base import Receipt
from tidings.server.brokers.memory import MemoryBroker
from tidings.server.brokers.memory_history import EACH
from tidings.server.config.channels import ChannelRule
from tidings.server.policies import Policies

NOTHING = Policies({"room:none-*": ChannelRule(history_size=0), "user:*": ChannelRule(history_size=3)})


class Clock:
    """Unix seconds in the test's hands."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


def nowhere(publication: Publication) -> None:
    """A hub that forgets."""


def say(broker: MemoryBroker, channel: str, size: int = 2) -> Receipt:
    """Publish a payload of some size."""
    return run_now(broker.publish(channel, "news", b"{" + b" " * (size - 2) + b"}"))


def kept(broker: MemoryBroker, channel: str) -> list[int]:
    """The offsets in a channel's history."""
    history = run_now(broker.history(channel, 0, limit=10**6, most_bytes=1 << 40))
    return [publication.offset for publication in history.publications]


def test_who_is_alone_loses_the_oldest() -> None:
    """A channel that takes all the bytes keeps as many of its newest as there is room for."""
    broker = MemoryBroker(nowhere, memory_bytes=3 * (EACH + 100))
    for _ in range(10):
        say(broker, "room:a", 100)
    assert kept(broker, "room:a") == [8, 9, 10]


def test_one_publication_may_be_too_much() -> None:
    """Larger than all that may be held, it is delivered and not kept, and costs its own channel's history only."""
    broker = MemoryBroker(nowhere, memory_bytes=1000)
    say(broker, "room:a")
    for channel, told in (("room:b", 0), ("user:bob", 2)):
        say(broker, channel)
        receipt = say(broker, channel, 5000)
        assert (receipt.offset, receipt.dropped) == (2, told)
        assert (kept(broker, channel), kept(broker, "room:a")) == ([], [1])
        assert broker.history_bytes == EACH + 2
        assert say(broker, channel).offset == 3
        assert kept(broker, channel) == [3]
        run_now(broker.clear(channel))


def test_an_inbox_that_makes_room_says_so() -> None:
    """What an inbox loses to another's bytes is counted; what it pushes out itself is told the publisher, too."""
    broker = MemoryBroker(nowhere, memory_bytes=3 * (EACH + 2))
    assert [say(broker, "user:bob").dropped for _ in range(3)] == [0, 0, 0]
    assert say(broker, "user:eve").dropped == 0
    assert broker.dropped_unacknowledged == 1
    assert kept(broker, "user:bob") == [2, 3]
    assert [say(broker, "user:bob").dropped for _ in range(2)] == [1, 1]
    assert broker.dropped_unacknowledged == 3
    run_now(broker.acknowledge("user:bob", "phone", 5))
    assert say(broker, "user:bob").dropped == 0
    assert broker.dropped_unacknowledged == 3


def test_what_was_too_old_makes_room_unsaid() -> None:
    """Where only what has aged has to go for the bytes, the publisher is told of no loss."""
    clock = Clock()
    rules = Policies({"user:*": ChannelRule(history_size=9, history_age=60)})
    broker = MemoryBroker(nowhere, policies=rules, memory_bytes=3 * (EACH + 2), clock=clock)
    for _ in range(3):
        say(broker, "user:bob")
    clock.now += 61
    assert [say(broker, "user:bob").dropped for _ in range(4)] == [0, 0, 0, 1]
    assert broker.dropped_unacknowledged == 4


def test_a_channel_with_history_is_forgotten_after_those_without() -> None:
    """However long it was unused: only among its like is the longest unused the first to go."""
    broker = MemoryBroker(nowhere, policies=NOTHING, idle_channels=3)
    first = say(broker, "room:a")
    for number in range(20):
        say(broker, f"room:none-{number}")
    assert say(broker, "room:a").epoch == first.epoch
    for number in range(3):
        say(broker, f"room:b{number}")
    assert say(broker, "room:a").epoch != first.epoch


def test_a_device_counts_as_much_as_a_history() -> None:
    """An inbox that keeps a device's position only is not forgotten before a bare channel."""
    broker = MemoryBroker(nowhere, policies=NOTHING, idle_channels=3)
    epoch = run_now(broker.open("user:bob")).epoch
    broker.release("user:bob")
    run_now(broker.acknowledge("user:bob", "phone", 0))
    for number in range(20):
        say(broker, f"room:none-{number}")
    assert run_now(broker.attach("user:bob", "phone")).position.epoch == epoch
    assert len(run_now(broker.devices("user:bob"))) == 1


def test_an_aged_history_is_no_more_than_none() -> None:
    """Once it is swept, its channel is the first that is forgotten, and its bytes are free."""
    clock = Clock()
    broker = MemoryBroker(nowhere, policies=NOTHING, idle_channels=3, clock=clock)
    first = say(broker, "room:a")
    clock.now += 200
    second = say(broker, "room:b")
    clock.now += 200
    assert kept(broker, "room:a") == []
    say(broker, "room:none-1")
    say(broker, "room:none-2")
    assert say(broker, "room:b").epoch == second.epoch
    assert say(broker, "room:a").epoch != first.epoch


def test_who_loses_the_history_goes_ahead_of_the_bare() -> None:
    """A channel whose history has aged was silent for longer than the bare ones that were used meanwhile."""
    clock = Clock()
    broker = MemoryBroker(nowhere, policies=NOTHING, idle_channels=2, clock=clock)
    first = say(broker, "room:a")
    bare = say(broker, "room:none-1")
    clock.now += 301
    broker._histories.trim(broker._idle._keeping["room:a"], int(clock.now * 1000))
    say(broker, "room:none-2")
    assert say(broker, "room:none-1").epoch == bare.epoch
    assert say(broker, "room:a").epoch != first.epoch


def test_a_forgotten_inbox_is_counted() -> None:
    """What waited in it is lost, and an operator sees it."""
    broker = MemoryBroker(nowhere, policies=NOTHING, idle_channels=1)
    say(broker, "user:bob")
    say(broker, "user:bob")
    run_now(broker.acknowledge("user:bob", "phone", 1))
    say(broker, "user:eve")
    assert broker.dropped_unacknowledged == 1
    assert broker.history_bytes == EACH + 2


def test_rooms_make_no_inbox_forgotten() -> None:
    """However many rooms keep something: what waits for an absent user stays, and they have their own bound."""
    broker = MemoryBroker(nowhere, policies=NOTHING, idle_channels=3)
    epoch = say(broker, "user:bob").epoch
    for number in range(20):
        say(broker, f"room:{number}")
    assert kept(broker, "user:bob") == [1]
    assert say(broker, "user:bob").epoch == epoch
    assert len(broker._idle) == 1 + 3


def test_emptied_inboxes_are_bare_like_others() -> None:
    """They keep their position and count among the rooms, whose bound holds again with the next one."""
    broker = MemoryBroker(nowhere, policies=NOTHING, idle_channels=3)
    users = ["user:a", "user:b", "user:c"]
    epochs = [say(broker, user).epoch for user in users]
    for number in range(3):
        say(broker, f"room:{number}")
    assert [run_now(broker.clear(user)).epoch for user in users] == epochs
    assert say(broker, "user:c").epoch == epochs[2]
    rooms = [say(broker, f"room:{number}").epoch for number in range(3)]
    assert len(broker._idle) == 4
    assert [say(broker, f"room:{number}").epoch for number in range(3)] == rooms
    assert say(broker, "user:a").epoch != epochs[0]


def test_emptied_inboxes_do_not_pile_up() -> None:
    """Though nothing but inboxes is ever used."""
    broker = MemoryBroker(nowhere, policies=NOTHING, idle_channels=3)
    for number in range(50):
        say(broker, f"user:{number}")
        run_now(broker.clear(f"user:{number}"))
    assert len(broker._idle) <= 3 + 1


def test_publishing_sweeps_what_is_too_old() -> None:
    """Without anybody reading it, an old history is gone after some publications, wherever they go."""
    clock = Clock()
    broker = MemoryBroker(nowhere, clock=clock)
    for number in range(50):
        say(broker, f"room:{number}")
    clock.now += 301
    for _ in range(50 * 8 + 64):
        say(broker, "room:other")
    assert broker.history_bytes == 100 * (EACH + 2)


def test_a_clock_put_back_or_ahead_costs_age_only() -> None:
    """An hour either way: offsets, order and sizes stay."""
    clock = Clock()
    broker = MemoryBroker(nowhere, clock=clock)
    say(broker, "room:a")
    clock.now -= 3600
    for _ in range(150):
        say(broker, "room:a")
    assert kept(broker, "room:a") == list(range(52, 152))
    clock.now += 7200
    say(broker, "room:a")
    assert kept(broker, "room:a") == [152]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["say", "say", "say", "open", "release", "clear", "ack", "wait", "read"]),
        st.sampled_from(["room:a", "room:b", "room:none-c", "user:d", "user:e"]),
        st.integers(2, 900),
    ),
    min_size=20,
    max_size=120,
)


@given(STEPS, st.integers(1, 3))
def test_the_accounts_are_right(steps: list[tuple[str, str, int]], idle: int) -> None:
    """Whatever happens: the bytes are those of what is kept, within the bound; every queue knows its channels."""
    clock = Clock()
    broker = MemoryBroker(
        nowhere, policies=NOTHING, clock=clock, memory_bytes=4000, idle_channels=idle, devices=2
    )
    for step, channel, size in steps:
        if step == "say":
            say(broker, channel, size)
        elif step == "open":
            run_now(broker.open(channel))
        elif step == "release":
            broker.release(channel)
        elif step == "clear":
            run_now(broker.clear(channel))
        elif step == "ack":
            run_now(broker.acknowledge(channel, "phone", size // 100))
        elif step == "wait":
            clock.now += size
        else:
            assert all(offset > 0 for offset in kept(broker, channel))
        idle_now = {**broker._idle._bare, **broker._idle._keeping}
        assert not idle_now.keys() & broker._listened.keys()
        inboxes = broker._idle._inboxes
        assert not inboxes.keys() & (idle_now.keys() | broker._listened.keys())
        assert len(inboxes) <= idle
        # Inboxes that have just become bare may be too many until the next channel comes to rest.
        assert sum(not state.is_inbox for state in idle_now.values()) <= idle
        assert len(idle_now) + len(inboxes) <= 2 * idle
        alive = {**idle_now, **inboxes, **broker._listened}
        holding = {name for name, state in alive.items() if state.kept is not None}
        histories = broker._histories
        assert histories._turns.keys() == holding
        for ranks, are_inboxes in ((histories._others, False), (histories._inboxes, True)):
            ranked = {state.name for others in ranks._classes.values() for state in others}
            assert ranked == {name for name in holding if alive[name].is_inbox == are_inboxes}
        for state in alive.values():
            assert state.kept is None or state.kept
            assert state.bytes == sum(EACH + len(each.payload) for each in state.kept or ())
            assert state.at_least <= state.bytes < max(1, state.below)
        assert histories.bytes == sum(state.bytes for state in alive.values()) <= 4000
        assert {name for name, state in idle_now.items() if state.is_bare} == broker._idle._bare.keys()
