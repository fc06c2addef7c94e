// What is said in the rooms, and saying something. Other events that arrive stand between the messages.

import { element, fieldError, stickToEnd } from "../../lib/dom.js";
import { milliseconds, timeOfDay } from "../../lib/format.js";
import { session } from "../../lib/session.js";
import { card } from "./card.js";
import { t } from "./texts.js";

// Lines kept, and characters of another event shown: the frames have it whole.
const KEPT = 200;
const SHOWN = 300;

export class Chat {
  #channels;
  #journeys;
  #latency;
  // `channel offset` → what tells the line how long its message took, where it is one of one's own.
  #lines = new Map();
  #list = element("ol", {
    className: "chat", id: "chat", "aria-label": t("messages"), "aria-live": "polite", tabIndex: 0,
  });
  #room = element("select", { id: "say-room", "aria-label": t("speak_in") });
  #text = element("input", {
    id: "say-text", autocomplete: "off", maxLength: 4000, "aria-label": t("message"),
    "aria-describedby": "say-text-error",
  });
  #send = element("button", { type: "submit", className: "primary" }, t("send"));
  #empty = element("p", { className: "hint" }, t("nothing_said"));

  constructor(page, channels, journeys, latency) {
    this.#channels = channels;
    this.#journeys = journeys;
    this.#latency = latency;
    const form = element("form", { className: "say", id: "say", noValidate: true },
      this.#room, this.#text, this.#send,
      element("p", { className: "error", id: "say-text-error", role: "alert" }));
    this.element = card("chat", t("room"), null, this.#empty, this.#list, form);
    page.listen(form, "submit", (event) => this.#say(event));
    page.listen(channels, "change", () => this.#roomsChanged());
    // What has a channel is a publication; the rest is between the server and this connection.
    page.hear("*", (data, message) => message.channel !== undefined && this.#heard(data ?? {}, message));
    this.#roomsChanged();
  }

  #roomsChanged() {
    const { rooms } = this.#channels;
    const before = this.#room.value;
    const added = rooms.find((room) => ![...this.#room.options].some((option) => option.value === room));
    this.#room.replaceChildren(...rooms.map((room) => element("option", { value: room }, room)));
    this.#room.value = added ?? (rooms.includes(before) ? before : (rooms[0] ?? ""));
    const silent = rooms.length === 0;
    this.#room.hidden = silent;
    for (const part of [this.#room, this.#text, this.#send]) part.disabled = silent;
    this.#text.placeholder = t(silent ? "join_first" : "say_something");
  }

  async #say(event) {
    event.preventDefault();
    const text = this.#text.value;
    if (!text.trim()) return;
    // What waits for a connection is not timed.
    const began = session.tidings.isConnected() ? performance.now() : null;
    this.#text.value = "";
    this.#tellError("");
    try {
      const { channel, offset } = await session.tidings.request("room_message", { room: this.#room.value, text });
      if (began === null) return;
      this.#journeys.published(channel, offset, (arrived) => {
        this.#latency.message(arrived - began);
        this.#lines.get(`${channel} ${offset}`)?.(arrived - began);
      });
    } catch (error) {
      // What could not be said is not lost either.
      if (!this.#text.value) this.#text.value = text;
      this.#tellError(error.message);
    }
  }

  // The page may have been left meanwhile.
  #tellError(message) {
    if (this.element.isConnected) fieldError(this.#text, message);
  }

  #heard(data, { type, channel, offset, timestamp }) {
    const arrived = performance.now();
    const said = type === "room_message";
    const took = element("span", { className: "took" });
    const where = said ? t("in_room", { name: String(data.room) }) : t("on_channel", { name: channel });
    const who = element("strong", {}, said ? String(data.username ?? data.user_id) : type);
    const words = said ? String(data.text) : clipped(JSON.stringify(data));
    const text = element("span", { className: "text" }, words);
    const when = element("time", {}, timeOfDay(new Date(timestamp ?? Date.now())));
    const own = said && data.user_id === session.user?.user_id;
    const className = said ? (own ? "own" : "") : "event";
    this.#append(element("li", { className }, element("div", { className: "by" }, who, where, took, when), text));
    // What is not kept has no offset, and no place to be known by.
    if (!offset) return;
    this.#remember(`${channel} ${offset}`, (milli) => {
      took.textContent = `${milliseconds(milli)} ms`;
    });
    this.#journeys.arrived(channel, offset, arrived);
  }

  #remember(key, tell) {
    this.#lines.set(key, tell);
    if (this.#lines.size > KEPT) this.#lines.delete(this.#lines.keys().next().value);
  }

  #append(line) {
    const settle = stickToEnd(this.#list);
    this.#empty.hidden = true;
    this.#list.append(line);
    while (this.#list.childElementCount > KEPT) this.#list.firstElementChild.remove();
    settle();
  }
}

function clipped(text) {
  return text.length > SHOWN ? `${text.slice(0, SHOWN)}…` : text;
}
