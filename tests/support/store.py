"""A store of a test's own, with clocks in its hands."""

import shutil
from pathlib import Path

from tidings.server.config.channels import ChannelRule
from tidings.server.policies import Policies
from tidings.server.store.requests import (
    Acknowledge,
    Append,
    Appended,
    Attach,
    Attached,
    Clear,
    ListDevices,
    Open,
    Operation,
    Sweep,
)
from tidings.server.store.store import Store

DURABLE = Policies(
    {
        "*": ChannelRule(durable=True, history_size=10, history_age=1000.0),
        "user:*": ChannelRule(durable=True, history_size=5, history_age=1000.0),
        "room:long": ChannelRule(history_size=10_000),
    }
)


class Clocks:
    """A wall clock and a monotonic one, both in seconds."""

    def __init__(self) -> None:
        self.wall = 1_000_000.0
        self.steady = 50.0

    def wait(self, seconds: float) -> None:
        """Let time pass, on both."""
        self.wall += seconds
        self.steady += seconds

    @property
    def now_ms(self) -> int:
        """Unix milliseconds."""
        return int(self.wall * 1000)


def store_at(
    directory: Path,
    clocks: Clocks | None = None,
    *,
    device_age: float = 500.0,
    key_seconds: float = 300.0,
) -> Store:
    """An open store; the caller closes it."""
    clocks = clocks or Clocks()
    store = Store(
        directory,
        DURABLE,
        devices=3,
        device_age=device_age,
        key_seconds=key_seconds,
        clock=lambda: clocks.wall,
        monotonic=lambda: clocks.steady,
    )
    store.open()
    return store


def do(store: Store, *operations: Operation) -> list[object]:
    """Commit one group, in the caller's thread."""
    assert store._log is not None
    return store._log.commit(list(operations))


def append(
    store: Store, channel: str, payload: bytes = b"{}", key: str | None = None, digest: bytes = b"d"
) -> Appended:
    """Append one publication, alone in its group."""
    [found] = do(store, appending(channel, payload, key, digest))
    assert isinstance(found, Appended)
    return found


def appending(channel: str, payload: bytes = b"{}", key: str | None = None, digest: bytes = b"d") -> Append:
    """A publication to append."""
    return Append(channel, "news", payload, None, None, key, digest if key is not None else None)


def devices(store: Store, channel: str) -> list[tuple[str, int, int]]:
    """The devices of an inbox, as the writer knows them: name, position, and when each was seen."""
    [found] = do(store, ListDevices(channel))
    assert isinstance(found, list)
    return found


def channel_rows(store: Store) -> list[str]:
    """The channels that have a row."""
    return [name for (name,) in store._readers[0].execute("SELECT name FROM channels ORDER BY name")]


def killed(directory: Path, to: Path) -> Path:
    """What a kill at this moment would leave of a store that is open: its files, as the kernel has them."""
    to.mkdir()
    for file in directory.iterdir():
        # The shared memory is rebuilt by whoever comes next, as after a power cut.
        if not file.name.endswith("-shm"):
            shutil.copy(file, to / file.name)
    return to


__all__ = [
    "DURABLE", "Acknowledge", "Append", "Appended", "Attach", "Attached", "Clear", "Clocks", "Open", "Store",
    "Sweep", "append", "appending", "channel_rows", "devices", "do", "killed", "store_at",
]  # fmt: skip
