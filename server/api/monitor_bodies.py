"""What `/api/v1/monitor` answers."""

from typing import Annotated

from msgspec import Meta, Struct

from tidings.server.delivery.samples import Sample
from tidings.server.delivery.survey import WaitingOutbox
from tidings.server.delivery.tally import Percentiles


class Totals(Struct, frozen=True):
    """What there is now, and what has happened since the server started."""

    connections: int
    users: int
    channels: int
    subscriptions: int
    publications: Annotated[int, Meta(description="That entered the hub.")]
    deliveries: Annotated[int, Meta(description="Publications offered to a subscriber.")]
    encodings: Annotated[int, Meta(description="Publications encoded, once for each dialect.")]
    bytes_sent: Annotated[int, Meta(description="Handed to the kernel for connections.")]
    outbox_bytes: Annotated[int, Meta(description="That wait for slow connections now.")]
    waiting: Annotated[int, Meta(description="Connections that they wait for.")]
    closes: Annotated[dict[str, int], Meta(description="Ended connections by close code.")]


class RefusalCount(Struct, frozen=True):
    """How often somebody was refused somewhere, for one cause."""

    where: Annotated[str, Meta(examples=["handshake"])]
    cause: Annotated[str, Meta(description="An error code or an HTTP status.", examples=["forbidden"])]
    count: int


class ChannelLoad(Struct, frozen=True):
    """A channel that is large or loud."""

    channel: str
    subscribers: int
    publications_per_second: Annotated[float, Meta(description="Over the last ten to twenty seconds.")]


class Latencies(Struct, frozen=True):
    """How long things took in the last minute."""

    fanout: Annotated[Percentiles, Meta(description="A round of fan-out.")]
    lag: Annotated[Percentiles, Meta(description="How late the event loop's timers are.")]
    requests: Annotated[Percentiles, Meta(description="HTTP requests, the wait for their bodies included.")]


class MonitorReport(Struct, frozen=True):
    """How the server fares. What takes a walk over all connections is at most a second old."""

    version: str
    uptime_seconds: float
    totals: Totals
    latencies: Latencies
    refusals: Annotated[list[RefusalCount], Meta(description="The most frequent first.")]
    deepest_outboxes: Annotated[
        list[WaitingOutbox],
        Meta(description="The ten connections that the most bytes wait for, the slowest first."),
    ]
    largest_channels: Annotated[list[ChannelLoad], Meta(description="The ten with the most subscribers.")]
    loudest_channels: Annotated[
        list[ChannelLoad], Meta(description="The ten with the most publications, and a subscriber.")
    ]
    samples: Annotated[
        list[Sample],
        Meta(description="One every two seconds, of the last ten minutes or after `after`, oldest first."),
    ]
