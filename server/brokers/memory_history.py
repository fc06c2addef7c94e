"""What channels keep in memory: bounded for each by size and age, and in bytes for all together."""

import sys
from collections import OrderedDict, deque
from collections.abc import Callable
from itertools import islice
from typing import Final

from tidings.protocol.publications import Publication
from tidings.server.brokers.devices import Devices
from tidings.server.brokers.memory_largest import Largest
from tidings.server.config.channels import ChannelPolicy

EACH: Final = 256
"""Bytes that a publication counts beside its payload: measured 205, and its user's name. Without them a
flood of `{}` would hold a hundred times what was allowed. A channel's own queue (760 bytes) is not counted, nor is
its rank (150)."""

# Every so many publications so many channels are looked at for what has grown too old: each channel's turn
# comes once in eight publications a channel. Without publications nothing is swept, but nothing grows either,
# and reading leaves out what is too old.
_SWEEP_EVERY: Final = 64
_SWEPT: Final = 8

_NOBODY_ASKS: Final = sys.maxsize


class Channel:
    """One life of a channel: its position, and what it keeps."""

    __slots__ = (
        "acknowledged",
        "age_ms",
        "at_least",
        "below",
        "bytes",
        "devices",
        "epoch",
        "is_inbox",
        "kept",
        "name",
        "offset",
        "rank",
        "size",
    )

    def __init__(self, name: str, epoch: str, policy: ChannelPolicy, *, is_inbox: bool) -> None:
        self.name = name
        self.epoch = epoch
        self.offset = 0
        self.size = policy.history_size
        self.age_ms = int(policy.history_age * 1000)
        self.kept: deque[Publication] | None = None
        """None instead of an empty one, which costs 760 bytes. Without a hole: the last is `offset`."""
        self.bytes = 0
        """What it keeps, `EACH` included."""
        self.at_least = self.below = self.rank = 0  # see Holder
        self.devices: Devices | None = None
        self.is_inbox = is_inbox
        self.acknowledged = 0 if is_inbox else _NOBODY_ASKS
        """Up to here it is nobody's loss when a publication goes."""

    @property
    def is_bare(self) -> bool:
        """Whether it would be no loss but of the position: it keeps no publication and no device."""
        return self.kept is None and not self.devices

    @property
    def first(self) -> int:
        """The oldest offset kept, or the next one."""
        return self.kept[0].offset if self.kept else self.offset + 1

    def page(self, after: int, limit: int, most_bytes: int) -> list[Publication]:
        """What is kept behind an offset, as `Broker.history` says. Walks from the oldest: 10 ns each."""
        if not self.kept:
            return []
        # Both may be any number; islice takes those of the machine only.
        begin = min(max(0, after + 1 - self.kept[0].offset), len(self.kept))
        end = min(begin + max(0, limit), len(self.kept))
        page: list[Publication] = []
        size = 0
        for publication in islice(self.kept, begin, end):
            page.append(publication)
            size += len(publication.payload)
            if size >= most_bytes:
                break
        return page


