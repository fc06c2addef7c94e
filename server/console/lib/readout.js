// What a chart's lines say at one time: a cursor that the pointer leads, or the arrow keys.

import { element } from "./dom.js";
import { timeOfDay } from "./format.js";

const KEYS = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 };

export class Readout {
  #plot;
  #about;
  #space = null;
  // The time it stands at, while it is shown; it stays there while the lines go on.
  #time = null;
  #cursor;
  #box;
  #moment;
  #values;
  #dots;

  // `plot` is the element it works on; about: {label, series (names), format, points, hidden(series)}.
  constructor(plot, about) {
    this.#plot = plot;
    this.#about = about;
    this.#moment = element("strong");
    this.#values = about.series.map(() => element("span", { className: "num" }));
    this.#dots = about.series.map((_, index) => (
      element("span", { className: `dot s${index + 1}`, hidden: true })));
    this.#box = element("div", { className: "readout", hidden: true },
      this.#moment,
      element("dl", {}, ...about.series.flatMap((name, index) => [
        element("dt", { className: `s${index + 1}` }, name), element("dd", {}, this.#values[index]),
      ])));
    // A slider: assistive technology passes the arrow keys on, and reads its text as it moves. What is drawn of it
    // is for eyes alone.
    this.#cursor = element("div", {
      className: "cursor", role: "slider", tabIndex: 0, "aria-label": about.label, "aria-valuemin": "0",
    });
    plot.append(this.#cursor,
      element("div", { className: "marks", "aria-hidden": "true" }, ...this.#dots, this.#box));
    plot.addEventListener("pointermove", (event) => this.#point(event));
    plot.addEventListener("pointerdown", (event) => this.#point(event));
    plot.addEventListener("pointerleave", () => this.#show(null));
    this.#cursor.addEventListener("keydown", (event) => this.#press(event));
    this.#cursor.addEventListener("focus", () => {
      if (this.#cursor.matches(":focus-visible")) this.#go(about.points.length - 1);
    });
    this.#cursor.addEventListener("blur", () => this.#show(null));
    this.#tell(-1);
  }

  // The lines have been drawn: where what is now. {x, y, begin, left, right, time}
  place(space) {
    this.#space = space;
    this.#draw();
  }

  #point({ clientX }) {
    if (this.#space === null) return;
    const { left } = this.#plot.getBoundingClientRect();
    const index = this.#about.points.nearest(this.#space.time(clientX - left));
    this.#show(index < 0 ? null : this.#about.points.time(index));
  }

  #press(event) {
    const { points } = this.#about;
    const last = points.length - 1;
    const at = this.#time === null ? last : points.nearest(this.#time);
    if (event.key === "Escape") this.#show(null);
    else if (event.key === "Home") this.#go(this.#space?.begin ?? 0);
    else if (event.key === "End") this.#go(last);
    else if (event.key in KEYS) this.#go(Math.min(last, Math.max(this.#space?.begin ?? 0, at + KEYS[event.key])));
    else return;
    event.preventDefault();
  }

  // By the keyboard, which is told what stands there.
  #go(index) {
    if (index < 0) return;
    this.#show(this.#about.points.time(index));
    this.#tell(index);
  }

  #tell(index) {
    const { points } = this.#about;
    const begin = this.#space?.begin ?? 0;
    const each = (series) => `${this.#about.series[series]}: ${this.#inWords(index, series)}`;
    const text = index < 0 ? "–"
      : `${timeOfDay(new Date(points.time(index)))}. ${this.#shown().map(each).join(", ")}`;
    this.#cursor.setAttribute("aria-valuemax", String(Math.max(0, points.length - 1 - begin)));
    this.#cursor.setAttribute("aria-valuenow", String(Math.max(0, index - begin)));
    this.#cursor.setAttribute("aria-valuetext", text);
  }

  #show(time) {
    this.#time = time;
    this.#draw();
  }

  #shown() {
    return [...this.#about.series.keys()].filter((series) => !this.#about.hidden(series));
  }

  #inWords(index, series) {
    const value = this.#about.points.value(index, series);
    return Number.isNaN(value) ? "–" : this.#about.format(value);
  }

  #draw() {
    const { points } = this.#about;
    const index = this.#time === null || this.#space === null ? -1 : points.nearest(this.#time);
    this.#box.hidden = index < 0;
    this.#plot.toggleAttribute("data-cursor", index >= 0);
    for (const dot of this.#dots) dot.hidden = true;
    if (index < 0) return;
    const { x, y, left, right } = this.#space;
    const at = Math.max(left, x(points.time(index)));
    this.#plot.style.setProperty("--at", `${at}px`);
    // Beside the cursor, on the side that has more room.
    this.#box.toggleAttribute("data-left", at > (left + right) / 2);
    this.#moment.textContent = timeOfDay(new Date(points.time(index)));
    const shown = new Set(this.#shown());
    this.#values.forEach((value, series) => {
      value.textContent = this.#inWords(index, series);
      value.parentElement.hidden = value.parentElement.previousElementSibling.hidden = !shown.has(series);
      const height = points.value(index, series);
      if (!shown.has(series) || Number.isNaN(height)) return;
      this.#dots[series].hidden = false;
      this.#dots[series].style.setProperty("--y", `${y(height)}px`);
    });
  }
}
