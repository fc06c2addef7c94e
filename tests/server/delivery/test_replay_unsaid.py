"""A replay to a dialect that has no message for some, or all, of what was missed."""

import pytest
from support.fakes import Listener
from trio.testing import wait_all_tasks_blocked

from tidings.protocol.catalogues import CATALOGUES
from tidings.protocol.dialects.single_login import SingleLoginDialect
from tidings.server.brokers.memory import MemoryBroker
from tidings.server.config import ChannelRule
from tidings.server.delivery.history import PAGE_PUBLICATIONS, Histories
from tidings.server.delivery.hub import Hub
from tidings.server.delivery.replay import Replay
from tidings.server.policies import Policies

ROOM = "room:lobby"
KEEPS = Policies({"*": ChannelRule(history_size=2_000)})
SAID, UNSAID = "force_logout", "notification"


@pytest.fixture
def broker(hub: Hub) -> MemoryBroker:
    """Keeps several pages."""
    broker = MemoryBroker(hub.deliver, policies=KEEPS)
    hub.release = broker.release
    return broker


async def publish(broker: MemoryBroker, *events: str) -> None:
    for event in events:
        await broker.publish(ROOM, event, b'{"reason":"maintenance","message":"Good night."}')


@pytest.mark.parametrize("piece", [1, 2048])
async def test_what_cannot_be_said_is_passed(hub: Hub, broker: MemoryBroker, piece: int) -> None:
    """From the history, from what came meanwhile and live: nothing is offered for it, and its offset is behind."""
    histories = Histories(hub, broker, KEEPS)
    bob = Listener(SingleLoginDialect(CATALOGUES["en"]), "bob")
    hub.connect(bob)
    await publish(broker, *[UNSAID] * PAGE_PUBLICATIONS, UNSAID, SAID, UNSAID)
    missed = PAGE_PUBLICATIONS + 3
    with hub.holding([ROOM]):
        hold = hub.hold_back(bob, ROOM, await broker.open(ROOM), limit=65536)
    assert hold is not None
    replay = Replay(hub, histories, bob, hold, 0, piece_bytes=piece, skips=lambda _publication: False)
    page = await replay.first_page()
    assert page is not None
    assert not replay.begin(page)
    assert (bob.offers, hub.sent_to(bob, ROOM)) == ([], PAGE_PUBLICATIONS)
    await publish(broker, UNSAID, SAID, UNSAID, UNSAID)
    await wait_all_tasks_blocked()
    assert bob.offers == []
    await replay.run()
    assert not hub.is_held(bob, ROOM)
    assert hub.sent_to(bob, ROOM) == missed + 4
    await publish(broker, UNSAID)
    await wait_all_tasks_blocked()
    assert hub.sent_to(bob, ROOM) == missed + 5
    assert all(bob.offers), "an empty offer"
    assert [message["type"] for message in bob.messages] == [SAID, SAID]
