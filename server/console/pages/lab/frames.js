// Frames in and out, as they go over the wire but for the token.

import { element, stickToEnd } from "../../lib/dom.js";
import { bytes, number, timeOfDay } from "../../lib/format.js";
import { card } from "./card.js";
import { t } from "./texts.js";

const KEPT = 500;
// Of a frame's text in the closed line, and in the open one: a frame may be as long as the server allows.
const PREVIEW = 160;
const OPEN = 65_536;
const HEARTBEATS = new Set(["ping", "pong", "heartbeat", "heartbeat_ack"]);

const encoder = new TextEncoder();

export class Frames {
  #frames = [];
  #waiting = [];
  #paused = false;
  #drawing = 0;
  #total = 0;
  #list;
  #filter;
  #quiet;
  #pauseButton = element("button", { type: "button", className: "small", "aria-pressed": "false" }, t("pause"));
  #counted = element("span", { className: "hint" });
  #empty = element("p", { className: "empty" }, t("no_frames"));

  // `id` is what the ids of its parts begin with.
  constructor(id, title) {
    const label = t("frames_list", { title });
    this.#list = element("ol", { className: "frames", id, "aria-label": label, tabIndex: 0 });
    this.#filter = element("select", { id: `${id}-filter`, "aria-label": t("show_type") },
      element("option", { value: "" }, t("all_types")));
    this.#quiet = element("input", { type: "checkbox", id: `${id}-quiet` });
    this.#pauseButton.id = `${id}-pause`;
    this.#counted.id = `${id}-count`;
    const clear = element("button", { type: "button", className: "small", id: `${id}-clear` }, t("clear"));
    this.element = card(id, title, this.#counted,
      element("div", { className: "row tools" },
        this.#filter, element("label", { className: "check" }, this.#quiet, t("no_heartbeats")),
        element("span", { className: "spring" }), this.#pauseButton, clear),
      this.#empty, this.#list);
    this.#filter.addEventListener("change", () => this.#redraw());
    this.#quiet.addEventListener("change", () => this.#redraw());
    clear.addEventListener("click", () => this.#clear());
    this.#pauseButton.addEventListener("click", () => this.#pause(!this.#paused));
    this.#count();
  }

  // {direction, text, message, at}: `message` is what the text decodes to, where it does.
  add(frame) {
    this.#total += 1;
    bounded(this.#waiting, { ...frame, kind: kindOf(frame.message), size: encoder.encode(frame.text).length });
    // Drawn once a screen refresh, however many frames came; a hidden tab draws nothing and forgets the oldest.
    if (!this.#paused && !this.#drawing) this.#drawing = requestAnimationFrame(() => this.#draw());
    if (this.#paused) this.#count();
  }

  stop() {
    cancelAnimationFrame(this.#drawing);
  }

  #draw() {
    this.#drawing = 0;
    const settle = stickToEnd(this.#list);
    for (const frame of this.#waiting.splice(0)) {
      const dropped = bounded(this.#frames, frame);
      dropped?.line?.remove();
      this.#offerType(frame.kind);
      if (this.#isShown(frame)) this.#list.append(lineOf(frame));
    }
    settle();
    this.#count();
  }

  #redraw() {
    this.#list.replaceChildren(...this.#frames.filter((frame) => this.#isShown(frame)).map(lineOf));
    this.#list.scrollTop = this.#list.scrollHeight;
    this.#count();
  }

  #isShown({ kind }) {
    const only = this.#filter.value;
    return only ? kind === only : !(this.#quiet.checked && HEARTBEATS.has(kind));
  }

  #offerType(kind) {
    const others = [...this.#filter.options].slice(1);
    // Event names are anybody's choice: the list of them is bounded like everything else.
    if (others.length >= KEPT || others.some((option) => option.value === kind)) return;
    const after = others.find((option) => option.value > kind) ?? null;
    this.#filter.insertBefore(element("option", { value: kind }, kind), after);
  }

  #pause(paused) {
    this.#paused = paused;
    this.#pauseButton.setAttribute("aria-pressed", String(paused));
    this.#pauseButton.textContent = t(paused ? "go_on" : "pause");
    if (paused) {
      cancelAnimationFrame(this.#drawing);
      this.#drawing = 0;
      this.#count();
    } else {
      this.#draw();
    }
  }

  #clear() {
    this.#frames = [];
    this.#waiting = [];
    this.#total = 0;
    this.#redraw();
  }

  #count() {
    const shown = this.#list.childElementCount;
    this.#empty.hidden = shown > 0;
    const values = { shown: number(shown), total: number(this.#total), waiting: number(this.#waiting.length) };
    const paused = this.#paused && this.#waiting.length > 0;
    this.#counted.textContent = this.#total === 0 ? t("kept", { count: KEPT })
      : t(paused ? "shown_waiting" : "shown", values);
  }
}

function kindOf(message) {
  if (Array.isArray(message)) return t("several", { count: message.length });
  return typeof message?.type === "string" ? message.type : t("no_message");
}

// Add to a list of at most KEPT; returns what fell out.
function bounded(list, entry) {
  list.push(entry);
  return list.length > KEPT ? list.shift() : undefined;
}

function lineOf(frame) {
  frame.line ??= element("li", { className: frame.direction }, details(frame));
  return frame.line;
}

function details({ direction, text, kind, size, at }) {
  const out = direction === "out";
  const label = t(out ? "sent" : "received");
  const arrow = element("span", { className: "arrow", role: "img", "aria-label": label }, out ? "↑" : "↓");
  const opened = element("details", {}, element("summary", {},
    arrow,
    element("span", { className: "kind" }, kind),
    element("span", { className: "preview" }, preview(text)),
    element("span", { className: "size" }, bytes(size)),
    element("time", {}, timeOfDay(at, true))));
  const open = () => opened.append(element("pre", { tabIndex: 0 }, pretty(text)));
  opened.addEventListener("toggle", open, { once: true });
  return opened;
}

// The type stands before it: the line has room for what differs.
function preview(text) {
  return text.replace(/^\{"type":"[^"]*",?/, "{").slice(0, PREVIEW);
}

function pretty(text) {
  let shown = text;
  try {
    shown = JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    // Shown as it came.
  }
  return shown.length > OPEN ? `${shown.slice(0, OPEN)}\n… (${bytes(shown.length)})` : shown;
}
