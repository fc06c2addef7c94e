"""What the hub survives: faults of a dialect."""

import msgspec
import pytest
from structlog.testing import capture_logs
from support.fakes import JSON, Listener, join, publish
from trio.testing import wait_all_tasks_blocked

from tidings.protocol.dialects.base import Command
from tidings.protocol.errors import ErrorCode, Refusal
from tidings.protocol.publications import Publication
from tidings.server.brokers.memory import MemoryBroker
from tidings.server.delivery.hub import Hub

ROOM = "room:lobby"


# ruff: noqa: ARG002  a dialect takes what every dialect takes


class OddDialect:
    """A dialect with a fault: it has no word for `silence`, and raises on `fault`."""

    name = "odd"
    subprotocol = None
    binary = False
    needs_token = False
    confirmations = frozenset[str]()
    acknowledges = True
    has_inbox = True
    by_door = False

    def decode(self, message: str | bytes) -> Command | Refusal:
        """Understands nothing."""
        return Refusal(ErrorCode.BAD_REQUEST, "not understood")

    def encode_answer(
        self, kind: str, data: msgspec.Struct, time_ms: int, command_id: str | None = None
    ) -> bytes | None:
        """Has no answers."""
        return None

    def encode_publication(self, publication: Publication) -> bytes | None:
        """The offset alone."""
        if publication.event == "silence":
            return None
        if publication.event == "fault":
            raise RecursionError("a fault of the dialect")
        return b'{"channel":"%s","offset":%d}' % (publication.channel.encode(), publication.offset)

    def encode_unauthorized(self, *, given: bool) -> bytes | None:
        """The server's own."""
        return None


ODD = OddDialect()


async def test_a_dialect_that_raises_costs_one_message(hub: Hub, broker: MemoryBroker) -> None:
    """The fault is logged, its neighbours and all other dialects get everything, the flusher lives on."""
    odd, alice = Listener(ODD), Listener(JSON)
    await join(hub, broker, ROOM, odd, alice)
    with capture_logs() as logs:
        for event in ("news", "fault", "news"):
            await broker.publish(ROOM, event, b"{}")
        await wait_all_tasks_blocked()
    assert odd.offsets(ROOM) == [1, 3]
    assert alice.offsets(ROOM) == [1, 2, 3]
    [entry] = logs
    assert (entry["log_level"], entry["dialect"], entry["event_type"]) == ("error", "odd", "fault")
    await publish(broker, ROOM)
    await wait_all_tasks_blocked()
    assert odd.offsets(ROOM) == [1, 3, 4]


@pytest.mark.parametrize("event", ["silence", "fault"])
async def test_a_dialect_without_the_message_sends_nothing(
    hub: Hub, broker: MemoryBroker, event: str
) -> None:
    """No word for a publication means no offer at all, not an empty one, and no delivery is counted."""
    odd, alice = Listener(ODD), Listener(JSON)
    await join(hub, broker, ROOM, odd, alice)
    with capture_logs():
        await broker.publish(ROOM, event, b"{}")
        await wait_all_tasks_blocked()
    assert odd.offers == []
    assert alice.offsets(ROOM) == [1]
    assert (hub.statistics().encodings, hub.statistics().deliveries) == (1, 1)
    await publish(broker, ROOM)
    await wait_all_tasks_blocked()
    assert odd.offsets(ROOM) == [2]


async def test_a_fault_in_a_step_of_the_publishers_own_does_not_reach_it(
    hub: Hub, broker: MemoryBroker
) -> None:
    """Where a subscriber's step flushes, the fault is contained there too."""
    odd = Listener(ODD)
    await join(hub, broker, ROOM, odd)
    with capture_logs() as logs:
        await broker.publish(ROOM, "fault", b"{}")
        [position] = await join(hub, broker, ROOM, odd)
    assert (position.offset, len(logs), odd.offers) == (1, 1, [])
