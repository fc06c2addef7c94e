// The channels that this connection hears: those that everybody hears, and those that were subscribed to here.

import { element, field, fieldError } from "../../lib/dom.js";
import { arrange } from "../../lib/arrange.js";
import { number } from "../../lib/format.js";
import { Paced } from "../../lib/paced.js";
import { session } from "../../lib/session.js";
import { card } from "./card.js";
import { t } from "./texts.js";

// Positions change with every publication; people read no faster.
const TELL_EVERY_MS = 250;

// Events: `change` when a channel comes or goes.
export class Channels extends EventTarget {
  #page;
  // What was subscribed to here: channel → the SDK's subscription.
  #asked = new Map();
  #lines = new Map();
  #list = element("ul", { className: "channels", id: "channels", "aria-label": t("channels") });
  #none = element("p", { className: "hint" }, t("no_channels"));
  #telling = new Paced(TELL_EVERY_MS, () => this.#tell());

  constructor(page) {
    super();
    this.#page = page;
    const forms = element("div", { className: "pair" },
      this.#form("join", "room", t("room"), t("join"), "lobby", (room) => `room:${room}`),
      this.#form("subscribe", "channel", t("channel"), t("subscribe"), "", (channel) => channel));
    this.element = card("channels", t("channels"), null, forms, this.#list, this.#none);
    page.hear("*", () => this.#telling.ask());
    page.hear("@state", () => this.#telling.ask());
    // A refreshed token may allow less than the one before it did.
    page.hear("unsubscribed", ({ channel }) => this.#forget(channel));
    page.leave(() => this.#telling.stop());
    this.#tell();
  }

  get rooms() {
    return [...this.#asked.keys()].filter((name) => name.startsWith("room:")).map((name) => name.slice(5));
  }

  #form(id, name, label, submit, value, channel) {
    const input = element("input", {
      id: name, value, autocomplete: "off", autocapitalize: "off", spellcheck: false,
      placeholder: name === "channel" ? "room:news" : "",
    });
    const button = element("button", { type: "submit" }, submit);
    const made = field(label, input);
    const joined = element("div", { className: "joined" });
    input.replaceWith(joined);
    joined.append(input, button);
    const form = element("form", { id, noValidate: true }, made);
    this.#page.listen(form, "submit", async (event) => {
      event.preventDefault();
      const given = input.value.trim();
      fieldError(input, given ? "" : t("give_name"));
      if (!given || button.disabled) return;
      button.disabled = true;
      try {
        await this.#follow(channel(given));
      } catch (error) {
        fieldError(input, error.message);
      }
      button.disabled = false;
    });
    return form;
  }

  async #follow(channel) {
    if (this.#asked.has(channel)) return;
    const subscription = this.#page.subscribe(channel);
    await subscription.ready;
    this.#asked.set(channel, subscription);
    this.#changed();
  }

  #leaving(channel) {
    const label = t("leave_named", { channel });
    const button = element("button", { type: "button", className: "small", "aria-label": label }, t("leave"));
    button.addEventListener("click", () => this.#leave(channel));
    return button;
  }

  #leave(channel) {
    this.#asked.get(channel)?.unsubscribe();
    this.#forget(channel);
    // What had the focus is gone.
    this.element.querySelector("#room").focus();
  }

  #forget(channel) {
    this.#asked.delete(channel);
    this.#lines.delete(channel);
    this.#changed();
  }

  #changed() {
    this.#tell();
    this.dispatchEvent(new Event("change"));
  }

  #tell() {
    const positions = session.tidings?.positions() ?? {};
    const names = [...new Set([...Object.keys(positions), ...this.#asked.keys()])].sort();
    for (const name of this.#lines.keys()) if (!names.includes(name)) this.#lines.delete(name);
    arrange(this.#list, names.map((name) => this.#line(name, positions[name])));
    this.#none.hidden = names.length > 0;
  }

  #line(channel, position) {
    const asked = this.#asked.has(channel);
    let made = this.#lines.get(channel);
    if (made === undefined || made.asked !== asked) {
      const at = element("span", { className: "hint num" });
      const beside = asked ? this.#leaving(channel)
        : element("span", { className: "hint" }, isUnasked(channel) ? t("automatic") : "");
      made = { asked, at, line: element("li", {}, element("code", {}, channel), at, beside) };
      this.#lines.set(channel, made);
    }
    const text = position ? t("offset", { offset: number(position.offset) }) : "";
    if (made.at.textContent !== text) made.at.textContent = text;
    made.at.title = position ? `epoch ${position.epoch}` : "";
    return made.line;
  }
}

// What the server subscribes everybody to; the rest was subscribed to by a command of one's own.
function isUnasked(channel) {
  const { channels = {}, user_id: id } = session.tidings.state;
  return channel in channels || channel === `user:${id}`;
}
