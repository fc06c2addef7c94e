"""What Prometheus is told. Every server has a registry of its own, so that two in one process do not mix."""

from collections.abc import Iterable, Mapping

import trio
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from tidings.server.brokers.base import Broker
from tidings.server.delivery.history import Histories
from tidings.server.delivery.hub import Hub
from tidings.server.delivery.samples import SAMPLE_SECONDS, Samples
from tidings.server.delivery.tally import Tally

# Litestar adds the charset.
CONTENT_TYPE = "text/plain; version=0.0.4"

# A fan-out to one takes some 20 µs, to 10,000 some 50 ms; past a second something is wrong.
FANOUT_BUCKETS = (
    50e-6,
    100e-6,
    250e-6,
    500e-6,
    1e-3,
    2.5e-3,
    5e-3,
    10e-3,
    25e-3,
    50e-3,
    100e-3,
    250e-3,
    500e-3,
    1.0,
)

# Timers of a quiet loop are late by a fraction of a millisecond.
LAG_BUCKETS = (500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 500e-3, 1.0, 2.5)

REQUEST_BUCKETS = (
    250e-6,
    500e-6,
    1e-3,
    2.5e-3,
    5e-3,
    10e-3,
    25e-3,
    50e-3,
    100e-3,
    250e-3,
    500e-3,
    1.0,
    5.0,
    15.0,
)

# Often enough to see a stall of a quarter of a second, seldom enough to cost nothing.
LAG_INTERVAL = 0.25

_LAGS_PER_SAMPLE = round(SAMPLE_SECONDS / LAG_INTERVAL)

