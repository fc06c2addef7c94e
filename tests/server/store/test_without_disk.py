"""What needs no disk: newcomers on a full one, channels nobody ever published to, when a device was seen."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.store import (
    DURABLE,
    Acknowledge,
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
from tidings.server.store import pending
from tidings.server.store.errors import StoreUnavailable
from tidings.server.store.log import MessageLog
from tidings.server.store.requests import Detach, DevicesFull, Operation, Revocation, Revoke

BIG = b"x" * 100_000


@pytest.fixture
def clocks() -> Clocks:
    """The clocks of the store under test."""
    return Clocks()


@pytest.fixture
def store(tmp_path: Path, clocks: Clocks) -> Iterator[Store]:
    """A store whose inboxes have three devices with a name."""
    store = store_at(tmp_path / "data", clocks)
    yield store
    store.close()


@contextmanager
def full(store: Store) -> Iterator[None]:
    """Have the database fail at every write for the length of the block."""
    assert store._connection is not None
    store._connection.execute("PRAGMA query_only = ON")
    try:
        yield
    finally:
        store._connection.execute("PRAGMA query_only = OFF")


def unavailable(*results: object) -> bool:
    """Whether all of them say that it cannot be stored."""
    return all(isinstance(each, StoreUnavailable) and "cannot store: " in str(each) for each in results)


def test_asking_for_a_channel_writes_nothing(store: Store) -> None:
    """However many somebody invents; the first publication goes on from what was told."""
    told = do(
        store, *(Open(f"room:{number}") for number in range(300)), Clear("room:7"), Attach("user:x", "")
    )
    assert channel_rows(store) == []
    assert told[7] == told[300]
    assert do(store, Open("room:7")) == [told[7]]
    assert append(store, "room:7").position == Position(told[7].epoch, 1)  # type: ignore[attr-defined]
    assert channel_rows(store) == ["room:7"]
    assert len({position.epoch for position in told[:300]}) == 300  # type: ignore[attr-defined]


def test_a_full_disk_fails_what_is_promised_to_be_on_it_and_nothing_else(store: Store) -> None:
    """In one group, and each alone: positions of what failed are told to nobody."""
    before = append(store, "user:bob").position
    do(store, Attach("user:bob", "phone"))
    group: tuple[Operation, ...] = (
        appending("user:bob"),
        Open("user:bob"),
        Acknowledge("user:bob", "phone", 1),
        Attach("user:bob", "phone"),
        Attach("user:bob", "laptop"),
        Attach("user:new", "tv"),
        Attach("user:new", ""),
        Open("room:new"),
        Clear("user:bob"),
        Detach("user:bob", "phone"),
        Revoke(Revocation("user", "bob", 1, 2**40)),
    )
    with full(store):
        found = do(store, *group)
        append_, open_, ack, phone, laptop, tv, anybody, new, clear, detach, revoke = found
        assert unavailable(append_, ack, clear, revoke)
        assert (open_, detach) == (before, None)
        assert phone == laptop == Attached(before, 1, 0)
        assert isinstance(tv, Attached)
        assert anybody == tv
        assert do(store, Open("room:new"), Attach("user:new", "tv")) == [new, tv]
        for operation, together in zip(group, found, strict=True):
            if isinstance(together, StoreUnavailable):
                with pytest.raises(sqlite3.OperationalError):
                    do(store, operation)
            else:
                assert do(store, operation) == [together]
    assert append(store, "user:bob").position == Position(before.epoch, 2)
    assert append(store, "user:new").position == Position(tv.position.epoch, 1)
    assert append(store, "room:new").position == Position(new.epoch, 1)  # type: ignore[attr-defined]


def test_a_device_that_came_while_the_disk_was_full_is_written_with_the_next_group(
    tmp_path: Path, store: Store, clocks: Clocks
) -> None:
    """A kill behind it finds every one of them where it began."""
    append(store, "user:bob")
    with full(store):
        do(store, Attach("user:bob", "phone"), Attach("user:new", "tv"))
        do(store, Attach("user:new", "phone"))
        with pytest.raises(sqlite3.OperationalError):
            do(store, Acknowledge("user:new", "tv", 0))
        assert [name for name, _, _ in devices(store, "user:new")] == ["phone", "tv"]
        clocks.wait(1)
        do(store, Detach("user:new", "tv"))
    do(store, Acknowledge("user:bob", "laptop", 1))
    after = store_at(killed(tmp_path / "data", tmp_path / "left"), clocks)
    now, came = clocks.now_ms, clocks.now_ms - 1000
    assert devices(after, "user:bob") == [("laptop", 1, now), ("phone", 0, came)]
    assert devices(after, "user:new") == [("phone", 0, came), ("tv", 0, now)]
    assert do(after, Open("user:new")) == do(store, Open("user:new"))
    after.close()


def test_a_new_device_is_on_disk_when_it_is_told_so(tmp_path: Path, store: Store, clocks: Clocks) -> None:
    """Else, after a kill, one that came later and has more would be taken for the first."""
    do(store, Attach("user:bob", "phone"))
    after = store_at(killed(tmp_path / "data", tmp_path / "left"), clocks)
    assert devices(after, "user:bob") == [("phone", 0, clocks.now_ms)]
    after.close()


def test_when_a_device_was_seen_is_written_with_something_else(
    tmp_path: Path, store: Store, clocks: Clocks
) -> None:
    """Coming and going costs no commit; another group's, the next sweep's, or the end's takes it along."""

    def on_disk() -> int:
        return int(store._readers[0].execute("SELECT seen_ms FROM devices").fetchone()[0])

    do(store, Attach("user:bob", "phone"))
    for write in (lambda: append(store, "room:a"), lambda: do(store, Sweep())):
        before = on_disk()
        clocks.wait(10)
        do(store, Attach("user:bob", "phone"))
        clocks.wait(10)
        do(store, Detach("user:bob", "phone"))
        assert on_disk() == before
        assert devices(store, "user:bob") == [("phone", 0, clocks.now_ms)]
        write()
        assert on_disk() == clocks.now_ms
    clocks.wait(10)
    do(store, Detach("user:bob", "phone"))
    store.close()
    again = store_at(tmp_path / "data", clocks)
    assert devices(again, "user:bob") == [("phone", 0, clocks.now_ms)]
    again.close()


