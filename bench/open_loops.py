"""The open loops of `fanout`: each server alone, at the same rate, latency from when a message was due."""

from dataclasses import dataclass

import trio

from tidings.bench.contest import Entry, settled
from tidings.bench.observe import cpu_seconds
from tidings.bench.replies import Done, FleetState, OpenRun, Quantiles

# More than this of the load still to be delivered, and a server does not keep up: waiting longer would only
# make its latencies those of the time that somebody waited.
BACKLOG_SECONDS = 1.0

# Of the messages wanted; what is sent late counts from when it was due, what is never sent counts nowhere.
_KEPT_SHARE = 0.99

_PHASE = "open"


@dataclass(frozen=True)
class OpenResult:
    """One server under a set rate."""

    overloaded: bool
    seconds: float
    published: int
    latency: Quantiles
    cpu: float
    """Server CPU seconds a delivery."""
    load_share: float
    """CPU time of the load process against wall time."""
    wanted: float
    """Messages that should have been published by the end."""

    @property
    def cut_short(self) -> bool:
        """Whether the load did not keep to its own rate, though nothing was said of the server."""
        return not self.overloaded and self.published < _KEPT_SHARE * self.wanted - 1


async def open_loop(
    entry: Entry, *, rate: float, members: float, payload: int, seconds: float, seed: str
) -> OpenResult:
    """Publish at a rate to rooms of so many members, until the time is over or the server has fallen behind.

    Raises ChildFailed.
    """
    clients = entry.clients
    before = await settled(entry)
    cpu = cpu_seconds(entry.server.pid)
    await clients.ask(Done, "phase", name=_PHASE)
    await clients.ask(
        Done,
        "load",
        rate=rate,
        payload=payload,
        seed=seed,
        # Never less than two messages under way: one is no backlog.
        backlog=max(BACKLOG_SECONDS * rate, 2.0) * members,
        acknowledged=False,
        steady=True,
    )
    await trio.sleep(seconds)
    ended = await clients.ask(OpenRun, "load_end")
    share = (await clients.ask(FleetState, "state")).load_share
    after = await settled(entry)
    cpu = cpu_seconds(entry.server.pid) - cpu
    latency = await clients.ask(Quantiles, "latency", phase=_PHASE)
    await clients.keep_samples(_PHASE, f"open-{clients.name}")
    await clients.ask(Done, "phase", name="all")
    deliveries = max(after.received - before.received, 1)
    return OpenResult(
        ended.overloaded,
        ended.seconds,
        ended.published,
        latency,
        cpu / deliveries,
        share,
        rate * seconds,
    )
