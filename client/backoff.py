"""How long to wait before trying again."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

Uniform = Callable[[float, float], float]

# A server or proxy that asks for more has made a mistake, or means "not today".
LONGEST_ASKED = 3600.0

# 2^64 times any base is beyond every cap: more doublings would only overflow.
_DOUBLINGS = 64


@dataclass(frozen=True, kw_only=True)
class Reconnect:
    """When a lost connection is tried again: full jitter, a random time between 0 and a bound that doubles.

    A thousand clients that lost the same server then come back one by one and not in waves.
    """

    base: float = 0.5
    """Seconds: the bound before the first attempt."""
    cap: float = 30.0
    """Seconds that the bound never exceeds."""
    attempts: int | None = None
    """Attempts after which the client gives up; None never does, 0 does not reconnect at all."""
    stable: float = 10.0
    """Seconds that a connection must have lasted to begin counting anew: one that is closed as soon as it
    stands must not be retried in a tight loop."""
    uniform: Uniform = random.uniform
    """Draws the time."""

    def delay(self, attempt: int, *, at_least: float = 0.0) -> float:
        """Seconds before attempt number `attempt` (the first is 1): what the server asked for, and then some.

        Everybody was asked for the same: without the jitter on top all would come back at the same moment.
        """
        return min(at_least, LONGEST_ASKED) + full_jitter(attempt, self.base, self.cap, self.uniform)


def full_jitter(attempt: int, base: float, cap: float, uniform: Uniform) -> float:
    """A random number of seconds between 0 and `min(cap, base * 2 ** (attempt - 1))`."""
    return uniform(0.0, min(cap, base * 2 ** min(attempt - 1, _DOUBLINGS)))


def retry_after_seconds(value: str | None, now: float) -> float | None:
    """What a Retry-After header asks for (RFC 9110 section 10.2.3): seconds or a date; None for nonsense.

    `now` is in Unix seconds.
    """
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:12]), LONGEST_ASKED)
    try:
        at = parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError, OSError):
        return None
    return min(max(at - now, 0.0), LONGEST_ASKED)
