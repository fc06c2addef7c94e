// A group's customers, and what was done about them: asked for when somebody wants to see them, page by page.

import { element } from "../../lib/dom.js";
import { moment } from "../../lib/format.js";
import { session } from "../../lib/session.js";
import { words } from "../../lib/ui.js";
import { t } from "./texts.js";

const PAGE = 20;
const KINDS = ["customers", "follow_ups"];

export class Records {
  made = element("section", { className: "card records", "aria-labelledby": "records-title" });
  #group;
  #signal;
  #kind = null;
  // Of whom: only this customer's follow-ups.
  #customer = null;
  // Where each page up to the one that is shown begins.
  #places = [null];
  #next = null;
  #turn = 0;
  #body = element("div");
  #buttons = new Map();
  #only = element("p", { className: "row only", hidden: true });
  #newer = element("button", { type: "button" }, t("newer"));
  #older = element("button", { type: "button" }, t("older"));
  #pages = element("nav", { className: "row pages", "aria-label": t("pages"), hidden: true },
    this.#newer, this.#older);

  constructor(group, signal) {
    this.#group = group;
    this.#signal = signal;
    for (const kind of KINDS) {
      const button = element("button", { type: "button", "aria-pressed": "false" }, t(kind));
      button.addEventListener("click", () => this.#open(kind));
      this.#buttons.set(kind, button);
    }
    this.#newer.addEventListener("click", () => {
      this.#places.pop();
      this.#load();
    });
    this.#older.addEventListener("click", () => {
      this.#places.push(this.#next);
      this.#load();
    });
    this.made.append(
      element("div", { className: "head" }, element("h2", { id: "records-title" }, t("records")),
        element("div", { className: "row" }, ...this.#buttons.values())),
      element("p", { className: "hint" }, t("records_hint")), this.#only, this.#body, this.#pages);
  }

  // Another click asks anew.
  #open(kind, customer = null) {
    this.#kind = kind;
    this.#customer = customer;
    this.#places = [null];
    for (const [name, button] of this.#buttons) button.setAttribute("aria-pressed", String(name === kind));
    this.#only.hidden = customer === null;
    if (customer !== null) {
      const all = element("button", { type: "button", className: "small" }, t("of_all"));
      all.addEventListener("click", () => this.#open("follow_ups"));
      this.#only.replaceChildren(element("span", {}, t("of_customer", { id: customer })), all);
    }
    this.#load();
  }

  async #load() {
    const turn = ++this.#turn;
    const kind = this.#kind;
    const query = new URLSearchParams({ limit: PAGE });
    if (this.#places.at(-1) !== null) query.set("before", this.#places.at(-1));
    if (this.#customer !== null) query.set("customer", this.#customer);
    this.#body.setAttribute("aria-busy", "true");
    this.#newer.disabled = this.#older.disabled = true;
    if (this.#body.childElementCount === 0) this.#body.append(element("p", { className: "empty" }, t("loading")));
    try {
      const path = `${this.#group.path}/${kind.replace("_", "-")}?${query}`;
      const answer = await session.api.get(path, { signal: this.#signal });
      if (turn !== this.#turn) return;
      this.#next = answer.next;
      this.#show(kind, answer[kind]);
    } catch (error) {
      if (this.#signal.aborted || turn !== this.#turn) return;
      const again = element("button", { type: "button" }, t("try_again"));
      again.addEventListener("click", () => this.#load());
      this.#body.replaceChildren(element("div", { className: "empty stack" },
        element("p", { role: "alert" }, words(error)), element("p", {}, again)));
    }
    this.#body.removeAttribute("aria-busy");
    this.#pages.hidden = this.#places.length === 1 && this.#next === null;
    this.#newer.disabled = this.#places.length === 1;
    this.#older.disabled = this.#next === null;
  }

  #show(kind, found) {
    if (found.length === 0) {
      this.#body.replaceChildren(element("p", { className: "empty" }, t(`no_${kind}`)));
      return;
    }
    const [heads, row] = kind === "customers"
      ? [["customer", "account", "details", "changed"], (each) => this.#customerRow(each)]
      : [["customer", "content", "details", "changed"], (each) => this.#followUpRow(each)];
    this.#body.replaceChildren(element("div", { className: "scroll" }, element("table", {},
      element("caption", { className: "unseen" }, t(kind)),
      element("thead", {}, element("tr", {}, ...heads.map((name) => element("th", { scope: "col" }, t(name))))),
      element("tbody", {}, ...found.map(row)))));
  }

  #customerRow({ customer_id, line_account_id, details, changed_at }) {
    const look = { type: "button", className: "quiet small mono", title: t("see_follow_ups") };
    const button = element("button", look, customer_id);
    button.addEventListener("click", () => {
      this.#open("follow_ups", customer_id);
      this.#buttons.get("follow_ups").focus();
    });
    return element("tr", {},
      element("th", { scope: "row" }, button), element("td", { className: "mono" }, line_account_id ?? "–"),
      element("td", {}, fields(details)), element("td", { className: "when" }, moment(changed_at)));
  }

  #followUpRow({ customer_id, content, details, changed_at }) {
    return element("tr", {},
      element("th", { scope: "row", className: "mono" }, customer_id),
      element("td", { className: "content" }, content),
      element("td", {}, fields(details)), element("td", { className: "when" }, moment(changed_at)));
  }
}

// What the device sent beside, as it was: at most 32 KB of it.
function fields(details) {
  const all = Object.entries(details);
  if (all.length === 0) return "–";
  return element("dl", { className: "fields" }, ...all.map(([name, value]) => element("div", {},
    element("dt", {}, name), element("dd", {}, typeof value === "string" ? value : JSON.stringify(value)))));
}
