"""The samples of the last ten minutes, and the percentiles in them."""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
from support.fakes import JSON, Listener, join, publish
from trio.testing import MockClock

from tidings.protocol.close_codes import CloseCode
from tidings.server.brokers.memory import MemoryBroker
from tidings.server.delivery import samples as samples_module
from tidings.server.delivery.hub import COUNTED_CHANNELS, Hub
from tidings.server.delivery.samples import KEPT, SAMPLE_SECONDS, Samples
from tidings.server.delivery.tally import Tally


@dataclass
class Times:
    """All clocks, moved by hand."""

    now: float = 1000.0
    unix: float = 1_800_000_000.0
    cpu: float = 5.0

    def clock(self) -> float:
        return self.now

    def wall_clock(self) -> float:
        return self.unix

    def cpu_clock(self) -> float:
        return self.cpu

    def pass_by(self) -> None:
        self.now += SAMPLE_SECONDS
        self.unix += SAMPLE_SECONDS


@dataclass
class Watched:
    """A hub, its tallies and its samples."""

    hub: Hub
    refusals: Counter[tuple[str, str]]
    times: Times
    fanout: Tally
    lag: Tally
    requests: Tally
    samples: Samples

    def take(self) -> None:
        self.times.pass_by()
        self.samples.take()


@pytest.fixture
def watched() -> Watched:
    """Nothing has happened yet."""
    hub, refusals, times = Hub(), Counter[tuple[str, str]](), Times()
    fanout, lag, requests = (Tally((0.001, 0.01, 0.1)) for _ in range(3))
    samples = Samples(
        hub,
        refusals,
        fanout=fanout,
        lag=lag,
        requests=requests,
        clock=times.clock,
        cpu_clock=times.cpu_clock,
        wall_clock=times.wall_clock,
    )
    return Watched(hub, refusals, times, fanout, lag, requests, samples)


def test_percentiles_are_estimated_within_the_bucket() -> None:
    """As Prometheus does: evenly between the bounds, the last bound beyond it, null of nothing."""
    tally = Tally((0.001, 0.01, 0.1))
    start = tally.counts
    nothing = tally.percentiles(start, start)
    assert (nothing.count, nothing.p50, nothing.p99) == (0, None, None)
    for seconds in [0.001] * 50 + [0.05] * 50:
        tally.observe(seconds)
    middle = tally.counts
    told = tally.percentiles(start, middle)
    assert (told.count, told.p50) == (100, 0.001)
    assert told.p95 == pytest.approx(0.01 + 0.09 * 45 / 50)
    tally.observe(7.0)
    assert tally.percentiles(middle, tally.counts).p50 == 0.1


