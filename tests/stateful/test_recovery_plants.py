"""The model of the whole server catches what it is there for: bugs planted on the way back into a channel."""

from functools import partial

import pytest
import trio
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from support.stateful.plans import Plan, plans
from support.stateful.plants import CUT, OTHERS, Plant
from support.stateful.promised import Truth
from support.stateful.running import run
from support.stateful.setting import watch
from trio.testing import MockClock

# The cut is met by nearly every example; the rarest of the others needs some hundreds.
FEW = 60
MANY = 600
# Others find them too, later: this one lets the suite be short.
SEED = 3


class _Caught(Exception):
    """The model has seen it."""


def _examples_until_caught(patch: pytest.MonkeyPatch, plant: Plant, most: int) -> int | None:
    """How many examples it takes, always the same ones; None where `most` do not do."""
    watch(patch)
    plant(patch)
    met = 0

    @seed(SEED)
    @settings(
        max_examples=most,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(plan=plans(), order=st.random_module())
    def any_plan(plan: Plan, order: object) -> None:
        nonlocal met
        met += 1
        try:
            trio.run(partial(run, "native", plan, Truth()), clock=MockClock(autojump_threshold=0))
        except BaseException as error:
            raise _Caught from error

    try:
        any_plan()
    except _Caught:
        return met
    return None


@pytest.mark.parametrize("name", sorted(CUT))
def test_a_cut_in_the_wrong_place_is_caught(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Off by one either way, something is missing or comes twice, and a few examples show it."""
    assert _examples_until_caught(monkeypatch, CUT[name], FEW) is not None


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(OTHERS))
def test_any_other_bug_of_recovery_is_caught(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """What the hold, the pages, the log and the inbox promise is each broken once, and each is noticed."""
    assert _examples_until_caught(monkeypatch, OTHERS[name], MANY) is not None
