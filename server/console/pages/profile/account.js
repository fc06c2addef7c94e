// The account as it is, and the form that changes its name and its address.

import { $, element, field, fillTerms } from "../../lib/dom.js";
import { form } from "../../lib/form.js";
import { moment } from "../../lib/format.js";
import { session } from "../../lib/session.js";
import { refusal } from "./refusals.js";
import { t } from "./texts.js";

// A <section> with the facts, and `show(user)` that fills them in.
export function facts() {
  const list = element("dl", { className: "facts" });
  const made = element("section", { className: "card", "aria-labelledby": "account-title" },
    element("h2", { id: "account-title" }, t("account")), list);
  const show = (user) => fillTerms(list, [
    [t("user_id"), element("code", {}, user.id)],
    [t("username"), user.username],
    [t("email"), user.email ?? t("none")],
    [t("roles"), user.roles.length ? tags(user.roles) : t("none")],
    [t("group"), user.group_id ?? t("none")],
    [t("created"), moment(user.created_at)],
    [t("changed"), moment(user.updated_at)],
    [t("last_login"), user.last_login_at ? moment(user.last_login_at) : t("never")],
  ]);
  return { made, show };
}

export function tags(names) {
  const each = names.map((name) => element("span", { className: "tag" }, name));
  return element("span", { className: "tags" }, ...each);
}

// A <section> with the form. `show(user)` fills in what its reader has not begun to change, and says beside what
// they have that it is another meanwhile; `isSending()` while a change that was made here is under way, and
// `saved(user)` is told of its answer.
export function editor(saved) {
  const plain = { autocapitalize: "off", spellcheck: false };
  const username = element("input", { name: "username", autocomplete: "username", required: true, ...plain });
  const email = element("input", { name: "email", type: "email", autocomplete: "email", ...plain });
  const inputs = { username, email };
  const told = element("p", { className: "hint", role: "status" });
  let known = null;
  let sending = false;

  const show = (user) => {
    for (const [name, input] of Object.entries(inputs)) {
      const before = known?.[name] ?? "", now = user[name] ?? "";
      const begun = known !== null && input.value !== before && input.value !== now;
      if (!begun) input.value = now;
      if (!begun || before !== now) $(`${input.id}-hint`).textContent = begun ? meanwhile(now) : hints[name];
    }
    known = user;
  };
  const hints = { username: "", email: t("email_hint") };
  const meanwhile = (value) => (value ? t("elsewhere", { value }) : t("emptied"));

  const send = async () => {
    const wanted = { username: username.value.trim(), email: email.value.trim() || null };
    const changed = Object.entries(wanted).filter(([name, value]) => value !== known[name]);
    if (!changed.length) {
      told.textContent = t("unchanged");
      return;
    }
    sending = true;
    try {
      saved(await session.api.put("/api/users/me", Object.fromEntries(changed)));
    } finally {
      sending = false;
    }
    told.textContent = t("saved");
  };
  const made = element("section", { className: "card", "aria-labelledby": "edit-title" },
    element("h2", { id: "edit-title" }, t("edit")),
    form({
      inputs, rows: [field(t("username"), username), field(t("email"), email, hints.email)],
      submit: t("save"), beside: [told], className: "form", send, explain: refusal,
    }));
  made.addEventListener("input", () => (told.textContent = ""));
  return { made, show, isSending: () => sending };
}
