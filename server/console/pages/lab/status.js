// What is known about the connection: its state, its facts, and why the last one ended.

import { element, fillTerms } from "../../lib/dom.js";
import { duration, timeOfDay } from "../../lib/format.js";
import { session } from "../../lib/session.js";
import { card } from "./card.js";
import { describe, mayReconnect } from "./codes.js";
import { t } from "./texts.js";

export class Status {
  // What ended the last connection that this page has seen: {code, reason, at, byUs}.
  #end = null;
  // Since when the next attempt is waited for, by performance.now().
  #waiting = 0;
  // Whether this page has ended the connection: whoever leaves it for another page gets it back.
  #ended = false;
  #connect = element("button", { type: "button", id: "connect", className: "primary" });
  #disconnect = element("button", { type: "button", id: "disconnect" }, t("disconnect"));
  #facts = element("dl", { className: "facts", id: "facts" });
  #why = element("div", { className: "why", id: "why", hidden: true });

  constructor(page) {
    this.element = card("connection", t("connection"), null,
      this.#facts, this.#why, element("div", { className: "row" }, this.#connect, this.#disconnect));
    page.listen(this.#connect, "click", () => this.#again());
    page.listen(this.#disconnect, "click", () => {
      this.#ended = true;
      session.tidings.disconnect();
    });
    page.hear("@state", (state) => this.#changed(state));
    // Countdowns: the token's end, and the wait before the next attempt.
    page.every(1_000, () => this.#tell());
    page.leave(() => {
      if (this.#ended && session.tidings?.state.name === "ended") session.tidings.connect().catch(() => {});
    });
    this.#tell();
  }

  // Connect, or be quick about it; connected, do it anew: so the first frames of a connection can be seen, too.
  #again() {
    const { tidings } = session;
    if (tidings.isConnected()) tidings.disconnect();
    this.#ended = false;
    // Why it did not become one, `@state` tells.
    tidings.connect().catch(() => {});
  }

  #changed(state) {
    if (state.name === "waiting" || state.name === "ended") {
      this.#end = { code: state.code ?? 1006, reason: state.reason ?? "", at: new Date() };
      this.#waiting = performance.now();
    }
    this.#tell();
  }

  #tell() {
    const { state } = session.tidings;
    const connected = state.name === "connected";
    this.#connect.textContent = t(connected ? "reconnect" : state.name === "waiting" ? "try_now" : "connect");
    this.#connect.disabled = state.name === "connecting";
    this.#disconnect.disabled = state.name === "ended" || state.name === "idle";
    const left = state.name === "waiting" ? (state.delay - (performance.now() - this.#waiting)) / 1000 : null;
    fillTerms(this.#facts, [
      [t("state"), element("span", { id: "lab-state" }, t(`state_${state.name}`))],
      [t("connection"), connected ? element("code", { id: "connection-id" }, state.connection_id) : null],
      [t("user"), connected ? named(state) : null],
      [t("protocol"), connected ? element("code", {}, "tidings.v1.json") : null],
      [t("token_ends"), connected ? t("in", { time: duration(state.expires_at - Date.now() / 1000) }) : null],
      [t("next_attempt"), left === null ? null
        : t("attempt", { time: duration(Math.max(0, left)), number: state.attempt })],
    ]);
    this.#tellWhy(connected);
  }

  #tellWhy(connected) {
    const end = this.#end;
    this.#why.hidden = end === null;
    if (end === null || this.#why.dataset.told === `${end.at.getTime()} ${connected}`) return;
    this.#why.dataset.told = `${end.at.getTime()} ${connected}`;
    const name = describe(end.code);
    const next = mayReconnect(end.code) ? t(end.code === 3005 ? "may_with_token" : "may_return")
      : end.code !== 1000 && t("must_not_return");
    this.#why.classList.toggle("past", connected);
    this.#why.replaceChildren(
      element("p", {}, element("strong", {}, t(connected ? "ended_before" : "ended")), " ",
        element("code", {}, String(end.code)), ` ${name}, ${timeOfDay(end.at)}`),
      element("p", { className: "hint" }, [
        t(`code_${end.code}`) === `code_${end.code}` ? t("code_unknown") : t(`code_${end.code}`),
        end.reason && end.reason !== name && t("said", { reason: end.reason }), next,
      ].filter(Boolean).join(" ")));
  }
}

function named({ user_id: id, username }) {
  return username === id ? id : `${username} (${id})`;
}
