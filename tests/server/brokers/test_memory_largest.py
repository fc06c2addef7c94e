"""Who holds the most, against looking at everybody."""

from hypothesis import given
from hypothesis import strategies as st

from tidings.server.brokers.memory_largest import SMALLEST, Largest


class Someone:
    """A holder."""

    def __init__(self) -> None:
        self.bytes = self.at_least = self.below = self.rank = 0


def hold(largest: Largest[Someone], holder: Someone, size: int) -> None:
    """Let somebody hold so many bytes."""
    holder.bytes = size
    if not size:
        largest.leave(holder)
    elif not holder.at_least <= size < holder.below:
        largest.place(holder)


SIZES = st.one_of(st.just(0), st.integers(SMALLEST, 200), st.integers(SMALLEST, 1 << 40))


@given(st.lists(st.tuples(st.integers(0, 7), SIZES), max_size=200))
def test_nobody_holds_much_more_than_who_is_found(steps: list[tuple[int, int]]) -> None:
    """Whoever grows, shrinks, leaves and comes back: less than a sixteenth more."""
    largest = Largest[Someone]()
    holders = [Someone() for _ in range(8)]
    for who, size in steps:
        hold(largest, holders[who], size)
        assert all(each.at_least <= each.bytes < each.below for each in holders if each.bytes)
        most = max(holder.bytes for holder in holders)
        assert bool(largest) == (most > 0)
        if largest:
            assert most * 16 < largest.find().bytes * 17


@given(st.integers(SMALLEST, 1 << 40), st.integers(SMALLEST, 1 << 40))
def test_classes_are_in_the_order_of_sizes(one: int, other: int) -> None:
    """Without a gap or an overlap, and none is wider than a sixteenth of its sizes."""
    first, second, next_up = Someone(), Someone(), Someone()
    hold(Largest(), first, one)
    hold(Largest(), second, other)
    assert (first.rank < second.rank) == (first.below <= second.at_least)
    assert (first.rank == second.rank) == (first.at_least == second.at_least)
    hold(Largest(), next_up, first.below)
    assert (next_up.rank, next_up.at_least) == (first.rank + 1, first.below)
    assert (first.below - first.at_least) * 16 <= first.at_least


def test_nobody_is_left_behind() -> None:
    """Who has left is in no class, and may leave again."""
    largest = Largest[Someone]()
    holder = Someone()
    hold(largest, holder, 500)
    hold(largest, holder, 5000)
    hold(largest, holder, 0)
    largest.leave(holder)
    assert not largest
    assert not any(largest._classes.values())
