"""The durable log: offsets, keys, retention, devices, and what a kill leaves."""

from pathlib import Path

import pytest
from support.store import (
    Acknowledge,
    Append,
    Appended,
    Attach,
    Attached,
    Clear,
    Clocks,
    Open,
    Store,
    Sweep,
    append,
    appending,
    channel_rows,
    devices,
    do,
    killed,
    store_at,
)

from tidings.protocol.positions import Position
from tidings.server.store.log import MessageLog
from tidings.server.store.reading import Kept, read_history
from tidings.server.store.requests import (
    Detach,
    DevicesFull,
    KeyTaken,
    ListRevocations,
    Revocation,
    Revoke,
    Swept,
)


@pytest.fixture
def clocks() -> Clocks:
    """The clocks of the store under test."""
    return Clocks()


@pytest.fixture
def store(tmp_path: Path, clocks: Clocks):  # type: ignore[no-untyped-def]
    """A store of 5 publications in an inbox and 10 elsewhere, up to 1,000 s old; devices are forgotten at 500 s."""
    store = store_at(tmp_path / "data", clocks)
    yield store
    store.close()


def history(
    store: Store, channel: str, after: int = 0, *, limit: int = 1000, most_bytes: int = 1 << 30
) -> Kept:
    """What is kept, as a reader sees it."""
    [reader, *_] = store._readers
    kept = read_history(
        reader,
        channel,
        after,
        limit=limit,
        most_bytes=most_bytes,
        policy=store._policies.of(channel),
        now_ms=int(store._clock() * 1000),
    )
    assert kept is not None
    return kept


def offsets(kept: Kept) -> list[int]:
    """Of what was read."""
    return [publication.offset for publication in kept.publications]


def rows(store: Store) -> int:
    """Publications that are in the database, kept or not."""
    return int(store._readers[0].execute("SELECT count(*) FROM publications").fetchone()[0])


def attach(store: Store, device: str) -> Attached:
    """Attach to the inbox of bob."""
    [found] = do(store, Attach("user:bob", device))
    assert isinstance(found, Attached)
    return found


def test_a_group_numbers_each_channel_by_itself(store: Store) -> None:
    """Appends of several channels in one group get the next offsets of theirs, in order."""
    [start, *found] = do(store, Open("room:a"), *(appending(f"room:{name}") for name in "abaab"))
    assert start == Position(start.epoch, 0)  # type: ignore[attr-defined]
    assert [each.position.offset for each in found] == [1, 1, 2, 3, 2]  # type: ignore[attr-defined]
    assert offsets(history(store, "room:a")) == [1, 2, 3]
    assert history(store, "room:a").position == Position(start.epoch, 3)
    assert append(store, "room:b").position.epoch != start.epoch


def test_what_is_read_is_what_was_published_byte_for_byte(store: Store) -> None:
    """All fields come back, whatever the payload's bytes are, also those that are no text."""
    payloads = [
        b"{}",
        '{"text":"héllo \\u0000 ✓ \U0001f600"}'.encode(),
        b"",
        b"\x00\xff\xfe\x00",
        b"x" * 100_000,
    ]
    do(
        store,
        *(
            Append("room:a", f"e{n}", payload, "bob", "s1", None, None)
            for n, payload in enumerate(payloads)
        ),
    )
    found = history(store, "room:a").publications
    assert [each.payload for each in found] == payloads
    assert {(each.user_id, each.excluded_session, each.channel) for each in found} == {
        ("bob", "s1", "room:a")
    }
    assert [each.event for each in found] == ["e0", "e1", "e2", "e3", "e4"]


def test_a_page_ends_at_its_limit_or_with_what_fills_its_bytes(store: Store) -> None:
    """No more publications than asked for, and no more than the first that brings them to so many bytes."""
    for _ in range(5):
        append(store, "room:a", b"x" * 100)
    assert offsets(history(store, "room:a", 1, limit=2)) == [2, 3]
    assert offsets(history(store, "room:a", most_bytes=200)) == [1, 2]
    assert offsets(history(store, "room:a", most_bytes=201)) == [1, 2, 3]
    assert offsets(history(store, "room:a", most_bytes=1)) == [1]
    assert offsets(history(store, "room:a", limit=0)) == []


@pytest.mark.parametrize("after", [-(2**70), -1, 0, 3, 4, 2**70])
def test_history_may_be_asked_for_after_anything(store: Store, after: int) -> None:
    """Negative or beyond the end, also where no column of a database could hold it."""
    for _ in range(3):
        append(store, "room:a")
    assert offsets(history(store, "room:a", after)) == list(range(min(max(after, 0), 3) + 1, 4))


