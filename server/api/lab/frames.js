// Every frame in and out, as it went over the wire but for the token.

import { $, bytes, element, stickToEnd, timeOfDay } from "./dom.js";

const KEPT = 500;
// Of a frame's text in the closed line, and in the open one: a frame may be as long as the server allows.
const PREVIEW = 160;
const OPEN = 65_536;
const HEARTBEATS = new Set(["ping", "pong"]);

export class FramesView {
  #frames = [];
  #waiting = [];
  #paused = false;
  #drawing = 0;
  #total = 0;

  constructor(connection) {
    connection.addEventListener("frame", ({ detail }) => this.#add(detail));
    $("frames-filter").addEventListener("change", () => this.#redraw());
    $("frames-quiet").addEventListener("change", () => this.#redraw());
    $("frames-clear").addEventListener("click", () => this.#clear());
    $("frames-pause").addEventListener("click", () => this.#pause(!this.#paused));
    this.#count();
  }

  #add(frame) {
    const kind = typeof frame.message?.type === "string" ? frame.message.type : "(not a message)";
    this.#total += 1;
    bounded(this.#waiting, { ...frame, kind });
    // Drawn once a screen refresh, however many frames came; a hidden tab draws nothing and forgets the oldest.
    if (!this.#paused && !this.#drawing) this.#drawing = requestAnimationFrame(() => this.#draw());
    if (this.#paused) this.#count();
  }

  #draw() {
    this.#drawing = 0;
    const list = $("frames");
    const settle = stickToEnd(list);
    for (const frame of this.#waiting.splice(0)) {
      const dropped = bounded(this.#frames, frame);
      dropped?.line?.remove();
      this.#offerType(frame.kind);
      if (this.#isShown(frame)) list.append(lineOf(frame));
    }
    settle();
    this.#count();
  }

  #redraw() {
    const list = $("frames");
    list.replaceChildren(...this.#frames.filter((frame) => this.#isShown(frame)).map(lineOf));
    list.scrollTop = list.scrollHeight;
    this.#count();
  }

  #isShown({ kind }) {
    const only = $("frames-filter").value;
    return only ? kind === only : !($("frames-quiet").checked && HEARTBEATS.has(kind));
  }

  #offerType(kind) {
    const select = $("frames-filter");
    const others = [...select.options].slice(1);
    // Event names are anybody's choice: the list of them is bounded like everything else.
    if (others.length >= KEPT || others.some((option) => option.value === kind)) return;
    const after = others.find((option) => option.value > kind) ?? null;
    select.insertBefore(element("option", { value: kind }, kind), after);
  }

  #pause(paused) {
    this.#paused = paused;
    $("frames-pause").setAttribute("aria-pressed", String(paused));
    $("frames-pause").textContent = paused ? "Go on" : "Pause";
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
    const shown = $("frames").children.length;
    const waiting = this.#paused && this.#waiting.length ? `, ${this.#waiting.length} waiting` : "";
    $("frames-count").textContent = this.#total ? `${shown} shown of ${this.#total}${waiting}` : `the last ${KEPT} stay here`;
  }
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
  const arrow = element("span", { className: "arrow" }, direction === "out" ? "↑" : "↓");
  arrow.setAttribute("role", "img");
  arrow.setAttribute("aria-label", direction === "out" ? "sent" : "received");
  const summary = element(
    "summary",
    {},
    arrow,
    element("span", { className: "kind" }, kind),
    element("span", { className: "preview" }, preview(text)),
    element("span", { className: "size" }, bytes(size)),
    element("time", {}, timeOfDay(at, true)),
  );
  const opened = element("details", {}, summary);
  opened.addEventListener("toggle", () => opened.append(element("pre", { tabIndex: 0 }, pretty(text))), { once: true });
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
  return shown.length > OPEN ? `${shown.slice(0, OPEN)}\n… (${bytes(shown.length)} in all)` : shown;
}
