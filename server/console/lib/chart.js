// A live chart of some series over time: lines or areas, a legend with the current values, and a readout that
// follows the pointer, or the arrow keys. What it shows is there as a sentence and as a table, too.
//
//   const series = [{ label: "all", area: true }, { label: "duplicates" }];
//   const chart = makeChart({ label: "Lines per minute", series });
//   chart.add(Date.now(), [12, 3]);        // again and again; null is a gap
//
// It is drawn at most five times a second, however often it is told something, and not while nobody can see it.
// --chart-height is its height.

import { element } from "./dom.js";
import { compact, duration, number, timeOfDay } from "./format.js";
import { texts } from "./i18n.js";
import { extent, path } from "./paths.js";
import { Paced } from "./paced.js";
import { Points } from "./points.js";
import { Readout } from "./readout.js";
import { say } from "./say.js";
import { sheet } from "./sheet.js";
import { change, fill, svg } from "./svg.js";
import { timeTicks, valueTicks } from "./ticks.js";

export { Sparkline, makeSparkline } from "./sparkline.js";

const t = texts({
  en: {
    empty: "Nothing has been measured yet.", table: "As a table", time: "Time",
    summary: "{label}. {each}", none: "{name}: not measured.",
    series: "{name}: now {now}, lowest {low}, highest {high}, in {span}.",
  },
  zh: {
    empty: "尚无数据。", table: "以表格显示", time: "时间",
    summary: "{label}。{each}", none: "{name}：无数据。",
    series: "{name}：当前 {now}，最低 {low}，最高 {high}（{span}内）。",
  },
  ja: {
    empty: "まだ計測値がありません。", table: "表で表示", time: "時刻",
    summary: "{label}。{each}", none: "{name}：計測値なし。",
    series: "{name}：現在 {now}、最低 {low}、最高 {high}（{span}）。",
  },
});

// As many as there are colours (--series-1 to --series-4), and as people tell apart.
const MOST_SERIES = 4;
// Nobody reads faster.
const DRAW_EVERY_MS = 200;
// The table is for reading through: it changes no faster than that, and has no more rows, the newest first.
const TABLE_EVERY_MS = 10_000;
const TABLE_ROWS = 30;
// A chart of all time begins with as much.
const LEAST_MS = 60_000;

const ABOVE = 8;
const BELOW = 22;
const BESIDE = 12;

export class Chart extends HTMLElement {
  #options;
  #points;
  #hiddenSeries = new Set();
  #size = null;
  #seen = true;
  #tabled = -Infinity;
  #drawing = new Paced(DRAW_EVERY_MS, () => this.#seen && this.#size?.width && this.#draw());
  #parts = null;
  #observers = [];
  #readout = null;

  // series: [{label, area}], four at most. window: how many milliseconds are shown, Infinity: all, thinned out as
  // they become many. gap: points that are further apart are not joined. capacity: points kept. format: values in
  // words; axis: shorter, at the axis. zero: whether the axis begins there. whole: no fractions at the axis.
  constructor({
    label, series, window = 600_000, gap = 15_000, capacity = 1_200, format = (value) => number(value, 1),
    axis = compact, zero = true, whole = false,
  }) {
    super();
    if (series.length > MOST_SERIES) throw new RangeError(`a chart has at most ${MOST_SERIES} series`);
    this.#options = { label, series, window, gap, format, axis, zero, whole };
    this.#points = new Points(series.length, capacity, { thin: window === Infinity });
  }

  // Tell what was measured at `time` (milliseconds since 1970), the newest: a value of each series, null for none.
  add(time, values) {
    this.#points.add(time, values);
    this.#ask();
  }

  // Tell all anew: [[time, values], …], oldest first.
  fill(points) {
    this.#points.clear();
    for (const [time, values] of points) this.#points.add(time, values);
    this.#ask();
  }

  clear() {
    this.fill([]);
  }

