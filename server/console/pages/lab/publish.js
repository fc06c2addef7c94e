// Publishing an event; whatever is wrong is told at the field that is wrong.

import { element, field, fieldError } from "../../lib/dom.js";
import { number } from "../../lib/format.js";
import { session } from "../../lib/session.js";
import { card, readObject } from "./card.js";
import { t } from "./texts.js";

// The events that the documents name; any other name will do.
const EVENTS = ["system_message", "notification", "data_update", "user:updated", "sync_update"];

export class Publish {
  #journeys;
  #latency;
  #to = plain({ id: "to", value: "all" });
  #event = plain({ id: "event", value: "system_message" });
  #payload = element("textarea", {
    id: "payload", rows: 4, spellcheck: false, autocapitalize: "off", value: t("payload_example"),
  });
  #done = element("span", { className: "hint", id: "publish-done", role: "status" });
  #button = element("button", { type: "submit" }, t("publish"));

  constructor(page, journeys, latency) {
    this.#journeys = journeys;
    this.#latency = latency;
    this.#event.setAttribute("list", "events");
    const form = element("form", { id: "publish", noValidate: true },
      element("div", { className: "pair" }, field(t("to_channel"), this.#to), field(t("event"), this.#event)),
      field(t("payload"), this.#payload),
      element("div", { className: "row" }, this.#button, this.#done),
      element("datalist", { id: "events" }, ...EVENTS.map((value) => element("option", { value }))));
    const hint = element("p", { className: "hint after" }, t("publish_hint"));
    this.element = card("publish", t("publish"), null, form, hint);
    page.listen(form, "submit", (event) => this.#submit(event));
  }

  async #submit(event) {
    event.preventDefault();
    if (this.#button.disabled) return;
    for (const input of [this.#to, this.#event, this.#payload]) fieldError(input, "");
    this.#done.textContent = "";
    const { value: payload, error } = readObject(this.#payload.value, t);
    if (error) {
      this.#refuse(this.#payload, error);
      return;
    }
    const given = { channel: this.#to.value.trim(), event: this.#event.value.trim() };
    const began = session.tidings.isConnected() ? performance.now() : null;
    this.#button.disabled = true;
    try {
      const { channel, offset } = await session.tidings.publish(given.channel, given.event, payload);
      this.#done.textContent = t("published", { offset: number(offset) });
      const tell = (arrived) => this.#latency.message(arrived - began);
      if (began !== null) this.#journeys.published(channel, offset, tell);
    } catch (failure) {
      if (this.element.isConnected) this.#refuse(this.#blamed(failure.message, given), failure.message);
    }
    this.#button.disabled = false;
  }

  #refuse(input, message) {
    fieldError(input, message);
    input.focus();
  }

  // The path in the server's words ("… - at `$.data.payload.title`") or, in a refusal, how they begin.
  #blamed(message, { channel, event }) {
    const inputs = { channel: this.#to, event: this.#event, payload: this.#payload };
    const named = inputs[/`\$\.(?:data\.)?(\w+)/.exec(message)?.[1]];
    if (named) return named;
    if (message.startsWith(`${channel}:`)) return this.#to;
    return message.startsWith(`${event}:`) ? this.#event : this.#payload;
  }
}

function plain(properties) {
  return element("input", { autocomplete: "off", autocapitalize: "off", spellcheck: false, ...properties });
}
