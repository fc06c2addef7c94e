// The `stats` command: the connection's figures, and the server's for admins.

import { $, bytes, duration, element, fillTerms } from "./dom.js";

const NAMES = {
  connected_seconds: ["Connected for", duration],
  outbox_bytes: ["In queues", bytes],
  bytes_sent: ["Sent", bytes],
};
// The rest of the page shows these.
const ELSEWHERE = new Set(["connection_id"]);

export class StatsView {
  #connection;

  constructor(connection) {
    this.#connection = connection;
    $("stats-refresh").addEventListener("click", () => this.#refresh());
  }

  async #refresh() {
    try {
      const { data } = await this.#connection.command("stats");
      const parts = [figures("This connection", data.connection)];
      if (data.server) parts.push(figures("The server", data.server));
      $("stats").replaceChildren(...parts);
      $("stats-hint").textContent = data.server ? "" : "The server's figures are for tokens with the role admin.";
    } catch (error) {
      $("stats-hint").textContent = error.message;
    }
  }
}

function figures(title, values) {
  const list = element("dl", { className: "facts" });
  const rows = Object.entries(values).filter(([key]) => !ELSEWHERE.has(key));
  fillTerms(list, rows.map(([key, value]) => [NAMES[key]?.[0] ?? worded(key), shown(key, value)]));
  return element("section", {}, element("h3", {}, title), list);
}

function worded(key) {
  const words = key.replaceAll("_", " ");
  return words[0].toUpperCase() + words.slice(1);
}

function shown(key, value) {
  if (typeof value === "number") return NAMES[key]?.[1](value) ?? value.toLocaleString();
  if (Array.isArray(value)) return value.join(", ") || "none";
  if (value !== null && typeof value === "object") {
    return Object.entries(value).map(([name, count]) => `${name}: ${count}`).join(", ") || "none";
  }
  return String(value);
}
