// Lines as they come in: the newest first, as many as a screen shows, and none that runs away while it is paused.

import { arrange } from "../../lib/arrange.js";
import { element } from "../../lib/dom.js";
import { number, timeOfDay } from "../../lib/format.js";
import { Paced } from "../../lib/paced.js";
import { t } from "./texts.js";

const DRAW_EVERY_MS = 250;
const SHOWN = 100;
// How often whoever cannot see them is told how many came.
const TELL_EVERY_MS = 20_000;
const DETAIL_CHARS = 120;

export class Incoming {
  made = element("section", { className: "card incoming", "aria-labelledby": "incoming-title" });
  #group;
  #here;
  #items = new Map();
  // While it is paused: how many had come by then.
  #paused = null;
  #told = 0;
  #list = element("ol", { tabIndex: 0, "aria-labelledby": "incoming-title" });
  #empty = element("p", { className: "empty" }, t("no_lines"));
  #button = element("button", { type: "button", className: "small", "aria-pressed": "false" });
  #waiting = element("span", { className: "hint" });
  #news = element("p", { className: "unseen", role: "status" });
  #drawing = new Paced(DRAW_EVERY_MS, () => this.#draw());
  #timer = setInterval(() => this.#tell(), TELL_EVERY_MS);

  // `here(time)` is the page's time of a moment at the server's.
  constructor(group, here) {
    this.#group = group;
    this.#here = here;
    this.made.append(
      element("div", { className: "head" },
        element("h2", { id: "incoming-title" }, t("incoming")), this.#waiting, this.#button),
      this.#list, this.#empty, this.#news);
    this.#button.addEventListener("click", () => {
      this.#paused = this.#paused === null ? group.came : null;
      this.#drawing.hurry();
    });
    group.addEventListener("lines", () => this.#drawing.ask());
    this.#mark();
  }

  stop() {
    this.#drawing.stop();
    clearInterval(this.#timer);
  }

  #draw() {
    this.#mark();
    if (this.#paused !== null) return;
    const items = new Map();
    for (const line of this.#group.lines.slice(0, SHOWN)) {
      items.set(line, this.#items.get(line) ?? this.#item(line));
    }
    this.#items = items;
    arrange(this.#list, [...items.values()]);
    this.#list.hidden = items.size === 0;
    this.#empty.hidden = items.size > 0;
  }

  #mark() {
    const isPaused = this.#paused !== null;
    this.#button.textContent = t(isPaused ? "resume" : "pause");
    this.#button.setAttribute("aria-pressed", String(isPaused));
    const waiting = isPaused ? this.#group.came - this.#paused : 0;
    this.#waiting.textContent = waiting > 0 ? t("waiting", { count: number(waiting) }) : "";
  }

  #item(line) {
    const account = this.#group.accounts.get(line.line_account_id);
    const details = Object.entries(line.details).map(([name, value]) => `${name}: ${inWords(value)}`).join(" · ");
    return element("li", { "data-line": line.id },
      element("time", { dateTime: new Date(line.at).toISOString() }, timeOfDay(new Date(this.#here(line.at)))),
      element("span", { className: "who" },
        element("span", { className: "customer mono" }, line.incoming_line_id),
        element("span", { className: "hint" }, "→ ", account?.display_name || line.line_account_id)),
      line.duplicate && element("span", { className: "tag", "data-tone": "busy" }, t("duplicate")),
      details && element("span", { className: "hint details" }, clipped(details)));
  }

  #tell() {
    const count = this.#group.came - this.#told;
    this.#told = this.#group.came;
    if (count > 0) this.#news.textContent = t("came", { count: number(count) });
  }
}

function inWords(value) {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function clipped(text) {
  return text.length > DETAIL_CHARS ? `${text.slice(0, DETAIL_CHARS)}…` : text;
}
