"""Nothing is lost silently: whatever the network does, publications and gaps together are everything."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tidings.client import Gap, Publication, Recovered
from tidings.client.feed import Feed
from tidings.client.inflow import HELD, Inflow, Item, Message
from tidings.client.publications import PayloadTypes


def _message(channel: str, offset: int, epoch: str | None = None) -> Message:
    return Message("news", msgspec.Raw(b"{}"), channel=channel, offset=offset, epoch=epoch)


def _listening(channel: str = "room:x") -> tuple[Inflow, Feed[Item]]:
    inflow = Inflow(PayloadTypes())
    feed: Feed[Item] = Feed(10_000)
    inflow.attach(feed, channel)
    return inflow, feed


def _items(feed: Feed[Item]) -> list[Any]:
    """What waits: offsets of publications, and (first, last) of gaps."""
    return [
        (item.from_offset, item.to_offset) if isinstance(item, Gap) else item.offset
        for item in feed._items
        if isinstance(item, Gap | Publication)
    ]


def test_what_was_missed_while_away_is_a_gap() -> None:
    """The same epoch, further on: the gap is exactly what lies between."""
    inflow, feed = _listening()
    inflow.told("room:x", "e", 4)
    inflow.publication(_message("room:x", 5))
    inflow.hold()
    inflow.told("room:x", "e", 8)
    inflow.publication(_message("room:x", 9))
    assert inflow.release()[0] == (Gap("room:x", 6, 8, "e"),)
    assert _items(feed) == [5, (6, 8), 9]


def test_nothing_missed_is_no_gap() -> None:
    """Back at the same position, nothing is announced."""
    inflow, feed = _listening()
    inflow.told("room:x", "e", 4)
    inflow.hold()
    inflow.told("room:x", "e", 4)
    assert inflow.release() == ((), ())
    inflow.publication(_message("room:x", 5))
    assert _items(feed) == [5]


def test_a_new_epoch_is_a_gap_without_an_end() -> None:
    """A channel that begins anew may have lost anything, also where the offsets would fit together."""
    for offset in (0, 4, 5, 6, 100):
        inflow, feed = _listening()
        inflow.told("room:x", "old", 4)
        inflow.publication(_message("room:x", 5))
        inflow.hold()
        inflow.told("room:x", "new", offset)
        assert inflow.release()[0] == (Gap("room:x", 6, None, "new"),)
        inflow.publication(_message("room:x", offset + 1))
        assert _items(feed) == [5, (6, None), offset + 1]


def test_publications_before_the_position_are_kept() -> None:
    """An automatic channel's publications may come before the server has told where it stands."""
    for epoch, gap in (("e", (6, 7)), ("new", (6, None))):
        inflow, feed = _listening()
        inflow.told("room:x", "e", 5)
        inflow.hold()
        inflow.publication(_message("room:x", 8))
        inflow.told("room:x", epoch, 9)
        inflow.publication(_message("room:x", 9))
        inflow.publication(_message("room:x", 10))
        inflow.release()
        assert _items(feed) == [gap, 8, 9, 10]


def test_a_channel_whose_epoch_nobody_told() -> None:
    """Without an epoch, offsets that go back are a new life; those that go on are taken for the same one."""
    inflow, feed = _listening("role:x")
    for offset in (5, 6, 9, 2):
        inflow.publication(_message("role:x", offset))
    assert _items(feed) == [5, 6, (7, 8), 9, (10, None), 2]


def test_an_epoch_that_is_told_later_fits_what_was_heard() -> None:
    """Heard without its epoch, then told: further on is the same life, behind is another."""
    for told, gaps in ((7, (Gap("role:x", 6, 7, "e"),)), (5, ()), (3, (Gap("role:x", 6, None, "e"),))):
        inflow, _ = _listening("role:x")
        inflow.publication(_message("role:x", 5))
        inflow.hold()
        inflow.told("role:x", "e", told)
        assert inflow.release()[0] == gaps


def test_what_comes_twice_is_handed_over_once() -> None:
    """In one epoch an offset that has passed is a repetition."""
    inflow, feed = _listening()
    inflow.told("room:x", "e", 0)
    for offset in (1, 2, 2, 1, 3):
        inflow.publication(_message("room:x", offset))
    assert _items(feed) == [1, 2, 3]


def test_an_epoch_that_is_told_with_a_publication_counts() -> None:
    """A change of epoch under way is a gap too."""
    inflow, feed = _listening()
    inflow.told("room:x", "e", 7)
    inflow.publication(_message("room:x", 8, "e"))
    inflow.publication(_message("room:x", 9, "f"))
    assert _items(feed) == [8, (9, None), 9]


