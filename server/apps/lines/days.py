"""Days in a group's time zone."""

from datetime import date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo


class Day(NamedTuple):
    """A day somewhere."""

    number: int
    """`date.toordinal`."""
    begins_ms: int
    """Unix milliseconds."""
    ends_ms: int
    """Exclusive; 23 to 25 hours later, where clocks are changed."""

    def holds(self, now_ms: int) -> bool:
        """Whether a moment is of the day."""
        return self.begins_ms <= now_ms < self.ends_ms


def day_of(now_ms: int, zone: ZoneInfo) -> Day:
    """The day that a moment (Unix milliseconds) is of in a zone."""
    today = datetime.fromtimestamp(now_ms // 1000, zone).date()
    return Day(today.toordinal(), _begin_ms(today, zone), _begin_ms(today + timedelta(days=1), zone))


def _begin_ms(day: date, zone: ZoneInfo) -> int:
    # Where clocks are put forward at midnight there is none: this is then the moment at which they are.
    return int(datetime.combine(day, time(), zone).timestamp() * 1000)
