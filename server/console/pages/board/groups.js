// All groups, for administrators: how each stands, and a way to it.

import { arrange } from "../../lib/arrange.js";
import { element } from "../../lib/dom.js";
import { number } from "../../lib/format.js";
import { Paced } from "../../lib/paced.js";
import { say } from "../../lib/say.js";
import { session } from "../../lib/session.js";
import { t } from "./texts.js";

const DRAW_EVERY_MS = 500;
// A connection has 128 channels, and other pages want some. What others do is asked for now and then.
const HEARD = 40;
// In the page; beyond them people search.
const SHOWN = 100;
// So few are seen at a glance.
const SEARCH_FROM = 8;

export class Groups {
  made = element("section", { className: "card groups", "aria-labelledby": "groups-title" });
  // The entries, by id; empty before the first answer.
  all = new Map();
  #page;
  #chosen = null;
  #subscribed = new Set();
  #rows = new Map();
  #search = element("input", {
    type: "search", autocomplete: "off", spellcheck: false, placeholder: t("search"),
    "aria-label": t("search_groups"), hidden: true,
  });
  #body = element("tbody");
  #count = element("p", { className: "hint", role: "status" });
  #drawing = new Paced(DRAW_EVERY_MS, () => this.#draw());

  constructor(page) {
    this.#page = page;
    const heads = ["online_accounts", "today_incoming", "today_duplicate", "total_incoming"].map((name) => (
      element("th", { scope: "col", className: `num of-${name}` }, t(name))));
    this.made.append(
      element("div", { className: "head" }, element("h2", { id: "groups-title" }, t("groups")), this.#search),
      element("div", { className: "scroll" },
        element("table", {},
          element("thead", {}, element("tr", {},
            element("th", { scope: "col" }, t("group")), ...heads,
            element("th", { scope: "col", className: "of-code" }, t("code")))),
          this.#body)),
      this.#count);
    this.#search.addEventListener("input", () => this.#drawing.hurry());
  }

  // Which of them is open below.
  choose(id) {
    this.#chosen = id;
    this.#drawing.hurry();
  }

  // Ask for all. Rejects with ApiError.
  async load() {
    const { groups } = await session.api.get("/api/v1/lines/groups", { signal: this.#page.signal });
    this.all = new Map(groups.map((entry) => [entry.id, entry]));
    for (const { id } of groups) {
      if (this.#subscribed.size >= HEARD) break;
      if (this.#subscribed.has(id)) continue;
      this.#subscribed.add(id);
      this.#page.subscribe(`group:${id}`, (message) => this.#hear(id, message));
    }
    this.#drawing.ask();
  }

  stop() {
    this.#drawing.stop();
  }

  #hear(id, { type, data }) {
    const entry = this.all.get(id);
    if (type !== "group_stats_update" || entry === undefined) return;
    const { activation_code, timestamp: _, ...figures } = data;
    this.all.set(id, { ...entry, figures, activation_code: activation_code || null });
    this.#drawing.ask();
  }

  #draw() {
    const wanted = this.#search.value.trim().toLowerCase();
    const found = [...this.all.values()].filter(({ id, name, activation_code }) => (
      !wanted || [String(id), name, activation_code ?? ""].some((text) => text.toLowerCase().includes(wanted))));
    this.#search.hidden = this.all.size < SEARCH_FROM;
    const rows = new Map();
    for (const entry of found.slice(0, SHOWN)) {
      const row = this.#rows.get(entry.id) ?? new Row(entry.id);
      row.draw(entry, entry.id === this.#chosen);
      rows.set(entry.id, row);
    }
    this.#rows = rows;
    arrange(this.#body, [...rows.values()].map((row) => row.made));
    let text = found.length === 0 ? t("no_group_found") : "";
    if (found.length > rows.size) {
      text = t("groups_shown", { shown: number(rows.size), count: number(found.length) });
    }
    say(this.#count, text);
  }
}

class Row {
  made = element("tr");
  #link;
  #online = element("td", { className: "num" });
  #today = element("td", { className: "num" });
  #duplicate = element("td", { className: "num of-today_duplicate" });
  #total = element("td", { className: "num of-total_incoming" });
  #code = element("td", { className: "mono of-code" });

  constructor(id) {
    this.#link = element("a", { href: `#/board/${id}` });
    this.made.append(element("th", { scope: "row" }, this.#link),
      this.#online, this.#today, this.#duplicate, this.#total, this.#code);
  }

  draw({ name, activation_code, figures }, isChosen) {
    say(this.#link, name);
    if (isChosen) this.#link.setAttribute("aria-current", "true");
    else this.#link.removeAttribute("aria-current");
    say(this.#online, `${number(figures.online_accounts)} / ${number(figures.total_accounts)}`);
    say(this.#today, number(figures.today_incoming));
    say(this.#duplicate, number(figures.today_duplicate));
    say(this.#total, number(figures.total_incoming));
    say(this.#code, activation_code ?? "–");
  }
}
