"""A whole server on a bad network, in virtual time: nothing is lost, misplaced, doubled or left over.

A failure prints its seed; `TIDINGS_SIMULATION_SEED` runs another one. `python tests/simulation/run.py` draws a new
seed each time, prints it first, and replays it by `--seed`.
"""

import os

import pytest
from support.simulation import Settings, Summary, simulate

from tidings.server.app import ENGINES

# What must have happened in any run worth its name, whatever the seed.
FAULTS = {
    "cut",
    "reset",
    "half-open upwards",
    "half-open downwards",
    "half-open both ways",
    "half-open and healed",
    "stalled for a moment",
    "stalled for good",
    "stalled in a flood",
    "sliced",
    "slow",
    "kicked",
    "goodbye",
}


def a_seed() -> int:
    """The one asked for, else always the same: new seeds are for a soak, and a suite must not fail by chance."""
    return int(os.environ.get("TIDINGS_SIMULATION_SEED", "36"))


def must_be_right(summary: Summary) -> None:
    """Fail with the seed and all that is known when anything was wrong, or too little went wrong."""
    assert not summary.violations, f"\n{summary}"
    assert summary.counts.keys() >= FAULTS, f"\n{summary}"
    # Drained, told, too slow, silent and lost: each end has been seen, and was the right one.
    assert summary.closes.keys() >= {1000, 1006, 3001, 3008, 3012, 3503}, f"\n{summary}"


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_everybody_gets_all_that_is_theirs_on_a_network_that_fails_in_every_way(engine: str) -> None:
    """Sixty clients for three virtual minutes: each gets exactly what was published to it while it was there,
    every connection ends for the reason that the script gave it, and nothing of anybody is left."""
    must_be_right(simulate(Settings(seed=a_seed(), engine=engine, clients=60, minutes=3)))


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_a_seed_gives_the_same_run_again(engine: str) -> None:
    """Two runs from one seed show every client the same, at the same times."""
    seed = a_seed()
    first, second = (
        simulate(Settings(seed=seed, engine=engine, clients=15, faithful=2, minutes=1)) for _ in range(2)
    )
    assert not first.violations, f"\n{first}"
    assert first == second, f"\n{first}\n{second}"


@pytest.mark.slow
def test_a_thousand_clients_live_through_ten_bad_minutes() -> None:
    """The same for a thousand clients and ten minutes, with twenty real clients among them."""
    summary = simulate(
        Settings(
            seed=a_seed(),
            clients=1000,
            faithful=20,
            minutes=10,
            acts_every=240,
            fails_every=600,
            published_every=2,
            # Slower than by default: half of the work would be pings.
            ping_interval=40,
        )
    )
    must_be_right(summary)
