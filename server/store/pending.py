"""What was answered and need not be on disk: it is written with what has to be, and lost with the process.

A channel to which nobody ever published has an epoch, which means nothing after a restart. When a device was
seen last is a guess anyway. So who comes to listen needs no disk, and a full one shuts nobody out. Runs in the
writer's thread.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Final

from tidings.server.store.changes import Changes, Known, Unbegun
from tidings.server.store.states import ChannelState

# Channels nobody ever published to, and nobody listens to: some 300 bytes each. Past it the oldest is forgotten,
# and whoever has its epoch is told that something may have been missed.
MOST_UNBEGUN: Final = 20_000

# Looked at in one go for one that nobody listens to, when there are too many.
_TRIES: Final = 8

# Devices: some 250 bytes each. Past it, when the disk has been full for long, new ones are refused, and nobody
# notes when others were seen. A group that has begun goes on.
MOST_NOTES: Final = 20_000

# Written in one transaction beside what had to be, some milliseconds; so many are written also by themselves.
NOTES_AT_ONCE: Final = 1_500


class Pending:
    """Channels without rows, and devices that are not on disk as they are."""

    def __init__(self, in_use: Callable[[str], bool], *, most: int = MOST_UNBEGUN) -> None:
        """Take whether a channel is listened to: its epoch stays as long, however many there are."""
        self._in_use = in_use
        self._most = most
        self._unbegun: OrderedDict[str, Unbegun] = OrderedDict()
        self._numbered: dict[int, str] = {}
        """The names of those that have a number, and so wait for a row."""
        self._notes: dict[int, dict[str, Known | None]] = {}
        """By channel and device, what is to be written; None where the device is to be deleted."""
        self.notes = 0
        """Devices to be written."""

    @property
    def is_full(self) -> bool:
        """Whether no device can be taken in before some were written."""
        return self.notes >= MOST_NOTES

    def find(self, name: str) -> Unbegun | None:
        """A channel without a row, if it was asked for before."""
        return self._unbegun.get(name)

    def begin(self, name: str, epoch: str, since_ms: int) -> Unbegun:
        """Remember the epoch of a channel without a row."""
        for _ in range(min(_TRIES, max(0, len(self._unbegun) + 1 - self._most))):
            oldest = next(iter(self._unbegun.values()))
            if oldest.number or self._in_use(oldest.name):
                self._unbegun.move_to_end(oldest.name)
            else:
                del self._unbegun[oldest.name]
        begun = self._unbegun[name] = Unbegun(0, name, epoch, since_ms)
        return begun

    def apply(self, state: ChannelState) -> ChannelState:
        """Bring a state, as the database has it, to what was answered."""
        for device, known in self._notes.get(state.id, {}).items():
            if known is None:
                state.devices.pop(device, None)
            else:
                state.devices[device] = known
        return state

    def keep(self, changes: Changes) -> None:
        """Keep what a group that is not written has changed; only what may be lost."""
        for state in changes.channels.values():
            self._unbegun[state.name] = Unbegun(state.id, state.name, state.epoch, state.last_ms)
            self._numbered[state.id] = state.name
        for (channel, device), known in changes.devices.items():
            notes = self._notes.setdefault(channel, {})
            if device not in notes:
                self.notes += 1
            notes[device] = known

    def join(self, changes: Changes, states: Iterable[ChannelState]) -> None:
        """Add to what will be written: all of the group's own channels, and a piece of the rest.

        Of its own all: the device that has more must not be on disk without the one that has less, beside which
        it would look like the user's only one.
        """
        own = {state.id for state in states}
        left = NOTES_AT_ONCE
        others = (channel for channel in self._notes if channel not in own)
        for channel in chain(own & self._notes.keys(), others):
            if left <= 0 and channel not in own:
                break
            for device, known in self._notes[channel].items():
                changes.devices.setdefault((channel, device), known)
                left -= 1
            name = self._numbered.get(channel)
            if name is not None and name not in changes.channels:
                changes.unbegun.append(self._unbegun[name])

    def written(self, changes: Changes) -> None:
        """Forget what is on disk now."""
        for channel, device in changes.devices:
            notes = self._notes.get(channel)
            if notes is not None and device in notes:
                del notes[device]
                self.notes -= 1
                if not notes:
                    del self._notes[channel]
        for name in (*changes.channels, *(begun.name for begun in changes.unbegun)):
            begun = self._unbegun.pop(name, None)
            if begun is not None:
                self._numbered.pop(begun.number, None)