def test_a_known_key_gives_its_position_and_publishes_nothing(store: Store, clocks: Clocks) -> None:
    """For its whole life, within a group and between them; with another body it is a conflict."""
    first, again = do(store, appending("room:a", key="k"), appending("room:a", key="k"))
    assert isinstance(first, Appended)
    assert isinstance(again, Appended)
    assert (first.position, again.position, again.publication) == (again.position, first.position, None)
    clocks.wait(299.9)
    assert append(store, "room:a", key="k").position == first.position
    assert do(store, appending("room:a", key="k", digest=b"other")) == [KeyTaken("room:a")]
    assert append(store, "room:b", key="k").publication is not None, "another channel's key"
    clocks.wait(0.2)
    assert append(store, "room:a", key="k", digest=b"other").position.offset == 2


@pytest.mark.parametrize("key", ["a\x00b", "\x00", "a\x1fb", '"\\', "é", "\U0001f600", "%_'", "\ufffe"])
def test_a_key_is_found_whatever_its_characters_are(store: Store, clocks: Clocks, key: str) -> None:
    """Also one that a text of SQLite's would end in, and not the one that begins alike."""
    first = append(store, "room:a", key=key)
    append(store, "room:a", key="a")
    assert append(store, "room:a", key=key).position == first.position
    assert do(store, appending("room:a", key=key, digest=b"other")) == [KeyTaken("room:a")]
    assert rows(store) == 2


def test_a_clock_put_forward_forgets_no_key(store: Store, clocks: Clocks) -> None:
    """A publisher that repeats across the change of the clock still publishes once."""
    first = append(store, "room:a", key="k")
    clocks.wall += 3600
    clocks.steady += 100
    assert append(store, "room:a", key="k").position == first.position


def test_keys_survive_a_kill_for_their_whole_time(tmp_path: Path, store: Store, clocks: Clocks) -> None:
    """The repetition that comes after the restart finds its key, even when the clock was put forward meanwhile."""
    first = append(store, "room:a", key="k")
    clocks.wall += 3600
    clocks.steady = 1.0  # another boot
    after = store_at(killed(tmp_path / "data", tmp_path / "killed"), clocks)
    try:
        assert append(after, "room:a", key="k").position == first.position
        assert append(after, "room:a").position == Position(first.position.epoch, 2)
    finally:
        after.close()


def test_times_do_not_fall_with_a_clock_put_back_a_little(store: Store, clocks: Clocks) -> None:
    """It stands still for the channel until it has caught up."""
    assert times(store, clocks, 0.0, 10.0, 5.0, 10.5) == [0, 10_000, 10_000, 10_500]


def test_a_clock_that_was_years_ahead_stamps_nothing_but_what_came_then(
    store: Store, clocks: Clocks
) -> None:
    """One publication of that moment; neither the later ones, nor their age, suffer for it."""
    years = 10 * 365 * 86_400.0
    assert times(store, clocks, 0.0, years, 10.0, 20.0) == [0, years * 1000, 10_000, 20_000]
    clocks.steady += 20
    clocks.wait(970)  # 990 s since the first
    assert offsets(history(store, "room:a")) == [1, 2, 3, 4]
    clocks.wait(15)
    assert offsets(history(store, "room:a")) == [2, 3, 4], "only the first is known to be too old"
    clocks.wait(10)
    assert offsets(history(store, "room:a")) == [4], "what came before the third is older than it"
    assert history(store, "room:a").first == 4
    do(store, Sweep())
    assert rows(store) == 1
    clocks.wait(10)
    do(store, Sweep())
    assert rows(store) == 0


def times(store: Store, clocks: Clocks, *walls: float) -> list[float]:
    """How publications are stamped when the clock says so much more than at the beginning, in milliseconds."""
    start, found = clocks.wall, []
    for wall in walls:
        clocks.wall = start + wall
        publication = append(store, "room:a").publication
        assert publication is not None
        found.append(publication.time_ms - start * 1000)
    return found


def test_size_is_kept_to_exactly_while_rows_are_deleted_in_pieces(store: Store) -> None:
    """Readers never see more than the size; the database holds a tenth and 16 more at most."""
    for count in range(1, 100):
        append(store, "room:a")
        kept = history(store, "room:a")
        assert offsets(kept) == list(range(max(1, count - 9), count + 1))
        assert kept.first == max(1, count - 9)
        assert rows(store) <= 10 + 1 + 16


def test_age_is_kept_to_exactly_before_anything_is_deleted(store: Store, clocks: Clocks) -> None:
    """What is older than its time is not read, and `first` says so; a sweep deletes it."""
    for _ in range(3):
        append(store, "room:a")
        clocks.wait(100)
    assert offsets(history(store, "room:a")) == [1, 2, 3]
    clocks.wait(700)
    assert offsets(history(store, "room:a")) == [2, 3], "the first is 1,000 s old now"
    assert history(store, "room:a").first == 2
    clocks.wait(1000)
    kept = history(store, "room:a")
    assert (kept.first, kept.publications, kept.position.offset) == (4, [], 3)
    assert rows(store) == 3
    assert do(store, Sweep()) == [Swept(0, more=False)]
    assert rows(store) == 0
    assert append(store, "room:a").position == Position(kept.position.epoch, 4)


