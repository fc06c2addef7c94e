// A group's figures: each with its course while the page is open, one of them drawn large, beside lines per minute.

import { makeChart, makeSparkline } from "../../lib/chart.js";
import { element } from "../../lib/dom.js";
import { number } from "../../lib/format.js";
import { Paced } from "../../lib/paced.js";
import { say } from "../../lib/say.js";
import { t } from "./texts.js";

const FIGURES = [
  "online_accounts", "total_accounts", "today_incoming", "today_duplicate", "total_incoming", "duplicate_incoming",
];

// The seconds between two points of a chart.
export const STEP = 2;
const DRAW_EVERY_MS = 200;

export class Figures {
  // The tiles, and the charts below them.
  tiles = element("div", { className: "tiles figures" });
  charts = element("div", { className: "grid charts" });
  #group;
  #values = new Map();
  #sparklines = new Map();
  #courses = new Map();
  #rates;
  #large = element("div");
  #heading = element("h2", { id: "course-title" });
  #drawing = new Paced(DRAW_EVERY_MS, () => this.#draw());

  constructor(group) {
    this.#group = group;
    for (const name of FIGURES) {
      const value = element("span", { className: "value" }, "–");
      const sparkline = makeSparkline();
      const look = { type: "button", className: "tile", "aria-pressed": "false", "data-figure": name };
      const tile = element("button", look, element("span", { className: "label" }, t(name)), value, sparkline);
      tile.addEventListener("click", () => this.#enlarge(name));
      this.#values.set(name, value);
      this.#sparklines.set(name, sparkline);
      this.#courses.set(name, makeChart({
        label: t("course", { name: t(name) }), series: [{ label: t(name), area: true }],
        window: Infinity, capacity: 720, zero: false, whole: true,
      }));
      this.tiles.append(tile);
    }
    this.#rates = makeChart({
      label: t("per_minute"), series: [{ label: t("lines"), area: true }, { label: t("duplicates") }],
      capacity: 600 / STEP + 1, format: (value) => number(value), whole: true,
    });
    this.charts.append(
      element("section", { className: "card", "aria-labelledby": "rates-title" },
        element("h2", { id: "rates-title" }, t("per_minute")), this.#rates),
      element("section", { className: "card", "aria-labelledby": "course-title" }, this.#heading, this.#large));
    this.#enlarge("online_accounts");
    group.addEventListener("figures", () => this.#drawing.ask());
  }

  // One step further: `until` is the second up to which all is known, 0 for none; `isLive`: whether it is now.
  step(until, isLive, here) {
    if (until > 0) {
      const rates = this.#group.rates.perMinute(until, STEP);
      this.#rates.fill(rates.map(([second, values]) => [here(second * 1000), values]));
    }
    const { figures } = this.#group.entry ?? {};
    const now = Date.now();
    for (const name of FIGURES) {
      const value = isLive && figures ? figures[name] : null;
      this.#courses.get(name).add(now, [value]);
      this.#sparklines.get(name).add(now, value);
    }
  }

  stop() {
    this.#drawing.stop();
  }

  #enlarge(name) {
    for (const tile of this.tiles.children) {
      tile.setAttribute("aria-pressed", String(tile.dataset.figure === name));
    }
    this.#heading.textContent = t("course", { name: t(name) });
    this.#large.replaceChildren(this.#courses.get(name));
  }

  #draw() {
    for (const [name, value] of this.#values) say(value, number(this.#group.entry.figures[name]));
  }
}