def test_devices_that_made_room_on_a_full_disk_are_gone_for_good(store: Store, clocks: Clocks) -> None:
    """They come back neither with the next reading nor behind the next write."""
    for name in ("a", "b", "c"):
        do(store, Attach("user:bob", name))
    clocks.wait(501)
    with full(store):
        assert isinstance(do(store, Attach("user:bob", "d"))[0], Attached)
        assert store._log is not None
        store._log._states.drop(["user:bob"])
        assert [name for name, _, _ in devices(store, "user:bob")] == ["d"]
    append(store, "user:bob")
    assert store._readers[0].execute("SELECT name FROM devices").fetchall() == [("d",)]


def test_epochs_of_channels_that_somebody_listens_to_stay(tmp_path: Path, clocks: Clocks) -> None:
    """Of those that nobody ever published to a number is remembered; who listens is not told another epoch."""
    store = store_at(tmp_path / "small", clocks)
    assert store._connection is not None
    store._log = MessageLog(
        store._connection,
        DURABLE,
        devices=3,
        device_age=500,
        key_seconds=300,
        in_use=lambda channel: channel == "room:heard",
        kept=5,
        unbegun=10,
    )
    heard, other = do(store, Open("room:heard"), Open("room:other"))
    for number in range(100):
        do(store, Open(f"room:{number}"))
    assert len(store._log._pending._unbegun) <= 11
    assert do(store, Open("room:heard")) == [heard]
    assert do(store, Open("room:other")) != [other], "nobody is told a position that was another's"
    found = append(store, "room:heard")
    assert found.position == Position(heard.epoch, 1)  # type: ignore[attr-defined]
    store.close()


def test_who_listens_late_keeps_the_epoch_too(tmp_path: Path, clocks: Clocks) -> None:
    """A channel asked for long ago, and forgotten but for what is at hand, is asked for again and listened to."""
    store = store_at(tmp_path / "small", clocks)
    assert store._connection is not None
    heard: set[str] = set()
    store._log = MessageLog(
        store._connection,
        DURABLE,
        devices=3,
        device_age=500,
        key_seconds=300,
        in_use=heard.__contains__,
        kept=100,
        unbegun=5,
    )
    do(store, Open("room:late"))
    do(store, *(Open(f"room:{number}") for number in range(50)))
    [told] = do(store, Open("room:late"))
    heard.add("room:late")
    for number in range(50, 300):
        do(store, Open(f"room:{number}"))
    assert do(store, Open("room:late")) == [told]
    store.close()


def test_so_many_devices_wait_for_a_full_disk(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then new ones are refused, those known are not, and when there is room all goes on."""
    monkeypatch.setattr(pending, "MOST_NOTES", 5)
    append(store, "user:bob")
    do(store, Attach("user:bob", "phone"))
    with full(store):
        found = [do(store, Attach(f"user:{number}", "phone"))[0] for number in range(7)]
        assert [isinstance(each, Attached) for each in found] == [True] * 5 + [False] * 2
        assert unavailable(*found[5:])
        assert isinstance(do(store, Attach("user:bob", "phone"))[0], Attached)
        assert isinstance(do(store, Attach("user:6", ""))[0], Attached)
    do(store, Sweep())
    assert isinstance(do(store, Attach("user:6", "phone"))[0], Attached)
    assert len(channel_rows(store)) == 7


def test_many_notes_are_written_in_pieces(
    store: Store, clocks: Clocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that nobody waits long for what others had noted, and nothing of it stays behind."""
    monkeypatch.setattr(pending, "NOTES_AT_ONCE", 10)
    for number in range(40):
        do(store, Attach(f"user:{number}", "phone"))
    clocks.wait(10)
    do(store, *(Detach(f"user:{number}", "phone") for number in range(40)))
    assert store._log is not None
    left = []
    while store._log._pending.notes:
        left.append(store._log._pending.notes)
        do(store, Sweep())
    assert left == [40, 30, 20, 10]
    [(least,)] = store._readers[0].execute("SELECT min(seen_ms) FROM devices").fetchall()
    assert least == clocks.now_ms


def test_a_refused_device_changes_nothing(store: Store) -> None:
    """On a full disk as otherwise."""
    do(store, *(Attach("user:bob", name) for name in "abc"))
    with full(store):
        assert do(store, Attach("user:bob", "d")) == [DevicesFull("user:bob", 3)]
    found = do(store, appending("user:bob"))
    assert isinstance(found[0], Appended)
