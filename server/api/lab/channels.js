// The channels this page is subscribed to: joining, leaving, and joining again after a reconnect.

import { Refused } from "./connection.js";
import { $, element, fieldError } from "./dom.js";

export class Channels extends EventTarget {
  #connection;
  // Channel → {epoch, offset, asked}: `asked` is false for what the server subscribes everybody to.
  #known = new Map();

  constructor(connection) {
    super();
    this.#connection = connection;
    this.#form("join", "room", (room) => this.#subscribe("join_room", { room }));
    this.#form("subscribe", "channel", (channel) => this.#subscribe("subscribe", { channel }));
    connection.addEventListener("state", ({ detail }) => this.#stateChanged(detail));
    connection.addEventListener("publication", ({ detail }) => this.#heard(detail.message));
    connection.addEventListener("notice", ({ detail }) => {
      // A refreshed token may allow less than the old one did.
      if (detail.type === "unsubscribed") this.#remove(detail.data.channel);
    });
  }

  get rooms() {
    return [...this.#known.keys()].filter((name) => name.startsWith("room:")).map((name) => name.slice(5));
  }

  #form(id, fieldId, subscribe) {
    const field = $(fieldId);
    $(id).addEventListener("submit", async (event) => {
      event.preventDefault();
      const name = field.value.trim();
      if (!name) {
        fieldError(field, "Give a name.");
        return;
      }
      try {
        await subscribe(name);
        fieldError(field, "");
      } catch (error) {
        fieldError(field, error.message);
      }
    });
  }

  async #subscribe(command, data) {
    const { data: answer } = await this.#connection.command(command, data);
    this.#known.set(answer.channel, { epoch: answer.epoch, offset: answer.offset, asked: true });
    this.#changed();
  }

  async #leave(channel, button) {
    button.disabled = true;
    try {
      await this.#connection.command("unsubscribe", { channel });
      this.#remove(channel);
    } catch (error) {
      if (error instanceof Refused && error.code === "not_found") this.#remove(channel);
      else this.#changed();
    }
  }

  async #stateChanged(state) {
    if (state.name === "idle" || (state.name === "ended" && state.by === "you")) {
      this.#known.clear();
      this.#changed();
    }
    if (state.name !== "connected" || state.connectionId === this.connectionId) return;
    this.connectionId = state.connectionId;
    try {
      await this.#resume();
      await this.#askForOthers();
    } catch {
      // The connection ended meanwhile: the next one does the same again.
    }
  }

  // Join again what was joined, from the last position: a server that keeps history sends what was missed.
  async #resume() {
    for (const [channel, position] of [...this.#known]) {
      this.#known.delete(channel);
      if (!position.asked) continue;
      const since = { epoch: position.epoch, offset: position.offset };
      try {
        await this.#subscribe("subscribe", { channel, since });
      } catch (error) {
        if (!(error instanceof Refused)) {
          this.#known.set(channel, position);
          throw error;
        }
        fieldError($("channel"), error.message);
      }
    }
    this.#changed();
  }

  // The server subscribes everybody to their own channel and to `all`; its figures tell.
  async #askForOthers() {
    const { data } = await this.#connection.command("stats");
    for (const channel of data.connection.channels) {
      if (!this.#known.has(channel)) this.#known.set(channel, { asked: false });
    }
    this.#changed();
  }

  #heard(message) {
    const position = this.#known.get(message.channel);
    if (position && typeof message.offset === "number") position.offset = message.offset;
  }

  #remove(channel) {
    this.#known.delete(channel);
    this.#changed();
  }

  #changed() {
    const names = [...this.#known.keys()].sort();
    $("channels").replaceChildren(...names.map((name) => this.#entry(name)));
    $("no-channels").hidden = names.length > 0;
    this.dispatchEvent(new Event("change"));
  }

  #entry(channel) {
    const leave = element("button", { type: "button", className: "small" }, "Leave");
    leave.setAttribute("aria-label", `Leave ${channel}`);
    leave.addEventListener("click", () => this.#leave(channel, leave));
    const note = this.#known.get(channel).asked ? "" : "automatic";
    return element("li", {}, element("code", {}, channel), element("span", { className: "hint" }, note), leave);
  }
}
