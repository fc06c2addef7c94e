// Publishing an event; whatever is wrong is told at the field that is wrong.

import { Refused } from "./connection.js";
import { $, fieldError } from "./dom.js";

// The path in the server's words ("… - at `$.data.payload.title`") or, in a refusal, how they begin.
const FIELDS = { to: "channel", event: "event", payload: "payload" };

export class PublishView {
  #connection;
  #journeys;
  #latency;

  constructor(connection, journeys, latency) {
    this.#connection = connection;
    this.#journeys = journeys;
    this.#latency = latency;
    $("publish").addEventListener("submit", (event) => this.#submit(event));
  }

  async #submit(event) {
    event.preventDefault();
    for (const id of Object.keys(FIELDS)) fieldError($(id), "");
    $("publish-done").textContent = "";
    const payload = readObject($("payload"));
    if (payload === null) return;
    const began = performance.now();
    const given = { channel: $("to").value.trim(), event: $("event").value.trim(), payload };
    try {
      const { data } = await this.#connection.command("publish", given);
      $("publish-done").textContent = `Published at offset ${data.offset}.`;
      this.#journeys.published(data.channel, data.offset, (arrived) => this.#latency.message(arrived - began));
    } catch (error) {
      const field = $(error instanceof Refused ? blamed(error.message, given) : "payload");
      fieldError(field, error.message);
      field.focus();
    }
  }
}

function readObject(field) {
  try {
    const value = JSON.parse(field.value);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value;
    fieldError(field, "Expected a JSON object, as {\"message\": \"Hello\"}.");
  } catch (error) {
    fieldError(field, `Not JSON: ${error.message}`);
  }
  field.focus();
  return null;
}

function blamed(message, given) {
  const named = /`\$\.(?:data\.)?(\w+)/.exec(message)?.[1];
  const byPath = Object.keys(FIELDS).find((id) => FIELDS[id] === named);
  if (byPath) return byPath;
  if (message.startsWith(`${given.channel}:`)) return "to";
  if (message.startsWith(`${given.event}:`)) return "event";
  return "payload";
}
