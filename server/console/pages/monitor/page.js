// The monitor, for administrators: how the server fares now, and in the last ten minutes.

import { element } from "../../lib/dom.js";
import { Page } from "../../lib/page.js";
import { session } from "../../lib/session.js";
import { sheet } from "../../lib/sheet.js";
import { words } from "../../lib/ui.js";
import { advice } from "./advice.js";
import { Charts } from "./charts.js";
import { History } from "./history.js";
import { Latencies, Tables } from "./tables.js";
import { t } from "./texts.js";
import { Tiles } from "./tiles.js";

sheet(new URL("page.css", import.meta.url));

const ASK_EVERY_MS = 2_000;

class Monitor extends Page {
  #history = new History();
  #paused = false;
  #asking = false;
  #views = [];
  #body = element("div", { className: "stack" });
  #failure = element("div", { className: "notice row", "data-tone": "bad", hidden: true });
  #notes = element("ul", { className: "notes", id: "notes", "aria-label": t("notes"), "aria-live": "polite" });
  #pause = element("button", { type: "button", id: "pause", "aria-pressed": "false" }, t("pause"));
  #words = element("span", { role: "alert" });

  enter() {
    const again = element("button", { type: "button", className: "small" }, t("try_again"));
    this.#failure.append(this.#words, again);
    this.#body.append(element("p", { className: "card empty" }, t("loading")));
    this.replaceChildren(this.title(t("title"), element("span", { className: "spring" }), this.#pause),
      element("div", { className: "stack" }, this.#failure, this.#notes, this.#body));
    this.listen(again, "click", () => this.#ask());
    this.listen(this.#pause, "click", () => this.#setPaused(!this.#paused));
    // After an outage what is shown is old: at once, not at the next turn.
    this.hear("connected", () => this.#look());
    this.every(ASK_EVERY_MS, () => this.#look());
    this.#ask();
  }

  #setPaused(paused) {
    this.#paused = paused;
    this.#pause.setAttribute("aria-pressed", String(paused));
    this.#pause.textContent = t(paused ? "go_on" : "pause");
    this.toggleAttribute("data-paused", paused);
    // The server has kept what happened meanwhile.
    if (!paused) this.#ask();
  }

  #look() {
    if (!this.#paused) this.#ask();
  }

  // One question at a time: a server that is slow to answer is not asked more often.
  async #ask() {
    if (this.#asking) return;
    this.#asking = true;
    try {
      const report = await session.api.get(`/api/v1/monitor?after=${this.#history.last}`, { signal: this.signal });
      this.#failure.hidden = true;
      if (!this.#paused) this.#show(this.#history.add(report));
    } catch (error) {
      if (!this.signal.aborted) this.#fail(error);
    }
    this.#asking = false;
  }

  #fail(error) {
    const text = t("failed", { why: words(error) });
    this.#failure.hidden = false;
    // Said once, however often it is tried.
    if (this.#words.textContent !== text) this.#words.textContent = text;
    if (this.#views.length === 0) this.#body.replaceChildren();
  }

  #show(now) {
    if (this.#views.length === 0) {
      this.#views = [new Tiles(), new Charts(), new Latencies(), new Tables()];
      this.#body.replaceChildren(...this.#views.map((view) => view.element));
    }
    for (const view of this.#views) view.show(now);
    this.#tellNotes(advice(now));
  }

  // What is bad, and what to do. Those that stay are not said again.
  #tellNotes(notes) {
    for (const child of [...this.#notes.children]) {
      if (!notes.some(({ key }) => key === child.dataset.key)) child.remove();
    }
    for (const { key, tone, values } of notes) {
      const there = [...this.#notes.children].find((child) => child.dataset.key === key);
      const line = there ?? element("li", { className: "notice", "data-key": key, "data-tone": tone },
        element("strong"), " ", element("span"));
      const [title, text] = [t(`note_${key}`, values), t(`do_${key}`, values)];
      if (line.firstChild.textContent !== title) line.firstChild.textContent = title;
      if (line.lastChild.textContent !== text) line.lastChild.textContent = text;
      if (!there) this.#notes.append(line);
    }
  }
}

customElements.define("tidings-monitor", Monitor);
export const page = Monitor;
