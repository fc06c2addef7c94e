"""The one timer of all heartbeats: who is woken when, and what is left of those who are gone."""

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from tidings.server.edge import alarms as alarms_module
from tidings.server.edge.alarms import Alarms, Sleeper


async def _sleep(sleeper: Sleeper, at: float, woken: list[float]) -> None:
    await sleeper.sleep_until(at)
    woken.append(trio.current_time())


async def test_each_is_woken_at_its_time(autojump_clock: MockClock) -> None:
    """In whichever order they came, also when the earliest comes last, or its time is past."""
    alarms = Alarms()
    woken: list[float] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(alarms.run)
        for at in (5.0, 3.0, 9.0, 3.0, 0.0, -1.0):
            nursery.start_soon(_sleep, Sleeper(alarms), at, woken)
            await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    assert woken == [0, 0, 3, 3, 5, 9]
    assert len(alarms) == 0


async def test_a_sleeper_may_change_its_mind(autojump_clock: MockClock) -> None:
    """Woken early it sleeps again, longer or shorter than before, and is woken at the last time it named."""
    alarms = Alarms()
    sleeper = Sleeper(alarms)
    for first, then in ((5, 20), (20, 5), (5, 5)):
        began = trio.current_time()
        woken: list[float] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(alarms.run)
            nursery.start_soon(_sleep, sleeper, began + first, woken)
            await trio.testing.wait_all_tasks_blocked()
            sleeper.wake()
            sleeper.wake()
            await trio.testing.wait_all_tasks_blocked()
            assert woken == [began]
            await _sleep(sleeper, began + then, woken)
            nursery.cancel_scope.cancel()
        assert woken == [began, began + then]


async def test_cancelling_a_sleep_is_safe(autojump_clock: MockClock) -> None:
    """Whoever gives up is not woken later, and may sleep again."""
    alarms = Alarms()
    sleeper = Sleeper(alarms)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(alarms.run)
        with trio.move_on_after(2):
            await sleeper.sleep_until(5)
        assert trio.current_time() == 2
        await trio.sleep(10)
        await sleeper.sleep_until(20)
        assert trio.current_time() == 20
        nursery.cancel_scope.cancel()


async def test_what_is_forgotten_does_not_pile_up(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand connections that come and go leave no more entries than the bound, and the living are woken."""
    monkeypatch.setattr(alarms_module, "FORGOTTEN_ENTRIES", 10)
    alarms = Alarms()
    woken: list[float] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(alarms.run)
        nursery.start_soon(_sleep, Sleeper(alarms), 50, woken)
        for _ in range(1_000):
            sleeper = Sleeper(alarms)
            async with trio.open_nursery() as brief:
                brief.start_soon(sleeper.sleep_until, 100_000)
                await trio.testing.wait_all_tasks_blocked()
                brief.cancel_scope.cancel()
            sleeper.close()
            sleeper.close()
            assert len(alarms) == 1
            assert len(alarms._heap) <= 25
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    assert woken == [50]
    assert len(alarms) == 0


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from("swc"), st.integers(0, 20)), max_size=40))
def test_any_history_wakes_everybody_in_time(steps: list[tuple[int, str, int]]) -> None:
    """Whatever sleeps, wakes and closes there were: nobody sleeps past its time, and the count is right."""

    async def main() -> None:
        alarms = Alarms()
        sleepers = [Sleeper(alarms) for _ in range(4)]
        sleeping: dict[int, float] = {}

        async def sleep(number: int, at: float) -> None:
            sleeping[number] = at
            await sleepers[number].sleep_until(at)
            del sleeping[number]

        async with trio.open_nursery() as nursery:
            nursery.start_soon(alarms.run)
            for number, step, seconds in steps:
                if step == "s" and number not in sleeping:
                    nursery.start_soon(sleep, number, trio.current_time() + seconds)
                elif step == "w":
                    sleepers[number].wake()
                elif number not in sleeping:
                    sleepers[number].close()
                    sleepers[number] = Sleeper(alarms)
                await trio.testing.wait_all_tasks_blocked()
                if step == "c":
                    await trio.sleep(seconds)
                    await trio.testing.wait_all_tasks_blocked()
                assert all(at > trio.current_time() for at in sleeping.values())
                assert len(alarms) >= len(sleeping)
                assert len(alarms) == sum(sleeper.entry < float("inf") for sleeper in sleepers)
            await trio.sleep(100)
            assert not sleeping
            assert len(alarms) == 0
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))
