// Who is slow, large, loud or refused, and how long things take.

import { element } from "../../lib/dom.js";
import { bytes, milliseconds, number } from "../../lib/format.js";
import { describe } from "../lab/codes.js";
import { t } from "./texts.js";

// A table whose rows are replaced when they differ: whoever selects text in it keeps the selection.
class Table {
  #body = element("tbody");
  #empty;
  #told = "";

  // columns: [[text of the head, whether it is a number]]
  constructor(id, title, columns, empty) {
    this.#empty = element("p", { className: "empty" }, empty);
    const heads = columns.map(([text, isNumber]) => (
      element("th", { scope: "col", className: isNumber ? "num" : "" }, text)));
    const named = { "aria-labelledby": `${id}-title` };
    this.#body.id = id;
    // It scrolls by itself where it is too wide, for keyboards too.
    this.table = element("div", { className: "scroll", tabIndex: 0, role: "group", ...named },
      element("table", named, element("thead", {}, element("tr", {}, ...heads)), this.#body));
    this.columns = columns;
    const heading = element("h2", { id: `${id}-title` }, title);
    this.element = element("section", { className: "card" }, heading, this.table, this.#empty);
  }

  // rows: texts, the first of which names the row.
  show(rows) {
    const told = JSON.stringify(rows);
    if (told === this.#told) return;
    this.#told = told;
    this.table.hidden = rows.length === 0;
    this.#empty.hidden = rows.length > 0;
    this.#body.replaceChildren(...rows.map(([name, ...cells]) => element("tr", {},
      element("th", { scope: "row" }, name),
      ...cells.map((cell, index) => element("td", { className: this.columns[index + 1][1] ? "num" : "" }, cell)))));
  }
}

const NUMBERS = new Set(["waits", "rate", "subscribers", "count"]);

function columns(...keys) {
  return keys.map((key) => [t(key), NUMBERS.has(key)]);
}

export class Latencies {
  #table = new Table("latencies", t("latencies"),
    [[t("of_last_minute"), false], [t("count"), true], ["p50", true], ["p95", true], ["p99", true]], "");

  constructor() {
    this.element = this.#table.element;
  }

  show({ report }) {
    const shown = (value) => (value === null ? "–" : milliseconds(value * 1000));
    this.#table.show(Object.entries(report.latencies).map(([key, { count, p50, p95, p99 }]) => (
      [t(`latency_${key}`), number(count), shown(p50), shown(p95), shown(p99)])));
  }
}

export class Tables {
  #deepest = new Table("deepest", t("deepest"), columns("user", "waits", "dialect", "peer", "connection"),
    t("nothing_waits"));
  #loudest = new Table("loudest", t("loudest"), columns("channel", "rate", "subscribers"), t("nothing_published"));
  #largest = new Table("largest", t("largest"), columns("channel", "subscribers", "rate"), t("no_channels"));
  #closes = new Table("closes", t("closes"), columns("code", "meaning", "count"), t("no_closes"));
  #refusals = new Table("refusals", t("refusals"), columns("where", "cause", "count"), t("no_refusals"));

  constructor() {
    const tables = [this.#loudest, this.#largest, this.#closes, this.#refusals].map((table) => table.element);
    this.element = element("div", { className: "stack" }, this.#deepest.element,
      element("div", { className: "tables" }, ...tables));
  }

  show({ report }) {
    this.#deepest.show(report.deepest_outboxes.map((each) => [
      each.device ? `${each.user_id} (${each.device})` : each.user_id,
      bytes(each.outbox_bytes), each.dialect, each.peer, each.connection_id,
    ]));
    const rate = (load) => t("per_second", { value: number(load.publications_per_second, 1) });
    const size = (load) => number(load.subscribers);
    this.#loudest.show(report.loudest_channels.map((load) => [load.channel, rate(load), size(load)]));
    this.#largest.show(report.largest_channels.map((load) => [load.channel, size(load), rate(load)]));
    const closes = Object.entries(report.totals.closes).sort(([, a], [, b]) => b - a);
    this.#closes.show(closes.map(([code, count]) => [code, describe(Number(code)), number(count)]));
    this.#refusals.show(report.refusals.map(({ where, cause, count }) => [where, cause, number(count)]));
  }
}
