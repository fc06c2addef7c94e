"""A bounded queue between the one reader and a subscriber that may be slow."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

import trio

from tidings.client.errors import Overflow

T = TypeVar("T")


class Dropped(Generic[T]):
    """Stands in the queue where items were dropped: how many of each channel, and the first of them."""

    __slots__ = ("channels",)

    def __init__(self) -> None:
        self.channels: dict[str | None, tuple[T, int]] = {}

    def add(self, channel: str | None, first: T, count: int = 1) -> None:
        """Count so many more of a channel, of which `first` came first."""
        earlier = self.channels.get(channel)
        self.channels[channel] = (first, count) if earlier is None else (earlier[0], earlier[1] + count)

    @property
    def count(self) -> int:
        """How many in all."""
        return sum(count for _, count in self.channels.values())


def _nothing(_: object) -> None:
    """What is done where nobody wants to know."""


def _channel(item: object) -> str | None:
    """Where an item has a place: an announcement (offset 0) has none."""
    return None if getattr(item, "offset", None) == 0 else getattr(item, "channel", None)


class Feed(Generic[T]):
    """An async iterator over what is put into it. Putting never blocks.

    At most `limit` items wait (and as many bytes as they have). What comes while it is full is dropped and
    counted, and the count is raised as Overflow exactly where the dropped ones would have stood; after
    that the iteration can be taken up again. Cancelling `__anext__` loses nothing.

    An item, and an overflow too, is finished when the next one is asked for: an application that fails over
    an item has not finished it. Where several tasks iterate, each asks for all of them.
    """

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError("a queue holds at least 1")
        self._limit = limit
        self._items: deque[T | Dropped[T]] = deque()
        self._in_hand: T | Dropped[T] | None = None
        self._waiting = trio.lowlevel.ParkingLot()
        self._ended = False
        self._error: Callable[[], Exception] | None = None
        self.on_finished: Callable[[T | Dropped[T]], None] = _nothing
        """Called with what was finished. Does not block and never raises."""

    def __aiter__(self) -> "Feed[T]":
        return self

    async def __anext__(self) -> T:
        """The next item.

        Raises Overflow where items were dropped; once it is empty and has ended, what it ended with:
        Disconnected, CommandRefused for a subscription that the server took away, else StopAsyncIteration.
        """
        self.finish()
        await trio.lowlevel.checkpoint()
        while not self._items:
            if self._ended:
                raise StopAsyncIteration if self._error is None else self._error()
            await self._waiting.park()
        item = self._in_hand = self._items.popleft()
        if isinstance(item, Dropped):
            raise Overflow(item.count)
        return item

    @property
    def waiting(self) -> int:
        """How many items wait."""
        return len(self._items)

    def finish(self) -> None:
        """The application is done with what it took last. Idempotent."""
        if self._in_hand is not None:
            done, self._in_hand = self._in_hand, None
            self.on_finished(done)

    def unfinished(self, channel: str | None) -> T | None:
        """The first item of a channel that the application has not finished, also of what was dropped."""
        for entry in self._entries():
            if isinstance(entry, Dropped):
                if channel in entry.channels:
                    return entry.channels[channel][0]
            elif _channel(entry) == channel:
                return entry
        return None

    def put(self, item: T) -> None:
        """Append an item, or count it as dropped. Nothing follows the end."""
        if self._ended:
            return
        self._append(item)
        self._waiting.unpark()

    def withdraw(self, channel: str) -> list[T | Dropped[T]]:
        """Take out what is not finished of a channel: it will not be handed over here."""
        taken: list[T | Dropped[T]] = []
        kept: deque[T | Dropped[T]] = deque()
        for entry in self._entries():
            if isinstance(entry, Dropped):
                if channel in entry.channels:
                    mark: Dropped[T] = Dropped()
                    mark.add(channel, *entry.channels.pop(channel))
                    taken.append(mark)
                if entry.channels and entry is not self._in_hand:
                    kept.append(entry)
            elif _channel(entry) == channel:
                taken.append(entry)
            elif entry is not self._in_hand:
                kept.append(entry)
        if any(entry is self._in_hand for entry in taken):
            self._in_hand = None
        self._items = kept
        return taken

    def put_first(self, entries: Iterable[T | Dropped[T]]) -> None:
        """Put before everything else what another feed did not hand over. Over the limit the last are dropped."""
        after, self._items = self._items, deque()
        for entry in (*entries, *after):
            self._append(entry)
        if self._items:
            self._waiting.unpark_all()

    def end(self, error: Callable[[], Exception] | None = None) -> None:
        """Say that nothing more comes. `error` makes what is raised then, anew for each iteration.

        The first end stands.
        """
        if not self._ended:
            self._ended = True
            self._error = error
            self._waiting.unpark_all()

    def _entries(self) -> Iterator[T | Dropped[T]]:
        if self._in_hand is not None:
            yield self._in_hand
        yield from self._items

    def _append(self, entry: T | Dropped[T]) -> None:
        last = self._items[-1] if self._items else None
        if isinstance(entry, Dropped):
            if not isinstance(last, Dropped):
                self._items.append(entry)
                return
            for channel, (first, count) in entry.channels.items():
                last.add(channel, first, count)
        elif len(self._items) < self._limit:
            self._items.append(entry)
        else:
            if not isinstance(last, Dropped):
                last = Dropped()
                self._items.append(last)
            last.add(_channel(entry), entry)
