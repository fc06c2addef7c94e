"""Tasks that go on: a fault in one turn is logged, and the next comes all the same."""

from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

import structlog
import trio

_PAUSE: Final = 1.0

_log = structlog.get_logger("tidings.lines")


async def steadily(turn: Callable[[], Awaitable[None]], what: str) -> NoReturn:
    """Take one turn after another until cancelled. A turn waits for its work by itself."""
    while True:
        try:
            await turn()
        except Exception:
            _log.exception("a task has met a fault and goes on", task=what)
            await trio.sleep(_PAUSE)