def test_more_than_can_be_held_is_a_gap() -> None:
    """Until the server tells where a channel stands so many publications wait; what is beyond is a gap."""
    inflow, feed = _listening()
    inflow.told("room:x", "e", 0)
    inflow.hold()
    for offset in range(1, HELD + 11):
        inflow.publication(_message("room:x", offset))
    inflow.told("room:x", "e", HELD + 10)
    assert inflow.release()[0] == (Gap("room:x", HELD + 1, HELD + 10, "e"),)
    inflow.publication(_message("room:x", HELD + 11))
    assert _items(feed) == [*range(1, HELD + 1), (HELD + 1, HELD + 10), HELD + 11]


def test_a_subscriber_that_is_gone_gets_nothing() -> None:
    """Detached, or let go of: nothing is put into it any more."""
    inflow, feed = _listening()
    other: Feed[Item] = Feed(10)
    inflow.attach(other, "room:x")
    everything: Feed[Item] = Feed(10)
    inflow.attach(everything, None)
    assert not inflow.detach(other, "room:x")
    assert not inflow.detach(other, "room:x")
    inflow.publication(_message("room:x", 1))
    assert (feed.waiting, other.waiting, everything.waiting) == (1, 0, 1)
    assert inflow.detach(feed, "room:x")
    del everything
    assert not inflow._everything


# Steps of one channel's life: what is published, whether the connection is up, and when it is told.
_STEPS = st.lists(
    st.sampled_from(["publish", "publish", "publish", "cut", "back", "told", "restart"]), max_size=60
)


@given(_STEPS)
def test_publications_and_gaps_are_everything(steps: list[str]) -> None:
    """Cut, restarted, told late or early: what was handed over is in order, once, and a gap stands for the rest."""
    inflow, feed = _listening()
    inflow.told("room:x", "0", 0)
    life, offset, up, told = 0, 0, True, True
    published: list[tuple[int, int]] = []
    for step in [*steps, "cut", "back", "told"]:
        if step == "publish":
            offset += 1
            published.append((life, offset))
            if up:
                inflow.publication(_message("room:x", offset))
        elif step == "restart" and not up:
            life, offset = life + 1, 0
        elif step == "cut" and up:
            up = False
        elif step == "back" and not up:
            up, told = True, False
            inflow.hold()
        elif step == "told" and up and not told:
            told = True
            inflow.told("room:x", str(life), offset)
            inflow.release()
    covered: set[tuple[int, int]] = set()
    last, open_gap = (0, 0), False
    for item in feed._items:
        assert isinstance(item, Gap | Publication)
        assert item.epoch is not None
        if isinstance(item, Publication):
            at = (int(item.epoch), item.offset)
            assert at > last, "in order, once"
            between = {one for one in published if last < one < at}
            assert open_gap or not between, "a gap stands for all that is missing"
            covered |= between | {at}
            last, open_gap = at, False
        elif item.to_offset is None:
            assert int(item.epoch) > last[0]
            open_gap = True
        else:
            until = (int(item.epoch), item.to_offset)
            missed = {one for one in published if last < one <= until}
            assert open_gap or len(missed) == item.to_offset - item.from_offset + 1, "a gap says how many"
            covered |= missed
            last, open_gap = until, False
    assert open_gap or covered == set(published)


def test_what_is_held_comes_again_where_it_is_recovered() -> None:
    """Live publications before the server's word are among those that follow it: once, and at their place."""
    inflow, feed = _listening()
    inflow.told("room:x", "e", 5)
    inflow.hold()
    inflow.publication(_message("room:x", 8))
    inflow.told("room:x", "e", 8, recovered=True)
    for offset in (6, 7, 8, 9):
        inflow.publication(_message("room:x", offset))
    assert inflow.release() == ((), (Recovered("room:x", 6, 8),))
    assert _items(feed) == [6, 7, 8, 9]


def test_a_new_epoch_before_the_servers_word() -> None:
    """What came of the old epoch before it does not count in the new one."""
    inflow, feed = _listening()
    inflow.told("room:x", "e", 5)
    inflow.hold()
    inflow.publication(_message("room:x", 9))
    inflow.moved("room:x", "f", 0)
    inflow.publication(_message("room:x", 1))
    inflow.told("room:x", "f", 1)
    inflow.publication(_message("room:x", 2))
    inflow.release()
    assert _items(feed) == [(6, None), 1, 2]
