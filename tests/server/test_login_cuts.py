"""Logins that ended with what happened to their users: the latest cut of each counts, until it is over."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.server.identity import NO_END, Identity
from tidings.server.login_cuts import _SWEEP, LoginCut, LoginCuts, is_cut_off
from tidings.server.revocations import Revocations

NOW_MS = 1_800_000_000_000


class Clock:
    """A wall clock that a test sets, in Unix milliseconds."""

    def __init__(self) -> None:
        self.ms = NOW_MS

    def __call__(self) -> float:
        return self.ms / 1000


def login(
    session_id: str | None = "s", at_ms: int = NOW_MS, user_id: str = "alice", **more: Any
) -> Identity:
    """Who logged in at a moment."""
    given: dict[str, Any] = {"expires_at": 2**31, "issued_at": at_ms // 1000} | more
    return Identity(user_id, user_id, session_id=session_id, logged_in_ms=at_ms, **given)


def cut(
    number: int = 5,
    spared: str | None = None,
    *,
    before_ms: int = NOW_MS,
    user_id: str = "alice",
    **more: int,
) -> LoginCut:
    return LoginCut(user_id, number, before_ms, spared, more.get("until_ms", NOW_MS + 10_000))


def numbered(number: int, session_id: str = "s", **more: Any) -> Identity:
    """A login of this server's own; what its clock said is of no matter."""
    return login(session_id, login_number=number, **more)


# --- whom a cut concerns -----------------------------------------------------------------------------


@pytest.mark.parametrize("at_ms", [0, NOW_MS - 1, NOW_MS, NOW_MS + 3_600_000])
def test_a_login_of_before_has_ended_and_one_of_later_has_not(at_ms: int) -> None:
    """By their numbers, whatever the clock said: the cut's own is late enough. Other users are not concerned."""
    cuts = LoginCuts(clock=Clock())
    assert not cuts.ends(numbered(0))
    cuts.apply(cut(5))
    assert [number for number in range(8) if cuts.ends(numbered(number, at_ms=at_ms))] == [0, 1, 2, 3, 4]
    assert not cuts.ends(numbered(0, user_id="bob"))


def test_a_login_elsewhere_has_ended_unless_it_proves_to_be_later() -> None:
    """It has no number, but a time: the cut's own millisecond is late enough."""
    cuts = LoginCuts(clock=Clock())
    cuts.apply(cut())
    assert cuts.ends(login(at_ms=NOW_MS - 1))
    assert not cuts.ends(login(at_ms=NOW_MS))
    assert not cuts.ends(login(at_ms=0, user_id="bob"))


def test_the_spared_login_goes_on_whatever_its_number_and_its_time() -> None:
    """It was made before the cut, here or by an issuer who tells no time."""
    cuts = LoginCuts(clock=Clock())
    cuts.apply(cut(5, "mine"))
    for identity in (login("mine", 0), login("mine", NOW_MS + 1), numbered(1, "mine"), numbered(5, "mine")):
        assert not cuts.ends(identity)
    assert cuts.ends(login("other", NOW_MS - 1))
    assert cuts.ends(numbered(4, "other"))


def test_who_names_no_login_is_never_the_spared_one() -> None:
    """A token without `sid` must prove its time, also where a cut spares nobody."""
    for spared in (None, "mine"):
        assert is_cut_off(login(None, 0), 5, NOW_MS, spared)
        assert not is_cut_off(login(None, NOW_MS), 5, NOW_MS, spared)


def test_who_tells_neither_number_nor_time_proves_nothing() -> None:
    """Neither `iat` nor `auth_time`: in doubt, ended."""
    assert is_cut_off(Identity("alice", "alice", 2**31, session_id="s"), 0, 1, None)


def test_a_refresh_does_not_make_a_login_younger() -> None:
    """Counted is when the user logged in, not when the token was made: its clock may have been ahead."""
    issued_at = NOW_MS // 1000 + 3
    assert is_cut_off(login(at_ms=NOW_MS - 1, issued_at=issued_at), 5, NOW_MS, None)
    assert is_cut_off(numbered(4, at_ms=NOW_MS + 1, issued_at=issued_at), 5, NOW_MS, None)


def test_keys_are_no_logins() -> None:
    """A service's key is not its user's to end, however it is called."""
    cuts = LoginCuts(clock=Clock())
    cuts.apply(cut(user_id="service:billing"))
    assert not cuts.ends(Identity("service:billing", "billing", NO_END, kind="service"))
    assert cuts.ends(Identity("service:billing", "billing", NO_END - 1, kind="service"))


def test_a_cut_is_among_what_is_revoked() -> None:
    """Who asks whether a token was revoked hears of cuts too, also where nothing else was ever revoked."""
    revocations = Revocations(clock=Clock())
    revocations.cuts.apply(cut())
    assert revocations.is_revoked(login(at_ms=NOW_MS - 1))
    assert not revocations.is_revoked(login())


# --- which cut counts --------------------------------------------------------------------------------


def test_the_latest_cut_stands_in_place_of_earlier_ones() -> None:
    """In whatever order nodes hear of them, and whatever their clocks said: of all of before it spares its own."""
    first, second = cut(5, "first", before_ms=NOW_MS + 900), cut(7, "second")
    for order in (1, -1):
        cuts = LoginCuts(clock=Clock())
        for each in (first, second)[::order]:
            cuts.apply(each)
        assert cuts.ends(numbered(5, "first"))
        assert cuts.ends(numbered(6, "between"))
        assert not cuts.ends(numbered(1, "second"))
        assert not cuts.ends(numbered(7, "third"))


