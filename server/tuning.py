"""Settings of the interpreter that a server of many long-lived connections wants."""

import gc

# A connection is some eighty objects that live for hours. With the default threshold of 700 every few
# handshakes start a collection that walks them in vain; it doubled the cost of accepting 8,000. A young
# collection stops everybody for as long as it walks what is new: 10,000 objects are a few milliseconds. The
# middle one walks five times that. A full one walks every connection, and takes some half a second at
# 15,000: Python would start one whenever the heap has grown by a quarter. Ended connections leave no cycles
# behind, and what else does dies young, so that it hardly ever has anything to find.
YOUNG_OBJECTS = 10_000
MIDDLE_COLLECTIONS = 5
FULL_COLLECTIONS = 10_000


def tune_garbage_collector() -> None:
    """Leave what is loaded by now out of every later collection, and collect seldom. For once, at start."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, MIDDLE_COLLECTIONS, FULL_COLLECTIONS)
