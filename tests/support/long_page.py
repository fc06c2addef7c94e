"""A page that is left open under a stream of messages: samples of what it holds, and whether that grows."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from support.console import Demo, Visitors, connected
from support.line_desk import Desk, Stream

ACCOUNTS: Final = [f"account-{number:02}" for number in range(40)]

#: By how much the heap may be larger in the end: what the engine compiles, and caches that fill up. A page that
#: keeps each message, some 300 bytes, has as much more after a minute at 100 a second.
HEAP_MARGIN: Final = 1_500_000
#: Rows and labels come and go, and some that have gone are found a collection later.
NODES_MARGIN: Final = 1_500
LISTENERS_MARGIN: Final = 40

# Taken in the page: the longest task, clicks, and messages, each since it was last asked for.
_PROBES: Final = """async () => {
  const { session } = await import("./lib/session.js");
  const probe = (window.probe = { longest: 0, messages: 0, waiting: [] });
  new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) probe.longest = Math.max(probe.longest, duration);
  }).observe({ type: "longtask" });
  session.tidings.on("*", () => {
    probe.messages += 1;
    for (const each of probe.waiting) if (--each.left === 0) each.done();
    probe.waiting = probe.waiting.filter(({ left }) => left > 0);
  });
  probe.more = (left) => new Promise((done) => probe.waiting.push({ left, done }));
  probe.expect = () => {
    probe.answered = new Promise((resolve) => addEventListener("click", (event) => {
      requestAnimationFrame(() => resolve(performance.now() - event.timeStamp));
    }, { capture: true, once: true }));
  };
}"""
_TAKE: Final = """() => {
  const { longest, messages } = probe;
  Object.assign(probe, { longest: 0, messages: 0 });
  return { longest, messages };
}"""

_FORGET: Final = "new Promise((done) => setTimeout(done, 100)).then(() => { probe.longest = 0; })"


@dataclass(frozen=True)
class Sample:
    """How the page was at one time."""

    seconds: float
    """Since the first."""
    heap: int
    nodes: int
    listeners: int
    longest_task: float
    """Milliseconds; 0 where none took more than 50."""
    click: float
    """Milliseconds from the click to the next frame."""
    messages: int
    """That came since the sample before."""

    def __str__(self) -> str:
        return (
            f"{self.seconds / 60:7.1f} {self.heap / 1e6:9.2f} {self.nodes:7} {self.listeners:10} "
            f"{self.longest_task:9.0f} {self.click:9.0f} {self.messages:9}"
        )


HEAD: Final = "minutes   heap MB   nodes  listeners  task ms  click ms  messages"


class Watch:
    """Takes samples of a page."""

    def __init__(self, page: Any) -> None:
        self._page = page
        self._session = page.context.new_cdp_session(page)
        self._session.send("HeapProfiler.enable")
        page.evaluate(_PROBES)
        self._begun = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long it has gone on."""
        return time.monotonic() - self._begun

    @contextmanager
    def messages(self, count: int) -> Iterator[None]:
        """Wait at the end of the block until so many more have come than at its beginning."""
        self._page.evaluate("count => { probe.enough = probe.more(count); }", count)
        yield
        self._page.evaluate("probe.enough")

    def take(self) -> Sample:
        """One sample; a real click on the page is part of it."""
        tiles = self._page.locator(".figures .tile")
        self._page.evaluate("probe.expect()")
        # Where the pointer is, and the tile that is drawn large, is another one each time.
        tiles.nth(int(time.monotonic()) % tiles.count()).click()
        click = self._page.evaluate("probe.answered")
        taken = self._page.evaluate(_TAKE)
        self._session.send("HeapProfiler.collectGarbage")
        heap = self._session.send("Runtime.getHeapUsage")["usedSize"]
        counters = self._session.send("Memory.getDOMCounters")
        # The collection was a long task, and not the page's own.
        self._page.evaluate(_FORGET)
        return Sample(
            self.seconds,
            round(heap),
            counters["nodes"],
            counters["jsEventListeners"],
            taken["longest"],
            click,
            taken["messages"],
        )


def growth(samples: Sequence[Sample], heap_margin: int = HEAP_MARGIN) -> list[str]:
    """What is larger in the last third of the samples than in the first, by more than its margin: medians."""
    third = len(samples) // 3
    first, last = samples[:third], samples[-third:]
    found = []
    for name, margin in (
        ("heap", heap_margin),
        ("nodes", NODES_MARGIN),
        ("listeners", LISTENERS_MARGIN),
    ):
        before, after = (statistics.median(getattr(each, name) for each in part) for part in (first, last))
        if after > before + margin:
            found.append(f"{name}: from {before:,.0f} to {after:,.0f}, more than {margin:,} above")
    return found


@contextmanager
def streaming(demo: Demo, rate: int) -> Iterator[Stream]:
    """A device of the demo's group that reports `rate` lines a second."""
    with Desk(demo.port, demo.code) as desk:
        desk.sync(*ACCOUNTS, display_name="Front desk")
        with Stream(desk, ACCOUNTS, rate) as stream:
            yield stream


def opened(visitors: Visitors) -> Any:
    """The board's page, on which most happens, connected and filled."""
    page = visitors("admin", "board/1")
    connected(page)
    tiles = page.locator(".figures .tile")
    tiles.first.wait_for()
    # Each has a chart, which is made when it is first seen.
    for tile in tiles.all():
        tile.click()
    return page


def measured(page: Any, *, samples: int, every: float, told: Callable[[Sample], object]) -> list[Sample]:
    """So many samples, `every` seconds apart; each is `told` when it is taken."""
    watch = Watch(page)
    found = []
    for number in range(1, samples + 1):
        page.wait_for_timeout(max(0.0, number * every - watch.seconds) * 1000)
        found.append(watch.take())
        told(found[-1])
    return found