def test_the_same_cut_again_changes_nothing() -> None:
    """Nor does another of the same number, which nobody has made."""
    cuts = LoginCuts(clock=Clock())
    for spared in ("mine", "mine", "other"):
        cuts.apply(cut(spared=spared))
    assert not cuts.ends(numbered(0, "mine"))
    assert cuts.ends(numbered(0, "other"))
    assert len(cuts) == 1


# --- for how long ------------------------------------------------------------------------------------


def test_it_is_forgotten_at_its_end_and_not_before() -> None:
    """When the next one comes: a token that it concerns has long ended by then."""
    clock = Clock()
    cuts = LoginCuts(clock=clock)
    cuts.apply(cut(until_ms=NOW_MS + 10))
    clock.ms += 9
    cuts.apply(cut(user_id="bob", until_ms=NOW_MS + 99))
    assert cuts.ends(login(at_ms=0))
    clock.ms += 1
    cuts.apply(cut(user_id="carol", until_ms=NOW_MS + 99))
    assert not cuts.ends(login(at_ms=0))
    assert len(cuts) == 2


def test_a_later_cut_is_remembered_for_as_long_as_it_says() -> None:
    """The end of the one that it has replaced is not its own."""
    clock = Clock()
    cuts = LoginCuts(clock=clock)
    cuts.apply(cut(5, until_ms=NOW_MS + 10))
    cuts.apply(cut(6, until_ms=NOW_MS + 20))
    clock.ms += 19
    cuts.apply(cut(user_id="bob", until_ms=NOW_MS + 99))
    assert cuts.ends(login(at_ms=0))
    clock.ms += 1
    cuts.apply(cut(6, user_id="bob", until_ms=NOW_MS + 99))
    assert not cuts.ends(login(at_ms=0))


def test_a_user_takes_one_place_however_often_they_are_cut_off() -> None:
    """A user who logs in a thousand times, where one login may live, costs no more memory than another."""
    clock = Clock()
    cuts = LoginCuts(clock=clock)
    for number in range(1_000):
        clock.ms += 7
        cuts.apply(cut(number, "s", until_ms=clock.ms + 9))
    assert (len(cuts), len(cuts._cuts), len(cuts._ends)) == (1, 1, 1)


def test_many_that_end_at_once_are_forgotten_in_pieces() -> None:
    """So that ten thousand logins of one morning keep nobody waiting the next."""
    clock = Clock()
    cuts = LoginCuts(clock=clock)
    for number in range(2 * _SWEEP + 100):
        cuts.apply(cut(user_id=f"u{number}", until_ms=NOW_MS + 1))
    clock.ms += 1
    sizes: list[int] = []
    while len(cuts) > 1:
        cuts.apply(cut(len(sizes), user_id="last", until_ms=NOW_MS + 99))
        sizes.append(len(cuts))
    assert sizes == [_SWEEP + 101, 101, 1]


# --- against a model ---------------------------------------------------------------------------------

USERS = ("alice", "bob")
SESSIONS = ("a", "b", None)
names = st.sampled_from(USERS)


@given(
    st.lists(
        st.tuples(names, st.integers(0, 12), st.sampled_from(SESSIONS), st.integers(-5, 10)), max_size=25
    )
)
def test_what_is_cut_off_is_what_the_latest_cut_says(
    steps: list[tuple[str, int, str | None, int]],
) -> None:
    """Cuts in any order, the clock going forth and back: as if one had a list of those that are not over."""
    clock = Clock()
    cuts = LoginCuts(clock=clock)
    kept: list[LoginCut] = []
    for user_id, number, spared, passes in steps:
        clock.ms += passes
        # Times that have nothing to do with the order.
        asked = cut(
            number, spared, user_id=user_id, before_ms=NOW_MS - number, until_ms=NOW_MS + 3 * number + 1
        )
        cuts.apply(asked)
        kept = [each for each in kept if each.until_ms > clock.ms] + [asked]
        for each in USERS:
            # Of two of one number the first: max keeps it.
            latest = max(
                (cut for cut in kept if cut.user_id == each), key=lambda it: it.number, default=None
            )
            kept = [cut for cut in kept if cut.user_id != each or cut is latest]
            for session_id in SESSIONS:
                spares = latest is not None and session_id is not None and session_id == latest.spared
                for at in range(14):
                    ends = latest is not None and at < latest.number and not spares
                    assert cuts.ends(login(session_id, NOW_MS, each, login_number=at)) == ends
                    ends = latest is not None and NOW_MS - at < latest.before_ms and not spares
                    assert cuts.ends(login(session_id, NOW_MS - at, each)) == ends
        assert len(cuts) == len(cuts._ends) == len(kept)


@pytest.mark.parametrize("count", [0, 1, 5_000])
def test_asking_walks_through_nothing(count: int) -> None:
    """It is asked at every token: however many users are cut off, one look each."""

    class Looked(dict[str, LoginCut]):
        looks = 0

        def get(self, *key: Any) -> Any:
            self.looks += 1
            return super().get(*key)

        def __iter__(self) -> Any:
            raise AssertionError("walked through")

    cuts = LoginCuts(clock=Clock())
    for number in range(count):
        cuts.apply(cut(user_id=f"u{number}"))
    cuts._cuts = looked = Looked(cuts._cuts)
    cuts.ends(login())
    assert looked.looks == min(count, 1)
