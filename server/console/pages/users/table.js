// The table of users: one row each, changed in place, so that whoever is in it with the keyboard stays there.

import { element } from "../../lib/dom.js";
import { moment } from "../../lib/format.js";
import { session } from "../../lib/session.js";
import { tags } from "../profile/account.js";
import { t } from "./texts.js";

export class Table {
  made;
  #body = element("tbody");
  #rows = new Map();
  #online = new Set();
  #edit;

  // `edit(id)` is called when somebody wants to change a user.
  constructor(edit) {
    this.#edit = edit;
    const columns = ["user", "roles", "group", "last_login", "presence"].map(
      (name) => element("th", { scope: "col", className: `of-${name}` }, t(name)));
    const actions = element("th", { scope: "col" }, element("span", { className: "unseen" }, t("actions")));
    this.made = element("div", { className: "scroll" }, element("table", { className: "users" },
      element("caption", { className: "unseen" }, t("title")),
      element("thead", {}, element("tr", {}, ...columns, actions)),
      this.#body));
  }

  get ids() {
    return [...this.#rows.keys()];
  }

  get(id) {
    return this.#rows.get(id)?.user;
  }

  // These users, in this order: rows that stay are kept, others go.
  show(users) {
    for (const id of this.ids) if (!users.some((user) => user.id === id)) this.#drop(id);
    let before = null;
    for (const user of users) {
      const row = this.#put(user);
      const place = before === null ? this.#body.firstElementChild : before.nextElementSibling;
      // A row that is moved loses the focus: most stand where they stood.
      if (row !== place) this.#body.insertBefore(row, place);
      before = row;
    }
  }

  // What is new of a user, where there is a row. Returns whether there is.
  change(id, fields) {
    const row = this.#rows.get(id);
    if (row === undefined) return false;
    this.#put({ ...row.user, ...fields });
    return true;
  }

  // Returns the user, if there was a row.
  remove(id) {
    const row = this.#rows.get(id);
    if (row === undefined) return undefined;
    const { element: gone, user } = row;
    const next = gone.nextElementSibling ?? gone.previousElementSibling;
    const had = gone.contains(document.activeElement);
    this.#drop(id);
    if (had) next?.querySelector("button")?.focus();
    return user;
  }

  presence(online) {
    this.#online = online;
    for (const [id, row] of this.#rows) show(row.presence, online.has(id));
  }

  focus(id) {
    this.#rows.get(id)?.button.focus();
  }

  #drop(id) {
    this.#rows.get(id).element.remove();
    this.#rows.delete(id);
  }

  #put(user) {
    const row = this.#rows.get(user.id) ?? this.#add(user.id);
    row.user = user;
    row.who.replaceChildren(
      element("span", { className: "row" }, element("strong", {}, user.username),
        user.id === session.user?.user_id && element("span", { className: "tag" }, t("you")),
        user.must_change_password && element("span", { className: "tag" }, t("temporary_tag"))),
      faint(user.email ?? user.id));
    row.roles.replaceChildren(user.roles.length ? tags(user.roles) : faint(t("none")));
    row.group.replaceChildren(user.group_id ?? faint(t("none")));
    row.login.replaceChildren(user.last_login_at ? moment(user.last_login_at) : faint(t("never")));
    row.button.setAttribute("aria-label", t("edit_user", { name: user.username }));
    return row.element;
  }

  #add(id) {
    const who = element("th", { scope: "row", className: "of-user" });
    const roles = element("td", { className: "of-roles" });
    const group = element("td", { className: "of-group" });
    const login = element("td", { className: "of-last_login" });
    const presence = element("span", { className: "pill" });
    const button = element("button", { type: "button", className: "small" }, t("edit"));
    button.addEventListener("click", () => this.#edit(id));
    const made = element("tr", { "data-id": id }, who, roles, group, login,
      element("td", { className: "of-presence" }, presence), element("td", { className: "actions" }, button));
    const row = { element: made, who, roles, group, login, presence, button, user: null };
    this.#rows.set(id, row);
    show(presence, this.#online.has(id));
    return row;
  }
}

function show(pill, online) {
  const tone = online ? "good" : "idle";
  if (pill.dataset.tone === tone) return;
  pill.dataset.tone = tone;
  const dot = element("span", { className: "dot", "aria-hidden": "true" });
  pill.replaceChildren(dot, online ? t("online") : t("offline"));
}

function faint(text) {
  return element("span", { className: "hint" }, text);
}
