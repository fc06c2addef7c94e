// What is said in the rooms, and saying something. Other events that arrive stand between the messages.

import { $, element, fieldError, milliseconds, stickToEnd, timeOfDay } from "./dom.js";

// Lines kept, and characters of another event shown: the frames below have it whole.
const KEPT = 200;
const SHOWN = 300;

export class Chat {
  #connection;
  #channels;
  #journeys;
  #latency;
  // `channel offset` → the line, so that a message of one's own can be told how long it took.
  #lines = new Map();

  constructor(connection, channels, journeys, latency) {
    this.#connection = connection;
    this.#channels = channels;
    this.#journeys = journeys;
    this.#latency = latency;
    $("say").addEventListener("submit", (event) => this.#say(event));
    channels.addEventListener("change", () => this.#roomsChanged());
    connection.addEventListener("publication", ({ detail }) => this.#heard(detail));
    this.#roomsChanged();
  }

  #roomsChanged() {
    const select = $("say-room");
    const { rooms } = this.#channels;
    const before = select.value;
    const added = rooms.find((room) => ![...select.options].some((option) => option.value === room));
    select.replaceChildren(...rooms.map((room) => element("option", { value: room }, room)));
    select.value = added ?? (rooms.includes(before) ? before : (rooms[0] ?? ""));
    const silent = rooms.length === 0;
    select.hidden = silent;
    for (const part of $("say").elements) part.disabled = silent;
    $("say-text").placeholder = silent ? "Join a room to speak in it" : "Say something";
  }

  async #say(event) {
    event.preventDefault();
    const field = $("say-text");
    const text = field.value;
    if (!text.trim()) return;
    const began = performance.now();
    field.value = "";
    fieldError(field, "");
    try {
      const { data } = await this.#connection.command("room_message", { room: $("say-room").value, text });
      this.#journeys.published(data.channel, data.offset, (arrived) => {
        this.#latency.message(arrived - began);
        this.#lines.get(`${data.channel} ${data.offset}`)?.(arrived - began);
      });
    } catch (error) {
      // What could not be said is not lost either.
      if (!field.value) field.value = text;
      fieldError(field, error.message);
    }
  }

  #heard({ message, arrived }) {
    const data = message.data ?? {};
    const when = element("time", {}, timeOfDay(new Date(message.timestamp ?? Date.now())));
    const said = message.type === "room_message";
    const took = element("span", { className: "took" });
    const where = element("span", { className: "where" }, said ? String(data.room) : String(message.channel));
    const who = element("strong", {}, said ? String(data.username ?? data.user_id) : message.type);
    const text = element("span", { className: "text" }, said ? String(data.text) : clipped(JSON.stringify(data)));
    const own = said && data.user_id === this.#connection.state.userId;
    const className = said ? (own ? "own" : "") : "event";
    this.#append(element("li", { className }, element("div", { className: "by" }, who, where, took, when), text));
    this.#remember(`${message.channel} ${message.offset}`, (milli) => {
      took.textContent = `${milliseconds(milli)} ms`;
    });
    this.#journeys.arrived(message.channel, message.offset, arrived);
  }

  #remember(key, tell) {
    this.#lines.set(key, tell);
    if (this.#lines.size > KEPT) this.#lines.delete(this.#lines.keys().next().value);
  }

  #append(line) {
    const list = $("chat");
    const settle = stickToEnd(list);
    list.append(line);
    while (list.children.length > KEPT) list.firstElementChild.remove();
    settle();
  }
}

function clipped(text) {
  return text.length > SHOWN ? `${text.slice(0, SHOWN)}…` : text;
}
