"""What comes with the handshake in one piece, and who is told to go while something else is under way."""

from collections import Counter

import pytest
import trio
import trio.testing
from support.client import masked
from support.hostile import BAD_FRAMES, TOKEN, head
from support.served import served, with_handler
from support.site import Site
from support.tasks import living_tasks, peers_of, unharmed
from trio.testing import MockClock

from tidings.protocol.dialects.base import Command
from tidings.protocol.frames import Opcode
from tidings.protocol.messages.answers import Pong
from tidings.server.edge.session import Answer, Outcome, Session
from tidings.server.shutdown import drain


def _head(site: Site) -> bytes:
    return head().replace(TOKEN, site.token().encode())


async def test_commands_behind_the_head_are_served(site: Site, autojump_clock: MockClock) -> None:
    """A client need not wait for the 101: what it sends in the same segment is served after `connected`."""
    async with unharmed(site) as peers:
        client = await peers.open()
        ping = b"".join(masked(Opcode.TEXT, b'{"type":"ping","id":"%d"}' % number) for number in range(5))
        await client.send(_head(site) + ping)
        assert (await client.response())[0] == 101
        assert (await client.receive_json())["type"] == "connected"
        assert [(await client.receive_json())["id"] for _ in range(5)] == list("01234")


@pytest.mark.parametrize("name", [name for name, (sent, _) in BAD_FRAMES.items() if len(sent) < 20_000])
async def test_a_violation_behind_the_head_gets_its_code(
    site: Site, autojump_clock: MockClock, name: str
) -> None:
    """Bad frames in the segment of the handshake: first the whole 101, then the close code."""
    sent, code = BAD_FRAMES[name]
    async with unharmed(site) as peers:
        client = await peers.open()
        await client.send(_head(site) + sent)
        assert (await client.response())[0] == 101
        assert (await client.closed()).code == code
    assert site.server.context.hub.statistics().closes[code] == 1


async def test_a_close_behind_the_head_is_echoed(site: Site, autojump_clock: MockClock) -> None:
    """Whoever opens and closes in one breath gets both answers."""
    async with unharmed(site) as peers:
        client = await peers.open()
        await client.send(_head(site) + masked(Opcode.CLOSE, b"\x0f\xa0"))
        assert (await client.response())[0] == 101
        assert (await client.closed()).code == 4000
        assert await client.at_end()


class Steps(trio.abc.Instrument):
    """Counts how often each task was run."""

    def __init__(self) -> None:
        self.of: Counter[str] = Counter()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Count a step."""
        self.of[task.name] += 1


async def test_a_drain_waits_and_does_not_spin(autojump_clock: MockClock) -> None:
    """A client whose own close is not read yet, behind a slow handler, is waited for, asleep."""

    async def slow(session: Session, command: Command) -> Outcome:
        await trio.sleep(5)
        return Answer("pong", Pong())

    async with served(with_handler("stats", slow)) as site:
        with living_tasks() as tasks:
            async with peers_of(site) as peers:
                client = await peers.connect()
                await client.send_json({"type": "stats"})
                await client.send_close(1000)
                await trio.testing.wait_all_tasks_blocked()
                steps = Steps()
                trio.lowlevel.add_instrument(steps)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(drain, site.server.context, site.server.front, name="drain")
                    for _ in range(500):
                        await trio.lowlevel.checkpoint()
                    nursery.cancel_scope.cancel()
                trio.lowlevel.remove_instrument(steps)
                assert steps.of["drain"] < 50
                await client.aclose()
            assert tasks.living == 0
