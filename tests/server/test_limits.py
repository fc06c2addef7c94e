"""Rates, admission, the descriptor limit, and events that must not flood a log."""

import subprocess
import sys
from contextlib import ExitStack, suppress

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from tidings.server.limits import (
    REFUSAL_SOCKETS,
    REFUSAL_SOCKETS_PER_ADDRESS,
    RESERVED_DESCRIPTORS,
    Admission,
    Occasionally,
    Rate,
    Rates,
    Verdict,
)

OK, REFUSED, EXHAUSTED = Verdict.OK, Verdict.REFUSED, Verdict.EXHAUSTED


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Monotonic, in seconds."""
    return Clock()


# --- Rate --------------------------------------------------------------------------------------------


def test_a_burst_is_free_and_then_refused(clock: Clock) -> None:
    """The whole burst may come at once; as much again is refused; then the peer is given up."""
    rate = Rate(10, 5, clock)
    assert [rate.spend() for _ in range(11)] == [OK] * 5 + [REFUSED] * 4 + [EXHAUSTED] * 2


def test_units_flow_back(clock: Clock) -> None:
    """After a pause as many units are free as have flowed back, and never more than the burst."""
    rate = Rate(10, 5, clock)
    for _ in range(5):
        rate.spend()
    clock.now += 0.25
    assert [rate.spend() for _ in range(3)] == [OK, OK, REFUSED]
    clock.now += 3600
    assert [rate.spend() for _ in range(6)] == [OK] * 5 + [REFUSED]


def test_a_steady_peer_within_the_rate_is_never_refused(clock: Clock) -> None:
    """Exactly the rate, for ever, is within it."""
    rate = Rate(8, 1, clock)
    for _ in range(1000):
        assert rate.spend() is OK
        clock.now += 0.125


def test_refused_units_count_against_the_peer(clock: Clock) -> None:
    """Who keeps on at twice the rate is refused more and more, and is given up in the end."""
    rate = Rate(10, 5, clock)
    verdicts = []
    for _ in range(200):
        verdicts.append(rate.spend())
        clock.now += 0.05
    assert verdicts[0] is OK
    assert REFUSED in verdicts
    assert verdicts[-1] is EXHAUSTED


def test_the_debt_is_bounded(clock: Clock) -> None:
    """However much was overdrawn, a peer that stops is served again after the time of two bursts."""
    rate = Rate(10, 5, clock)
    for _ in range(10_000):
        rate.spend()
    clock.now += 0.5 + 0.11
    assert rate.spend() is OK


def test_many_units_are_spent_as_one(clock: Clock) -> None:
    """A thousand pings in one read exhaust the rate at once."""
    assert Rate(10, 5, clock).spend(5) is OK
    assert Rate(10, 5, clock).spend(9) is REFUSED
    assert Rate(10, 5, clock).spend(1000) is EXHAUSTED


@given(
    st.floats(0.5, 1000),
    st.integers(1, 500),
    st.lists(st.tuples(st.floats(0, 2), st.integers(1, 50)), min_size=1, max_size=60),
)
def test_no_window_lets_more_through_than_burst_and_rate(
    per_second: float, burst: int, steps: list[tuple[float, int]]
) -> None:
    """In any window of t seconds at most burst + rate x t units pass, and an honest spender is refused none."""
    clock = Clock()
    rate = Rate(per_second, burst, clock)
    passed: list[tuple[float, int]] = []
    level = float(burst)
    for pause, units in steps:
        clock.now += pause
        level = min(burst, level + pause * per_second)
        verdict = rate.spend(units)
        if verdict is OK:
            passed.append((clock.now, units))
        if units <= level - 1e-6:
            assert verdict is OK, "never refused while less was spent than is allowed"
        level = max(level - units, -burst)
    for start, (begun, _) in enumerate(passed):
        total = 0
        for now, units in passed[start:]:
            total += units
            assert total <= burst + per_second * (now - begun) + 1e-6


@given(st.floats(0.5, 1000), st.integers(1, 500), st.integers(1, 1500))
def test_retry_after_is_the_time_after_which_one_passes(per_second: float, burst: int, spent: int) -> None:
    """Who waits as long as told is served; who comes clearly sooner is not."""
    clock = Clock()
    patient, hasty = Rate(per_second, burst, clock), Rate(per_second, burst, clock)
    for rate in (patient, hasty):
        for _ in range(spent):
            rate.spend()
    wait = patient.retry_after()
    assert wait == hasty.retry_after()
    if spent < burst:
        assert wait == 0
        assert patient.spend() is OK
        return
    clock.now += wait * 0.99 - 1e-6
    assert hasty.spend() is not OK
    clock.now += wait * 0.01 + 2e-6
    assert patient.spend() is OK


# --- Rates -------------------------------------------------------------------------------------------


def test_each_key_has_its_own_bucket(clock: Clock) -> None:
    """What one has spent is nothing to another; who is over it is told when a unit is to be had."""
    rates: Rates[str] = Rates(0.5, 3, most=10, clock=clock)
    assert [rates.spend("a") for _ in range(4)] == [0, 0, 0, 2]
    assert rates.spend("b") == 0
    clock.now += 2
    assert [rates.spend("a") for _ in range(2)] == [0, 2]


def test_waiting_draws_nothing(clock: Clock) -> None:
    """`wait` tells what `spend` would, however often it is asked, and remembers nobody for asking."""
    rates: Rates[str] = Rates(0.5, 2, most=2, clock=clock)
    assert [rates.wait("a") for _ in range(9)] == [0] * 9
    assert [rates.spend("a") for _ in range(3)] == [0, 0, 2]
    assert [rates.wait("a") for _ in range(9)] == [2] * 9
    clock.now += 1.5
    assert rates.wait("a") == 0.5
    clock.now += 0.5
    assert [rates.wait("a"), rates.spend("a"), rates.wait("a")] == [0, 0, 2]
    clock.now += 1_000
    assert [rates.spend("a") for _ in range(3)] == [0, 0, 2]
    for stranger in range(100):
        assert rates.wait(str(stranger)) == 0
    assert rates.wait("a") == 2, "whoever is asked about pushes nobody out"


def test_who_has_not_come_for_longest_makes_room(clock: Clock) -> None:
    """Of more keys than are remembered the oldest is forgotten, and begins anew; who comes is the newest."""
    rates: Rates[str] = Rates(1, 1, most=2, clock=clock)
    assert [rates.spend("a"), rates.spend("b"), rates.spend("a")] == [0, 0, 1]
    assert rates.spend("c") == 0
    assert (rates.wait("b"), rates.wait("a"), rates.wait("c")) == (0, 1, 1)


# --- Admission ---------------------------------------------------------------------------------------


def test_admission_counts_what_is_open() -> None:
    """Full at the total; beyond it a few sockets are read for their refusal, and then none."""
    admission = Admission(total=2, per_address=1)
    with ExitStack() as sockets:
        for opened in range(2 + REFUSAL_SOCKETS):
            assert admission.is_full is (opened >= 2)
            assert not admission.is_overflowing
            sockets.enter_context(admission.socket())
        assert admission.is_full
        assert admission.is_overflowing
        assert admission.open == 2 + REFUSAL_SOCKETS
    assert (admission.open, admission.is_full, admission.is_overflowing) == (0, False, False)


def test_addresses_are_forgotten_when_their_last_connection_ends() -> None:
    """Connections are counted by address, and an address without any leaves no trace."""
    admission = Admission(total=10, per_address=2)
    with admission.address("192.0.2.1"), admission.address("192.0.2.2"):
        with admission.address("192.0.2.1"):
            assert admission.of_address("192.0.2.1") == 2
        assert (admission.of_address("192.0.2.1"), admission.addresses) == (1, 2)
    assert (admission.of_address("192.0.2.1"), admission.addresses) == (0, 0)


def test_an_address_is_crowded_at_its_cap_and_overflows_a_little_above() -> None:
    """One address may hold its connections and a few refusals; another address does not notice."""
    admission = Admission(total=100, per_address=2)
    with ExitStack() as sockets:
        for held in range(2 + REFUSAL_SOCKETS_PER_ADDRESS):
            assert admission.is_crowded("192.0.2.1") is (held >= 2)
            assert not admission.is_overflowing_from("192.0.2.1")
            sockets.enter_context(admission.address("192.0.2.1"))
        assert admission.is_overflowing_from("192.0.2.1")
        assert not admission.is_crowded("192.0.2.2")
    assert not admission.is_crowded("192.0.2.1")
    assert admission.addresses == 0, "asking leaves no trace"


def test_a_connection_that_fails_is_counted_out() -> None:
    """An exception leaves no socket and no address counted."""
    admission = Admission(total=10, per_address=2)
    with suppress(RuntimeError), admission.socket(), admission.address("192.0.2.1"):
        raise RuntimeError
    assert (admission.open, admission.addresses) == (0, 0)


async def test_waiting_for_the_last_socket() -> None:
    """`wait_empty` ends when the last open socket is closed, however many come and go meanwhile."""
    admission = Admission(total=10, per_address=2)
    await admission.wait_empty()
    first, second = ExitStack(), ExitStack()
    first.enter_context(admission.socket())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(admission.wait_empty)
        await trio.testing.wait_all_tasks_blocked()
        first.close()
        second.enter_context(admission.socket())
        await trio.testing.wait_all_tasks_blocked()
        assert nursery.child_tasks, "another socket opened before the waiter looked"
        second.close()
        await trio.testing.wait_all_tasks_blocked()
        assert not nursery.child_tasks


async def test_a_cancelled_wait_for_the_last_socket_may_be_repeated() -> None:
    """Giving up on the wait spoils neither the counting nor the next wait."""
    admission = Admission(total=10, per_address=2)
    with admission.socket(), trio.CancelScope() as scope:
        scope.cancel()
        await admission.wait_empty()
    assert scope.cancelled_caught
    await admission.wait_empty()


# --- descriptors -------------------------------------------------------------------------------------

RESERVE = RESERVED_DESCRIPTORS + REFUSAL_SOCKETS

# Hard limits fall and do not rise again: the highest come first.
TOTALS_UNDER = """
import resource, sys
from tidings.server.limits import connections_total
for line in sys.stdin:
    soft, hard, configured = map(int, line.split())
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    print(connections_total(configured), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def test_connections_keep_below_the_descriptor_limit() -> None:
    """The soft limit is raised to the hard one; what the process itself needs is set aside; 0 is as many as go."""
    totals = {
        (1024, 4096, 0): 4096 - RESERVE,
        (1024, 4096, 100): 100,
        (1024, 4096, 100_000): 4096 - RESERVE,
        (4096, 4096, 3000): 3000,
        (64, RESERVE + 10, 0): 10,
        (64, 128, 0): 1,
        (64, 128, 1000): 1,
    }
    result = subprocess.run(
        [sys.executable, "-c", TOTALS_UNDER],
        input="".join(f"{soft} {hard} {configured}\n" for soft, hard, configured in totals),
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.splitlines() == [
        f"{total} {hard} {hard}" for (_, hard, _), total in totals.items()
    ]


# --- Occasionally ------------------------------------------------------------------------------------


def test_a_flood_passes_a_few_times_a_second(clock: Clock) -> None:
    """The first few of each second pass; the next that passes tells how many were held."""
    occasionally = Occasionally(3, clock)
    assert [occasionally.passes() for _ in range(10)] == [0, 0, 0, *[None] * 7]
    clock.now += 1
    assert [occasionally.passes() for _ in range(5)] == [7, 0, 0, None, None]
    clock.now += 100
    assert occasionally.passes() == 2


@given(st.lists(st.floats(0, 1.5), max_size=100), st.integers(1, 5))
def test_no_event_is_lost_from_the_count(pauses: list[float], per_second: int) -> None:
    """What passed and what was held make up all events, and no second lets more through than it may."""
    clock = Clock()
    occasionally = Occasionally(per_second, clock)
    passed: list[int] = []
    told = held = 0
    for pause in pauses:
        clock.now += pause
        result = occasionally.passes()
        if result is None:
            held += 1
        else:
            told += result
            assert result == held
            held = 0
            passed.append(int(clock.now))
    assert len(passed) + told + held == len(pauses)
    assert all(passed.count(second) <= per_second for second in passed)


def test_an_occasional_event_is_never_held(clock: Clock) -> None:
    """Below the rate everything passes, from the first second of the clock on."""
    clock.now = 0.0
    occasionally = Occasionally(2, clock)
    for _ in range(20):
        assert occasionally.passes() == 0
        clock.now += 0.5
