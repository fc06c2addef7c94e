// The form that changes one's password. The login that asks goes on; the server ends all others.

import { element } from "../../lib/dom.js";
import { form } from "../../lib/form.js";
import { session } from "../../lib/session.js";
import { conceal, passwordField } from "../login/password.js";
import { refusal } from "./refusals.js";
import { t } from "./texts.js";

// A <section> with the form; `changed()` is called when it is done, `focus()` goes to its first field.
export function passwordForm(changed) {
  const secret = (name, autocomplete) => element("input", { name, type: "password", autocomplete, required: true });
  const old_password = secret("old_password", "current-password");
  const new_password = secret("new_password", "new-password");
  const again = secret("again", "new-password");
  // Whose password it is, for programs that keep passwords.
  const whose = element("input", {
    type: "text", autocomplete: "username", hidden: true, readOnly: true, value: session.user.username,
  });
  const told = element("p", { className: "hint", role: "status" });
  const inputs = { old_password, new_password, again };
  const made = element("section", { className: "card", "aria-labelledby": "password-title" },
    element("h2", { id: "password-title" }, t("password")),
    form({
      inputs,
      rows: [
        whose,
        passwordField(t("old_password"), old_password),
        passwordField(t("new_password"), new_password, t("password_hint")),
        passwordField(t("again"), again),
      ],
      submit: t("change_password"),
      beside: [told],
      className: "form",
      check: () => (again.value === new_password.value ? null : { field: "again", text: t("differs") }),
      send: async () => {
        Object.values(inputs).forEach(conceal);
        const given = { old_password: old_password.value, new_password: new_password.value };
        await session.api.put("/api/users/password", given);
        for (const input of Object.values(inputs)) input.value = "";
        told.textContent = t("password_changed");
        changed();
      },
      explain: refusal,
    }));
  made.addEventListener("input", () => (told.textContent = ""));
  return { made, focus: () => old_password.focus() };
}
