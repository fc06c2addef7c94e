"""How long idempotency keys are remembered, and how many."""

import pytest

from tidings.server.brokers.base import IDEMPOTENCY_SECONDS, IdempotencyConflict, Receipt
from tidings.server.brokers.recent import RecentKeys


class Clock:
    """A monotonic clock in the test's hands."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


def add(keys: RecentKeys, key: str, offset: int) -> None:
    keys.add("room:a", key, "news", b"{}", Receipt("e", offset, "memory"))


def test_a_key_lives_five_minutes_and_no_longer() -> None:
    """Until then it gives its position; from then on it is new again, and its memory is free."""
    clock = Clock()
    keys = RecentKeys(clock)
    add(keys, "k", 1)
    clock.now += IDEMPOTENCY_SECONDS - 0.001
    assert keys.find("room:a", "k", "news", b"{}") == Receipt("e", 1, "memory")
    clock.now += 0.001
    assert keys.find("room:a", "k", "news", b"{}") is None
    assert keys.find("room:a", "k", "other", b"[]") is None, "nothing is left to be in conflict with"
    assert len(keys) == 0


def test_finding_a_key_does_not_lengthen_its_life() -> None:
    """A publisher that repeats for ever repeats at last."""
    clock = Clock()
    keys = RecentKeys(clock)
    add(keys, "k", 1)
    for _ in range(3):
        assert keys.find("room:a", "k", "news", b"{}") is not None
        clock.now += IDEMPOTENCY_SECONDS / 3
    assert keys.find("room:a", "k", "news", b"{}") is None


def test_the_oldest_key_makes_room() -> None:
    """The memory is bounded in keys, whatever publishers do."""
    keys = RecentKeys(Clock(), most=3)
    for offset in range(1, 6):
        add(keys, f"k{offset}", offset)
    assert len(keys) == 3
    found = [keys.find("room:a", f"k{offset}", "news", b"{}") is not None for offset in range(1, 6)]
    assert found == [False, False, True, True, True]
    assert keys.forgotten == 2, "an operator can see that the promise of five minutes is not kept"


def test_event_and_payload_do_not_run_into_each_other() -> None:
    """`ab` with `c` is not `a` with `bc`."""
    keys = RecentKeys(Clock())
    keys.add("room:a", "k", "ab", b"c", Receipt("e", 1, "memory"))
    with pytest.raises(IdempotencyConflict):
        keys.find("room:a", "k", "a", b"bc")
