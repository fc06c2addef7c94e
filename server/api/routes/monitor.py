"""How the server fares, for whoever watches it: figures, rates, latencies, and who is slow or loud."""

import heapq
import time
from collections.abc import Mapping
from operator import itemgetter
from typing import Annotated

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter

from tidings.server.access import admins_only
from tidings.server.answers import SECURITY, answers
from tidings.server.api.monitor_bodies import ChannelLoad, Latencies, MonitorReport, RefusalCount, Totals
from tidings.server.delivery.hub import Hub
from tidings.server.delivery.survey import Survey, Surveyor
from tidings.server.metrics import Metrics

# Of connections and of channels: as many as a person looks at.
MOST = 10

# What a sample's `at` can be: a JavaScript number holds it, and no clock reaches it.
_MOST_AT = 2**53


def monitor(hub: Hub, metrics: Metrics, *, started: float, version: str) -> HTTPRouteHandler:
    """The route. `started` is on `time.monotonic`."""
    surveyor = Surveyor(hub, most=MOST)

    @get(
        "/monitor",
        operation_id="monitor",
        summary="How the server fares",
        description="Totals, the last minute's latencies, the slowest connections, the largest and the loudest "
        "channels, and a sample of everything every two seconds. Ask every two seconds, with the last sample's "
        "`at` as `after`.",
        guards=[admins_only],
        security=SECURITY,
        tags=["inspection"],
        responses=answers(),
    )
    async def report(
        after: Annotated[
            int,
            Parameter(
                description="Only samples later than this one's `at`; without it, all of the last ten minutes.",
                ge=0,
                le=_MOST_AT,
            ),
        ] = 0,
    ) -> MonitorReport:
        survey = await surveyor.survey()
        # No await from here on: the counters are of one moment.
        fanout, lag, requests = metrics.samples.last_minute()
        traffic, seconds = metrics.samples.traffic()

        def load(channel: str, subscribers: int) -> ChannelLoad:
            return ChannelLoad(channel, subscribers, round(traffic.get(channel, 0) / seconds, 2))

        return MonitorReport(
            version=version,
            uptime_seconds=round(time.monotonic() - started, 3),
            totals=_totals(hub, survey),
            latencies=Latencies(fanout, lag, requests),
            refusals=[
                RefusalCount(where, cause, count)
                for (where, cause), count in sorted(
                    metrics.refusals.items(), key=lambda each: (-each[1], each[0])
                )
            ],
            deepest_outboxes=survey.deepest,
            largest_channels=[load(each.channel, each.subscribers) for each in survey.largest],
            loudest_channels=[load(name, hub.size_of(name)) for name in _loudest(traffic)],
            samples=metrics.samples.after(after),
        )

    return report


def _totals(hub: Hub, survey: Survey) -> Totals:
    flow = hub.flow
    return Totals(
        connections=flow.connections,
        users=hub.users,
        channels=flow.channels,
        subscriptions=hub.subscriptions,
        publications=flow.publications,
        deliveries=flow.deliveries,
        encodings=flow.encodings,
        bytes_sent=survey.bytes_sent,
        outbox_bytes=survey.outbox_bytes,
        waiting=survey.waiting,
        closes={str(code): count for code, count in sorted(flow.closes.items())},
    )


def _loudest(traffic: Mapping[str, int]) -> list[str]:
    # By name where they are alike: the list must not dance while nothing changes.
    loudest = heapq.nlargest(MOST, traffic.items(), key=itemgetter(1))
    return [name for name, _ in sorted(loudest, key=lambda each: (-each[1], each[0]))]
