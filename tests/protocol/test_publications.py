"""The time of a publication, as clients read it."""

from datetime import UTC, datetime, timedelta

from hypothesis import example, given
from hypothesis import strategies as st

from tidings.protocol.publications import iso_milliseconds

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
LAST = (datetime(2200, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC) - EPOCH) // MILLISECOND


def by_datetime(time_ms: int) -> str:
    """The same by other means, in whole numbers: a float would lose milliseconds."""
    return (EPOCH + time_ms * MILLISECOND).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@given(st.lists(st.integers(0, LAST), min_size=1, max_size=10))
@example([0, 1, 999, 1000, 1001, 59_999, 60_000])
@example([LAST, LAST - 1, 951_782_400_000, 4_107_542_400_000, 1_795_291_800_123])
def test_a_time_is_iso_8601_in_utc(times: list[int]) -> None:
    """Any time from 1970 to 2200, whichever came before it, is written with milliseconds and a Z."""
    assert [iso_milliseconds(time_ms) for time_ms in times] == [by_datetime(time_ms) for time_ms in times]


@given(st.integers(0, LAST // 1000), st.lists(st.integers(-1, 1000), max_size=10))
def test_times_of_one_second_share_it_and_no_more(second: int, offsets: list[int]) -> None:
    """Within a second and just across its ends, each time is its own: what is remembered is right for it."""
    for offset in offsets:
        time_ms = max(second * 1000 + offset, 0)
        assert iso_milliseconds(time_ms) == by_datetime(time_ms)


def test_the_documented_example() -> None:
    """The example of the wire protocol's document."""
    time_ms = (datetime(2026, 11, 21, 20, 10, 0, 123_000, tzinfo=UTC) - EPOCH) // MILLISECOND
    assert iso_milliseconds(time_ms) == "2026-11-21T20:10:00.123Z"
