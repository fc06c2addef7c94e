"""An epoll loop with timers: what a load generator needs, and nothing between it and the kernel."""

import heapq
import itertools
import select
import time
from collections.abc import Callable

READABLE = select.EPOLLIN
WRITABLE = select.EPOLLOUT

_EVENTS_AT_ONCE = 1024


class EventLoop:
    """Calls handlers of descriptors that are ready, and timers that are due."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[], None]] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self.after_turn: Callable[[], None] | None = None
        """Called when all that was ready or due at once has been handled."""
        self._stopped = False

    def add(self, fd: int, handler: Callable[[], None], events: int = READABLE) -> None:
        """Call `handler` whenever the descriptor is ready, or has ended."""
        self._epoll.register(fd, events)
        self._handlers[fd] = handler

    def change(self, fd: int, handler: Callable[[], None], events: int = READABLE) -> None:
        """Replace handler and events of a descriptor."""
        self._epoll.modify(fd, events)
        self._handlers[fd] = handler

    def remove(self, fd: int) -> None:
        """Forget a descriptor; before it is closed. Idempotent."""
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def call_at(self, when: float, callback: Callable[[], None]) -> None:
        """Call back at a `time.monotonic()`. Cannot be cancelled: the callback looks whether it still matters."""
        heapq.heappush(self._timers, (when, next(self._order), callback))

    def stop(self) -> None:
        """End `run` after the current turn."""
        self._stopped = True

    def run(self) -> None:
        """Run until stopped."""
        handlers = self._handlers
        while not self._stopped:
            for fd, _ in self._poll():
                handler = handlers.get(fd)
                if handler is not None:  # else removed by an earlier handler of this turn
                    handler()
            if self._timers:
                # Those due now: one that a callback adds has to wait until descriptors were looked at.
                now = time.monotonic()
                due = []
                while self._timers and self._timers[0][0] <= now:
                    due.append(heapq.heappop(self._timers)[2])
                for callback in due:
                    callback()
            if self.after_turn is not None:
                self.after_turn()

    def close(self) -> None:
        """Free the loop's own descriptor."""
        self._epoll.close()

    def _poll(self) -> list[tuple[int, int]]:
        if not self._timers:
            return self._epoll.poll(-1, _EVENTS_AT_ONCE)
        events = self._epoll.poll(0, _EVENTS_AT_ONCE)
        wait = self._timers[0][0] - time.monotonic()
        if not events and wait > 0:
            # epoll's own time-out counts whole milliseconds, and would make each publication late by half
            # a one; select's counts microseconds, and an epoll descriptor can be selected.
            select.select([self._epoll.fileno()], [], [], wait)
            events = self._epoll.poll(0, _EVENTS_AT_ONCE)
        return events
