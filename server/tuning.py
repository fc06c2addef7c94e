"""Settings of the interpreter that a server of many long-lived connections wants."""

import gc
from collections.abc import Callable

# A connection is some eighty objects that live for hours. With the default threshold of 700 every few
# handshakes start a collection that walks them in vain; it doubled the cost of accepting 8,000. A young
# collection stops everybody for as long as it walks what is new: 10,000 objects are a few milliseconds. The
# middle one walks five times that. A full one walks every connection, and takes some half a second at
# 15,000: Python would start one whenever the heap has grown by a quarter. Ended connections leave no cycles
# behind (but see `TlsGarbage`), and what else does dies young, so that it hardly ever has anything to find.
YOUNG_OBJECTS = 10_000
MIDDLE_COLLECTIONS = 5
FULL_COLLECTIONS = 10_000


def tune_garbage_collector() -> None:
    """Leave what is loaded by now out of every later collection, and collect seldom. For once, at start."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, MIDDLE_COLLECTIONS, FULL_COLLECTIONS)


# Some 12 MB of garbage at most, beside so few connections that collecting it is a matter of milliseconds.
LEAST_ENDED = 1_000


class TlsGarbage:
    """Collects what ended TLS connections leave.

    trio's SSLStream is a cycle by itself. One that has outlived a collection of the young would stay until a
    full collection, which hardly ever comes. So there is one whenever as many have ended as live: it walks
    about as much as it frees, and stops everybody once in so many connections.
    """

    def __init__(self, living: Callable[[], int], collect: Callable[[], object] = gc.collect) -> None:
        """Take how many connections live now."""
        self._living = living
        self._collect = collect
        self._ended = 0

    def note_ended(self) -> None:
        """One more has ended."""
        self._ended += 1
        if self._ended >= max(LEAST_ENDED, self._living()):
            self._ended = 0
            self._collect()
