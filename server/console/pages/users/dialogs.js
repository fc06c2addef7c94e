// What administrators do with one user, each in a dialog: make one, change one, and end what one may do.

import { element, fillTerms } from "../../lib/dom.js";
import { form } from "../../lib/form.js";
import { moment, number } from "../../lib/format.js";
import { session } from "../../lib/session.js";
import { ask, show, toast } from "../../lib/ui.js";
import { refusal } from "../profile/refusals.js";
import { Fields } from "./fields.js";
import { tell } from "./secret.js";
import { t } from "./texts.js";

// Resolves, when the dialog is closed, to the user that was made, or null.
export function createUser() {
  return new Promise((resolve) => {
    const fields = new Fields();
    let made = null;
    const dialog = framed(t("new_user"), form({
      inputs: fields.inputs, rows: [...fields.rows, element("p", { className: "hint" }, t("create_hint"))],
      className: "form", submit: t("create"), before: [closing(t("cancel"))], explain: refusal,
      send: async () => {
        made = await session.api.post("/api/admin/users", fields.value);
        dialog.close();
      },
    }));
    show(dialog, async () => {
      if (made === null) return resolve(null);
      const name = made.user.username;
      await tell({ title: t("created", { name }), name, password: made.temporary_password });
      resolve(made.user);
    });
    fields.inputs.username.focus();
  });
}

// The dialog of one user; it is open when it is made, and `closed` resolves when it is not any more. What becomes of
// the user meanwhile is told to it: `changed(user)`, `gone()`.
export class EditDialog {
  closed;
  #dialog;
  #fields = new Fields();
  #notice = element("p", { className: "notice", role: "status", hidden: true });
  #heading = element("h2", { id: "user-title" });
  #presence = element("dl", { className: "facts" });
  #user;
  #own = false;
  #left = new AbortController();

  constructor(user) {
    this.#user = user;
    const disconnect = element("button", { type: "button" }, t("disconnect"));
    const reset = element("button", { type: "button" }, t("reset"));
    const remove = element("button", { type: "button", className: "danger" }, t("delete"));
    disconnect.addEventListener("click", () => this.#disconnect(disconnect));
    reset.addEventListener("click", () => this.#reset(reset));
    remove.addEventListener("click", () => this.#remove(remove));
    this.#dialog = element("dialog", { "aria-labelledby": "user-title", className: "of-user" },
      this.#heading, this.#notice, this.#presence,
      form({
        inputs: this.#fields.inputs,
        rows: [...this.#fields.rows, element("p", { className: "hint" }, t("ends_logins"))],
        className: "form", submit: t("save"), before: [closing(t("close"))], explain: refusal,
        send: () => this.#save(),
      }),
      element("section", { className: "access", "aria-labelledby": "access-title" },
        element("h3", { id: "access-title" }, t("access")),
        element("div", { className: "row" }, disconnect, reset, remove)));
    this.#fill(user);
    this.closed = new Promise((resolve) => show(this.#dialog, () => {
      this.#left.abort();
      resolve();
    }));
    this.#fields.inputs.username.focus();
    this.load();
  }

  get id() {
    return this.#user.id;
  }

  // Ask anew where the user is.
  async load() {
    const path = `/api/v1/users/${encodeURIComponent(this.id)}`;
    const options = { signal: this.#left.signal };
    try {
      const [presence, { connections }] = await Promise.all([
        session.api.get(`${path}/presence`, options), session.api.get(`${path}/connections`, options),
      ]);
      const devices = presence.devices.map((device) => device.device).filter(Boolean);
      const offline = presence.last_seen ? t("last_seen", { when: moment(presence.last_seen) }) : t("never_seen");
      fillTerms(this.#presence, [
        ["ID", element("code", {}, this.id)],
        [t("presence"), presence.online ? t("now_online", { count: number(connections.length) }) : offline],
        [t("devices"), devices.length ? devices.join(", ") : null],
      ]);
    } catch {
      // Not what the dialog is for.
      return;
    }
  }

  changed(user) {
    const other = ["username", "email", "group_id"].some((name) => user[name] !== this.#user[name])
      || user.roles.join() !== this.#user.roles.join();
    this.#fill(user);
    if (!other || this.#own) return;
    this.#notice.textContent = t("meanwhile", { name: user.username });
    this.#notice.hidden = false;
  }

  gone() {
    if (this.#own || !this.#dialog.open) return;
    this.#dialog.close();
    toast(t("gone", { name: this.#user.username }), { tone: "busy" });
  }

  #fill(user) {
    this.#user = user;
    this.#heading.textContent = t("edit_user", { name: user.username });
    if (!this.#presence.childElementCount) fillTerms(this.#presence, [["ID", element("code", {}, user.id)]]);
    this.#fields.show(user);
  }

  #path(rest = "") {
    return `/api/admin/users/${encodeURIComponent(this.id)}${rest}`;
  }

  async #save() {
    const changed = this.#fields.changed;
    if (Object.keys(changed).length) {
      // The event of one's own change comes before its answer.
      this.#own = true;
      try {
        this.#fill(await session.api.put(this.#path(), changed));
      } finally {
        this.#own = false;
      }
    }
    this.#dialog.close();
    toast(Object.keys(changed).length ? t("saved", { name: this.#user.username }) : t("unchanged"));
  }

  async #reset(button) {
    const name = this.#user.username;
    const asked = { title: t("reset_ask", { name }), text: t("reset_text"), confirm: t("reset"), danger: true };
    if (!(await ask(asked))) return;
    const answer = await this.#do(button, () => session.api.post(this.#path("/reset-password")));
    if (answer) await tell({ title: t("reset_done", { name }), name, password: answer.temporary_password });
  }

  async #disconnect(button) {
    const name = this.#user.username;
    const asked = {
      title: t("disconnect_ask", { name }), text: t("disconnect_text"), confirm: t("disconnect"), danger: true,
    };
    if (!(await ask(asked))) return;
    const path = `/api/v1/users/${encodeURIComponent(this.id)}/disconnect`;
    const answer = await this.#do(button, () => session.api.post(path));
    if (!answer) return;
    toast(t("disconnected", { name, count: number(answer.disconnected) }));
    this.load();
  }

  async #remove(button) {
    const name = this.#user.username;
    const asked = { title: t("delete_ask", { name }), text: t("delete_text"), confirm: t("delete"), danger: true };
    if (!(await ask(asked))) return;
    this.#own = true;
    const answer = await this.#do(button, () => session.api.delete(this.#path()));
    this.#own = false;
    if (!answer) return;
    this.#dialog.close();
    toast(t("deleted", { name }));
  }

  // The answer; null where it failed, which has been told then.
  async #do(button, action) {
    button.disabled = true;
    try {
      return await action();
    } catch (error) {
      toast(refusal(error).text, { tone: "bad" });
      return null;
    } finally {
      button.disabled = false;
    }
  }
}

function framed(title, ...children) {
  return element("dialog", { "aria-labelledby": "new-title", className: "of-user" },
    element("h2", { id: "new-title" }, title), ...children);
}

function closing(text) {
  const button = element("button", { type: "button" }, text);
  button.addEventListener("click", () => button.closest("dialog").close());
  return button;
}
