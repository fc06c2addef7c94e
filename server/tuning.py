"""Settings of the interpreter that a server of many long-lived connections wants."""

import gc

# A connection is some hundred objects that live for hours. With the default threshold of 700 every few
# handshakes start a collection that walks them in vain; it doubled the cost of accepting 8,000.
YOUNG_OBJECTS = 50_000
MIDDLE_COLLECTIONS = 20
FULL_COLLECTIONS = 100


def tune_garbage_collector() -> None:
    """Leave what is loaded by now out of every later collection, and collect seldom. For once, at start."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, MIDDLE_COLLECTIONS, FULL_COLLECTIONS)
