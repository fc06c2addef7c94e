// Where something is written, and sent by Enter.

import { element } from "../../lib/dom.js";
import { t } from "./texts.js";

const MOST_ROWS = 6;

// {node, address}: the form, and what tells it whom one writes to.
export function composer(conversation) {
  const text = element("textarea", {
    rows: 1, name: "text", className: "prose", autocomplete: "off", enterKeyHint: "send", value: conversation.draft,
  });
  const made = element("form", { className: "composer" }, text,
    element("button", { type: "submit", className: "primary" }, t("send")));

  const fit = () => {
    text.rows = Math.min(MOST_ROWS, text.value.split("\n").length);
    conversation.draft = text.value;
  };
  text.addEventListener("input", fit);
  text.addEventListener("keydown", (event) => {
    // Enter that chooses among what an input method offers is not meant for us; Safari tells it by 229 alone.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    made.requestSubmit();
  });
  made.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!text.value.trim()) return;
    conversation.say(text.value);
    text.value = "";
    fit();
    text.focus();
  });
  fit();
  const address = (name) => {
    text.placeholder = t("write_to", { name });
    text.setAttribute("aria-label", text.placeholder);
  };
  return { node: made, address };
}
