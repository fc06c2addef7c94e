// Users, for administrators: who they are, who is online, and what they may do; as it changes, whoever changes it.

import { element, field } from "../../lib/dom.js";
import { number } from "../../lib/format.js";
import { Page } from "../../lib/page.js";
import { session } from "../../lib/session.js";
import { sheet } from "../../lib/sheet.js";
import { words } from "../../lib/ui.js";
import { createUser, EditDialog } from "./dialogs.js";
import { whoIsOnline } from "./online.js";
import { Table } from "./table.js";
import { t } from "./texts.js";

sheet(new URL("page.css", import.meta.url));

// Coming and going is no event, and neither is a new user.
const LOOK_MS = 10_000;
// For whoever types, and for many changes at once.
const SETTLE_MS = 250;

class Users extends Page {
  // The page of users that is shown: what is looked for, and the cursors of the pages before this one.
  #search = "";
  #cursors = [null];
  #next = null;
  #total = 0;
  #online = null;
  #loaded = false;
  #asked = 0;
  #timer = 0;
  #dialog = null;
  #table = new Table((id) => this.#edit(id));
  #box = element("input", {
    type: "search", name: "search", maxLength: 256, autocomplete: "off", autocapitalize: "off", spellcheck: false,
  });
  #count = element("p", { className: "hint count", role: "status" });
  #body = element("div");
  #before = element("button", { type: "button" }, t("before"));
  #after = element("button", { type: "button" }, t("after"));
  #place = element("span", { className: "hint" });
  #pages = element("nav", { className: "row pages", "aria-label": t("pages"), hidden: true },
    this.#before, this.#place, this.#after);

  enter() {
    const add = element("button", { type: "button", className: "primary", id: "new-user" }, t("new_user"));
    this.listen(add, "click", () => this.#create(add));
    const search = element("search", { className: "seek" }, field(t("search"), this.#box), this.#count);
    this.#body.append(element("p", { className: "empty" }, t("loading")));
    this.replaceChildren(this.title(t("title"), element("span", { className: "spring" }), add),
      element("section", { className: "card" }, search, this.#body, this.#pages));
    this.listen(this.#box, "input", () => this.#soon(() => this.#look(this.#box.value.trim())));
    this.listen(this.#before, "click", () => this.#turn(-1));
    this.listen(this.#after, "click", () => this.#turn(1));
    // Once, of what comes on the role's channel and, where it is about oneself, on one's own.
    this.hear("user:updated", (data, { channel }) => channel === "role:admin" && this.#updated(data));
    this.hear("user:deleted", (data, { channel }) => channel === "role:admin" && this.#deleted(data));
    this.hear("user:password-changed", (data, { channel }) => channel === "role:admin" && this.#soon());
    this.listen(session, "state", ({ detail }) => detail.name === "connected" && this.#soon());
    this.hear("@gap", () => this.#soon());
    this.every(LOOK_MS, () => this.#load());
    this.leave(() => clearTimeout(this.#timer));
    // They stand beside the page, and nobody who was logged out meanwhile has business with them.
    this.leave(() => document.querySelectorAll("dialog[open]").forEach((dialog) => dialog.close()));
    this.#load();
  }

  // --- what is shown ---------------------------------------------------------------------------------

  // Do it when nothing more has come for a moment; the last that was asked for.
  #soon(action = () => this.#load()) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(action, SETTLE_MS);
  }

  #look(search) {
    if (search === this.#search) return;
    this.#search = search;
    this.#cursors = [null];
    this.#load();
  }

  async #turn(by) {
    if (by > 0) this.#cursors.push(this.#next);
    else this.#cursors.pop();
    await this.#load();
    this.querySelector("h1")?.scrollIntoView({ block: "nearest" });
  }

  async #load() {
    const turn = ++this.#asked;
    const query = new URLSearchParams({ search: this.#search });
    const after = this.#cursors.at(-1);
    if (after !== null) query.set("after", after);
    let found;
    try {
      found = await session.api.get(`/api/admin/users?${query}`, { signal: this.signal });
    } catch (error) {
      if (!this.signal.aborted && turn === this.#asked) this.#failed(error);
      return;
    }
    if (turn !== this.#asked) return;
    if (!found.users.length && this.#cursors.length > 1) {
      // Everybody of the last page is gone.
      this.#cursors.pop();
      this.#load();
      return;
    }
    this.#show(found);
    await this.#presence();
  }

  #show({ users, next, total }) {
    this.#loaded = true;
    this.#next = next;
    this.#total = total;
    this.#table.show(users);
    const open = users.find((user) => user.id === this.#dialog?.id);
    if (open) this.#dialog.changed(open);
    this.#arrange();
  }

  #arrange() {
    const nobody = this.#search ? t("nobody_found", { text: this.#search }) : t("nobody");
    const shown = this.#table.ids.length ? this.#table.made : element("p", { className: "empty" }, nobody);
    if (this.#body.firstElementChild !== shown) this.#body.replaceChildren(shown);
    const total = t(this.#search ? "found" : "count", { count: number(this.#total) });
    const counted = [total, this.#online].filter(Boolean).join(" · ");
    // A status that is written anew is read out anew.
    if (this.#count.textContent !== counted) this.#count.textContent = counted;
    this.#pages.hidden = this.#cursors.length === 1 && this.#next === null;
    this.#before.disabled = this.#cursors.length === 1;
    this.#after.disabled = this.#next === null;
    this.#place.textContent = t("page", { number: number(this.#cursors.length) });
  }

  async #presence() {
    try {
      const { online, count, least } = await whoIsOnline(this.#table.ids, this.signal);
      this.#table.presence(online);
      this.#online = t(count === null ? "online_many" : "online_count", { count: number(count ?? least) });
      this.#arrange();
    } catch {
      // Who is there is asked for again soon.
      return;
    }
  }

  #failed(error) {
    // What is shown already stays: it is asked for again soon.
    if (this.#loaded && this.#table.made.isConnected) return;
    const again = element("button", { type: "button" }, t("try_again"));
    again.addEventListener("click", () => this.#load());
    this.#body.replaceChildren(element("div", { className: "empty stack" },
      element("p", { role: "alert" }, words(error)), element("p", {}, again)));
  }

  // --- what is heard ---------------------------------------------------------------------------------

  #updated(data) {
    this.#table.change(data.id, data);
    if (this.#dialog?.id === data.id) this.#dialog.changed({ ...this.#table.get(data.id), ...data });
    // Its place in the list may be another, or the search may not find it any more.
    this.#soon();
  }

  #deleted({ id }) {
    if (this.#dialog?.id === id) this.#dialog.gone();
    if (this.#table.remove(id)) this.#total -= 1;
    this.#arrange();
    this.#soon();
  }

  // --- what is done ----------------------------------------------------------------------------------

  async #create(button) {
    const made = await createUser();
    if (!this.isConnected) return;
    if (made === null) {
      button.focus();
      return;
    }
    await this.#load();
    this.#table.focus(made.id);
  }

  async #edit(id) {
    this.#dialog = new EditDialog(this.#table.get(id));
    await this.#dialog.closed;
    this.#dialog = null;
    if (!this.isConnected) return;
    if (this.#table.get(id)) this.#table.focus(id);
    else this.querySelector("#new-user").focus();
    this.#soon();
  }
}

customElements.define("tidings-users", Users);
export const page = Users;
