// Any command of the native protocol, from a ready example or made up, and the server's answer to it.

import { element, field, fieldError } from "../../lib/dom.js";
import { milliseconds } from "../../lib/format.js";
import { session } from "../../lib/session.js";
import { card, readObject } from "./card.js";
import { commands } from "./examples.js";
import { t } from "./texts.js";

// What the page shows of a long answer: the frames have it whole.
const SHOWN = 20_000;

export class Commands {
  #examples = commands();
  #kind = element("select", { id: "command" });
  #type = element("input", { id: "command-type", autocomplete: "off", autocapitalize: "off", spellcheck: false });
  #other = field(t("type"), this.#type);
  #data = element("textarea", { id: "command-data", rows: 4, spellcheck: false, autocapitalize: "off" });
  #about = element("p", { className: "hint", id: "command-about" });
  #button = element("button", { type: "submit", className: "primary" }, t("send"));
  #answer = element("div", { className: "answer", id: "command-answer", "aria-live": "polite" });

  constructor(page) {
    this.#kind.append(...Object.keys(this.#examples).map((type) => element("option", { value: type }, type)),
      element("option", { value: "" }, t("another_type")));
    const form = element("form", { id: "commands", noValidate: true },
      element("div", { className: "pair" }, field(t("command"), this.#kind), this.#other),
      this.#about, field(t("data"), this.#data), element("div", { className: "row" }, this.#button));
    this.element = card("commands", t("commands"), null, form, this.#answer);
    page.listen(this.#kind, "change", () => this.#choose());
    page.listen(form, "submit", (event) => this.#submit(event));
    this.#choose();
  }

  #choose() {
    const type = this.#kind.value;
    this.#other.hidden = type !== "";
    this.#about.textContent = t(type === "" ? "about_another" : `about_${type}`);
    this.#data.value = JSON.stringify(this.#examples[type] ?? {}, null, 1).replace(/\n\s*/g, " ");
    if (this.element?.isConnected) fieldError(this.#data, "");
  }

  async #submit(event) {
    event.preventDefault();
    if (this.#button.disabled) return;
    const type = this.#kind.value || this.#type.value.trim();
    fieldError(this.#type, type ? "" : t("give_name"));
    const { value, error } = readObject(this.#data.value, t);
    fieldError(this.#data, error ?? "");
    if (!type || error) {
      (type ? this.#data : this.#type).focus();
      return;
    }
    this.#button.disabled = true;
    const began = performance.now();
    try {
      const data = await session.tidings.request(type, value);
      this.#tell("good", t("answered", { time: milliseconds(performance.now() - began) }), data);
    } catch (failure) {
      this.#tell("bad", failure.code ? `${failure.code}: ${failure.message}` : failure.message);
    }
    this.#button.disabled = false;
  }

  #tell(tone, words, data) {
    const text = data === undefined ? "" : JSON.stringify(data, null, 2);
    this.#answer.replaceChildren(
      element("p", { "data-tone": tone }, words),
      text && element("pre", { tabIndex: 0 }, text.length > SHOWN ? `${text.slice(0, SHOWN)}\n…` : text));
  }
}
