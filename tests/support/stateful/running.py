"""Lets a plan happen to a world."""

import trio

from support.stateful.plans import Plan
from support.stateful.promised import Truth
from support.stateful.world import world


async def run(engine: str, plan: Plan, truth: Truth) -> None:
    """One example: everything must be right after each step, and nothing be left at the end."""
    async with world(
        engine, truth, broker_turns=plan.broker_turns, ending=plan.ending, has_log=plan.has_log
    ) as this:
        for connect in plan.first:
            await connect.happen(this)
        for operation, turns, channel in plan.steps:
            await operation.happen(this)
            for _ in range(turns):
                # So that whatever has begun meets publications that are pending, or a flush half done.
                if channel is not None:
                    await this.publish(channel, 10)
                await trio.lowlevel.checkpoint()
            this.check()
