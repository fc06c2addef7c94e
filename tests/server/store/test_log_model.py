"""The log against a model that holds everything: whatever is done, and however often the process is killed."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.store import (
    Acknowledge,
    Appended,
    Attach,
    Attached,
    Clear,
    Clocks,
    Open,
    Store,
    Sweep,
    appending,
    do,
    killed,
    store_at,
)
from support.store import (
    devices as devices_of,
)

from tidings.server.store.backup import back_up
from tidings.server.store.database import NAME
from tidings.server.store.reading import read_history
from tidings.server.store.requests import DevicesFull, KeyTaken

CHANNELS = ("user:bob", "room:a", "room:b")
SIZES = {"user:bob": 5, "room:a": 10, "room:b": 10}
AGE_MS = 1_000_000
channels = st.sampled_from(CHANNELS)
devices = st.sampled_from(["", "phone", "laptop", "tv"])


class Model:
    """One channel, with all that was ever published to it in this epoch."""

    def __init__(self) -> None:
        self.epoch: str | None = None
        self.published: list[tuple[bytes, int]] = []
        """Payload and time."""
        self.cleared = 0
        self.devices: dict[str, int] = {}
        self.had_by_all = 0
        """Up to here all devices had everything at some time, so that it may be gone for a later one."""
        self.keys: dict[str, tuple[bytes, int]] = {}

    @property
    def head(self) -> int:
        return len(self.published)

    def first(self, size: int, now_ms: int) -> int:
        """The oldest that must still be there."""
        floor = max(self.cleared, self.head - size) + 1
        while floor <= self.head and self.published[floor - 1][1] <= now_ms - AGE_MS:
            floor += 1
        if floor <= self.head and self.published[floor - 1][1] > now_ms + 5000:
            # Stamped by a clock that was wrong: it is older than what came after it.
            old = [at for at in range(floor, self.head + 1) if self.published[at - 1][1] <= now_ms - AGE_MS]
            floor = max(old, default=floor - 1) + 1
        return floor


class LogMachine(RuleBasedStateMachine):
    """Steps in any order; after each, what readers see is compared."""

    @initialize()
    def begin(self) -> None:
        self.root = Path(tempfile.mkdtemp())
        self.clocks = Clocks()
        self.store = self.start(self.root / "0")
        self.lives = 0
        self.models = {name: Model() for name in CHANNELS}
        self.epochs: set[str] = set()
        self.count = 0

    def start(self, directory: Path) -> Store:
        # Devices and keys are never forgotten here: the model does not know when one was seen.
        return store_at(directory, self.clocks, device_age=1e9, key_seconds=1e9)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            shutil.rmtree(self.root)

    def stands(self, name: str, epoch: str, offset: int) -> None:
        model = self.models[name]
        if model.epoch is None:
            assert epoch not in self.epochs, "a new epoch is like no other"
            self.epochs.add(epoch)
            model.epoch = epoch
        assert (epoch, offset) == (model.epoch, model.head)

    @rule(appends=st.lists(st.tuples(channels, st.none() | st.sampled_from("kl")), min_size=1, max_size=30))
    def append(self, appends: list[tuple[str, str | None]]) -> None:
        """A group of publications, some under keys, some of which are known."""
        operations = []
        for name, key in appends:
            self.count += 1
            payload = b"%d" % self.count
            digest = payload if self.count % 2 else b"same"
            operations.append(appending(name, payload, key, digest))
        for operation, found in zip(operations, do(self.store, *operations), strict=True):
            model = self.models[operation.channel]
            known = model.keys.get(operation.key) if operation.key is not None else None
            if known is not None and known[0] != operation.digest:
                assert isinstance(found, KeyTaken)
                continue
            assert isinstance(found, Appended)
            if known is not None:
                assert (found.publication, found.position.offset) == (None, known[1])
                assert found.position.epoch == model.epoch
                continue
            size = SIZES[operation.channel]
            before = model.first(size, self.clocks.now_ms)
            assert found.publication is not None
            model.published.append((operation.payload, found.publication.time_ms))
            self.stands(operation.channel, found.position.epoch, found.position.offset)
            left = model.head - size
            is_lost = operation.channel == "user:bob" and left >= before
            assert found.dropped <= is_lost
            if is_lost and left > min(model.devices.values(), default=0):
                assert found.dropped == 1
            if operation.key is not None:
                assert operation.digest is not None
                model.keys[operation.key] = (operation.digest, model.head)

    @rule(name=channels)
    def open(self, name: str) -> None:
        [position] = do(self.store, Open(name))
        self.stands(name, position.epoch, position.offset)  # type: ignore[attr-defined]

    @rule(name=channels)
    def clear(self, name: str) -> None:
        [position] = do(self.store, Clear(name))
        self.stands(name, position.epoch, position.offset)  # type: ignore[attr-defined]
        self.models[name].cleared = self.models[name].head

    @rule(device=devices)
    def attach(self, device: str) -> None:
        model = self.models["user:bob"]
        [found] = do(self.store, Attach("user:bob", device))
        if isinstance(found, DevicesFull):
            assert len(model.devices.keys() - {""}) == 3
            assert device not in {"", *model.devices}
            return
        assert isinstance(found, Attached)
        self.stands("user:bob", found.position.epoch, found.position.offset)
        start = max(model.devices.values(), default=found.first - 1)
        assert found.acknowledged == model.devices.get(device, start)
        if device:
            model.devices[device] = found.acknowledged

    @rule(device=devices, offset=st.integers(-3, 60))
    def acknowledge(self, device: str, offset: int) -> None:
        model = self.models["user:bob"]
        [found] = do(self.store, Acknowledge("user:bob", device, offset))
        if isinstance(found, DevicesFull):
            assert len(model.devices.keys() - {""}) == 3
            assert device not in {"", *model.devices}
            return
        model.devices[device] = max(model.devices.get(device, 0), min(offset, model.head))
        assert found == model.devices[device]

    @rule()
    def sweep(self) -> None:
        do(self.store, Sweep())

    @rule(seconds=st.floats(0, 60), jump=st.sampled_from([0, 0, 0, 3600, -3600]))
    def wait(self, seconds: float, jump: int) -> None:
        """Somebody sets the wall clock, by which publications are stamped and grow old; keys go by the other."""
        self.clocks.wall += seconds + jump

    @rule()
    def restart(self) -> None:
        """Everything is as it was."""
        self.store.close()
        self.store = self.start(self.store._directory)
        self.forget()

    def forget(self) -> None:
        """Of a channel that never had anything the epoch is lost with the process."""
        for model in self.models.values():
            if not model.head and not model.devices:
                model.epoch = None

    @rule()
    def kill(self) -> None:
        """What is on the disk at this moment is enough."""
        self.lives += 1
        left = killed(self.store._directory, self.root / str(self.lives))
        self.store.close()
        self.store = self.start(left)
        self.forget()

    @precondition(lambda self: self.lives < 5)
    @rule()
    def restore(self) -> None:
        """A copy holds the same, in new epochs."""
        self.lives += 1
        directory = self.root / str(self.lives)
        directory.mkdir()
        back_up(self.store.path, directory / NAME, progress=lambda *_: None)
        self.store.close()
        self.store = self.start(directory)
        for name, model in self.models.items():
            model.epoch = None
            if model.head:
                self.open(name)

    @invariant()
    def what_is_kept_is_what_was_published(self) -> None:
        if not hasattr(self, "store"):
            return
        for name, model in self.models.items():
            kept = read_history(
                self.store._readers[0],
                name,
                0,
                limit=1000,
                most_bytes=1 << 20,
                policy=self.store._policies.of(name),
                now_ms=self.clocks.now_ms,
            )
            if kept is None:
                assert not model.head
                continue
            if model.epoch is not None:
                self.stands(name, kept.position.epoch, kept.position.offset)
            model.had_by_all = max(model.had_by_all, min(model.devices.values(), default=0))
            least = model.first(SIZES[name], self.clocks.now_ms)
            # Rows that a clock put forward took away do not come back with it; what all have may go early.
            assert least <= kept.first
            assert [(each.offset, each.payload, each.time_ms) for each in kept.publications] == [
                (offset, *model.published[offset - 1]) for offset in range(kept.first, model.head + 1)
            ]
            if kept.first > least and not self.was_swept_ahead(name, kept.first):
                assert kept.first <= model.had_by_all + 1
        found = devices_of(self.store, "user:bob")
        assert {name: acknowledged for name, acknowledged, _ in found} == self.models["user:bob"].devices

    def was_swept_ahead(self, name: str, first: int) -> bool:
        """Whether what is gone was too old at some time, by a clock that was ahead by hours."""
        return self.models[name].published[first - 2][1] <= self.clocks.now_ms - AGE_MS + 100 * 3_600_000


class StillClock(LogMachine):
    """The same with a clock that nobody sets, so that nothing may leave too early."""

    @rule(seconds=st.floats(0, 400))
    def wait(self, seconds: float, jump: int = 0) -> None:  # noqa: ARG002
        """Time passes, so that publications grow old."""
        self.clocks.wait(seconds)

    def was_swept_ahead(self, name: str, first: int) -> bool:  # noqa: ARG002
        return False


TestWithClockChanges = LogMachine.TestCase
TestWithClockChanges.settings = settings(max_examples=15, stateful_step_count=30, deadline=None)
TestStillClock = StillClock.TestCase
TestStillClock.settings = settings(max_examples=15, stateful_step_count=30, deadline=None)