# Whatever a client makes up shares one label: labels live as long as the process.
OTHER = "other"

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """The metrics of one server: what the hub counts is read at each scrape, the rest is observed."""

    def __init__(
        self,
        hub: Hub,
        refusals: Mapping[tuple[str, str], int],
        *,
        broker: Broker | None = None,
        histories: Histories | None = None,
        recoveries: Mapping[str, int] | None = None,
    ) -> None:
        """Take the hub, whose fan-out is observed from now on, and the counter of refusals by where and why.

        `recoveries` counts clients that came back to a channel, by what became of it.
        """
        self._registry = CollectorRegistry()
        self._registry.register(_HubCollector(hub, refusals))
        self._registry.register(
            _DeliveryCollector(broker, histories, {} if recoveries is None else recoveries)
        )
        ProcessCollector(registry=self._registry)
        fanout = Histogram(
            "tidings_fanout_seconds",
            "Time of one round of fan-out.",
            buckets=FANOUT_BUCKETS,
            registry=self._registry,
        )
        fanouts = Tally(FANOUT_BUCKETS)

        def observe_fanout(seconds: float) -> None:
            fanout.observe(seconds)
            fanouts.observe(seconds)

        hub.observe_fanout = observe_fanout
        self._lag = Histogram(
            "tidings_loop_lag_seconds",
            "How late the event loop's timers are.",
            buckets=LAG_BUCKETS,
            registry=self._registry,
        )
        self._requests = Counter(
            "tidings_http_requests",
            "HTTP requests that the application answered.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self._request_seconds = Histogram(
            "tidings_http_request_seconds",
            "Time from a request's head to its answer, the wait for its body included.",
            ("route",),
            buckets=REQUEST_BUCKETS,
            registry=self._registry,
        )
        self.refusals = refusals
        """How often somebody was refused, by where and why."""
        self._lags, self._durations = Tally(LAG_BUCKETS), Tally(REQUEST_BUCKETS)
        self.samples = Samples(hub, refusals, fanout=fanouts, lag=self._lags, requests=self._durations)
        """The last ten minutes, while `watch_lag` runs."""
        # `labels` looks up under a lock and builds a tuple of strings; these are few and always the same.
        self._counters: dict[tuple[str, str, int], Counter] = {}
        self._histograms: dict[str, Histogram] = {}

    def observe_request(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """Count an answered request. `route` is the path's template, None where there is no such path."""
        key = (method if method in _METHODS else OTHER, route or OTHER, status)
        counter = self._counters.get(key)
        if counter is None:
            counter = self._counters[key] = self._requests.labels(*map(str, key))
        counter.inc()
        histogram = self._histograms.get(key[1])
        if histogram is None:
            histogram = self._histograms[key[1]] = self._request_seconds.labels(key[1])
        histogram.observe(seconds)
        self._durations.observe(seconds)

    async def watch_lag(self) -> None:
        """Measure the loop's lag, and take a sample of everything now and then, until cancelled."""
        while True:
            for _ in range(_LAGS_PER_SAMPLE):
                due = trio.current_time() + LAG_INTERVAL
                await trio.sleep_until(due)
                lag = max(0.0, trio.current_time() - due)
                self._lag.observe(lag)
                self._lags.observe(lag)
            self.samples.take()

    def scrape(self) -> bytes:
        """Everything, in Prometheus's text format. Walks all connections once: some milliseconds at 10,000."""
        return generate_latest(self._registry)


class _HubCollector(Collector):
    """The hub's figures and the refusals, as they are when somebody asks."""

    def __init__(self, hub: Hub, refusals: Mapping[tuple[str, str], int]) -> None:
        self._hub = hub
        self._refusals = refusals

    def describe(self) -> Iterable[Metric]:
        """Nothing: the names are known to be no one else's, and asking would walk the connections."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """One family for each figure."""
        figures = self._hub.statistics()
        yield GaugeMetricFamily("tidings_connections", "Authenticated connections.", figures.connections)
        yield GaugeMetricFamily("tidings_users", "Users with a connection.", figures.users)
        yield GaugeMetricFamily("tidings_channels", "Channels with a subscriber.", figures.channels)
        yield GaugeMetricFamily("tidings_subscriptions", "Subscriptions.", figures.subscriptions)
        yield GaugeMetricFamily(
            "tidings_outbox_bytes", "Bytes that wait for slow connections.", figures.outbox_bytes
        )
        yield CounterMetricFamily(
            "tidings_publications", "Publications that entered the hub.", figures.publications
        )
        yield CounterMetricFamily(
            "tidings_deliveries", "Publications offered to a subscriber.", figures.deliveries
        )
        yield CounterMetricFamily(
            "tidings_encodings", "Publications encoded, once for each dialect.", figures.encodings
        )
        yield CounterMetricFamily(
            "tidings_sent_bytes", "Bytes handed to the kernel for connections.", figures.bytes_sent
        )
        closes = CounterMetricFamily("tidings_closes", "Ended connections by close code.", labels=["code"])
        for code, count in sorted(figures.closes.items()):
            closes.add_metric([str(code)], count)
        yield closes
        refusals = CounterMetricFamily(
            "tidings_refusals", "Refusals by where and why.", labels=["where", "cause"]
        )
        for (where, cause), count in sorted(self._refusals.items()):
            refusals.add_metric([where, cause], count)
        yield refusals


class _DeliveryCollector(Collector):
    """What is kept for those who are away, and what becomes of their return."""

    def __init__(
        self, broker: Broker | None, histories: Histories | None, recoveries: Mapping[str, int]
    ) -> None:
        self._broker = broker
        self._histories = histories
        self._recoveries = recoveries

    def describe(self) -> Iterable[Metric]:
        """Nothing, as above."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """One family for each figure."""
        recoveries = CounterMetricFamily(
            "tidings_recoveries", "Clients that came back to a channel from a position.", labels=["outcome"]
        )
        for outcome in ("recovered", "unrecoverable"):
            recoveries.add_metric([outcome], self._recoveries.get(outcome, 0))
        yield recoveries
        if self._histories is not None:
            yield CounterMetricFamily(
                "tidings_history_reads", "Readings of a channel's history.", self._histories.reads
            )
            yield CounterMetricFamily(
                "tidings_history_pages",
                "Pages of histories handed out; many share each reading.",
                self._histories.pages,
            )
        if self._broker is not None:
            yield CounterMetricFamily(
                "tidings_idempotency_keys_forgotten",
                "Idempotency keys forgotten before their five minutes, for want of room.",
                self._broker.forgotten_keys,
            )
            yield CounterMetricFamily(
                "tidings_inbox_dropped",
                "Publications that left an inbox for its limits before every device had them.",
                self._broker.dropped_unacknowledged,
            )
