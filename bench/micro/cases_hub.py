"""The hub: who comes, who goes, and one publication to everybody, with real outboxes and no sockets.

A socket that takes everything costs a call of `len`; so what is measured is all that a fan-out costs beside
the system calls.
"""

from collections.abc import Callable
from functools import partial

import pytest
import trio

from tidings.bench.micro.cases_encode import publication
from tidings.bench.micro.members import EPOCH, ROOM, Member, room
from tidings.bench.micro.plugin import Measure
from tidings.bench.micro.results import Sizes
from tidings.bench.micro.wire import finished
from tidings.bench.wire import TEXT
from tidings.protocol.dialects.native import NativeDialect
from tidings.protocol.frames import build_frame
from tidings.protocol.messages.builtin import builtin_registry
from tidings.protocol.positions import Position
from tidings.protocol.publications import Publication
from tidings.server.brokers.memory import MemoryBroker
from tidings.server.delivery.hub import Hub

GROUP = "hub"

_JSON = NativeDialect(builtin_registry())
_BURST = 10


def _frame(of: Publication) -> bytes:
    message = _JSON.encode_publication(of)
    assert message is not None
    return build_frame(TEXT, message)


def _got(hub: Hub, members: list[Member], each: int) -> bool:
    """Whether the sockets took so many bytes for each, and nothing went round by an outbox."""
    by_outbox = sum(member.bytes_sent + member.pending_bytes for member in members)
    return hub.statistics().bytes_sent == each * len(members) and not by_outbox


def case_publish(measure: Measure, text: Callable[[int], str], sizes: Sizes) -> None:
    """Delivered and flushed in the publisher's own step: encoded once, framed once, offered to all."""
    hub, members = room(_JSON, sizes.subscribers)
    said = publication(text(sizes.payload))

    def publish() -> None:
        hub.deliver(said)
        hub.settle(members[0])

    measure(
        f"publish and flush {sizes.payload:,} B to {sizes.subscribers:,}",
        publish,
        verify=lambda _: _got(hub, members, len(_frame(said))),
        per=sizes.subscribers,
        each="subscriber",
    )


@pytest.mark.parametrize("together", [False, True], ids=["apart", "together"])
def case_flusher(measure: Measure, text: Callable[[int], str], sizes: Sizes, together: bool) -> None:
    """The same by the flusher's task, which yields every 1,000 offers; a burst is joined into one offer each."""
    hub, members = room(_JSON, sizes.subscribers)
    said = publication(text(sizes.payload))

    async def burst() -> None:
        flushed = trio.Event()
        hub.observe_fanout = lambda _seconds: flushed.set()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hub.run_flusher)
            for number in range(_BURST):
                hub.deliver(said)
                if not together or number == _BURST - 1:
                    await flushed.wait()
                    flushed = trio.Event()
            nursery.cancel_scope.cancel()

    measure(
        f"{_BURST} publications of {sizes.payload:,} B through the flusher to {sizes.subscribers:,}, "
        + ("in one tick" if together else "each in a tick of its own"),
        partial(trio.run, burst),
        verify=lambda _: _got(hub, members, _BURST * len(_frame(said))),
        per=_BURST * sizes.subscribers,
        each="delivery",
    )


def case_subscribe(measure: Measure, sizes: Sizes) -> None:
    """One more in a large room, and out again."""
    hub, _ = room(_JSON, sizes.subscribers)
    newcomer = Member(sizes.subscribers, _JSON)
    hub.connect(newcomer)
    position = Position(EPOCH, 0)

    def come_and_go() -> tuple[bool, bool, bool]:
        hub.subscribe(newcomer, ROOM, position)
        inside = hub.is_subscribed(newcomer, ROOM)
        return inside, hub.unsubscribe(newcomer, ROOM), hub.is_subscribed(newcomer, ROOM)

    measure(
        f"subscribe and unsubscribe, in a room of {sizes.subscribers:,}",
        come_and_go,
        verify=lambda found: found == (True, True, False),
    )


def case_new_channel(measure: Measure) -> None:
    """The first in a channel, and the last: it is made and forgotten."""
    released: list[str] = []
    hub = Hub(release=released.append)
    member = Member(0, _JSON)
    hub.connect(member)
    position = Position(EPOCH, 0)

    def come_and_go() -> list[str]:
        released.clear()
        hub.subscribe(member, ROOM, position)
        hub.unsubscribe(member, ROOM)
        return list(released)

    measure(
        "subscribe and unsubscribe, alone in a channel",
        come_and_go,
        verify=lambda found: found == [ROOM],
    )


def case_connect(measure: Measure, sizes: Sizes) -> None:
    """A connection that comes and goes beside the others."""
    hub, _ = room(_JSON, sizes.subscribers)
    member = Member(sizes.subscribers, _JSON)

    def come_and_go() -> tuple[int, int]:
        hub.connect(member)
        during = hub.connections
        hub.disconnect(member)
        return during, hub.connections

    measure(
        f"connect and disconnect, beside {sizes.subscribers:,}",
        come_and_go,
        verify=lambda found: found == (sizes.subscribers + 1, sizes.subscribers),
    )


def case_broker(measure: Measure, text: Callable[[int], str], sizes: Sizes) -> None:
    """The broker's part of a publication: its position, and the hub that nobody listens at."""
    hub = Hub()
    broker = MemoryBroker(hub.deliver)
    payload = publication(text(sizes.payload)).payload
    before = finished(broker.publish(ROOM, "room_message", payload))

    measure(
        "a position from the broker",
        lambda: finished(broker.publish(ROOM, "room_message", payload)),
        verify=lambda receipt: receipt.position == Position(before.epoch, before.offset + 1),
    )
