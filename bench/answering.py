"""The other end of `processes.Child.ask`: a line of JSON on standard output for each on standard input."""

import sys
from collections.abc import Callable
from typing import Any

import msgspec

from tidings.bench.replies import Ready, Refused


def answer(reply: msgspec.Struct) -> None:
    """Answer, now."""
    sys.stdout.buffer.write(msgspec.json.encode(reply) + b"\n")
    sys.stdout.buffer.flush()


def answer_all(do: Callable[..., msgspec.Struct], *refused: type[Exception]) -> None:
    """Answer requests one after another until standard input ends; `do` is called with the fields of each.

    What it raises of `refused`, or an OSError, is told, and ends nothing.
    """
    expected: tuple[type[Exception], ...] = (OSError, *refused)
    answer(Ready(ready=True))
    for line in sys.stdin.buffer:
        asked: dict[str, Any] = msgspec.json.decode(line)
        del asked["do"]
        try:
            reply = do(**asked)
        except expected as error:
            reply = Refused(f"{type(error).__name__}: {error}")
        answer(reply)