class Histories:
    """Holds the channels that keep something.

    Past `memory_bytes` the channel that holds the most bytes loses its oldest, whoever published: nobody loses
    anything for want of room while another holds a sixteenth more. Inboxes are asked last: as long as any other
    channel keeps something, those make the room, the largest first. Counterexample: the longest silent loses all
    of its own, and who fills a dozen rooms within seconds empties all others, and what waits for absent users.

    Every step is O(1) a publication in the end: what is dropped was kept once.
    """

    def __init__(self, memory_bytes: int, *, emptied: Callable[[Channel], None]) -> None:
        """Take the bound, and whom to tell of a channel that keeps nothing any more. Must not raise."""
        self._memory_bytes = memory_bytes
        self._emptied = emptied
        self._bytes = 0
        self._others = Largest[Channel]()
        self._inboxes = Largest[Channel]()
        self._turns: OrderedDict[str, Channel] = OrderedDict()
        self._until_sweep = _SWEEP_EVERY
        self.dropped = 0
        """Publications that left before all devices of their inbox had acknowledged them."""

    @property
    def bytes(self) -> int:
        """What all histories hold, `EACH` included."""
        return self._bytes

    def keep(self, channel: Channel, publication: Publication) -> int:
        """Keep the newest publication of a channel whose size is above 0.

        Returns how many older ones, not yet acknowledged, left for want of room.
        """
        kept = channel.kept
        if kept is None:
            kept = channel.kept = deque()
            self._turns[channel.name] = channel
        kept.append(publication)
        pushed_out = 0
        if len(kept) > channel.size:
            oldest = kept.popleft()
            grown = len(publication.payload) - len(oldest.payload)
            if oldest.offset > channel.acknowledged:
                self.dropped += 1
                pushed_out = int(oldest.time_ms >= publication.time_ms - channel.age_ms)
        else:
            grown = len(publication.payload) + EACH
        channel.bytes = size = channel.bytes + grown
        self._bytes = held = self._bytes + grown
        if not channel.at_least <= size < channel.below:
            self._ranks(channel).place(channel)
        if held > self._memory_bytes:
            self.trim(channel, publication.time_ms)
            pushed_out += self._make_room(channel, publication)
        self._until_sweep -= 1
        if not self._until_sweep:
            self._sweep(publication.time_ms)
        return pushed_out

    def trim(self, channel: Channel, now_ms: int) -> None:
        """Drop what is too old."""
        kept = channel.kept
        if kept is None:
            return
        oldest_ms = now_ms - channel.age_ms
        if kept[0].time_ms >= oldest_ms:
            return
        while kept and kept[0].time_ms < oldest_ms:
            self._drop_oldest(channel, kept)
        self._shrunk(channel)

    def clear(self, channel: Channel) -> None:
        """Drop everything, because somebody asked for it: nobody is told that it was not acknowledged."""
        if channel.kept is not None:
            self._bytes -= channel.bytes
            channel.bytes = 0
            self._end(channel)

    def forget(self, channel: Channel) -> None:
        """Drop everything for want of room."""
        kept = channel.kept
        if kept is None:
            return
        while kept:
            self._drop_oldest(channel, kept)
        self._end(channel)

    def _drop_oldest(self, channel: Channel, kept: deque[Publication]) -> None:
        oldest = kept.popleft()
        size = len(oldest.payload) + EACH
        channel.bytes -= size
        self._bytes -= size
        if oldest.offset > channel.acknowledged:
            self.dropped += 1

    def _shrunk(self, channel: Channel) -> None:
        if not channel.kept:
            self._end(channel)
        elif channel.bytes < channel.at_least:
            self._ranks(channel).place(channel)

    def _end(self, channel: Channel) -> None:
        channel.kept = None
        self._ranks(channel).leave(channel)
        self._turns.pop(channel.name, None)  # not there while it is being swept
        self._emptied(channel)

    def _ranks(self, channel: Channel) -> Largest[Channel]:
        return self._inboxes if channel.is_inbox else self._others

    def _make_room(self, newest: Channel, publication: Publication) -> int:
        """Return how many of the newest channel's own went that were not acknowledged."""
        before = self.dropped
        if len(publication.payload) + EACH > self._memory_bytes:
            # More than all may hold: it goes, with what came before it, and nobody else has to make room.
            self.forget(newest)
        lost = self.dropped - before
        while self._bytes > self._memory_bytes:
            largest = (self._others or self._inboxes).find()
            kept = largest.kept
            assert kept is not None  # who keeps nothing is not ranked
            before = self.dropped
            self._drop_oldest(largest, kept)
            self._shrunk(largest)
            if largest is newest:
                lost += self.dropped - before
        return lost

    def _sweep(self, now_ms: int) -> None:
        self._until_sweep = _SWEEP_EVERY
        for _ in range(min(_SWEPT, len(self._turns))):
            name, channel = self._turns.popitem(last=False)
            self.trim(channel, now_ms)
            if channel.kept is not None:
                self._turns[name] = channel
