// Times and their figures: last, least, median, 99th percentile, and a line of the last 100.

import { $, element, milliseconds } from "./dom.js";

const KEPT = 100;
const SVG = "http://www.w3.org/2000/svg";
// Points across the picture at least: two of them alone would look like a cliff.
const ACROSS = 20;
const WIDTH = 200;
const HEIGHT = 36;

class Samples {
  #values = [];

  add(value) {
    this.#values.push(value);
    if (this.#values.length > KEPT) this.#values.shift();
  }

  get values() {
    return this.#values;
  }

  // Nearest rank: the value that `share` of all do not exceed.
  quantile(share) {
    const sorted = [...this.#values].sort((a, b) => a - b);
    return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
  }
}

class Row {
  #samples = new Samples();
  #figures = {};
  #line = document.createElementNS(SVG, "polyline");

  constructor(parent, name, id) {
    const list = element("dl", { className: "figures", id });
    for (const figure of ["last", "min", "median", "p99"]) {
      this.#figures[figure] = element("dd", {}, "–");
      list.append(element("div", {}, element("dt", {}, figure), this.#figures[figure]));
    }
    const picture = document.createElementNS(SVG, "svg");
    picture.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    picture.setAttribute("preserveAspectRatio", "none");
    // The figures beside it say the same in words.
    picture.setAttribute("aria-hidden", "true");
    picture.append(this.#line);
    parent.append(element("section", {}, element("h3", {}, name), list, picture));
  }

  add(value) {
    const samples = this.#samples;
    samples.add(value);
    this.#figures.last.textContent = milliseconds(value);
    this.#figures.min.textContent = milliseconds(samples.quantile(0));
    this.#figures.median.textContent = milliseconds(samples.quantile(0.5));
    this.#figures.p99.textContent = milliseconds(samples.quantile(0.99));
    const top = Math.max(...samples.values, 1);
    const points = samples.values.map((each, index) => {
      const x = WIDTH - (samples.values.length - 1 - index) * (WIDTH / (Math.max(samples.values.length, ACROSS) - 1));
      return `${x.toFixed(1)},${(HEIGHT - 2 - (each / top) * (HEIGHT - 4)).toFixed(1)}`;
    });
    this.#line.setAttribute("points", points.join(" "));
  }
}

export class LatencyView {
  #messages;

  constructor(connection) {
    const pings = new Row($("latency"), "Ping", "latency-ping");
    this.#messages = new Row($("latency"), "Own messages", "latency-messages");
    connection.addEventListener("pong", ({ detail }) => pings.add(detail));
    // Whatever goes wrong with a ping, the connection's state tells.
    $("ping").addEventListener("click", () => connection.ping().catch(() => undefined));
  }

  message(took) {
    this.#messages.add(took);
  }
}
