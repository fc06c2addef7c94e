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
    before_ms: int = NOW_MS,
    spared: str | None = None,
    *,
    user_id: str = "alice",
    until_ms: int | None = None,
) -> LoginCut:
    return LoginCut(user_id, before_ms, spared, before_ms + 10_000 if until_ms is None else until_ms)


# --- whom a cut concerns -----------------------------------------------------------------------------


def test_a_login_of_before_has_ended_and_one_of_later_has_not() -> None:
    """To the millisecond: the cut's own is late enough. Another user's are not concerned."""
    cuts = LoginCuts(clock=Clock())
    assert not cuts.ends(login(at_ms=0))
    cuts.apply(cut())
    assert cuts.ends(login(at_ms=NOW_MS - 1))
    assert not cuts.ends(login(at_ms=NOW_MS))
    assert not cuts.ends(login(at_ms=0, user_id="bob"))


def test_the_spared_login_goes_on_whatever_its_time() -> None:
    """It was made before the cut, by a clock that is behind, or by an issuer who tells no time."""
    cuts = LoginCuts(clock=Clock())
    cuts.apply(cut(spared="mine"))
    for at_ms in (0, NOW_MS - 1, NOW_MS + 1):
        assert not cuts.ends(login("mine", at_ms))
    assert cuts.ends(login("other", NOW_MS - 1))


def test_who_names_no_login_is_never_the_spared_one() -> None:
    """A token without `sid` must prove its time, also where a cut spares nobody."""
    for spared in (None, "mine"):
        assert is_cut_off(login(None, 0), NOW_MS, spared)
        assert not is_cut_off(login(None, NOW_MS), NOW_MS, spared)


def test_who_tells_no_time_proves_nothing() -> None:
    """Neither `iat` nor `auth_time`: in doubt, ended."""
    assert is_cut_off(Identity("alice", "alice", 2**31, session_id="s"), 1, None)


def test_a_refresh_does_not_make_a_login_younger() -> None:
    """Counted is when the user logged in, not when the token was made: its clock may have been ahead."""
    assert is_cut_off(login(at_ms=NOW_MS - 1, issued_at=NOW_MS // 1000 + 3), NOW_MS, None)


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
    """In whatever order nodes hear of them: the login that the last one spares, and no other of before."""
    first, second = cut(NOW_MS, "first"), cut(NOW_MS + 5, "second")
    for order in (1, -1):
        cuts = LoginCuts(clock=Clock())
        for each in (first, second)[::order]:
            cuts.apply(each)
        assert cuts.ends(login("first", NOW_MS + 4))
        assert not cuts.ends(login("second", NOW_MS - 4))
        assert not cuts.ends(login("third", NOW_MS + 5))


def test_the_same_cut_again_changes_nothing() -> None:
    """Nor does another of the same moment, which nobody has made."""
    cuts = LoginCuts(clock=Clock())
    for spared in ("mine", "mine", "other"):
        cuts.apply(cut(spared=spared))
    assert not cuts.ends(login("mine", 0))
    assert cuts.ends(login("other", 0))
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
    cuts.apply(cut(NOW_MS, until_ms=NOW_MS + 10))
    cuts.apply(cut(NOW_MS + 1, until_ms=NOW_MS + 20))
    clock.ms += 19
    cuts.apply(cut(user_id="bob", until_ms=NOW_MS + 99))
    assert cuts.ends(login(at_ms=0))
    clock.ms += 1
    cuts.apply(cut(NOW_MS + 2, user_id="bob", until_ms=NOW_MS + 99))
    assert not cuts.ends(login(at_ms=0))


def test_a_user_takes_one_place_however_often_they_are_cut_off() -> None:
    """A user who logs in a thousand times, where one login may live, costs no more memory than another."""
    clock = Clock()
    cuts = LoginCuts(clock=clock)
    for _ in range(1_000):
        clock.ms += 7
        cuts.apply(cut(clock.ms, "s"))
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
        cuts.apply(cut(clock.ms + len(sizes), user_id="last", until_ms=NOW_MS + 99))
        sizes.append(len(cuts))
    assert sizes == [_SWEEP + 101, 101, 1]


# --- against a model ---------------------------------------------------------------------------------

USERS = ("alice", "bob")
SESSIONS = ("a", "b", None)
KEPT_MS = 9


@given(
    st.lists(
        st.tuples(
            st.sampled_from(USERS), st.integers(0, 30), st.sampled_from(SESSIONS), st.integers(-5, 10)
        ),
        max_size=25,
    )
)
def test_what_is_cut_off_is_what_the_latest_cut_says(
    steps: list[tuple[str, int, str | None, int]],
) -> None:
    """Cuts in any order, the clock going forth and back: as if one had a list of those that are not over."""
    clock = Clock()
    cuts = LoginCuts(clock=clock)
    kept: list[LoginCut] = []
    for user_id, at, spared, passes in steps:
        clock.ms += passes
        asked = cut(NOW_MS + at, spared, user_id=user_id, until_ms=NOW_MS + at + KEPT_MS)
        cuts.apply(asked)
        kept = [each for each in kept if each.until_ms > clock.ms] + [asked]
        for each in USERS:
            # Of two of one moment the first: max keeps it.
            latest = max(
                (cut for cut in kept if cut.user_id == each), key=lambda it: it.before_ms, default=None
            )
            kept = [cut for cut in kept if cut.user_id != each or cut is latest]
            for session_id in SESSIONS:
                for at_ms in {0, *range(NOW_MS + at - 1, NOW_MS + at + 2), NOW_MS + 31}:
                    spares = latest is not None and session_id is not None and session_id == latest.spared
                    ends = latest is not None and at_ms < latest.before_ms and not spares
                    assert cuts.ends(login(session_id, at_ms, each)) == ends
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
