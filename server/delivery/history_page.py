"""One page of a channel's history, for whoever asks what there was."""

from collections.abc import Callable

import msgspec

from tidings.protocol.messages.answers import HistoryPage, Kept
from tidings.protocol.positions import Position
from tidings.protocol.publications import Publication, iso_milliseconds
from tidings.protocol.recovery import judge
from tidings.server.brokers.base import Broker


async def read_page(
    broker: Broker,
    channel: str,
    since: Position | None,
    *,
    limit: int,
    most_bytes: int,
    skips: Callable[[Publication], bool],
) -> HistoryPage:
    """What a channel keeps after a position, oldest first; without one, from the oldest kept.

    At most `limit` publications, and no more than the first that brings their payloads to `most_bytes`. Those
    that `skips` says are not for who asks are passed over. A position that cannot be gone on from is no error: the
    page begins with the oldest kept, and is not `complete`. Raises BrokerUnavailable. Cancelling is safe.
    """
    after = 0 if since is None else max(0, since.offset)
    found = await broker.history(channel, after, limit=limit, most_bytes=most_bytes)
    verdict = "recoverable" if since is None else judge(since, found.position, found.first)
    if after and verdict not in ("recoverable", "trimmed"):
        # Offsets of another life of the channel say nothing about this one.
        after = 0
        found = await broker.history(channel, after, limit=limit, most_bytes=most_bytes)
    head = found.position
    kept: list[Kept] = []
    size = 0
    while found.publications:
        for publication in found.publications:
            if not skips(publication):
                kept.append(_kept(publication))
                size += len(publication.payload)
        after = found.publications[-1].offset
        # All that was read may have been passed over: then whoever asks for what follows the last that is told
        # would never get any further.
        if after >= head.offset or len(kept) >= limit or size >= most_bytes:
            break
        found = await broker.history(channel, after, limit=limit - len(kept), most_bytes=most_bytes - size)
        # Trimmed or begun anew meanwhile: what was read stands, and the rest is the next page's.
        if found.position.epoch != head.epoch or found.first > after + 1:
            break
    return HistoryPage(channel, kept, head.epoch, head.offset, complete=verdict == "recoverable")


def _kept(publication: Publication) -> Kept:
    return Kept(
        type=publication.event,
        channel=publication.channel,
        offset=publication.offset,
        timestamp=iso_milliseconds(publication.time_ms),
        data=msgspec.Raw(publication.payload),
        user_id=publication.user_id,
    )