def test_clearing_hides_everything_at_once_and_keeps_the_position(store: Store) -> None:
    """However much there is, nothing of it is read again; pieces of it are deleted as time allows."""
    group = [appending("room:long") for _ in range(500)]
    for _ in range(10):
        do(store, *group)
    [position] = do(store, Clear("room:long"))
    kept = history(store, "room:long")
    assert (kept.position, kept.first, kept.publications) == (position, 5001, [])
    assert 0 < rows(store) < 5000, "a piece at a time"
    append(store, "room:long")
    assert offsets(history(store, "room:long")) == [5001]
    for _ in range(5):
        do(store, Sweep())
    assert rows(store) == 1


def test_a_first_device_has_everything_before_it_and_a_later_one_the_furthest(store: Store) -> None:
    """As the contract says of positions; and they never fall."""
    for _ in range(7):
        append(store, "user:bob")
    first = attach(store, "phone")
    assert (first.first, first.acknowledged, first.position.offset) == (3, 2, 7)
    assert do(store, Acknowledge("user:bob", "phone", 5)) == [5]
    assert do(store, Acknowledge("user:bob", "phone", 4)) == [5]
    assert attach(store, "laptop").acknowledged == 5
    assert do(store, Acknowledge("user:bob", "laptop", 2**70)) == [7]
    assert do(store, Acknowledge("user:bob", "laptop", -(2**70))) == [7]
    assert attach(store, "phone").acknowledged == 5


def test_who_gives_no_name_is_enrolled_by_acknowledging_only(store: Store, clocks: Clocks) -> None:
    """Who only looked is not waited for, takes no place, and is not refused."""
    for _ in range(4):
        append(store, "user:bob")
    assert attach(store, "").acknowledged == 0
    do(store, Acknowledge("user:bob", "phone", 4))
    assert attach(store, "").acknowledged == 4, "where any new one would start"
    do(store, Detach("user:bob", ""))
    assert [append(store, "user:bob").dropped for _ in range(5)] == [0, 0, 0, 0, 0], "the phone has them"
    for name in ("b", "c"):
        attach(store, name)
    assert do(store, Attach("user:bob", "d")) == [DevicesFull("user:bob", 3)]
    assert do(store, Acknowledge("user:bob", "", 1)) == [1]
    assert [name for name, _, _ in devices(store, "user:bob")] == ["", "b", "c", "phone"]
    assert do(store, Attach("user:bob", "d")) == [DevicesFull("user:bob", 3)]
    do(store, *(Acknowledge("user:bob", name, 9) for name in ("phone", "b", "c")))
    assert append(store, "user:bob").dropped == 1, "it has said that it is there"


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path, store: Store, clocks: Clocks) -> None:
    """Positions of devices, epoch and offsets are what they were."""
    before = append(store, "user:bob")
    attach(store, "phone")
    do(store, Acknowledge("user:bob", "phone", 1), Acknowledge("user:bob", "tv", 0))
    after = store_at(killed(tmp_path / "data", tmp_path / "killed"), clocks)
    try:
        assert devices(after, "user:bob") == [
            ("phone", 1, clocks.now_ms),
            ("tv", 0, clocks.now_ms),
        ]
        assert do(after, Open("user:bob")) == [before.position]
        assert do(after, Acknowledge("user:bob", "phone", 0)) == [1]
    finally:
        after.close()


def test_a_device_too_many_is_refused_until_another_was_away_for_long(store: Store, clocks: Clocks) -> None:
    """Attaching and acknowledging alike; who was away for the longest time allowed makes room."""
    attach(store, "a")
    clocks.wait(100)
    for name in ("b", "c"):
        attach(store, name)
    for operation in (Attach("user:bob", "d"), Acknowledge("user:bob", "d", 0)):
        assert do(store, operation) == [DevicesFull("user:bob", 3)]
    clocks.wait(350)
    do(store, Detach("user:bob", "b"))
    clocks.wait(51)
    assert do(store, Acknowledge("user:bob", "d", 0)) == [0]
    names = [name for name, _, _ in devices(store, "user:bob")]
    assert names == ["b", "c", "d"], "a was not seen for 501 s"


