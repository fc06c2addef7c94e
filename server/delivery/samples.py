"""The last ten minutes, a sample every two seconds: whoever looks now also sees what led to it."""

import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from tidings.protocol.close_codes import CloseCode
from tidings.server.delivery.figures import Flow
from tidings.server.delivery.hub import Hub
from tidings.server.delivery.tally import Counts, Percentiles, Tally

SAMPLE_SECONDS = 2.0

# Ten minutes, in some 250 KiB.
KEPT = 300

# Percentiles are of the last minute: fewer round trips than that have no 99th.
_WINDOW = 30

# A sample's own percentile is of ten seconds: of two, a quiet server has nothing to tell.
_SHORT_WINDOW = 5

# Channels' rates are of the last ten to twenty seconds.
_TRAFFIC_SAMPLES = 5

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_STATM = Path("/proc/self/statm")

_Seconds = Annotated[
    float | None, msgspec.Meta(description="In seconds, of the last ten; null where nothing happened.")
]


class Sample(msgspec.Struct, frozen=True):
    """What has happened since the sample before, and what there was at its end."""

    at: Annotated[
        int, msgspec.Meta(description="Unix milliseconds; each sample's is higher than the last.")
    ]
    seconds: Annotated[float, msgspec.Meta(description="How long ago the sample before was taken.")]
    connections: Annotated[int, msgspec.Meta(description="At the end.")]
    channels: Annotated[int, msgspec.Meta(description="At the end.")]
    publications: int
    deliveries: int
    encodings: int
    requests: Annotated[int, msgspec.Meta(description="HTTP requests that were answered.")]
    closes: Annotated[int, msgspec.Meta(description="Connections that have ended, for whatever reason.")]
    slow_consumers: Annotated[int, msgspec.Meta(description="Those of them that ended with 3008.")]
    refusals: int
    cpu_seconds: Annotated[float, msgspec.Meta(description="Of the process, all its threads together.")]
    resident_bytes: Annotated[
        int | None, msgspec.Meta(description="Memory at the end; null where the system does not tell.")
    ]
    fanout_p99: _Seconds
    lag_p99: _Seconds
    request_p99: _Seconds


class _Moment(msgspec.Struct, frozen=True):
    """All counters at one moment: two of them make a sample."""

    clock: float
    flow: Flow
    cpu: float
    refusals: int
    tallies: tuple[Counts, Counts, Counts]


class Samples:
    """Takes samples when told, and keeps ten minutes of them. Walks nobody: a quarter of a millisecond each."""

    def __init__(
        self,
        hub: Hub,
        refusals: Mapping[tuple[str, str], int],
        *,
        fanout: Tally,
        lag: Tally,
        requests: Tally,
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.process_time,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Take what is counted elsewhere."""
        self._hub = hub
        self._refusals = refusals
        self._tallies = (fanout, lag, requests)
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._wall_clock = wall_clock
        self._samples: deque[Sample] = deque(maxlen=KEPT)
        self._moments: deque[_Moment] = deque([self._moment()], maxlen=_WINDOW + 1)
        self._last_at = 0
        self._traffic: dict[str, int] = {}
        """Publications by channel, of the stretch before the one that the hub is counting."""
        self._traffic_began = self._clock()
        self._traffic_turned = self._traffic_began
        self._taken = 0

    def take(self) -> None:
        """Take a sample. To be called every `SAMPLE_SECONDS`."""
        before, now = self._moments[-1], self._moment()
        self._moments.append(now)
        short = self._moments[-min(_SHORT_WINDOW + 1, len(self._moments))]
        slow = int(CloseCode.SLOW_CONSUMER)
        # A clock that was set back must not make a sample look older than those that somebody has.
        self._last_at = max(int(self._wall_clock() * 1000), self._last_at + 1)
        fanout, lag, requests = self._percentiles(short, now)
        self._samples.append(
            Sample(
                at=self._last_at,
                seconds=round(now.clock - before.clock, 3),
                connections=now.flow.connections,
                channels=now.flow.channels,
                publications=now.flow.publications - before.flow.publications,
                deliveries=now.flow.deliveries - before.flow.deliveries,
                encodings=now.flow.encodings - before.flow.encodings,
                requests=sum(now.tallies[2]) - sum(before.tallies[2]),
                closes=sum(now.flow.closes.values()) - sum(before.flow.closes.values()),
                slow_consumers=now.flow.closes.get(slow, 0) - before.flow.closes.get(slow, 0),
                refusals=now.refusals - before.refusals,
                cpu_seconds=round(now.cpu - before.cpu, 4),
                resident_bytes=_resident_bytes(),
                fanout_p99=fanout.p99,
                lag_p99=lag.p99,
                request_p99=requests.p99,
            )
        )
        self._taken += 1
        if self._taken % _TRAFFIC_SAMPLES == 0:
            self._traffic = self._hub.take_traffic()
            self._traffic_began, self._traffic_turned = self._traffic_turned, now.clock

    def after(self, at: int) -> list[Sample]:
        """Those later than one that somebody has; 0 for all, oldest first."""
        return [sample for sample in self._samples if sample.at > at]

    def last_minute(self) -> tuple[Percentiles, Percentiles, Percentiles]:
        """Of fan-outs, of the loop's lag, and of HTTP requests, until now."""
        return self._percentiles(self._moments[0], self._moment())

    def traffic(self) -> tuple[Mapping[str, int], float]:
        """Publications by channel in the last ten to twenty seconds, and how many seconds these are."""
        counted = dict(self._traffic)
        for name, count in self._hub.traffic.items():
            counted[name] = counted.get(name, 0) + count
        # Right after the start, too, one publication is not hundreds a second.
        return counted, max(self._clock() - self._traffic_began, SAMPLE_SECONDS)

    def _moment(self) -> _Moment:
        fanout, lag, requests = self._tallies
        return _Moment(
            clock=self._clock(),
            flow=self._hub.flow,
            cpu=self._cpu_clock(),
            refusals=sum(self._refusals.values()),
            tallies=(fanout.counts, lag.counts, requests.counts),
        )

    def _percentiles(self, before: _Moment, now: _Moment) -> tuple[Percentiles, Percentiles, Percentiles]:
        fanout, lag, requests = (
            tally.percentiles(*stretch)
            for tally, *stretch in zip(self._tallies, before.tallies, now.tallies, strict=True)
        )
        return fanout, lag, requests


def _resident_bytes() -> int | None:
    """The process's memory. A file that the kernel makes up: reading it waits for no disk."""
    try:
        return int(_STATM.read_bytes().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return None
