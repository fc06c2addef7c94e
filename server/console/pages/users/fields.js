// The fields of a user, as administrators fill them in.

import { element, field } from "../../lib/dom.js";
import { t } from "./texts.js";

export class Fields {
  inputs;
  rows;
  #known = { username: "", email: null, roles: [], group_id: null };

  constructor() {
    const plain = { autocomplete: "off", autocapitalize: "off", spellcheck: false };
    const username = element("input", { name: "username", required: true, ...plain });
    const email = element("input", { name: "email", type: "email", ...plain });
    const roles = element("input", { name: "roles", ...plain });
    const group_id = element("input", { name: "group_id", ...plain });
    this.inputs = { username, email, roles, group_id };
    this.rows = [
      field(t("username"), username),
      field(t("email"), email, t("email_hint")),
      element("div", { className: "pair" },
        field(t("roles"), roles, t("roles_hint")),
        field(t("group"), group_id, t("group_hint"))),
    ];
  }

  // What is in the fields, as the server takes it.
  get value() {
    const { username, email, roles, group_id } = this.inputs;
    return {
      username: username.value.trim(),
      email: email.value.trim() || null,
      roles: [...new Set(roles.value.split(/[\s,，、]+/).filter(Boolean))],
      group_id: group_id.value.trim() || null,
    };
  }

  // What of it differs from the user that was shown last: the rest is left to whoever changes it meanwhile.
  get changed() {
    const given = Object.entries(this.value);
    return Object.fromEntries(given.filter(([name, value]) => !same(value, this.#known[name])));
  }

  // Fill in a user, but for what has been changed here.
  show(user) {
    const begun = this.changed;
    for (const [name, input] of Object.entries(this.inputs)) {
      if (!(name in begun)) input.value = written(user[name]);
    }
    this.#known = user;
  }
}

function written(value) {
  return Array.isArray(value) ? value.join(" ") : value ?? "";
}

// The order of roles means nothing.
function same(one, other) {
  return Array.isArray(one) ? [...one].sort().join() === [...other].sort().join() : one === other;
}
