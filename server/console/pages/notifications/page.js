// Notifications: what there is, what comes, and what has been read; for administrators, sending some.

import { arrange } from "../../lib/arrange.js";
import { element } from "../../lib/dom.js";
import { number } from "../../lib/format.js";
import { tellNotification, worded } from "../../lib/news.js";
import { Page } from "../../lib/page.js";
import { session } from "../../lib/session.js";
import { sheet } from "../../lib/sheet.js";
import { ask, toast, words } from "../../lib/ui.js";
import { entryOf } from "./entry.js";
import { MOST, Notes, isKept } from "./list.js";
import { sendingForms } from "./sending.js";
import { t } from "./texts.js";

sheet(new URL("page.css", import.meta.url));

// However much happens elsewhere, the list is read again at most so often.
const PAUSE_MS = 2_000;

class Notifications extends Page {
  #notes = new Notes(session.api);
  // Entry → its node: what has not changed is not drawn again.
  #nodes = new WeakMap();
  #parts = {};
  #due = 0;
  #lastRead = 0;
  #failure = null;
  #loaded = false;

  enter() {
    const parts = this.#parts = this.#build();
    this.replaceChildren(
      this.title(t("title"), element("span", { className: "spring" }), parts.demo),
      parts.stale,
      element("div", { className: "columns" },
        element("section", { className: "card notes", "aria-label": t("list") },
          element("div", { className: "bar" },
            parts.filters, element("span", { className: "spring" }), parts.readAll, parts.clear),
          parts.status, parts.list, parts.empty,
          element("div", { className: "row below" }, parts.older, parts.bound)),
        session.isAdmin && sendingForms()),
      parts.news);
    this.hear("notification", (data, message) => this.#arrived(data, message));
    // Also what this tab has done; the number is the truth, the entries that it is about are asked for.
    this.hear("unread_count", ({ unread }) => {
      this.#notes.unread = unread;
      this.#draw();
      this.#readSoon();
    });
    this.hear("@gap", () => this.#readSoon());
    this.hear("@state", (state) => this.#stateChanged(state));
    this.#stateChanged(session.tidings.state);
    this.leave(() => clearTimeout(this.#due));
    this.#draw();
    this.#read();
  }

  #build() {
    const button = (label, action, className = "") => {
      const made = element("button", { type: "button", className }, label);
      made.addEventListener("click", () => this.#busy(made, action));
      return made;
    };
    const filters = element("div", { className: "segments", role: "group", "aria-label": t("filter") });
    for (const onlyUnread of [false, true]) {
      const made = element("button", { type: "button", className: "small" }, t(onlyUnread ? "unread" : "all"));
      made.addEventListener("click", () => this.#filter(onlyUnread));
      filters.append(made);
    }
    return {
      filters,
      demo: button(t("demo"), () => session.api.post("/api/v1/notifications/demo"), "primary"),
      readAll: button(t("read_all"), () => this.#notes.markAll(), "small"),
      clear: button(t("clear"), () => this.#clear(), "small"),
      older: button(t("older"), () => this.#notes.readOlder(this.signal)),
      status: element("div", { className: "row status", role: "status" }),
      stale: element("p", { className: "notice", role: "status", hidden: true }, t("stale")),
      list: element("ol", { className: "list" }),
      empty: element("p", { className: "empty", hidden: true }),
      bound: element("p", { className: "hint", hidden: true }, t("bound", { count: number(MOST) })),
      news: element("p", { className: "unseen", role: "status" }),
    };
  }

  #draw() {
    const { filters, readAll, clear, older, list, empty, bound } = this.#parts;
    const { entries, unread, onlyUnread } = this.#notes;
    const [all, unreadOnly] = filters.children;
    all.setAttribute("aria-pressed", String(!onlyUnread));
    unreadOnly.setAttribute("aria-pressed", String(onlyUnread));
    unreadOnly.textContent = unread > 0 ? `${t("unread")} ${number(unread)}` : t("unread");
    readAll.disabled = unread === 0 || entries.length === 0;
    clear.disabled = onlyUnread || !entries.some((entry) => entry.read_at);
    older.hidden = !this.#notes.hasOlder;
    bound.hidden = !this.#notes.isCut;
    arrange(list, entries.map((entry) => this.#nodeOf(entry)));
    empty.hidden = !this.#loaded || entries.length > 0;
    empty.textContent = onlyUnread ? t("none_unread") : t("none");
    this.#drawStatus();
  }

  #drawStatus() {
    const { status } = this.#parts;
    if (this.#failure !== null) {
      const again = element("button", { type: "button", className: "small" }, t("retry"));
      again.addEventListener("click", () => this.#busy(again, () => this.#read()));
      status.replaceChildren(element("p", { className: "error" }, `${t("failed")} ${words(this.#failure)}`), again);
    } else {
      status.textContent = this.#loaded ? "" : t("loading");
    }
    status.hidden = this.#loaded && this.#failure === null;
  }

  #nodeOf(entry) {
    if (!this.#nodes.has(entry)) this.#nodes.set(entry, entryOf(entry, (action, id) => this.#act(action, id)));
    return this.#nodes.get(entry);
  }

  // --- what happens -----------------------------------------------------------------------------------

  #arrived(data, message) {
    // The list will never have it.
    if (!isKept(data)) return tellNotification(data);
    const isNew = this.#notes.add(data, message.timestamp);
    // News also where the list has it: the count is told first, and the list may have been read by it.
    this.#parts.news.textContent = t("arrived", { title: worded(data.title) });
    if (!isNew) return;
    this.#draw();
    // What comes from the inbox on return may have been read, or deleted, elsewhere.
    this.#readSoon();
  }

  #stateChanged({ name }) {
    this.#parts.stale.hidden = name === "connected" || name === "connecting" || name === "idle";
    // What was read on another device meanwhile was told to nobody here.
    if (name === "connected" && this.#loaded) this.#readSoon();
  }

  #readSoon() {
    if (this.#due) return;
    const wait = Math.max(0, this.#lastRead + PAUSE_MS - performance.now());
    this.#due = setTimeout(() => this.#read(), wait);
  }

  async #read() {
    clearTimeout(this.#due);
    this.#due = 0;
    this.#lastRead = performance.now();
    try {
      // An answer that something newer has overtaken says nothing.
      if (!(await this.#notes.read(this.signal))) return this.#readSoon();
      this.#failure = null;
      this.#loaded = true;
      this.#reuse();
    } catch (error) {
      if (this.signal.aborted) return;
      this.#failure = error;
    }
    this.#draw();
  }

  // The nodes of entries that came again as they were.
  #reuse() {
    const shown = new Map([...this.#parts.list.children].map((node) => [node.dataset.id, node]));
    for (const entry of this.#notes.entries) {
      const node = shown.get(entry.id);
      if (node && node.hasAttribute("data-unread") === !entry.read_at) this.#nodes.set(entry, node);
    }
  }

  // --- what is done -----------------------------------------------------------------------------------

  #filter(onlyUnread) {
    if (this.#notes.onlyUnread === onlyUnread) return;
    this.#notes.onlyUnread = onlyUnread;
    this.#notes.entries = [];
    this.#loaded = false;
    this.#draw();
    this.#read();
  }

  async #act(action, id) {
    const before = [...this.#parts.list.children];
    const node = before.find((each) => each.dataset.id === id);
    const hadFocus = node.contains(document.activeElement);
    const buttons = [...node.querySelectorAll("button")];
    for (const button of buttons) button.disabled = true;
    try {
      await this.#notes[action](id);
    } catch (error) {
      for (const button of buttons) button.disabled = false;
      if (error.status !== 404) return toast(words(error), { tone: "bad" });
      // Another tab was quicker.
      this.#readSoon();
    }
    this.#draw();
    if (action === "remove") this.#parts.news.textContent = t("removed");
    if (hadFocus) this.#focusNear(before.indexOf(node), id);
  }

  // Whoever goes through the list by keyboard stays where they were.
  #focusNear(index, id) {
    const { list } = this.#parts;
    const nodes = [...list.children];
    const next = nodes.find((node) => node.dataset.id === id) ?? nodes[Math.min(index, nodes.length - 1)];
    (next?.querySelector("[data-action=remove]") ?? this.querySelector("h1")).focus();
  }

  async #clear() {
    const sure = await ask({ title: t("clear_title"), text: t("clear_text"), confirm: t("remove"), danger: true });
    if (sure) await this.#notes.removeRead();
  }

  async #busy(button, action) {
    button.disabled = true;
    try {
      await action();
    } catch (error) {
      if (!this.signal.aborted) toast(words(error), { tone: "bad" });
    }
    button.disabled = false;
    if (this.signal.aborted) return;
    this.#draw();
    // What cannot be pressed any more cannot keep the focus.
    if (document.activeElement === document.body) this.querySelector("h1").focus();
  }
}

customElements.define("tidings-notifications", Notifications);
export const page = Notifications;
