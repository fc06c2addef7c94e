"""What the server is doing: its figures, its channels, and its metrics."""

import time
from collections.abc import Sequence
from typing import Annotated

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter

from tidings.server.access import admins_only
from tidings.server.answers import SECURITY, answers
from tidings.server.api.messages import ChannelEntry, ChannelPage, ServerReport
from tidings.server.delivery.hub import Hub
from tidings.server.metrics import CONTENT_TYPE, Metrics

# As many as a person reads.
CHANNELS_PER_PAGE = 100


def inspection(hub: Hub, *, started: float, version: str, most_channels: int) -> Sequence[HTTPRouteHandler]:
    """The routes under /api/v1. `started` is on `time.monotonic`; `most_channels` is the longest page."""

    @get(
        "/stats",
        operation_id="serverStats",
        summary="The server's figures",
        guards=[admins_only],
        security=SECURITY,
        tags=["inspection"],
        responses=answers(),
    )
    async def stats() -> ServerReport:
        figures = msgspec.structs.asdict(hub.statistics())
        figures["closes"] = {str(code): count for code, count in sorted(figures["closes"].items())}
        return ServerReport(**figures, uptime_seconds=round(time.monotonic() - started, 3), version=version)

    @get(
        "/channels",
        operation_id="listChannels",
        summary="Channels that somebody is subscribed to",
        description="Sorted by name, page by page.",
        guards=[admins_only],
        security=SECURITY,
        tags=["inspection"],
        responses=answers(),
    )
    async def channels(
        prefix: Annotated[
            str, Parameter(description="Only channels whose names begin so, as `room:`.", max_length=256)
        ] = "",
        after: Annotated[
            str,
            Parameter(
                description="Only channels behind this name: the last page's `next`.", max_length=256
            ),
        ] = "",
        limit: Annotated[int, Parameter(description="Channels in a page.", ge=1, le=most_channels)] = min(
            CHANNELS_PER_PAGE, most_channels
        ),
    ) -> ChannelPage:
        # One more than asked for tells whether there is another page.
        found = hub.channel_states(prefix=prefix, after=after, most=limit + 1)
        page = [ChannelEntry(*msgspec.structs.astuple(state)) for state in found[:limit]]
        return ChannelPage(page, page[-1].channel if len(found) > limit else None)

    return [stats, channels]


def metrics_route(metrics: Metrics) -> HTTPRouteHandler:
    """`/metrics`."""

    @get(
        "/metrics",
        operation_id="metrics",
        summary="Metrics for Prometheus",
        description="In the text format 0.0.4.",
        guards=[admins_only],
        security=SECURITY,
        tags=["inspection"],
        media_type="text/plain",
        responses=answers(),
    )
    async def scrape() -> Response[str]:
        return Response(metrics.scrape().decode(), media_type=CONTENT_TYPE)

    return scrape
