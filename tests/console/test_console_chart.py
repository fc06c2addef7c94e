"""The console's charts: what they are told is drawn, said and read out, bounded, as often as people read."""

import re
from itertools import pairwise
from typing import Any

import pytest
from support.console import Visitors, check_access, playwright

pytestmark = pytest.mark.slow

#: A minute of seconds from here on, told in milliseconds.
BEGIN = 1_700_000_000_000

_CHART = """async (begin) => {
  const { makeChart } = await import("./lib/chart.js");
  const series = [{ label: "one", area: true }, { label: "two" }];
  window.chart = makeChart({ label: "Load", series, window: 60_000, gap: 5_000 });
  document.querySelector("main").prepend(chart);
  // The second series was not measured for six seconds.
  for (let n = 0; n <= 60; n++) chart.add(begin + n * 1000, [n, n >= 20 && n < 26 ? null : 10]);
}"""


def expect(page: Any, selector: str) -> Any:
    return playwright.expect(page.locator(selector), selector)


def drawn(page: Any, series: int) -> list[list[tuple[float, float]]]:
    """The runs of points of a series, as they are drawn."""
    path = page.locator(f"tidings-chart .plot .line.s{series}").get_attribute("d")
    runs = [re.findall(r"(-?[\d.]+),(-?[\d.]+)", run) for run in (path or "").split("M")[1:]]
    return [[(float(x), float(y)) for x, y in run] for run in runs]


def test_a_chart_draws_says_and_reads_out(open_console: Visitors) -> None:
    """Gaps stay gaps; the values stand in the legend, in a sentence, in a table, and where pointer or keys go."""
    page = open_console(language="en")
    page.evaluate(_CHART, BEGIN)
    chart = page.locator("tidings-chart")
    picture = chart.locator("svg[role=img]")
    playwright.expect(picture).to_have_attribute(
        "aria-label",
        "Load. one: now 60, lowest 0, highest 60, in 60 sec. two: now 10, lowest 10, highest 10, in 60 sec.",
    )
    one, two = drawn(page, 1), drawn(page, 2)
    assert [len(run) for run in one] == [61]
    assert [len(run) for run in two] == [20, 35]
    # Time goes to the right and values go up, in equal steps, within the axes.
    xs, ys = zip(*one[0], strict=True)
    assert all(later > earlier for earlier, later in pairwise(xs))
    assert all(higher < lower for lower, higher in pairwise(ys))
    assert [text.text_content() for text in chart.locator(".values text").all()] == ["0", "20", "40", "60"]
    lines = [float(line.get_attribute("y1")) for line in chart.locator(".grid line").all()]
    assert lines[0] == pytest.approx(ys[0], abs=0.1)
    assert lines[-1] == pytest.approx(ys[60], abs=0.1)
    assert {y for run in two for _, y in run} == {ys[10]}
    expect(page, "tidings-chart .legend button").to_have_text(["one60", "two10"])
    check_access(page)

    # The pointer: two thirds across is some 40 s on.
    plot = chart.locator(".plot").bounding_box()
    page.mouse.move(plot["x"] + xs[22], plot["y"] + 60)
    expect(page, ".readout dd").to_have_text(["22", "–"])
    expect(page, ".marks .dot:not([hidden])").to_have_count(1)
    page.mouse.move(plot["x"] + xs[40], plot["y"] + 60)
    expect(page, ".readout dd").to_have_text(["40", "10"])
    page.mouse.move(0, 0)
    expect(page, ".readout").to_be_hidden()

    # The keyboard, with the same in words.
    cursor = chart.locator("[role=slider]")
    page.keyboard.press("Tab")
    cursor.focus()
    for key, value in (("ArrowLeft", 59), ("PageDown", 49), ("ArrowRight", 50), ("Home", 0), ("End", 60)):
        page.keyboard.press(key)
        playwright.expect(cursor).to_have_attribute("aria-valuetext", re.compile(f"one: {value}, two: 10$"))
        playwright.expect(cursor).to_have_attribute("aria-valuenow", str(value))
    expect(page, ".readout").to_be_visible()
    page.keyboard.press("Escape")
    expect(page, ".readout").to_be_hidden()

    # A series that is not wanted leaves the scale to the other.
    chart.locator(".legend button").first.click()
    expect(page, ".legend button").to_have_text(["one60", "two10"])
    expect(page, ".values text").to_have_text(["0", "5", "10"])
    assert drawn(page, 1) == []
    chart.locator(".legend button").first.click()

    chart.locator("summary").click()
    rows = chart.locator("tbody tr")
    # Every third of what is shown.
    playwright.expect(rows).to_have_count(21)
    playwright.expect(rows.first.locator("td")).to_have_text(["60", "10"])

    # What comes long after is not joined to it; a clock that was put back takes what it calls the future with it.
    page.evaluate("begin => chart.add(begin + 70_000, [1, 1])", BEGIN)
    expect(page, ".legend button").to_have_text(["one1", "two1"])
    assert [len(run) for run in drawn(page, 1)] == [52, 1]
    page.evaluate("begin => chart.add(begin + 55_500, [2, 2])", BEGIN)
    expect(page, ".legend button").to_have_text(["one2", "two2"])
    assert drawn(page, 1)[-1][-1][1] > drawn(page, 1)[-1][-2][1]
    page.set_viewport_size({"width": 390, "height": 800})
    playwright.expect(picture).to_have_attribute(
        "width", str(page.locator(".plot").bounding_box()["width"])
    )
    assert max(x for run in drawn(page, 1) for x, _ in run) < 390


