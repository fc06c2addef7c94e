"""Any broker against a model: histories, inboxes, keys and time, in any order."""

import tempfile
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from support.broker_contract.factories import BROKERS, Factory
from support.broker_contract.model import STEPS, Model

Steps = list[tuple[str, ...]]


def run(factory: Factory, steps: Steps) -> None:
    """Take the steps with a new broker."""

    async def main() -> None:
        with tempfile.TemporaryDirectory() as directory:
            async with factory(Path(directory) / "data") as case:
                await Model(case).run(steps)

    trio.run(main)


@given(STEPS)
def test_memory_does_as_the_model(steps: Steps) -> None:
    """The broker of a single process."""
    run(BROKERS["memory"], steps)


@pytest.mark.parametrize("name", [name for name in BROKERS if name != "memory"])
@settings(max_examples=40)
@given(steps=STEPS)
def test_others_do_as_the_model(name: str, steps: Steps) -> None:
    """The others, with what they have of threads and disks: fewer examples."""
    run(BROKERS[name], steps)
