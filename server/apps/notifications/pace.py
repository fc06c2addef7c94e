"""How often users may write over HTTP: each writing is a commit, and most are a message to all of their devices."""

import math
import time
from collections.abc import Callable
from typing import Final

from tidings.protocol.errors import ErrorCode
from tidings.server.extension import Refused
from tidings.server.limits import Rates

# What they send to themselves, which is a row, or stays in an inbox. A front end that saves as somebody types is
# within it; a loop is not.
SENT_AT_ONCE: Final = 60
SENT_PER_SECOND: Final = 2.0

# What they read or delete. A front end that marks each that it shows is within it, also with the longest page.
CHANGES_AT_ONCE: Final = 200
CHANGES_PER_SECOND: Final = 10.0

# Some 4 MB of each kind. Who has not asked for the longest time makes room, and begins with a full bucket again.
MOST_USERS: Final = 10_000


class OwnPace:
    """Two buckets for each user. Belongs to one server. Methods raise Refused (429), which says when to come."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Take a monotonic clock, in seconds."""
        self._sent: Rates[str] = Rates(SENT_PER_SECOND, SENT_AT_ONCE, most=MOST_USERS, clock=clock)
        self._changes: Rates[str] = Rates(CHANGES_PER_SECOND, CHANGES_AT_ONCE, most=MOST_USERS, clock=clock)

    def send(self, user_id: str) -> None:
        """Count something that a user sends to themself."""
        _check(self._sent.spend(user_id), "too many messages to yourself")

    def change(self, user_id: str) -> None:
        """Count a change of what a user has."""
        _check(self._changes.spend(user_id), "too many changes of your notifications")


def _check(wait: float, what: str) -> None:
    if wait:
        seconds = math.ceil(wait)
        raise Refused(
            ErrorCode.RATE_LIMITED,
            f"{what}: try again in {seconds} s",
            headers={"Retry-After": str(seconds)},
        )