async def test_a_sample_is_what_happened_since_the_one_before(
    watched: Watched, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    """Counts of its two seconds, gauges of its end; the next one begins from nothing."""
    hub = watched.hub
    nursery.start_soon(hub.run_flusher)
    broker = MemoryBroker(hub.deliver)
    hub.release = broker.release
    await join(hub, broker, "room:x", Listener(JSON, "alice"), Listener(JSON, "bob"))
    await publish(broker, "room:x", 3)
    await trio.testing.wait_all_tasks_blocked()
    hub.count_close(CloseCode.SLOW_CONSUMER)
    hub.count_close(CloseCode.NORMAL)
    watched.refusals["command", "forbidden"] += 4
    watched.fanout.observe(0.05)
    watched.requests.observe(0.005)
    watched.times.cpu += 0.25
    watched.take()
    watched.take()
    first, second = watched.samples.after(0)
    assert (first.seconds, first.connections, first.channels) == (SAMPLE_SECONDS, 2, 1)
    assert (first.publications, first.deliveries, first.encodings) == (3, 6, 3)
    assert (first.closes, first.slow_consumers, first.refusals, first.requests) == (2, 1, 4, 1)
    assert (first.cpu_seconds, first.lag_p99) == (0.25, None)
    assert first.fanout_p99 == pytest.approx(0.01 + 0.09 * 0.99)
    assert first.request_p99 == pytest.approx(0.001 + 0.009 * 0.99)
    assert (second.publications, second.deliveries, second.encodings) == (0, 0, 0)
    assert (second.closes, second.slow_consumers, second.refusals, second.requests) == (0, 0, 0, 0)
    assert (second.connections, second.cpu_seconds) == (2, 0)
    assert watched.samples.after(first.at) == [second]


def test_memory_is_what_the_system_tells(
    watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The resident pages, in bytes; null, and no failure, where the system tells nothing or something else."""
    told = tmp_path / "statm"
    monkeypatch.setattr(samples_module, "_STATM", told)
    watched.take()
    for text in ("900 25 8 1 0 60 0\n", "none\n", "900 many\n"):
        told.write_text(text)
        watched.take()
    page = os.sysconf("SC_PAGE_SIZE")
    assert [each.resident_bytes for each in watched.samples.after(0)] == [None, 25 * page, None, None]


def test_ten_minutes_are_kept(watched: Watched) -> None:
    """The oldest goes; times rise although the clock is set back, so that `after` never misses one."""
    for _ in range(KEPT + 7):
        watched.take()
    kept = watched.samples.after(0)
    assert len(kept) == KEPT
    assert kept[-1].at - kept[0].at == (KEPT - 1) * SAMPLE_SECONDS * 1000
    watched.times.unix -= 3600
    watched.take()
    (after,) = watched.samples.after(kept[-1].at)
    assert after.at == kept[-1].at + 1


def test_latencies_are_of_the_last_minute(watched: Watched) -> None:
    """A stall is in the percentiles for a minute, in the samples for ten seconds, and then forgotten."""
    watched.lag.observe(0.05)
    watched.take()
    shown = []
    for _ in range(40):
        shown.append(
            (watched.samples.last_minute()[1].p99 is not None, watched.samples.after(0)[-1].lag_p99)
        )
        watched.take()
    assert [there for there, _ in shown] == [True] * 30 + [False] * 10
    assert [p99 is not None for _, p99 in shown] == [True] * 5 + [False] * 35


async def test_loud_channels_are_counted_for_twenty_seconds(
    watched: Watched, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    """By channel, with how long that was; what nobody was subscribed to is not in it."""
    hub = watched.hub
    nursery.start_soon(hub.run_flusher)
    broker = MemoryBroker(hub.deliver)
    hub.release = broker.release
    await join(hub, broker, "room:x", Listener(JSON, "alice"))
    await publish(broker, "room:x", 8)
    await publish(broker, "room:nobody", 8)
    # Not for one login: so it is encoded for each of the others, outside of any flush.
    await broker.publish("room:x", "news", b"{}", excluded_session="one")
    await broker.announce("room:x", "news", b"{}", excluded_session="one")
    await trio.testing.wait_all_tasks_blocked()
    assert watched.samples.traffic() == ({"room:x": 10}, SAMPLE_SECONDS)
    for _ in range(5):
        watched.take()
    await publish(broker, "room:x", 2)
    await trio.testing.wait_all_tasks_blocked()
    assert watched.samples.traffic() == ({"room:x": 12}, 5 * SAMPLE_SECONDS)
    for _ in range(5):
        watched.take()
    assert watched.samples.traffic() == ({"room:x": 2}, 5 * SAMPLE_SECONDS)
    for _ in range(5):
        watched.take()
    assert watched.samples.traffic()[0] == {}


def test_channels_that_are_counted_are_bounded() -> None:
    """However many channels are published to, ten thousand are counted; those go on being counted."""
    hub = Hub()
    for number in range(COUNTED_CHANNELS + 10):
        hub._count_traffic(f"room:{number}", 1)
    hub._count_traffic("room:0", 5)
    assert (len(hub.traffic), hub.traffic["room:0"]) == (COUNTED_CHANNELS, 6)
