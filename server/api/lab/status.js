// What is known about the connection: its state, its facts, and why the last one ended.

import { describe } from "./codes.js";
import { $, duration, element, fillTerms, timeOfDay } from "./dom.js";

// State → the pill's colour.
const TONES = { idle: "idle", connecting: "busy", authenticating: "busy", connected: "good", waiting: "busy", ended: "bad" };

export class StatusView {
  #connection;
  #end = null;

  constructor(connection) {
    this.#connection = connection;
    connection.addEventListener("state", () => this.#changed());
    // Countdowns: the expiry, and the wait before the next attempt.
    setInterval(() => this.#facts(), 1000);
    this.#changed();
  }

  #changed() {
    const { state } = this.#connection;
    if (state.name === "waiting" || state.name === "ended") this.#end = { ...state, at: new Date() };
    $("state").dataset.tone = state.name === "ended" && state.by === "you" ? "idle" : TONES[state.name];
    $("state-text").textContent = words(state);
    $("retry").hidden = state.name !== "waiting";
    $("disconnect").disabled = ["idle", "ended"].includes(state.name);
    $("disconnect").textContent = state.name === "waiting" ? "Stop" : "Disconnect";
    $("ping").disabled = $("stats-refresh").disabled = state.name !== "connected";
    this.#facts();
    this.#why();
  }

  #facts() {
    const { state } = this.#connection;
    const wait = state.name === "waiting" ? (state.until - performance.now()) / 1000 : null;
    fillTerms($("facts"), [
      ["Connection", state.connectionId && element("code", { id: "connection-id" }, state.connectionId)],
      ["User", state.userId && (state.username === state.userId ? state.userId : `${state.username} (${state.userId})`)],
      ["Protocol", state.protocol && element("code", {}, state.protocol)],
      ["Token ends", state.expiresAt && `in ${duration(state.expiresAt - Date.now() / 1000)}`],
      ["Next attempt", wait === null ? null : `in ${Math.max(0, wait).toFixed(0)} s (number ${state.attempt})`],
    ]);
  }

  #why() {
    const box = $("why");
    const end = this.#end;
    box.hidden = end === null;
    if (end === null) return;
    const [name, meaning] = describe(end.code);
    const now = this.#connection.isConnected;
    box.classList.toggle("past", now);
    let next = "The client may reconnect.";
    if (!end.mayReturn) next = "The client must not reconnect by itself.";
    else if (end.code === 3005) next = "The client may reconnect, with a new token.";
    else if (end.by === "you") next = "";
    box.replaceChildren(
      element("p", {}, element("strong", {}, now ? "Last time it ended: " : "It ended: "),
        element("code", {}, String(end.code)), ` ${name}, closed by ${end.by} at ${timeOfDay(end.at)}`),
      element("p", { className: "hint" }, [meaning, end.detail && `The server said: ${end.detail}.`,
        end.reason && end.reason !== name && `Reason given: ${end.reason}.`, next].filter(Boolean).join(" ")),
    );
  }
}

function words(state) {
  switch (state.name) {
    case "connecting":
      return state.attempt ? `Connecting (attempt ${state.attempt + 1})` : "Connecting";
    case "authenticating":
      return "Authenticating";
    case "connected":
      return `Connected as ${state.username}`;
    case "waiting":
      return "Reconnecting";
    case "ended":
      return state.by === "you" ? "Disconnected" : `Closed: ${describe(state.code)[0]}`;
    default:
      return "Not connected";
  }
}