  connectedCallback() {
    sheet(new URL("chart.css", import.meta.url));
    if (this.#parts === null) this.#build();
    const resized = new ResizeObserver(([{ contentRect }]) => {
      this.#size = { width: contentRect.width, height: contentRect.height };
      this.#ask();
    });
    resized.observe(this.#parts.plot);
    const seen = new IntersectionObserver((entries) => {
      this.#seen = entries.at(-1).isIntersecting;
      this.#ask();
    }, { rootMargin: "200px" });
    seen.observe(this);
    this.#observers = [resized, seen];
  }

  disconnectedCallback() {
    for (const observer of this.#observers.splice(0)) observer.disconnect();
    this.#drawing.stop();
  }

  #build() {
    const { label, series } = this.#options;
    const group = (name) => svg("g", { class: name });
    const parts = {
      grid: group("grid"), values: group("values"), times: group("times"),
      areas: series.map((_, index) => svg("path", { class: `area s${index + 1}` })),
      lines: series.map((_, index) => svg("path", { class: `line s${index + 1}` })),
      plot: element("div", { className: "plot" }),
      empty: element("p", { className: "empty" }, t("empty")),
      legend: element("ul", { className: "legend" }),
      table: element("table"),
    };
    parts.picture = svg("svg", { role: "img", "aria-label": label },
      parts.grid, parts.values, parts.times, ...parts.areas, ...parts.lines);
    parts.plot.append(parts.picture, parts.empty);
    this.#readout = new Readout(parts.plot, {
      label, series: series.map((each) => each.label), format: this.#options.format, points: this.#points,
      hidden: (index) => this.#hiddenSeries.has(index),
    });
    parts.current = series.map((each, index) => {
      const value = element("span", { className: "num" });
      const look = `quiet small s${index + 1}`;
      const button = element("button", { type: "button", className: look, "aria-pressed": "true" },
        svg("svg", { class: "swatch", viewBox: "0 0 20 8", "aria-hidden": "true" },
          svg("path", { class: `line s${index + 1}`, d: "M1,4H19" })),
        each.label, value);
      button.addEventListener("click", () => this.#toggle(index, button));
      parts.legend.append(element("li", {}, button));
      return value;
    });
    const details = element("details", {},
      element("summary", {}, t("table")), element("div", { className: "scroll" }, parts.table));
    details.addEventListener("toggle", () => {
      this.#tabled = -Infinity;
      this.#drawing.hurry();
    });
    parts.details = details;
    this.replaceChildren(parts.legend, parts.plot, details);
    this.#parts = parts;
  }

  #toggle(index, button) {
    if (!this.#hiddenSeries.delete(index)) this.#hiddenSeries.add(index);
    button.setAttribute("aria-pressed", String(!this.#hiddenSeries.has(index)));
    this.#drawing.hurry();
  }

  #ask() {
    if (this.#parts !== null && this.isConnected) this.#drawing.ask();
  }

  #draw() {
    const { series, window, gap, zero, whole, axis, label } = this.#options;
    const points = this.#points;
    const parts = this.#parts;
    const { width, height } = this.#size;
    const newest = points.length > 0 ? points.time(points.length - 1) : Date.now();
    const oldest = window === Infinity ? Math.min(points.length > 0 ? points.time(0) : newest, newest - LEAST_MS)
      : newest - window;
    // One that lies before the left edge, so that the line comes in from there.
    const begin = Math.max(0, points.from(oldest) - 1);
    const shown = series.map((_, index) => index).filter((index) => !this.#hiddenSeries.has(index));
    const found = extent(points, shown, begin);
    parts.empty.hidden = extent(points, series.keys(), begin) !== null;
    const low = zero ? Math.min(0, found?.low ?? 0) : (found?.low ?? 0);
    const high = Math.max(low, found?.high ?? 0);
    const values = valueTicks(low, high, Math.max(2, Math.floor(height / 48)), whole);
    const names = values.ticks.map((tick) => axis(tick));
    const left = Math.ceil(Math.max(...names.map(wide))) + 12;
    const right = width - BESIDE;
    const floor = height - BELOW;
    const x = (time) => left + ((time - oldest) / (newest - oldest)) * (right - left);
    const y = (value) => floor - ((value - values.low) / (values.high - values.low)) * (floor - ABOVE);
    change(parts.picture, { viewBox: `0 0 ${width} ${height}`, width, height });
    fill(parts.grid, values.ticks, () => svg("line"), (line, tick) => {
      change(line, { x1: left, x2: right, y1: y(tick), y2: y(tick) });
    });
    fill(parts.values, parts.empty.hidden ? values.ticks : [], () => svg("text"), (text, tick) => {
      change(text, { x: left - 8, y: y(tick) + 4 });
      say(text, axis(tick));
    });
    const { step, ticks } = timeTicks(oldest, newest, Math.max(2, Math.floor((right - left) / 110)));
    fill(parts.times, ticks, () => svg("text"), (text, tick) => {
      change(text, { x: Math.min(x(tick), right - 14), y: height - 5 });
      say(text, timeOfDay(new Date(tick)).slice(0, step < 60_000 ? undefined : 5));
    });
    series.forEach((each, index) => {
      const drawn = this.#hiddenSeries.has(index) ? { line: "", area: "" }
        : path(points, index, begin, x, y, Math.max(gap, 2.5 * points.apart), floor);
      change(parts.lines[index], { d: drawn.line });
      change(parts.areas[index], { d: each.area ? drawn.area : "" });
      const now = points.length > 0 ? points.value(points.length - 1, index) : NaN;
      say(parts.current[index], this.#value(now));
    });
    const time = (at) => oldest + ((at - left) / (right - left)) * (newest - oldest);
    this.#readout.place({ x, y, begin, left, right, time });
    const each = series.map((one, index) => this.#inWords(one, index, begin, newest)).join(" ");
    change(parts.picture, { "aria-label": t("summary", { label, each }) });
    if (parts.details.open && performance.now() - this.#tabled >= TABLE_EVERY_MS) this.#tabulate(begin);
  }

  #inWords(series, index, begin, newest) {
    const found = extent(this.#points, [index], begin);
    if (found === null) return t("none", { name: series.label });
    const { format } = this.#options;
    const now = this.#points.value(this.#points.length - 1, index);
    return t("series", {
      name: series.label, now: this.#value(now), low: format(found.low), high: format(found.high),
      span: duration((newest - this.#points.time(begin)) / 1000),
    });
  }

  #value(value) {
    return Number.isNaN(value) ? "–" : this.#options.format(value);
  }

  // As many rows as people read, evenly over what is shown.
  #tabulate(begin) {
    this.#tabled = performance.now();
    const { series } = this.#options;
    const count = this.#points.length - begin;
    const every = Math.max(1, Math.ceil(count / TABLE_ROWS));
    const rows = [];
    for (let index = this.#points.length - 1; index >= begin; index -= every) {
      const values = series.map((_, each) => this.#value(this.#points.value(index, each)));
      rows.push(element("tr", {},
        element("th", { scope: "row" }, timeOfDay(new Date(this.#points.time(index)))),
        ...values.map((value) => element("td", { className: "num" }, value))));
    }
    const heads = series.map((each) => element("th", { scope: "col", className: "num" }, each.label));
    this.#parts.table.replaceChildren(
      element("caption", { className: "unseen" }, this.#options.label),
      element("thead", {}, element("tr", {}, element("th", { scope: "col" }, t("time")), ...heads)),
      element("tbody", {}, ...rows));
  }
}

// About how wide a text is at the axis, in pixels: measuring it would lay the page out once more.
function wide(text) {
  let width = 0;
  for (const each of text) width += each > "\u2e80" ? 12 : 6.6;
  return width;
}

customElements.define("tidings-chart", Chart);

export function makeChart(options) {
  return new Chart(options);
}