def test_what_a_full_inbox_drops_unread_is_counted(store: Store, clocks: Clocks) -> None:
    """With no device nobody has it; with devices it counts until the slowest of them has it."""
    dropped = [append(store, "user:bob").dropped for _ in range(7)]
    assert dropped == [0, 0, 0, 0, 0, 1, 1]
    attach(store, "phone")
    attach(store, "laptop")
    do(store, Acknowledge("user:bob", "phone", 7), Acknowledge("user:bob", "laptop", 3))
    assert [append(store, "user:bob").dropped for _ in range(3)] == [0, 1, 1], "3, then 4 and 5"
    do(store, Acknowledge("user:bob", "laptop", 10), Acknowledge("user:bob", "phone", 10))
    assert [append(store, "user:bob").dropped for _ in range(6)] == [0, 0, 0, 0, 0, 1]
    assert [append(store, "room:a").dropped for _ in range(20)] == [0] * 20, "no inbox"


def test_what_leaves_by_its_age_is_counted_once_and_not_as_dropped(store: Store, clocks: Clocks) -> None:
    """Whether a sweep or the next append comes first."""
    for _ in range(5):
        append(store, "user:bob")
    clocks.wait(1001)
    found = append(store, "user:bob")
    assert (found.dropped, found.expired) == (0, 1)
    assert do(store, Sweep(), Sweep()) == [Swept(4, more=False), Swept(0, more=False)]
    assert rows(store) == 1


def test_what_all_devices_have_goes_after_a_while(store: Store, clocks: Clocks) -> None:
    """First it stays for another tab that may have heard less, then a sweep deletes it; the rest stays."""
    attach(store, "phone")
    for _ in range(4):
        append(store, "user:bob")
    do(store, Acknowledge("user:bob", "phone", 3))
    clocks.wait(299)
    do(store, Sweep())
    assert offsets(history(store, "user:bob")) == [1, 2, 3, 4]
    clocks.wait(2)
    assert do(store, Sweep()) == [Swept(0, more=False)]
    assert offsets(history(store, "user:bob")) == [4]
    assert history(store, "user:bob").first == 4


def test_a_clock_put_forward_for_a_moment_deletes_nothing(store: Store, clocks: Clocks) -> None:
    """Neither publications, nor devices, nor what was acknowledged: when it is right again, all is there."""
    for _ in range(3):
        append(store, "room:a")
        append(store, "user:bob")
    for name in ("a", "b", "c"):
        attach(store, name)
    do(store, Acknowledge("user:bob", "a", 3), Acknowledge("user:bob", "b", 3))
    do(store, Acknowledge("user:bob", "c", 3), Revoke(Revocation("user", "bob", 0, clocks.now_ms + 1000)))
    before = devices(store, "user:bob")
    clocks.wall += 3600
    assert offsets(history(store, "room:a")) == []
    assert do(store, Sweep(), Attach("user:bob", "d")) == [Swept(0, more=False), DevicesFull("user:bob", 3)]
    clocks.wall -= 3600
    assert offsets(history(store, "room:a")) == offsets(history(store, "user:bob")) == [1, 2, 3]
    assert devices(store, "user:bob") == before
    assert len(do(store, ListRevocations())[0]) == 1  # type: ignore[arg-type]
    clocks.wait(3600)
    do(store, Sweep())
    assert rows(store) == 0


def test_silent_channels_are_forgotten_with_their_epoch(store: Store, clocks: Clocks) -> None:
    """Not while somebody listens, or something is kept."""
    used, heard = (append(store, name).position for name in ("room:used", "room:heard"))
    clocks.wait(2 * 86_400)
    do(store, Sweep())
    assert append(store, "room:used").position == Position(used.epoch, 2)
    clocks.wait(31 * 86_400)
    do(store, Sweep(frozenset({"room:heard"})))
    assert channel_rows(store) == ["room:heard"]
    assert do(store, Open("room:heard")) == [heard]
    assert do(store, Open("room:used"))[0].epoch != used.epoch  # type: ignore[attr-defined]


def test_ended_keys_are_deleted(store: Store, clocks: Clocks) -> None:
    """The table of keys holds five minutes of them."""
    do(store, *(appending("room:a", key=f"k{number}") for number in range(50)))
    clocks.wait(200)
    append(store, "room:a", key="last")
    clocks.wait(101)
    do(store, Sweep())
    assert [key for (key,) in store._readers[0].execute("SELECT key FROM keys")] == ["last"]


def test_a_channel_that_was_pushed_out_of_memory_goes_on(tmp_path: Path, clocks: Clocks) -> None:
    """What the writer knows of channels is bounded, and read again when it is needed."""
    store = store_at(tmp_path / "small", clocks)
    assert store._connection is not None
    store._log = MessageLog(
        store._connection, store._policies, devices=3, device_age=500, key_seconds=300, kept=2
    )
    try:
        positions = {name: append(store, f"room:{name}").position for name in "abcdef"}
        assert len(store._log._states._kept) <= 2 + 1, "and the group that is being done"
        for name, position in positions.items():
            assert append(store, f"room:{name}").position == Position(position.epoch, 2)
    finally:
        store.close()
