// Descriptions are plain text with a little Markdown: paragraphs, and code between backticks.

import { element } from "../console/lib/dom.js";

// The nodes of one line.
export function marked(text) {
  return text.split(/`+([^`]+)`+/).map((part, index) => (index % 2 ? element("code", {}, part) : part));
}

// A paragraph for each.
export function prose(text, className = "") {
  const paragraphs = String(text).trim().split(/\n\s*\n/).filter(Boolean);
  return paragraphs.map((paragraph) => element("p", { className }, ...marked(paragraph)));
}
