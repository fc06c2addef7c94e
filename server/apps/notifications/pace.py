"""How often users may have something sent to themselves over HTTP: each is a row, or a message in an inbox."""

import math
import time
from collections.abc import Callable
from typing import Final

from tidings.protocol.errors import ErrorCode
from tidings.server.extension import Refused
from tidings.server.limits import Rate, Verdict

# A front end that saves as somebody types is within it; a loop is not.
BURST: Final = 60
PER_SECOND: Final = 2.0

# Some 300 bytes each. Who has not asked for the longest time makes room, and begins with a full bucket again.
MOST_USERS: Final = 10_000


class OwnPace:
    """A bucket for each user. Belongs to one server."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Take a monotonic clock, in seconds."""
        self._clock = clock
        self._rates: dict[str, Rate] = {}

    def spend(self, user_id: str) -> None:
        """Count one. Raises Refused (429), which says when to come again."""
        rate = self._rates.pop(user_id, None)
        if rate is None:
            rate = Rate(PER_SECOND, BURST, self._clock)
            if len(self._rates) >= MOST_USERS:
                del self._rates[next(iter(self._rates))]
        self._rates[user_id] = rate  # the last now
        if rate.spend() is not Verdict.OK:
            seconds = math.ceil(rate.retry_after())
            raise Refused(
                ErrorCode.RATE_LIMITED,
                f"too many messages to yourself: try again in {seconds} s",
                headers={"Retry-After": str(seconds)},
            )
