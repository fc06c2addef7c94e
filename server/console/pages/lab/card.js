// A part of the page: a card with a heading, and beside it what belongs there.

import { element } from "../../lib/dom.js";

export function card(id, title, beside, ...children) {
  const heading = element("h2", { id: `${id}-title` }, title);
  const head = beside === null ? heading : element("div", { className: "head" }, heading, ...[beside].flat());
  return element("section", { className: "card", "aria-labelledby": `${id}-title` }, head, ...children);
}

// A JSON object that somebody has typed: {value}, or {error}, the words for what is wrong with it.
export function readObject(text, t) {
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return { error: t("not_json", { why: error.message }) };
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return { value };
  return { error: t("not_object") };
}
