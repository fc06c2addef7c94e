"""Connections that are about to end, and the last line of the log about them."""

import pytest
import structlog.testing
import trio
import trio.testing
from support.served import WallClock, served, with_handler
from support.site import Site, configured, memory_site
from support.tasks import peers_of
from trio.testing import MockClock

from tidings.protocol.dialects.base import Command
from tidings.protocol.messages.answers import Pong
from tidings.server.config import Server as ServerSection
from tidings.server.edge.session import Answer, Outcome, Session


async def test_a_token_that_ends_behind_the_peers_close_costs_nothing(autojump_clock: MockClock) -> None:
    """The peer's close is answered behind a slow handler's back, the token ends meanwhile: the heartbeat sleeps on.

    So it is with an engine that reads ahead. One that does not has not seen the close yet: its own stands.
    """

    async def slow(session: Session, command: Command) -> Outcome:
        await trio.sleep(6)
        return Answer("pong", Pong())

    class Watched(WallClock):
        """A clock that does not put up with being asked for ever: virtual time stands still meanwhile."""

        asked = 0

        def __call__(self) -> float:
            self.asked += 1
            assert self.asked < 1000, "the heartbeat spins"
            return super().__call__()

    config = configured(server=ServerSection(engine="reference"))
    async with served(with_handler("stats", slow, config)) as site, peers_of(site) as peers:
        Watched(site)
        client = await peers.connect(ttl=3)
        await client.receive_json()  # token_expiring
        await client.send_json({"type": "stats"})
        await client.send_close(1000)
        await site.server.context.admission.wait_empty()
        assert trio.current_time() == pytest.approx(6)
        assert site.server.context.hub.statistics().closes == {1000: 1}


async def test_a_cancelled_connection_is_logged_too(autojump_clock: MockClock) -> None:
    """Connections cut off by a hard end, over a stream as TLS has it, are logged as disconnected, each once."""
    with structlog.testing.capture_logs() as logs:
        async with memory_site() as site:
            for user in ("alice", "bob"):
                await site.connect(user)
    ended = [line for line in logs if line["event"] == "disconnected"]
    assert sorted(line["user"] for line in ended) == ["alice", "bob"]
    assert {line["code"] for line in ended} == {1006}


@pytest.mark.parametrize("name", ["joined", "left", "presence", "history", "acked", "pong", "disconnect"])
async def test_control_types_cannot_be_published(site: Site, autojump_clock: MockClock, name: str) -> None:
    """What only the server says of a connection is `forbidden` as an event, to admins too, said yet or not."""
    admin = await site.connect("admin", roles=["admin"])
    answer = await admin.command("publish", {"channel": "all", "event": name, "payload": {}})
    assert (answer["type"], answer["data"]["code"]) == ("error", "forbidden")
