// A group's accounts as a table: who is online, and what came in, as it changes. Sorted and searched here: all of
// them are in memory, and a hundred at a time in the page.

import { arrange } from "../../lib/arrange.js";
import { element } from "../../lib/dom.js";
import { number } from "../../lib/format.js";
import { language } from "../../lib/i18n.js";
import { Paced } from "../../lib/paced.js";
import { say } from "../../lib/say.js";
import { MOST_ACCOUNTS } from "./group.js";
import { t } from "./texts.js";

const DRAW_EVERY_MS = 500;
// In the page at first, and more with each click.
const SHOWN = 100;
const FIGURES = ["total_incoming", "today_incoming", "duplicate_incoming", "today_duplicate"];
const COLUMNS = ["name", "online_status", ...FIGURES];

export class Accounts {
  made = element("section", { className: "card accounts", "aria-labelledby": "accounts-title" });
  #group;
  #sort = { column: "name", down: false };
  #shown = SHOWN;
  #rows = new Map();
  #drawn = "";
  // The accounts' places by name, and the map of accounts that they were taken from.
  #order = null;
  #heads = new Map();
  #search = element("input", {
    type: "search", autocomplete: "off", spellcheck: false, placeholder: t("search"),
    "aria-label": t("search_accounts"),
  });
  #count = element("p", { className: "hint", role: "status" });
  #body = element("tbody");
  #table;
  #empty = element("p", { className: "empty" });
  #more = element("button", { type: "button" });
  #drawing = new Paced(DRAW_EVERY_MS, () => this.#draw());

  constructor(group) {
    this.#group = group;
    for (const name of COLUMNS) {
      const button = element("button", { type: "button", className: "quiet small" }, t(`column_${name}`));
      button.addEventListener("click", () => this.#by(name));
      const className = FIGURES.includes(name) ? `num of-${name}` : `of-${name}`;
      this.#heads.set(name, element("th", { scope: "col", className }, button));
    }
    this.#table = element("div", { className: "scroll" }, element("table", {},
      element("caption", { className: "unseen" }, t("accounts")),
      element("thead", {}, element("tr", {}, ...this.#heads.values())), this.#body));
    this.made.append(
      element("div", { className: "head" }, element("h2", { id: "accounts-title" }, t("accounts")), this.#search),
      this.#count, this.#table, this.#empty, element("div", { className: "row more" }, this.#more));
    this.#search.addEventListener("input", () => {
      this.#shown = SHOWN;
      this.#drawing.hurry();
    });
    this.#more.addEventListener("click", () => {
      this.#shown += SHOWN;
      this.#drawing.hurry();
    });
    group.addEventListener("accounts", () => this.#drawing.ask());
    group.addEventListener("figures", () => this.#drawing.ask());
    this.#mark();
  }

  stop() {
    this.#drawing.stop();
  }

  #by(column) {
    const { down } = this.#sort;
    // Figures begin with the largest, names with A.
    this.#sort = { column, down: this.#sort.column === column ? !down : FIGURES.includes(column) };
    this.#mark();
    this.#drawing.hurry();
  }

  #mark() {
    const { column, down } = this.#sort;
    for (const [name, head] of this.#heads) {
      if (name === column) head.setAttribute("aria-sort", down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
  }

  #found() {
    const wanted = this.#search.value.trim().toLowerCase();
    const all = [...this.#group.accounts.values()];
    return wanted ? all.filter((account) => [account.line_account_id, account.display_name, account.platform]
      .some((text) => text.toLowerCase().includes(wanted))) : all;
  }

  #draw() {
    const { entry, accounts } = this.#group;
    if (entry === null) return;
    const found = this.#found();
    this.#drawRows(found);
    this.#table.hidden = found.length === 0;
    this.#empty.hidden = found.length > 0;
    this.#search.hidden = accounts.size === 0;
    say(this.#empty, accounts.size > 0 ? t("no_account_found") : nobodyYet(entry.activation_code));
    const shown = this.#body.childElementCount;
    this.#more.hidden = found.length <= shown;
    say(this.#more, t("show_more"));
    if (accounts.size >= MOST_ACCOUNTS) say(this.#count, t("most_accounts", { count: number(MOST_ACCOUNTS) }));
    else if (found.length <= shown) say(this.#count, "");
    else say(this.#count, t("accounts_shown", { shown: number(shown), count: number(found.length) }));
  }

  #drawRows(found) {
    // A row does not run away from under the pointer.
    const isRead = this.#body.matches(":hover") && this.#key() === this.#drawn;
    const shown = isRead ? [...this.#rows.keys()].map((name) => this.#group.accounts.get(name)).filter(Boolean)
      : this.#sorted(found).slice(0, this.#shown);
    this.#drawn = this.#key();
    this.#rows = new Map(shown.map((account) => {
      const row = this.#rows.get(account.line_account_id) ?? new Row();
      row.draw(account);
      return [account.line_account_id, row];
    }));
    arrange(this.#body, [...this.#rows.values()].map((row) => row.made));
  }

  // What the order and the choice of rows come from, beside the figures.
  #key() {
    const { column, down } = this.#sort;
    return [column, down, this.#shown, this.#group.accounts.size, this.#search.value].join(" ");
  }

  #sorted(found) {
    const { column, down } = this.#sort;
    const sign = down ? -1 : 1;
    if (column === "name") {
      const order = this.#byName();
      return found.sort((a, b) => sign * (order.get(a) - order.get(b)));
    }
    const value = column === "online_status" ? rank : (account) => account[column];
    return found.sort((a, b) => sign * (value(a) - value(b)) || a.id - b.id);
  }

  // Comparing ten thousand names takes a tenth of a second, and they change with the accounts alone.
  #byName() {
    const { accounts } = this.#group;
    if (this.#order?.of !== accounts || this.#order.places.size !== accounts.size) {
      const { compare } = new Intl.Collator(language(), { numeric: true });
      const name = (account) => account.display_name || account.line_account_id;
      const sorted = [...accounts.values()].sort((a, b) => compare(name(a), name(b)) || a.id - b.id);
      const places = new Map(sorted.map((account, place) => [account, place]));
      this.#order = { of: accounts, places };
    }
    return this.#order.places;
  }
}

class Row {
  made = element("tr");
  #name = element("span", { className: "name" });
  #id = element("span", { className: "mono" });
  #platform = element("span", { className: "platform" });
  #dot = element("span", { className: "dot", "aria-hidden": "true" });
  #status = element("span");
  #pill = element("span", { className: "pill" }, this.#dot, this.#status);
  #figures = FIGURES.map((name) => element("td", { className: `num of-${name}` }));

  constructor() {
    this.made.append(
      element("th", { scope: "row" }, this.#name, element("span", { className: "hint" }, this.#id, this.#platform)),
      element("td", {}, this.#pill), ...this.#figures);
  }

  draw(account) {
    const { line_account_id, display_name, platform, online_status } = account;
    this.made.dataset.account = line_account_id;
    say(this.#name, display_name || line_account_id);
    const id = display_name ? line_account_id : "";
    say(this.#id, id);
    say(this.#platform, id && platform ? ` · ${platform}` : platform);
    say(this.#status, statusText(online_status));
    this.#pill.dataset.tone = online_status === "online" ? "good" : online_status === "offline" ? "idle" : "busy";
    FIGURES.forEach((name, index) => say(this.#figures[index], number(account[name])));
  }
}

function nobodyYet(code) {
  return code ? t("no_accounts", { code }) : t("no_code_accounts");
}

// The two that the server knows, in words; others are the device's, as they are.
function statusText(status) {
  return status === "online" || status === "offline" ? t(status) : status;
}

// Who is there comes first.
function rank({ online_status }) {
  return online_status === "online" ? 0 : online_status === "offline" ? 2 : 1;
}
