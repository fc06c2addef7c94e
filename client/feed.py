"""A bounded queue between the one reader and a subscriber that may be slow."""

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

import trio

from tidings.client.errors import Overflow

T = TypeVar("T")


class _Dropped:
    """Stands in the queue where items were dropped."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 1


class Feed(Generic[T]):
    """An async iterator over what is put into it. Putting never blocks.

    At most `limit` items wait (and as many bytes as they have). What comes while it is full is dropped and
    counted, and the count is raised as Overflow exactly where the dropped ones would have stood; after
    that the iteration can be taken up again. Cancelling `__anext__` loses nothing.
    """

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError("a queue holds at least 1")
        self._limit = limit
        self._items: deque[T | _Dropped] = deque()
        self._waiting = trio.lowlevel.ParkingLot()
        self._ended = False
        self._error: Callable[[], Exception] | None = None

    def __aiter__(self) -> "Feed[T]":
        return self

    async def __anext__(self) -> T:
        """The next item.

        Raises Overflow where items were dropped; once it is empty and has ended, what it ended with:
        Disconnected, CommandRefused for a subscription that the server took away, else StopAsyncIteration.
        """
        await trio.lowlevel.checkpoint()
        while not self._items:
            if self._ended:
                raise StopAsyncIteration if self._error is None else self._error()
            await self._waiting.park()
        item = self._items.popleft()
        if isinstance(item, _Dropped):
            raise Overflow(item.count)
        return item

    @property
    def waiting(self) -> int:
        """How many items wait."""
        return len(self._items)

    def put(self, item: T) -> None:
        """Append an item, or count it as dropped. Nothing follows the end."""
        if self._ended:
            return
        if len(self._items) < self._limit:
            self._items.append(item)
        else:
            last = self._items[-1]
            if isinstance(last, _Dropped):
                last.count += 1
            else:
                self._items.append(_Dropped())
        self._waiting.unpark()

    def end(self, error: Callable[[], Exception] | None = None) -> None:
        """Say that nothing more comes. `error` makes what is raised then, anew for each iteration.

        The first end stands.
        """
        if not self._ended:
            self._ended = True
            self._error = error
            self._waiting.unpark_all()
