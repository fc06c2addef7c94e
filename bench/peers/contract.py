"""What every peer owes beside its work: a first line with its port, an answer to each line, an end with its input.

For the peers that run by path with the Python of an environment of their own, and so know nothing of this
project: it needs the standard library alone.
"""

import asyncio
import gc
import json
import os

# The same as ours: the comparison is of two servers, not of collector settings.
GC_THRESHOLDS = (50_000, 20, 100)

# Of those who connect at once, as many as may wait; asyncio's 100 would make a crowd knock again a second later.
BACKLOG = 4096


def say(**fields: object) -> None:
    """Write a line."""
    print(json.dumps(fields), flush=True)


def ready(port: int) -> None:
    """Say that the server listens, with the collector set as ours is."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    say(ready=True, port=port)


def collect(lines: int = 1) -> None:
    """Collect garbage, and say so for each line that asked for it."""
    gc.collect()
    for _ in range(lines):
        say(done=True)


def answer_lines() -> asyncio.Event:
    """Answer what comes by standard input, on the running loop; the event is set when it has ended."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def asked() -> None:
        data = os.read(0, 65536)
        if not data:
            loop.remove_reader(0)
            ended.set()
        collect(data.count(b"\n"))

    loop.add_reader(0, asked)
    return ended
