"""Attempts to log in: never more than the rate, whoever succeeds is not hindered, memory has a bound."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.server.apps.accounts.attempts import Attempts, Pace, Wait

HERE = "192.0.2.1"


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


def limits(
    clock: Clock,
    *,
    account: tuple[int, float] = (3, 60.0),
    address: tuple[int, float] = (1_000, 6.0),
    most_entries: int = 1_000,
) -> Attempts:
    """Buckets of so many, of which one comes back in so many seconds."""
    return Attempts(
        account_burst=account[0],
        account_seconds=account[1],
        address_burst=address[0],
        address_seconds=address[1],
        most_entries=most_entries,
        clock=clock,
    )


def failures(attempts: Attempts, account: str, address: str = HERE, *, of: int = 100) -> int:
    """How many wrong passwords are judged, of so many at once."""
    return sum(attempts.begin(account, address) is None for _ in range(of))


# --- one bucket --------------------------------------------------------------------------------------


def test_a_burst_passes_and_then_one_at_a_time(clock: Clock) -> None:
    """So many at once; each of the next has to wait for its seconds, and is told how long."""
    attempts = limits(clock)
    assert failures(attempts, "alice") == 3
    assert attempts.begin("alice", HERE) == Wait(60.0, "account")
    clock.now += 45
    assert attempts.begin("alice", HERE) == Wait(15.0, "account")
    clock.now += 15
    assert failures(attempts, "alice") == 1
    clock.now += 3_600
    assert failures(attempts, "alice") == 3


def test_who_is_refused_is_not_locked_out_for_longer(clock: Clock) -> None:
    """A stubborn guesser costs the owner nothing beyond the rate: refusals take nothing, of the address either."""
    attempts = limits(clock, address=(4, 600.0))
    assert failures(attempts, "alice", of=10_000) == 3
    assert attempts.begin("alice", HERE) == Wait(60.0, "account")
    assert failures(attempts, "bob") == 1
    assert attempts.begin("bob", HERE) == Wait(600.0, "address")
    assert failures(attempts, "bob", "192.0.2.2") == 2


def test_the_longer_wait_is_told(clock: Clock) -> None:
    """Whoever comes back when told so finds an attempt of both."""
    attempts = limits(clock, address=(3, 6.0))
    assert failures(attempts, "alice") == 3
    wait = attempts.begin("alice", HERE)
    assert wait == Wait(60.0, "account")
    clock.now += wait.seconds
    assert attempts.begin("alice", HERE) is None


def test_attempts_at_once_count(clock: Clock) -> None:
    """An attempt is taken before its password is judged: a hundred in parallel are no hundred guesses."""
    attempts = limits(clock)
    under_way = [attempts.begin("alice", HERE) is None for _ in range(100)]
    assert sum(under_way) == 3


def test_success_gives_the_account_all_back(clock: Clock) -> None:
    """Whoever gets it right in the end may get it wrong as often the next time."""
    attempts = limits(clock)
    assert failures(attempts, "alice", of=2) == 2
    assert attempts.begin("alice", HERE) is None
    attempts.succeeded("alice", HERE)
    assert failures(attempts, "alice") == 3


def test_success_gives_the_address_its_own_back_only(clock: Clock) -> None:
    """A guesser with an account cannot buy guesses at others by logging in, however often."""
    attempts = limits(clock, address=(5, 600.0))
    guessed = 0
    for number in range(50):
        guessed += failures(attempts, f"victim{number}", of=1)
        if attempts.begin("mallory", HERE) is None:
            attempts.succeeded("mallory", HERE)
    assert guessed == 5


def test_an_office_with_right_passwords_is_held_up_by_nothing_but_what_is_in_flight(clock: Clock) -> None:
    """A thousand log in behind one address in one moment, as many at once as its burst; no second is lost."""
    attempts = limits(clock, address=(10, 6.0))
    for people in range(0, 1_000, 10):
        for person in range(people, people + 10):
            assert attempts.begin(f"user{person}", HERE) is None
        wait = attempts.begin("late", HERE)
        assert wait is not None
        assert wait.what == "address"
        for person in range(people, people + 10):
            attempts.succeeded(f"user{person}", HERE)


def test_an_attempt_that_was_not_judged_is_none(clock: Clock) -> None:
    """A busy server costs nobody an attempt; and gives nobody more than there were."""
    attempts = limits(clock, address=(3, 6.0))
    for _ in range(100):
        assert attempts.begin("alice", HERE) is None
        attempts.withdrawn("alice", HERE)
    attempts.withdrawn("alice", HERE)
    attempts.succeeded("nobody", "192.0.2.9")
    assert failures(attempts, "alice") == 3


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::", True),
        ("2001:db8:1:2::1", "2001:DB8:1:2:0::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("", "unix", False),
    ],
)
def test_what_counts_as_one_address(clock: Clock, one: str, other: str, same: bool) -> None:
    """Of IPv6 the /64, which one customer has; of IPv4 the address, also where it comes as IPv6."""
    attempts = limits(clock, address=(1, 6.0))
    assert attempts.begin("alice", one) is None
    assert (attempts.begin("bob", other) is not None) is same


# --- against a model ---------------------------------------------------------------------------------


class Model:
    """One bucket as it is defined: a level that rises with time."""

    def __init__(self, burst: int, seconds: float, now: float) -> None:
        self.burst, self.seconds = burst, seconds
        self.level, self.at = float(burst), now

    def rise(self, now: float) -> None:
        self.level = min(self.burst, self.level + (now - self.at) / self.seconds)
        self.at = now

    def wait(self) -> float:
        return max(0.0, 1 - self.level) * self.seconds


what_happens = st.lists(
    st.tuples(
        st.sampled_from(["fail", "fail", "fail", "succeed", "withdraw", "pass"]),
        st.sampled_from(["alice", "bob"]),
        st.sampled_from([HERE, "192.0.2.2"]),
        # Quarters and powers of two: so the model has no rounding of its own.
        st.integers(0, 64).map(lambda quarters: quarters / 4),
    ),
    max_size=40,
)


@given(
    what_happens,
    st.integers(1, 4),
    st.sampled_from([0.5, 4.0, 16.0]),
    st.integers(1, 4),
    st.sampled_from([0.5, 4.0, 16.0]),
)
def test_it_is_a_token_bucket_for_each(
    happening: list[tuple[str, str, str, float]], burst: int, seconds: float, many: int, rate: float
) -> None:
    """Every attempt passes, or waits for exactly as long, as two buckets of the definition say."""
    clock = Clock()
    attempts = limits(clock, account=(burst, seconds), address=(many, rate))
    accounts = {name: Model(burst, seconds, clock.now) for name in ("alice", "bob")}
    addresses = {address: Model(many, rate, clock.now) for address in (HERE, "192.0.2.2")}
    for event, account, address, quarters in happening:
        if event == "pass":
            clock.now += quarters
            continue
        of_account, of_address = accounts[account], addresses[address]
        of_account.rise(clock.now)
        of_address.rise(clock.now)
        found = attempts.begin(account, address)
        if of_account.wait() or of_address.wait():
            assert found is not None
            assert found.seconds == max(of_account.wait(), of_address.wait())
            assert found.what == ("account" if of_account.wait() >= of_address.wait() else "address")
            continue
        assert found is None
        of_account.level -= 1
        of_address.level -= 1
        if event == "succeed":
            attempts.succeeded(account, address)
            of_account.level, of_address.level = burst, of_address.level + 1
        elif event == "withdraw":
            attempts.withdrawn(account, address)
            of_account.level += 1
            of_address.level += 1


@given(
    st.lists(st.tuples(st.floats(0, 30), st.integers(0, 6), st.integers(0, 9)), max_size=20),
    st.integers(1, 5),
    st.floats(0.01, 20),
)
def test_no_window_has_more_failures_than_the_burst_and_what_came_back(
    happening: list[tuple[float, int, int]], burst: int, seconds: float
) -> None:
    """Whenever one looks, and whoever succeeds beside it: guesses of one address are bounded by the rate."""
    clock = Clock()
    attempts = limits(clock, account=(1_000, 1.0), address=(burst, seconds))
    failed: list[float] = []
    for pause, wrong, right in happening:
        clock.now += pause
        failed += [clock.now] * failures(attempts, "victim", of=wrong)
        for _ in range(right):
            if attempts.begin("mallory", HERE) is None:
                attempts.succeeded("mallory", HERE)
    for first, start in enumerate(failed):
        for last in range(first, len(failed)):
            assert last - first + 1 <= burst + (failed[last] - start) / seconds + 1e-3


def test_the_whole_burst_is_there_whatever_the_rounding() -> None:
    """Seconds that no float has exactly take none of the attempts away."""
    for number in range(1, 200):
        clock = Clock()
        clock.now = number * 1.1
        attempts = limits(clock, account=(10, 0.1 * number))
        assert failures(attempts, "alice") == 10


# --- memory ------------------------------------------------------------------------------------------


def test_a_flood_of_names_has_a_bound_and_leaves_who_is_under_attack(clock: Clock) -> None:
    """A hundred times the table of made-up names from as many addresses: an account at its limit stays there."""
    attempts = limits(clock, account=(3, 3_600.0), most_entries=50)
    assert failures(attempts, "victim") == 3
    for number in range(5_000):
        assert attempts.begin(f"made up {number}", f"10.0.{number // 250}.{number % 250}") is None
        assert attempts.entries <= 2 * 50
        clock.now += 0.01
    wait = attempts.begin("victim", HERE)
    assert wait is not None
    assert wait.what == "account"


def test_a_flood_of_repeated_names_leaves_who_is_under_attack(clock: Clock) -> None:
    """As well where each made-up name is tried twice, and the table is full of buckets that have changed since."""
    attempts = limits(clock, account=(5, 3_600.0), address=(10_000, 6.0), most_entries=200)
    assert failures(attempts, "victim", of=1) == 1
    for number in range(199):
        assert failures(attempts, f"early {number}", of=2) == 2
    assert failures(attempts, "victim") == 4
    for number in range(2_000):
        assert failures(attempts, f"made up {number}", of=2) == 2
        clock.now += 0.01
    assert attempts.begin("victim", HERE) is not None
    assert len(attempts._accounts) == len(attempts._accounts._by_time) == 200


def test_full_buckets_go_first(clock: Clock) -> None:
    """Whoever has all attempts loses nothing by being forgotten: so those who have fewer are not."""
    attempts = limits(clock, account=(3, 60.0), most_entries=10)
    for number in range(9):
        assert attempts.begin(f"fine {number}", HERE) is None
    assert failures(attempts, "wrong") == 3
    clock.now += 61
    for number in range(9):
        assert attempts.begin(f"new {number}", HERE) is None
    assert failures(attempts, "wrong") == 1


def test_what_is_full_again_is_forgotten(clock: Clock) -> None:
    """After a flood the table empties by itself, a few at each attempt."""
    attempts = limits(clock, address=(1_000, 0.001), most_entries=500)
    for number in range(500):
        assert attempts.begin(f"made up {number}", HERE) is None
    clock.now += 61
    for _ in range(400):
        assert attempts.begin("alice", HERE) is None
        attempts.succeeded("alice", HERE)
    assert attempts.entries <= 2


def test_a_name_without_end_is_kept_short(clock: Clock) -> None:
    """A table has a bound in bytes, too: of whatever is typed, and of an address that is none."""
    attempts = limits(clock)
    assert failures(attempts, "x" * 1_000_000, "y" * 1_000_000) == 3
    assert all(len(key) <= 256 for key in (*attempts._accounts._full_at, *attempts._addresses._full_at))


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.booleans(), st.floats(0, 100)), max_size=50))
def test_each_bucket_has_one_place_in_the_order(happening: list[tuple[str, bool, float]]) -> None:
    """However attempts come, succeed and make room: what is in the table is in the order, once."""
    clock = Clock()
    attempts = limits(clock, account=(3, 60.0), most_entries=5)
    for account, succeeds, seconds in happening:
        if attempts.begin(account, HERE) is None and succeeds:
            attempts.succeeded(account, HERE)
        clock.now += seconds
        buckets = attempts._accounts
        assert sorted(key for _, key in buckets._by_time) == sorted(buckets._full_at)
        assert len(buckets) <= 5


# --- a pace ------------------------------------------------------------------------------------------


def test_a_pace_is_everybodys_own_and_gives_nothing_back(clock: Clock) -> None:
    """So many at once, then one in so many seconds; who is refused loses nothing, and others are not concerned."""
    pace = Pace(burst=2, seconds=3.0, clock=clock)
    assert [pace.begin("alice") for _ in range(4)] == [0.0, 0.0, 3.0, 3.0]
    assert pace.begin("bob") == 0.0
    clock.now += 2
    assert pace.begin("alice") == 1.0
    clock.now += 1
    assert [pace.begin("alice") for _ in range(2)] == [0.0, 3.0]
    clock.now += 3_600
    assert [pace.begin("alice") for _ in range(3)] == [0.0, 0.0, 3.0]


def test_a_pace_of_many_has_a_bound(clock: Clock) -> None:
    """Whoever comes once makes no room for those who have come too often."""
    pace = Pace(burst=2, seconds=3_600.0, most_entries=50, clock=clock)
    assert [pace.begin("alice") for _ in range(2)] == [0.0, 0.0]
    for number in range(1_000):
        clock.now += 0.01
        assert pace.begin(f"user {number}") == 0.0
        assert len(pace._buckets) <= 50
    assert pace.begin("alice") > 0
