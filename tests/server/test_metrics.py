"""The metrics: what they count, that they are bounded, and that two servers do not mix."""

from collections import Counter

import pytest
import trio
from support.fakes import JSON, Listener, join, publish
from trio.testing import MockClock

from tidings.protocol.close_codes import CloseCode
from tidings.server.brokers.memory import MemoryBroker
from tidings.server.delivery.history import Histories
from tidings.server.delivery.hub import Hub
from tidings.server.delivery.samples import SAMPLE_SECONDS
from tidings.server.metrics import LAG_INTERVAL, OTHER, Metrics


def value(metrics: Metrics, name: str) -> float | None:
    """The value of a sample, named as in the text format; None where there is none."""
    for line in metrics.scrape().decode().splitlines():
        if line.startswith(f"{name} "):
            return float(line.rpartition(" ")[2])
    return None


@pytest.fixture
def refusals() -> Counter[tuple[str, str]]:
    """The server's counter of refusals."""
    return Counter()


@pytest.fixture
def hub() -> Hub:
    """An empty hub."""
    return Hub()


@pytest.fixture
def metrics(hub: Hub, refusals: Counter[tuple[str, str]]) -> Metrics:
    """Its metrics."""
    return Metrics(hub, refusals)


async def test_the_hubs_figures_are_read_at_each_scrape(
    hub: Hub, metrics: Metrics, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    """Gauges go up and down with what is there; counters tell what has happened."""
    nursery.start_soon(hub.run_flusher)
    broker = MemoryBroker(hub.deliver)
    hub.release = broker.release
    alice, bob = Listener(JSON, "alice"), Listener(JSON, "bob")
    await join(hub, broker, "room:x", alice, bob)
    await join(hub, broker, "all", alice)
    await publish(broker, "room:x", 3)
    await trio.testing.wait_all_tasks_blocked()
    alice.pending_bytes, alice.bytes_sent = 70, 500
    expected = {
        "tidings_connections": 2, "tidings_users": 2, "tidings_channels": 2, "tidings_subscriptions": 3,
        "tidings_publications_total": 3, "tidings_deliveries_total": 6, "tidings_encodings_total": 3,
        "tidings_outbox_bytes": 70, "tidings_sent_bytes_total": 500, "tidings_fanout_seconds_count": 1,
    }  # fmt: skip
    assert {name: value(metrics, name) for name in expected} == expected
    hub.disconnect(alice)
    assert value(metrics, "tidings_connections") == 1
    assert value(metrics, "tidings_sent_bytes_total") == 500


def test_closes_are_counted_by_code(hub: Hub, metrics: Metrics) -> None:
    """One series for each code that has occurred."""
    for code in (CloseCode.SLOW_CONSUMER, CloseCode.NORMAL, CloseCode.NORMAL):
        hub.count_close(code)
    assert value(metrics, 'tidings_closes_total{code="1000"}') == 2
    assert value(metrics, 'tidings_closes_total{code="3008"}') == 1
    assert value(metrics, 'tidings_closes_total{code="3001"}') is None


def test_refusals_are_counted_by_where_and_why(
    metrics: Metrics, refusals: Counter[tuple[str, str]]
) -> None:
    """What anybody has noted since is there at the next scrape."""
    assert value(metrics, 'tidings_refusals_total{cause="431",where="head"}') is None
    refusals["head", "431"] += 2
    refusals["command", "forbidden"] += 1
    assert value(metrics, 'tidings_refusals_total{cause="431",where="head"}') == 2
    assert value(metrics, 'tidings_refusals_total{cause="forbidden",where="command"}') == 1


def test_a_label_is_nothing_that_a_client_makes_up(metrics: Metrics) -> None:
    """A thousand methods and paths are one series: a label's memory is never given back."""
    for number in range(1000):
        metrics.observe_request(f"M{number}", None, 404, 0.001)
    lines = metrics.scrape().decode().splitlines()
    counted = [line for line in lines if line.startswith("tidings_http_requests_total")]
    assert counted == [
        f'tidings_http_requests_total{{method="{OTHER}",route="{OTHER}",status="404"}} 1000.0'
    ]


def test_requests_are_timed_by_route(metrics: Metrics) -> None:
    """Where a route's time lies among the buckets."""
    metrics.observe_request("GET", "/a", 200, 0.0004)
    metrics.observe_request("GET", "/a", 404, 3.0)
    assert value(metrics, 'tidings_http_request_seconds_bucket{le="0.0005",route="/a"}') == 1
    assert value(metrics, 'tidings_http_request_seconds_count{route="/a"}') == 2


async def test_a_stalled_loop_is_seen(
    metrics: Metrics, mock_clock: MockClock, nursery: trio.Nursery
) -> None:
    """What a timer comes late counts as lag; a loop that is in time has none."""
    nursery.start_soon(metrics.watch_lag)
    await trio.testing.wait_all_tasks_blocked()
    mock_clock.jump(LAG_INTERVAL)
    await trio.testing.wait_all_tasks_blocked()
    assert value(metrics, 'tidings_loop_lag_seconds_bucket{le="0.0005"}') == 1
    mock_clock.jump(LAG_INTERVAL + 0.4)
    await trio.testing.wait_all_tasks_blocked()
    assert value(metrics, "tidings_loop_lag_seconds_count") == 2
    assert value(metrics, "tidings_loop_lag_seconds_sum") == pytest.approx(0.4)
    _, lag, _ = metrics.samples.last_minute()
    assert (lag.count, lag.p50) == (2, 0.0005)
    assert 0.25 < (lag.p99 or 0) <= 0.5


def test_what_took_long_is_in_the_samples_too(hub: Hub, metrics: Metrics) -> None:
    """Each latency where it belongs, among the percentiles and in the next sample."""
    hub.observe_fanout(0.07)
    metrics.observe_request("GET", "/a", 200, 3.0)
    fanout, lag, requests = metrics.samples.last_minute()
    assert (fanout.count, lag.count, requests.count) == (1, 0, 1)
    metrics.samples.take()
    (sample,) = metrics.samples.after(0)
    assert 0.05 < (sample.fanout_p99 or 0) <= 0.1
    assert sample.lag_p99 is None
    assert 1.0 < (sample.request_p99 or 0) <= 5.0


async def test_samples_are_taken_while_the_lag_is_watched(
    metrics: Metrics, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    """One every two seconds."""
    nursery.start_soon(metrics.watch_lag)
    await trio.sleep(10.5 * SAMPLE_SECONDS)
    assert len(metrics.samples.after(0)) == 10


def test_two_servers_do_not_mix(refusals: Counter[tuple[str, str]]) -> None:
    """Each has a registry of its own, and its own hub's figures."""
    first, second = Hub(), Hub()
    ours, theirs = Metrics(first, refusals), Metrics(second, refusals)
    first.connect(Listener(JSON))
    assert (value(ours, "tidings_connections"), value(theirs, "tidings_connections")) == (1, 0)


def test_the_process_is_measured_too(metrics: Metrics) -> None:
    """Memory and descriptors of this process."""
    assert (value(metrics, "process_resident_memory_bytes") or 0) > 1e6
    assert (value(metrics, "process_open_fds") or 0) > 0


class _Figures(MemoryBroker):
    """A broker whose figures a test chooses."""

    forgotten_keys = 0
    dropped_unacknowledged = 0


def test_what_the_broker_and_the_histories_count_is_seen(
    hub: Hub, refusals: Counter[tuple[str, str]]
) -> None:
    """Keys forgotten early, what left an inbox unread, readings of histories, and what became of returns."""
    broker, recoveries = _Figures(hub.deliver), Counter({"recovered": 2})
    histories = Histories(hub, broker)
    metrics = Metrics(hub, refusals, broker=broker, histories=histories, recoveries=recoveries)
    assert value(metrics, "tidings_idempotency_keys_forgotten_total") == 0
    broker.forgotten_keys, broker.dropped_unacknowledged = 3, 4
    histories.reads, histories.pages = 5, 600
    assert value(metrics, "tidings_idempotency_keys_forgotten_total") == 3
    assert value(metrics, "tidings_inbox_dropped_total") == 4
    assert value(metrics, "tidings_history_reads_total") == 5
    assert value(metrics, "tidings_history_pages_total") == 600
    outcomes = {
        outcome: value(metrics, f'tidings_recoveries_total{{outcome="{outcome}"}}')
        for outcome in ("recovered", "unrecoverable")
    }
    assert outcomes == {"recovered": 2, "unrecoverable": 0}