_MANY = """async (begin) => {
  const { makeChart, makeSparkline } = await import("./lib/chart.js");
  const series = [{ label: "one" }];
  window.chart = makeChart({ label: "All", series, window: Infinity, capacity: 100, zero: false });
  window.spark = makeSparkline({ capacity: 50 });
  document.querySelector("main").prepend(chart, spark);
  for (let n = 0; n < 10_000; n++) {
    chart.add(begin + n * 1000, [n]);
    spark.add(begin + n * 1000, n);
  }
  window.draws = 0;
  new MutationObserver(() => (draws += 1)).observe(chart.querySelector(".plot .line"), { attributes: true });
  // Called behind the chart's own, which then knows its size.
  await new Promise((done) => new ResizeObserver(done).observe(chart.querySelector(".plot")));
}"""


def test_a_chart_is_bounded_and_draws_no_oftener_than_people_read(open_console: Visitors) -> None:
    """Thinned out, it covers all of the time; told a hundred times a second, it draws five times; unseen, never."""
    page = open_console(language="en")
    # From here on time goes as far as the test lets it: frames and timers, too.
    page.clock.install()
    page.clock.pause_at(2_000_000_000)
    page.evaluate(_MANY, BEGIN)
    page.clock.run_for(1_000)
    expect(page, ".legend button").to_have_text("one9,999")
    playwright.expect(page.locator("svg[role=img]")).to_have_attribute(
        "aria-label", re.compile("now 9,999, lowest 0, highest 9,999, in 3 hr")
    )
    (run,) = drawn(page, 1)
    assert 45 <= len(run) <= 100
    assert page.locator("tidings-sparkline .line").get_attribute("d").count("L") < 50

    def draws() -> int:
        page.evaluate("draws = 0")
        page.evaluate("setInterval(() => chart.add(Date.now(), [1]), 10)")
        page.clock.run_for(1_000)
        return int(page.evaluate("draws"))

    assert 4 <= draws() <= 6
    # Far below what is on the screen. The observer is the browser's own: it goes by the real time.
    page.evaluate("""() => new Promise((done) => {
        const above = document.createElement("div");
        above.style.setProperty("height", "5000px");
        new IntersectionObserver((all) => all.at(-1).isIntersecting || done()).observe(chart);
        chart.before(above);
    })""")
    assert draws() <= 1
    page.evaluate("chart.scrollIntoView()")
    page.clock.run_for(1_000)
    playwright.expect(page.locator(".legend button")).to_have_text("one1")


_CHECKS = """async () => {
  const { timeTicks, valueTicks } = await import("./lib/ticks.js");
  const { Points } = await import("./lib/points.js");
  const values = [[0, 0], [0, 1], [0, 7], [0, 60], [3.2, 3.9], [-5, 5], [0, 0.003], [10_000, 10_001], [0, 9e12]]
    .map(([low, high]) => ({ given: [low, high], ...valueTicks(low, high, 4) }));
  const whole = [[0, 0], [0, 1], [0, 2], [0, 7], [3, 1000]]
    .map(([low, high]) => valueTicks(low, high, 4, true).ticks);
  const noon = new Date(2026, 2, 1, 12).getTime();
  const times = [60_000, 600_000, 3_600_000, 86_400_000].map((span) => {
    const { step, ticks } = timeTicks(noon - span, noon, 6);
    return [step, ticks.length, ticks.map((at) => (noon - at) % step)];
  });
  const points = new Points(1, 4);
  for (let n = 0; n < 10; n++) points.add(n, [n]);
  const kept = [0, 1, 2, 3].slice(0, points.length).map((index) => [points.time(index), points.value(index, 0)]);
  const nearest = [-5, 6.4, 6.6, 99].map((time) => points.nearest(time));
  return { values, whole, times, kept, nearest };
}"""


def test_axes_have_round_numbers_and_times(open_console: Visitors) -> None:
    """1, 2 or 5 with zeros, around what there is; times that clocks show; points that fall out at the old end."""
    found = open_console().evaluate(_CHECKS)
    for each in found["values"]:
        low, high = each["given"]
        ticks = each["ticks"]
        assert ticks[0] <= low, each
        assert ticks[-1] >= high, each
        assert 2 <= len(ticks) <= 7, each
        step = ticks[1] - ticks[0]
        assert f"{step:.0e}"[0] in "125", each
        assert ticks == pytest.approx([ticks[0] + n * step for n in range(len(ticks))]), each
    for ticks in found["whole"]:
        assert all(tick == int(tick) for tick in ticks), ticks
    for step, count, rest in found["times"]:
        assert 2 <= count <= 7, step
        assert set(rest) == {0}, step
    assert found["kept"] == [[n, n] for n in (6, 7, 8, 9)]
    assert found["nearest"] == [0, 0, 1, 3]
