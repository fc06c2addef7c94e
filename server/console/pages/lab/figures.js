// The `stats` command: the connection's figures, and the server's for admins.

import { element, fillTerms } from "../../lib/dom.js";
import { bytes, duration, number } from "../../lib/format.js";
import { session } from "../../lib/session.js";
import { card } from "./card.js";
import { t } from "./texts.js";

const SHOWN = { connected_seconds: duration, outbox_bytes: bytes, bytes_sent: bytes };
// The rest of the page shows it.
const ELSEWHERE = new Set(["connection_id"]);

export class Figures {
  #stats = element("div", { className: "stats", id: "stats" });
  #hint = element("p", { className: "hint", role: "status" }, t("figures_hint"));
  #button = element("button", { type: "button", id: "stats-refresh" }, t("refresh"));

  constructor(page) {
    this.element = card("figures", t("figures"), this.#button, this.#stats, this.#hint);
    page.listen(this.#button, "click", () => this.#refresh());
  }

  async #refresh() {
    this.#button.disabled = true;
    try {
      const { connection, server } = await session.tidings.request("stats");
      const parts = [figures(t("this_connection"), connection)];
      if (server) parts.push(figures(t("the_server"), server));
      this.#stats.replaceChildren(...parts);
      this.#hint.textContent = server ? "" : t("figures_admins");
    } catch (error) {
      this.#hint.textContent = error.message;
    }
    this.#button.disabled = false;
  }
}

function figures(title, values) {
  const list = element("dl", { className: "facts" });
  const rows = Object.entries(values).filter(([key]) => !ELSEWHERE.has(key));
  fillTerms(list, rows.map(([key, value]) => [t(`figure_${key}`), shown(key, value)]));
  return element("section", {}, element("h3", {}, title), list);
}

function shown(key, value) {
  if (typeof value === "number") return (SHOWN[key] ?? number)(value);
  if (Array.isArray(value)) return value.join(", ") || t("none");
  return Object.entries(value).map(([name, count]) => `${name}: ${number(count)}`).join(", ") || t("none");
}
