// The line board (document S3): a group's accounts, its incoming lines and its figures, as they change.
// Administrators choose among all groups; users of a group see their own.

import { element } from "../../lib/dom.js";
import { Page } from "../../lib/page.js";
import { session } from "../../lib/session.js";
import { sheet } from "../../lib/sheet.js";
import { words } from "../../lib/ui.js";
import { Accounts } from "./accounts.js";
import { Clock } from "./clock.js";
import { edit, Heading } from "./code.js";
import { Figures, STEP } from "./figures.js";
import { Group } from "./group.js";
import { Groups } from "./groups.js";
import { Incoming } from "./incoming.js";
import { Records } from "./records.js";
import { t } from "./texts.js";

sheet(new URL("page.css", import.meta.url));

// Groups that are made, renamed, or not heard here.
const LOOK_MS = 10_000;

class Board extends Page {
  #clock = new Clock();
  #groups = null;
  #group = null;
  #figures = null;
  // The second up to which everything has been heard, at the server's.
  #until = 0;
  #notice = element("div");
  #frame = element("div", { className: "stack" });

  enter() {
    const add = element("button", { type: "button", className: "primary", id: "new-group" }, t("new_group"));
    this.replaceChildren(
      this.title(t("title"), element("span", { className: "spring" }), session.isAdmin && add),
      element("div", { className: "stack" }, this.#notice, this.#frame));
    this.listen(add, "click", () => edit(null, (entry) => (location.hash = `#/board/${entry.id}`)));
    this.hear("*", (_, { timestamp }) => this.#clock.heard(timestamp));
    this.listen(session, "state", ({ detail }) => this.#state(detail));
    this.every(STEP * 1000, () => this.#step());
    this.#askTime();
    if (!session.isAdmin) {
      this.#open(session.user.group_id);
      return;
    }
    this.#groups = new Groups(this);
    this.leave(() => this.#groups.stop());
    this.every(LOOK_MS, () => this.#look());
    this.#loadAll();
  }

  // --- which group -----------------------------------------------------------------------------------

  async #loadAll() {
    this.#frame.replaceChildren(element("p", { className: "card empty" }, t("loading")));
    try {
      await this.#groups.load();
    } catch (error) {
      if (!this.signal.aborted) this.#failed(this.#frame, error, () => this.#loadAll());
      return;
    }
    if (this.#group === null) this.#choose();
  }

  #choose() {
    const { all } = this.#groups;
    const named = Number(this.getAttribute("argument"));
    const id = all.has(named) ? named : all.keys().next().value;
    if (id === undefined) {
      this.#frame.replaceChildren(element("p", { className: "card empty" }, t("no_groups")));
      return;
    }
    this.#groups.choose(id);
    this.#open(String(id));
  }

  // Groups come and are renamed without a word.
  async #look() {
    try {
      await this.#groups.load();
    } catch {
      // Asked for again soon; the header says where there is no connection.
      return;
    }
    if (this.#group === null && this.#groups.all.size > 0) this.#choose();
  }

  // --- the group -------------------------------------------------------------------------------------

  #open(id) {
    const group = (this.#group = new Group(id, this.signal, this.#clock));
    const here = (time) => this.#clock.here(time);
    const figures = (this.#figures = new Figures(group));
    const accounts = new Accounts(group);
    const incoming = new Incoming(group, here);
    for (const each of [figures, accounts, incoming]) this.leave(() => each.stop());
    const heading = new Heading(group, () => this.#groups?.load().catch(() => {}));
    const whole = [
      heading.made, figures.tiles, figures.charts,
      element("div", { className: "halves" }, accounts.made, incoming.made),
      new Records(group, this.signal).made,
    ];
    const place = element("div", { className: "stack" }, element("p", { className: "card empty" }, t("loading")));
    this.#frame.replaceChildren(...(this.#groups ? [this.#groups.made] : []), place);
    group.addEventListener("load", () => {
      if (group.isLoading) return;
      this.#notice.replaceChildren();
      if (group.entry === null) this.#failed(place, group.error, () => group.load());
      else if (group.error !== null) this.#failed(this.#notice, group.error, () => group.load());
      if (group.entry !== null && !heading.made.isConnected) place.replaceChildren(...whole);
      this.#step();
    });
    this.hear("@gap", ({ channel }) => channel === `group:${id}` && group.load());
    this.#follow(id, group);
  }

  // Heard first and asked then, nothing falls in between.
  async #follow(id, group) {
    const { ready } = this.subscribe(`group:${id}`, (message) => group.hear(message));
    // Without a connection it is asked for now, and again when there is one.
    if (session.tidings.isConnected()) {
      try {
        await ready;
      } catch (error) {
        if (this.signal.aborted) return;
        const text = t("not_live", { why: error.message });
        this.#notice.replaceChildren(element("p", { className: "notice", role: "alert" }, text));
      }
    }
    if (!this.signal.aborted && !group.isLoading) group.load();
  }

  #state({ name }) {
    if (name !== "connected") return;
    this.#clock.reset();
    this.#askTime();
    // Figures are told and not kept: what changed meanwhile is not told again.
    if (this.#group !== null) this.#group.load();
    if (this.#groups !== null) this.#look();
  }

  #askTime() {
    if (session.tidings.isConnected()) session.tidings.send("ping");
  }

  #step() {
    if (this.#group === null || this.#group.entry === null) return;
    const isLive = session.tidings?.isConnected() ?? false;
    // Of the second that is not over, lines are still to come.
    if (isLive) this.#until = Math.floor(this.#clock.now() / 1000) - 1;
    this.#figures.step(this.#until, isLive, (time) => this.#clock.here(time));
  }

  #failed(place, error, again) {
    const button = element("button", { type: "button" }, t("try_again"));
    button.addEventListener("click", () => {
      // The button goes, and whoever pressed it must not be left nowhere.
      this.querySelector("h1").focus();
      again();
    });
    const text = error.status === 403 || error.status === 404 ? t("no_such_group") : words(error);
    place.replaceChildren(element("div", { className: "card stack failed" },
      element("p", { role: "alert" }, text), element("p", {}, button)));
  }
}

customElements.define("tidings-board", Board);
export const page = Board;
