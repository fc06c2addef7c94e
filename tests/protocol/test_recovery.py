"""What a position says about a history: pure functions against what they mean."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from tidings.protocol.positions import Position
from tidings.protocol.recovery import Hole, cut, judge, merge, missing


@dataclass(frozen=True)
class At:
    """Something with a place in a channel."""

    offset: int


OFFSETS = st.integers(0, 40)


def at(*offsets: int) -> list[At]:
    return [At(offset) for offset in offsets]


@given(st.integers(-3, 60), OFFSETS, OFFSETS, st.booleans())
def test_a_position_is_judged_by_what_is_kept(since: int, head: int, kept: int, same: bool) -> None:
    """Recoverable is exactly: this epoch, a place that was, and every later publication still there."""
    first = max(1, head + 1 - kept)
    verdict = judge(Position("e" if same else "f", since), Position("e", head), first)
    everything = set(range(first, head + 1))
    was = 0 <= since <= head
    assert (verdict == "recoverable") is (same and was and set(range(since + 1, head + 1)) <= everything)
    if verdict != "recoverable":
        expected = (
            "negative" if since < 0 else "epoch" if not same else "ahead" if since > head else "trimmed"
        )
        assert verdict == expected


@given(OFFSETS, OFFSETS, st.sets(OFFSETS))
def test_a_hole_is_the_first_that_is_missing(since: int, until: int, gone: set[int]) -> None:
    """None exactly where every offset of (since, until] is there once, in order; else the first stretch gone."""
    wanted = range(since + 1, until + 1)
    there = at(*[offset for offset in wanted if offset not in gone])
    hole = missing(there, since, until)
    lost = [offset for offset in wanted if offset in gone]
    if not lost:
        assert hole is None
        return
    last = lost[0]
    while last + 1 in lost:
        last += 1
    assert hole == Hole(lost[0], last)


@given(OFFSETS, st.integers(1, 20), st.data())
def test_whatever_is_not_the_next_is_a_hole(since: int, count: int, data: st.DataObject) -> None:
    """A repetition, a step back and an offset from elsewhere are found where they stand."""
    items = at(*range(since + 1, since + 1 + count))
    where = data.draw(st.integers(0, count - 1))
    wrong = data.draw(st.integers(-5, 100).filter(lambda offset: offset != since + 1 + where))
    items[where] = At(wrong)
    hole = missing(items, since, since + count)
    assert hole is not None
    assert hole.first == since + 1 + where


@given(st.sets(OFFSETS), OFFSETS, OFFSETS)
def test_the_cut_takes_what_lies_between(offsets: set[int], since: int, until: int) -> None:
    """After the one, up to the other."""
    items = at(*sorted(offsets))
    assert cut(items, since, until) == [item for item in items if since < item.offset <= until]


@given(st.sets(OFFSETS), st.sets(OFFSETS))
def test_merging_has_each_offset_once_in_order(read: set[int], live: set[int]) -> None:
    """All that was read, then what came behind it: a merge never repeats and never goes back."""
    merged = merge(at(*sorted(read)), at(*sorted(live)))
    offsets = [item.offset for item in merged]
    last = max(read, default=0)
    assert offsets == sorted(read) + sorted(offset for offset in live if offset > last)
    assert len(set(offsets)) == len(offsets)
