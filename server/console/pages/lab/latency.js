// Times to the server and back: last, least, median, 99th percentile, and a chart of the last minutes.

import { makeChart } from "../../lib/chart.js";
import { element } from "../../lib/dom.js";
import { milliseconds } from "../../lib/format.js";
import { session } from "../../lib/session.js";
import { card } from "./card.js";
import { t } from "./texts.js";

const KEPT = 100;
const PING_EVERY_MS = 5_000;
const WINDOW_MS = 300_000;

export class Latency {
  #page;
  #chart = makeChart({
    label: t("latency"), series: [{ label: t("ping") }, { label: t("own_messages") }], window: WINDOW_MS,
    format: milliseconds, axis: milliseconds,
  });
  // The slowest of one's own messages since the last ping: they come when they come, and a chart has rows.
  #slowest = null;
  #pings = new Row("latency-ping", t("ping"));
  #messages = new Row("latency-messages", t("own_messages"));
  #button = element("button", { type: "button", id: "ping" }, t("ping"));

  constructor(page) {
    this.#page = page;
    this.element = card("latency", t("latency"), this.#button,
      element("div", { className: "latency" }, this.#pings.element, this.#messages.element),
      this.#chart, element("p", { className: "hint" }, t("latency_hint")));
    page.listen(this.#button, "click", () => this.#ping());
    page.hear("@state", () => this.#tell());
    this.#tell();
  }

  begin() {
    this.#page.every(PING_EVERY_MS, () => this.#ping());
    this.#page.hear("connected", () => this.#ping());
    this.#ping();
  }

  message(took) {
    this.#messages.add(took);
    this.#slowest = Math.max(took, this.#slowest ?? 0);
  }

  #tell() {
    this.#button.disabled = !session.tidings.isConnected();
  }

  async #ping() {
    const { tidings } = session;
    // One that waited for a connection would measure that.
    if (!tidings?.isConnected()) return;
    const began = performance.now();
    try {
      await tidings.request("ping");
    } catch {
      // Whatever went wrong with it, the connection's state tells.
      return;
    }
    const took = performance.now() - began;
    this.#pings.add(took);
    this.#chart.add(Date.now(), [took, this.#slowest]);
    this.#slowest = null;
  }
}

class Row {
  #values = [];
  #figures = {};

  constructor(id, name) {
    const list = element("dl", { className: "figures", id });
    for (const figure of ["last", "least", "median", "p99"]) {
      this.#figures[figure] = element("dd", {}, "–");
      list.append(element("div", {}, element("dt", {}, t(figure)), this.#figures[figure]));
    }
    this.element = element("section", {}, element("h3", {}, name), list);
  }

  add(value) {
    this.#values.push(value);
    if (this.#values.length > KEPT) this.#values.shift();
    const sorted = [...this.#values].sort((a, b) => a - b);
    // Nearest rank: the value that `share` of all do not exceed.
    const quantile = (share) => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
    this.#figures.last.textContent = milliseconds(value);
    this.#figures.least.textContent = milliseconds(sorted[0]);
    this.#figures.median.textContent = milliseconds(quantile(0.5));
    this.#figures.p99.textContent = milliseconds(quantile(0.99));
  }
}
