"""How often one user may trouble others who cannot defend themselves: members of rooms, and who is away.

The server's administrators, and services with a key, are not counted: they answer for what they do.
"""

import math
import time
from collections.abc import Callable
from typing import Final

from tidings.protocol.errors import ErrorCode, Refusal
from tidings.server.extension import Identity, Push
from tidings.server.limits import Rates

# Each is a commit, and an event to all who are in. People who invite a department by a form are within it.
CHANGES_AT_ONCE: Final = 60
CHANGES_PER_SECOND: Final = 2.0
MOST_CALLERS: Final = 10_000

# After `rooms.direct_waiting` at once, this often.
_WAITING_PER_SECOND: Final = 1 / 60
MOST_PAIRS: Final = 50_000
"""Of a sender and a receiver: 23 MB where so many are remembered."""


class TooOften(Exception):
    """Not now; it says when."""

    def __init__(self, message: str, seconds: int) -> None:
        """Take what the client is told, and after how many seconds it is worth another try."""
        super().__init__(message)
        self.refusal = Refusal(ErrorCode.RATE_LIMITED, message, retry_after=seconds)
        self.seconds = seconds


class Pace:
    """Belongs to one server."""

    def __init__(self, waiting: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Take how many messages one may leave at once for somebody who is away, and a clock in seconds."""
        self._changes: Rates[str] = Rates(
            CHANGES_PER_SECOND, CHANGES_AT_ONCE, most=MOST_CALLERS, clock=clock
        )
        self._left: Rates[tuple[str, str]] = Rates(
            _WAITING_PER_SECOND, waiting, most=MOST_PAIRS, clock=clock
        )

    def change_members(self, caller: Identity) -> None:
        """Count a change of a room's members. Raises TooOften."""
        if not caller.is_admin:
            _check(self._changes.spend(caller.user_id), "too many changes of members")

    def leave(self, push: Push, sender: Identity, to: str) -> None:
        """Count a message for somebody who is away. Raises TooOften.

        An inbox is bounded: without this a stranger could push out of it all that waits for its owner. Who is
        connected has received the one before when the next comes, and can disconnect.
        """
        if not (sender.is_admin or push.is_online(to)):
            _check(
                self._left.spend((sender.user_id, to)),
                f"{to} is away, and enough of your messages wait there",
            )


def _check(wait: float, what: str) -> None:
    if wait:
        seconds = math.ceil(wait)
        raise TooOften(f"{what}: try again in {seconds} s", seconds)
