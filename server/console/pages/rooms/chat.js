// What was said, as people read it: by days, by who said it, at its end unless somebody has scrolled up.

import { arrange } from "../../lib/arrange.js";
import { element } from "../../lib/dom.js";
import { why } from "./refusals.js";
import { formatDay, timeOf } from "./times.js";
import { t } from "./texts.js";

// What one person says within so long stands together.
const TOGETHER_MS = 5 * 60_000;
// Nearer to the end than this is at the end.
const NEAR = 40;

// The list of a conversation's lines, and the button that leads to its end. `draw` brings it up to date.
export class Chat {
  #conversation;
  // Line → its node.
  #nodes = new WeakMap();
  #days = new Map();
  #last = null;
  #isAtEnd = true;

  constructor(conversation) {
    this.#conversation = conversation;
    this.list = element("div", {
      className: "lines", role: "log", "aria-live": "polite", tabIndex: 0, "aria-label": t("said"),
    });
    this.earlier = element("button", { type: "button", className: "small earlier" }, t("earlier"));
    this.earlier.addEventListener("click", () => this.#loadEarlier());
    this.toEnd = element("button", { type: "button", className: "small to-end", hidden: true }, t("newer"));
    this.toEnd.addEventListener("click", () => {
      this.end();
      this.list.focus();
    });
    this.list.addEventListener("scroll", () => this.#scrolled());
    this.node = element("div", { className: "said" }, this.earlier, this.list, this.toEnd);
  }

  draw() {
    const { lines } = this.#conversation;
    const nodes = [];
    let before = null;
    for (const line of lines.all) {
      const day = line.at.toDateString();
      if (before?.at.toDateString() !== day) nodes.push(this.#dayNode(day, line.at));
      const node = this.#nodeOf(line);
      node.classList.toggle("next", isTogether(before, line));
      nodes.push(node);
      before = line;
    }
    const isNew = before !== this.#last;
    this.#last = before;
    const stay = this.#isAtEnd ? null : this.#hold();
    arrange(this.list, nodes);
    if (stay === null || (isNew && before?.own && before.state === "waiting")) this.end();
    else stay();
    this.toEnd.hidden = this.#isAtEnd;
    this.earlier.hidden = !(this.#conversation.hasEarlier || (lines.isCut && this.#conversation.loadEarlier));
    this.earlier.disabled = this.#conversation.isLoading;
  }

  // To the newest, and on with it.
  end() {
    this.#isAtEnd = true;
    this.#conversation.isReading = false;
    this.list.scrollTop = this.list.scrollHeight;
    this.toEnd.hidden = true;
  }

  // Above what somebody reads, lines may come and go: call what it returns, and what they read is where it was.
  #hold() {
    const { list } = this;
    const read = [...list.children].find((node) => node.offsetTop + node.offsetHeight > list.scrollTop);
    const above = read ? read.offsetTop - list.scrollTop : 0;
    return () => {
      if (read?.isConnected) list.scrollTop = read.offsetTop - above;
    };
  }

  #scrolled() {
    const { scrollHeight, scrollTop, clientHeight } = this.list;
    this.#isAtEnd = scrollHeight - scrollTop - clientHeight < NEAR;
    this.#conversation.isReading = !this.#isAtEnd;
    this.toEnd.hidden = this.#isAtEnd;
  }

  #loadEarlier() {
    this.#isAtEnd = false;
    this.#conversation.isReading = true;
    this.#conversation.loadEarlier();
    this.list.focus();
  }

  #dayNode(day, date) {
    if (!this.#days.has(day)) {
      this.#days.set(day, element("div", { className: "day" }, element("span", {}, formatDay(date))));
    }
    return this.#days.get(day);
  }

  #nodeOf(line) {
    if (!this.#nodes.has(line)) this.#nodes.set(line, this.#made(line));
    return this.#nodes.get(line);
  }

  #made(line) {
    const time = element("time", { dateTime: line.at.toISOString() }, timeOf(line.at));
    if (line.kind === "note") return element("div", { className: "note" }, element("span", {}, line.text), time);
    if (line.kind === "event") {
      return element("div", { className: "event" },
        element("p", { className: "by" }, element("code", {}, line.type), time),
        element("code", { className: "text" }, line.text));
    }
    // A name may be any word, also "You": what says whose a line is stands in a frame, where no name does.
    const whose = line.own ? t("you") : line.username ? null : t("server");
    const made = element("div", { className: line.own ? "line own" : "line", "data-state": line.state },
      element("p", { className: "by" },
        line.username && element("strong", {}, line.username), whose && element("span", { className: "tag" }, whose), time),
      element("p", { className: "text" }, line.text));
    if (line.state === "waiting") made.append(element("p", { className: "state hint" }, t("is_waiting")));
    if (["failed", "unsure", "full"].includes(line.state)) made.append(this.#trouble(line));
    return made;
  }

  #trouble(line) {
    const again = element("button", { type: "button", className: "small" }, t("again"));
    again.addEventListener("click", () => this.#conversation.sayAgain(line));
    const drop = element("button", { type: "button", className: "small quiet" }, t("drop"));
    drop.addEventListener("click", () => this.#conversation.drop(line));
    const said = line.state === "failed" ? t("is_failed", { why: why(line.error) }) : t(`is_${line.state}`);
    return element("div", { className: "state row" }, element("p", { className: "error" }, said), again, drop);
  }
}

function isTogether(before, line) {
  return before?.kind === "said" && line.kind === "said" && before.by === line.by
    && before.at.toDateString() === line.at.toDateString() && line.at - before.at < TOGETHER_MS;
}
