// A line without axes, as large as a word, beside a figure that says the same: for eyes alone.

import { extent, path } from "./paths.js";
import { Paced } from "./paced.js";
import { Points } from "./points.js";
import { sheet } from "./sheet.js";
import { change, svg } from "./svg.js";

const WIDTH = 200;
const HEIGHT = 24;
const DRAW_EVERY_MS = 500;

export class Sparkline extends HTMLElement {
  #points;
  #series;
  #drawing = new Paced(DRAW_EVERY_MS, () => this.#draw());
  #line = null;
  #area = null;

  // All that was told, thinned out as it becomes many; or the last `window` milliseconds.
  constructor({ series = 1, capacity = 192, window = Infinity } = {}) {
    super();
    this.#series = series;
    this.window = window;
    this.#points = new Points(1, capacity, { thin: window === Infinity });
  }

  add(time, value) {
    this.#points.add(time, [value]);
    this.#ask();
  }

  clear() {
    this.#points.clear();
    this.#ask();
  }

  connectedCallback() {
    sheet(new URL("chart.css", import.meta.url));
    if (this.#line === null) {
      this.#line = svg("path", { class: `line s${this.#series}` });
      this.#area = svg("path", { class: `area s${this.#series}` });
      this.setAttribute("aria-hidden", "true");
      const box = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none" };
      this.replaceChildren(svg("svg", box, this.#area, this.#line));
    }
    this.#ask();
  }

  disconnectedCallback() {
    this.#drawing.stop();
  }

  #ask() {
    if (this.#line !== null && this.isConnected) this.#drawing.ask();
  }

  #draw() {
    const points = this.#points;
    const newest = points.length > 0 ? points.time(points.length - 1) : 0;
    const begin = this.window === Infinity ? 0 : Math.max(0, points.from(newest - this.window) - 1);
    const found = extent(points, [0], begin);
    if (found === null) {
      change(this.#line, { d: "" });
      change(this.#area, { d: "" });
      return;
    }
    const oldest = this.window === Infinity ? points.time(0) : newest - this.window;
    const x = (time) => (newest > oldest ? ((time - oldest) / (newest - oldest)) * WIDTH : WIDTH);
    // What is level lies in the middle.
    const span = found.high - found.low;
    const y = (value) => (span > 0 ? HEIGHT - 3 - ((value - found.low) / span) * (HEIGHT - 6) : HEIGHT / 2);
    const drawn = path(points, 0, begin, x, y, Infinity, HEIGHT);
    change(this.#line, { d: drawn.line });
    change(this.#area, { d: drawn.area });
  }
}

customElements.define("tidings-sparkline", Sparkline);

export function makeSparkline(options) {
  return new Sparkline(options);
}
