"""Who makes room when the histories in memory are full: those that hold the most, and inboxes last."""

from itertools import cycle, islice

from hypothesis import event, given
from hypothesis import strategies as st
from support.fakes import run_now

from tidings.protocol.publications import Publication
from tidings.server.brokers.memory import MemoryBroker
from tidings.server.brokers.memory_history import EACH
from tidings.server.config.channels import ChannelRule
from tidings.server.policies import Policies

SIZES = Policies({"*": ChannelRule(history_size=20), "room:short-*": ChannelRule(history_size=3)})


def nowhere(publication: Publication) -> None:
    """A hub that forgets."""


def say(broker: MemoryBroker, channel: str, size: int = 100) -> int:
    """Publish what counts so many bytes beside `EACH`; returns what the publisher is told was dropped."""
    return run_now(broker.publish(channel, "news", b"{" + b" " * (size - 2) + b"}")).dropped


def kept(broker: MemoryBroker, channel: str) -> list[int]:
    """The offsets in a channel's history."""
    history = run_now(broker.history(channel, 0, limit=10**6, most_bytes=1 << 40))
    return [publication.offset for publication in history.publications]


def test_who_holds_the_most_loses_its_oldest() -> None:
    """Whoever publishes, and however long it was silent; no position is lost."""
    broker = MemoryBroker(nowhere, memory_bytes=10 * (EACH + 100))
    for channel, times in {"room:a": 2, "room:b": 5, "room:c": 3}.items():
        for _ in range(times):
            say(broker, channel)
    for _ in range(2):
        say(broker, "room:d")
    assert [kept(broker, f"room:{name}") for name in "abcd"] == [[1, 2], [3, 4, 5], [1, 2, 3], [1, 2]]
    assert broker.history_bytes == 10 * (EACH + 100)
    assert run_now(broker.open("room:b")).offset == 5


def test_a_flood_costs_its_own_rooms_only() -> None:
    """Large messages into a dozen rooms, many times what may be held: fifty small rooms and inboxes stay whole."""
    broker = MemoryBroker(nowhere, policies=Policies({"user:*": ChannelRule(history_size=20)}))
    small = [f"room:{number}" for number in range(50)] + [f"user:{number}" for number in range(50)]
    for channel in small:
        say(broker, channel)
    for evil in islice(cycle(f"room:evil-{number}" for number in range(12)), 5000):
        say(broker, evil, 60_000)
    assert all(kept(broker, channel) == [1] for channel in small)
    assert 67108864 - 61_000 < broker.history_bytes <= 67108864


def test_an_inbox_makes_room_for_no_room() -> None:
    """Though it holds the most: a room loses its own, down to nothing, whether it publishes or the inbox does."""
    broker = MemoryBroker(nowhere, policies=SIZES, memory_bytes=5 * (EACH + 100))
    for _ in range(4):
        say(broker, "user:bob")
    run_now(broker.acknowledge("user:bob", "phone", 4))
    for _ in range(3):
        say(broker, "room:a")
    assert (kept(broker, "user:bob"), kept(broker, "room:a")) == ([1, 2, 3, 4], [3])
    assert say(broker, "user:eve") == 0
    assert (kept(broker, "user:bob"), kept(broker, "room:a")) == ([1, 2, 3, 4], [])
    assert say(broker, "room:a") == 0
    assert (kept(broker, "user:bob"), kept(broker, "room:a")) == ([1, 2, 3, 4], [])
    assert say(broker, "user:eve") == 0
    assert (kept(broker, "user:bob"), kept(broker, "user:eve")) == ([2, 3, 4], [1, 2])
    assert broker.dropped_unacknowledged == 0


Held = dict[str, tuple[int, ...]]
"""What each channel that holds something holds: sizes, the oldest first."""


CHANNELS = ["room:a", "room:b", "room:c", "room:short-d", "user:e", "user:f", "user:g"]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(CHANNELS),
        st.one_of(st.integers(2, 60), st.integers(2, 3000)),
        st.sampled_from(["say"] * 9 + ["clear"]),
    ),
    min_size=20,
    max_size=150,
)


@given(STEPS, st.sampled_from([2500, 4000, 9000]))
def test_shares_are_fair(steps: list[tuple[str, int, str]], most: int) -> None:
    """Never above the bound; only the largest lose, no more than they must, and inboxes when no other is left."""
    broker = MemoryBroker(nowhere, policies=SIZES, memory_bytes=most)
    held: Held = {}
    for channel, size, step in steps:
        if step == "clear":
            run_now(broker.clear(channel))
            held.pop(channel, None)
            continue
        say(broker, channel, size)
        mine = held[channel] = (*held.get(channel, ()), EACH + size)[-SIZES.of(channel).history_size :]
        if mine[-1] > most:
            del held[channel]
        after = {name: _sizes(broker, name) for name in held}
        assert sum(map(sum, after.values())) == broker.history_bytes <= most
        lost = {name: len(sizes) - len(after[name]) for name, sizes in held.items()}
        assert all(after[name] == sizes[lost[name] :] for name, sizes in held.items())
        if any(lost.values()):
            _check_shares(held, lost, most)
        assert _may_have_lost(held, lost, most)
        held = {name: sizes for name, sizes in after.items() if sizes}


def _check_shares(held: Held, lost: dict[str, int], most: int) -> None:
    """Nobody lost who held less than a fair share, to a sixteenth."""
    inboxes = [sum(sizes) for name, sizes in held.items() if _is_inbox(name)]
    for name, count in lost.items():
        if count:
            # Inboxes share all of it; what they leave, the others share.
            alike, shared = (
                (len(inboxes), most) if _is_inbox(name) else (len(held) - len(inboxes), most - sum(inboxes))
            )
            event("an inbox lost" if _is_inbox(name) else "another lost")
            assert sum(held[name]) * 17 / 16 > shared / alike


def _may_have_lost(held: Held, lost: dict[str, int], most: int) -> bool:
    """Whether there is an order of the losses in which one of the largest lost each time, until there was room."""
    sums = {name: sum(sizes) for name, sizes in held.items() if sizes}
    if sum(sums.values()) <= most:
        return not any(lost.values())
    first = {name: size for name, size in sums.items() if not _is_inbox(name)} or sums
    return any(
        _may_have_lost(held | {name: held[name][1:]}, lost | {name: lost[name] - 1}, most)
        for name, size in first.items()
        if lost[name] and size * 17 > max(first.values()) * 16
    )


def _is_inbox(channel: str) -> bool:
    return channel.startswith("user:")


def _sizes(broker: MemoryBroker, channel: str) -> tuple[int, ...]:
    history = run_now(broker.history(channel, 0, limit=100, most_bytes=1 << 40))
    return tuple(EACH + len(publication.payload) for publication in history.publications)
