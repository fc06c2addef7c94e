"""The contract suite finds faults: no broken broker gets through, and no promise holds for all of them."""

from functools import cache

import outcome
import pytest
import trio
from hypothesis import Phase, given, settings
from support.broker_contract import (  # noqa: F401 - they register
    inboxes,
    keeping,
    keys,
    nodes,
    publishing,
    unbegun,
    unnamed,
)
from support.broker_contract.broken import BY_NAME
from support.broker_contract.case import PROMISES, Case, Node, Promise, policies, run
from support.broker_contract.factories import Clock, memory_broker, push_out
from support.broker_contract.model import STEPS, Model
from trio.testing import MockClock

from tidings.server.brokers.base import TooManyDevices
from tidings.server.brokers.memory import MemoryBroker


def case_of(kind: type[MemoryBroker]) -> Case:
    """A case with all that a check may need."""
    node, clock = Node(), Clock()
    broker = memory_broker(kind, node, clock, policies(durable_rooms=False, durable_inboxes=False))

    async def lose(_channel: str) -> None:
        await push_out(broker)

    return Case(broker, node, advance=clock.advance, lose=lose)


def holds(made: Promise, kind: type[MemoryBroker]) -> bool:
    """Whether a promise holds, on virtual time: who waits in vain does not wait long."""

    async def main() -> None:
        await run(made, case_of(kind))

    result = outcome.capture(lambda: trio.run(main, clock=MockClock(autojump_threshold=0)))
    return isinstance(result, outcome.Value)


def test_the_whole_broker_keeps_all_promises() -> None:
    """What fails below fails for its fault, and not for the way it is run here."""
    assert [name for name, made in PROMISES.items() if not holds(made, MemoryBroker)] == []


# Where the contract's own counterexamples belong.
BELONG = [
    ("SkipsInHistory", "history_is_what_was_delivered"),
    ("OtherBytes", "history_is_what_was_delivered"),
    ("AcknowledgementsFall", "an_acknowledgement_never_falls"),
    ("EpochStays", "what_was_lost_has_another_epoch"),
    ("EpochChanges", "positions_rise_by_one"),
    ("DeliversLate", "open_in_the_middle_of_publications_divides_them"),
    ("DeliversBeforeKeeping", "what_was_delivered_is_in_the_history"),
    ("NoKeys", "a_cancelled_publication_may_be_tried_again"),
    ("Overtakes", "who_asks_first_is_first"),
    ("NumbersAtOnce", "publishers_at_once_share_one_order"),
    ("KeysForAll", "a_key_outlives_the_history_it_belongs_to"),
    ("KeysLookAlike", "keys_may_have_any_character_that_is_seen"),
    ("LookingEnrols", "who_only_looks_loses_nothing"),
    ("TheUnnamedTakeAPlace", "without_a_name_no_place_is_taken"),
    ("TheUnnamedHaveNoPosition", "who_gives_no_name_is_enrolled_by_acknowledging"),
    ("TheUnnamedHaveNoPosition", "where_only_the_unnamed_come_they_count"),
    ("TheUnnamedBeginAnew", "without_a_name_one_starts_where_a_new_device_would"),
    ("TheUnnamedBeginAtZero", "what_the_unnamed_never_acknowledged_ages"),
    ("TheUnnamedHearNothing", "looking_without_a_name_is_opening"),
    ("TheUnnamedStayForEver", "the_unnamed_are_forgotten_as_others_are"),
    ("AnotherLifeForEachQuestion", "a_channel_that_never_was_is_the_same_for_all_who_ask"),
    ("LosesWhatCameFirst", "opened_before_it_ever_was"),
    ("TheInventedPushOut", "asking_for_the_invented_forgets_nobody"),
]


def test_every_fault_is_found_and_every_promise_can_fail() -> None:
    """Each broken broker breaks some promise, each promise is broken by some, the counterexamples by their own.

    One test: what one has found out the others need not try again.
    """

    @cache
    def breaks(kind: str, name: str) -> bool:
        return not holds(PROMISES[name], BY_NAME[kind])

    assert [(kind, name) for kind, name in BELONG if not breaks(kind, name)] == []
    # These have been found by now, and these have failed: what is left is tried until something breaks.
    found, failed = {kind for kind, _ in BELONG}, {name for _, name in BELONG}
    assert [
        kind for kind in BY_NAME if kind not in found and not any(breaks(kind, n) for n in PROMISES)
    ] == []
    assert [
        name for name in PROMISES if name not in failed and not any(breaks(k, name) for k in BY_NAME)
    ] == []


@pytest.mark.parametrize(
    "kind",
    [
        "SkipsInHistory",
        "OtherBytes",
        "AcknowledgementsFall",
        "KeepsTooMuch",
        "StartsAtTheEnd",
        "DropsInSilence",
        "NoKeys",
        "ForgetsDevices",
        "LookingEnrols",
        "TheUnnamedTakeAPlace",
        "TheUnnamedBeginAnew",
    ],
)
def test_the_model_finds_them_too(kind: str) -> None:
    """Steps at random break what is broken."""

    @settings(database=None, derandomize=True, max_examples=300, phases=[Phase.generate])
    @given(STEPS)
    def take(steps: list[tuple[str, ...]]) -> None:
        trio.run(Model(case_of(BY_NAME[kind])).run, steps, clock=MockClock(autojump_threshold=0))

    result = outcome.capture(take)
    assert isinstance(result, outcome.Error)
    found = AssertionError | BaseExceptionGroup | pytest.fail.Exception | TooManyDevices
    assert isinstance(result.error, found)
