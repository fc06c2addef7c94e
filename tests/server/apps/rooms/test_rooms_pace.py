"""How often one user may trouble others, on a clock of the test's."""

from typing import Any

import pytest

from tidings.server.apps.rooms import pace
from tidings.server.apps.rooms.pace import CHANGES_AT_ONCE, Pace, TooOften
from tidings.server.extension import Identity

ANN, BOB = Identity("ann", "ann", 2**33), Identity("bob", "bob", 2**33)


class Online:
    """Of the server only who is there."""

    def __init__(self, *users: str) -> None:
        self.users = set(users)

    def is_online(self, user_id: str) -> bool:
        """Whether a user has a connection."""
        return user_id in self.users


def _leaves(paced: Pace, push: Any, sender: Identity, to: str) -> int:
    """After how many seconds a message may be left."""
    try:
        paced.leave(push, sender, to)
    except TooOften as error:
        return error.seconds
    return 0


def test_who_is_away_is_left_so_many_and_then_one_a_minute() -> None:
    """The time that is told suffices, asking costs nothing, and what reaches somebody is not counted."""
    now = 0.0
    paced, push = Pace(2, lambda: now), Online("cleo")
    assert [_leaves(paced, push, ANN, "bob") for _ in range(5)] == [0, 0, 60, 60, 60]
    assert {_leaves(paced, push, ANN, "cleo") for _ in range(9)} == {0}
    now = 59.5
    assert _leaves(paced, push, ANN, "bob") == 1
    now = 60.5
    assert [_leaves(paced, push, ANN, "bob") for _ in range(2)] == [0, 60]
    now = 10_000
    assert [_leaves(paced, push, ANN, "bob") for _ in range(3)] == [0, 0, 60], "no more than at first"


def test_the_longest_unused_pair_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded; whoever goes on is not who is forgotten."""
    monkeypatch.setattr(pace, "MOST_PAIRS", 2)
    paced, push = Pace(1, lambda: 0.0), Online()
    assert [_leaves(paced, push, ANN, "x"), _leaves(paced, push, BOB, "x")] == [0, 0]
    assert _leaves(paced, push, ANN, "x") == 60
    assert _leaves(paced, push, ANN, "y") == 0
    assert _leaves(paced, push, ANN, "x") == 60
    assert _leaves(paced, push, BOB, "x") == 0


def test_members_are_changed_so_many_at_once_and_then_two_a_second() -> None:
    """For each caller."""
    now = 0.0
    paced = Pace(1, lambda: now)
    for _ in range(CHANGES_AT_ONCE):
        paced.change_members(ANN)
    with pytest.raises(TooOften, match="try again in 1 s"):
        paced.change_members(ANN)
    paced.change_members(BOB)
    now = 0.5
    paced.change_members(ANN)
    with pytest.raises(TooOften):
        paced.change_members(ANN)
