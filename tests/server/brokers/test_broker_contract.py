"""What every broker promises, run on each of them. A new broker adds its factory to `factories.BROKERS`."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.broker_contract import inboxes, keeping, keys, nodes, publishing, unbegun, unnamed
from support.broker_contract.case import PROMISES, Case, run
from support.broker_contract.factories import BROKERS

from tidings.server.brokers.memory import MemoryBroker

MODULES = (publishing, keys, keeping, inboxes, unnamed, unbegun, nodes)


@pytest.fixture(params=BROKERS)
async def case(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Case]:
    """Each broker in turn."""
    async with BROKERS[request.param](tmp_path / "data") as case:
        yield case


@pytest.mark.parametrize("name", PROMISES)
async def test_a_broker_keeps_its_promise(case: Case, name: str) -> None:
    """Each promise of the contract holds on each broker; its check says what it is.

    Some need what a test cannot make every broker do, as losing its state; in memory all of them are run.
    """
    made = PROMISES[name]
    if made.fits(case):
        await run(made, case)
    else:
        assert made.needs
        assert not isinstance(case.broker, MemoryBroker)


def test_every_promise_says_what_it_is() -> None:
    """Each check has its sentence, and is run once."""
    assert all((made.check.__doc__ or "").endswith(".") for made in PROMISES.values())
    assert {made.check.__module__ for made in PROMISES.values()} == {module.__name__ for module in MODULES}


def test_memory_offers_what_every_promise_needs() -> None:
    """No promise is left out on all brokers."""
    needs = {need for made in PROMISES.values() for need in made.needs}
    assert needs == {"advance", "lose", "nothing kept", "whole"}
