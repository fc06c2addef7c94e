// A group's heading: its name and time zone, and the activation code by which devices come in.

import { element, field } from "../../lib/dom.js";
import { form } from "../../lib/form.js";
import { say } from "../../lib/say.js";
import { session } from "../../lib/session.js";
import { ask, show, toast, words } from "../../lib/ui.js";
import { t } from "./texts.js";

export class Heading {
  made = element("section", { className: "card heading", "aria-labelledby": "group-title" });
  #group;
  #name = element("h2", { id: "group-title" });
  #zone = element("p", { className: "hint" });
  #code = element("code");
  #copy = element("button", { type: "button", className: "small" }, t("copy"));
  #renew = element("button", { type: "button", className: "small" }, t("new_code"));
  #disable = element("button", { type: "button", className: "small danger" }, t("disable"));
  #edit = element("button", { type: "button", className: "small" }, t("edit"));

  // `changed()` is called when an administrator has changed it.
  constructor(group, changed) {
    this.#group = group;
    this.#copy.addEventListener("click", () => this.#copyCode());
    this.#renew.addEventListener("click", () => this.#do(this.#renew, "renew", changed, () => (
      session.api.post(`${group.path}/codes`))));
    this.#disable.addEventListener("click", () => this.#do(this.#disable, "disable", changed, () => (
      session.api.delete(`${group.path}/codes/${group.entry.activation_code_id}`))));
    this.#edit.addEventListener("click", () => edit(group.entry, (entry) => {
      group.changed(entry);
      changed();
    }));
    const buttons = session.isAdmin ? [this.#renew, this.#disable, this.#edit] : [];
    this.made.append(
      element("div", { className: "names" }, this.#name, this.#zone),
      element("div", { className: "row code" },
        element("span", { className: "hint" }, t("code")), this.#code, this.#copy),
      element("div", { className: "row" }, ...buttons));
    group.addEventListener("figures", () => this.#draw());
    this.#draw();
  }

  #draw() {
    const { entry } = this.#group;
    this.made.hidden = entry === null;
    if (entry === null) return;
    const { name, time_zone, activation_code } = entry;
    say(this.#name, name);
    say(this.#zone, t("day_of", { zone: time_zone }));
    say(this.#code, activation_code ?? t("no_code"));
    this.#copy.hidden = this.#disable.hidden = activation_code === null;
  }

  async #copyCode() {
    try {
      await navigator.clipboard.writeText(this.#group.entry.activation_code);
      toast(t("copied"));
    } catch {
      // Only secure pages may write to the clipboard; in others it is selected, and Ctrl+C copies it.
      getSelection().selectAllChildren(this.#code);
      toast(t("copy_yourself"), { tone: "busy" });
    }
  }

  async #do(button, what, changed, act) {
    const danger = button === this.#disable;
    const title = t(`${what}_question`, { name: this.#group.entry.name });
    if (!(await ask({ title, text: t("devices_leave"), confirm: button.textContent, danger }))) return;
    button.disabled = true;
    try {
      this.#group.changed(await act());
      toast(t(`${what}_done`));
      changed();
    } catch (error) {
      toast(t("not_done"), { text: words(error), tone: "bad" });
    }
    button.disabled = false;
    // Disabled, it has lost the focus; and it may be gone.
    if (document.activeElement === document.body) (button.hidden ? this.#renew : button).focus();
  }
}

// Make a group, or (given its entry) change one: a dialog. `done(entry)` is called with the server's answer.
export function edit(entry, done) {
  const name = element("input", {
    name: "name", required: true, maxLength: 128, autocomplete: "off", value: entry?.name ?? "",
  });
  const zones = element("datalist", { id: "time-zones" },
    ...["UTC", ...Intl.supportedValuesOf("timeZone")].map((zone) => element("option", { value: zone })));
  const zone = element("input", {
    name: "time_zone", required: true, maxLength: 64, autocomplete: "off", spellcheck: false, autocapitalize: "off",
    value: entry?.time_zone ?? Intl.DateTimeFormat().resolvedOptions().timeZone,
  });
  zone.setAttribute("list", zones.id);
  const cancel = element("button", { type: "button" }, t("cancel"));
  const dialog = element("dialog", { "aria-labelledby": "edit-title" },
    element("h2", { id: "edit-title" }, t(entry ? "edit_title" : "new_group")),
    form({
      inputs: { name, time_zone: zone },
      rows: [field(t("group_name"), name), field(t("time_zone"), zone, t("time_zone_hint")), zones],
      submit: t(entry ? "save" : "create"), beside: [cancel], className: "form",
      async send() {
        const body = { name: name.value.trim(), time_zone: zone.value.trim() };
        const answer = entry ? await session.api.patch(`/api/v1/lines/groups/${entry.id}`, body)
          : await session.api.post("/api/v1/lines/groups", body);
        dialog.close();
        done(answer);
      },
    }));
  cancel.addEventListener("click", () => dialog.close());
  show(dialog);
}
