// What administrators send: a notification to one user, and a system message to everybody.

import { element, field, fieldError } from "../../lib/dom.js";
import { session } from "../../lib/session.js";
import { toast, words } from "../../lib/ui.js";
import { KINDS } from "./entry.js";
import { t } from "./texts.js";

export function sendingForms() {
  return element("section", { className: "stack sending", "aria-label": t("for_admins") }, sendForm(), broadcastForm());
}

function sendForm() {
  const user = element("input", { name: "user_id", autocapitalize: "off", autocomplete: "off", spellcheck: false, required: true });
  const kind = choice("type");
  const title = element("input", { name: "title", maxLength: 200, autocomplete: "off", required: true });
  const message = element("textarea", { name: "message", rows: 3, maxLength: 4000, className: "prose", required: true });
  const link = element("input", { name: "link", maxLength: 2048, autocomplete: "off", spellcheck: false });
  let key = newKey();
  let said = "";
  return form(t("send_title"), "", [
    element("div", { className: "pair" }, field(t("user"), user, t("user_hint")), field(t("kind"), kind)),
    field(t("heading"), title), field(t("message"), message), field(t("link"), link, t("link_hint")),
  ], t("send"), { required: [user, title, message], inputs: { title, message, link, type: kind } }, async () => {
    const body = { title: title.value.trim(), message: message.value.trim(), type: kind.value };
    if (link.value.trim()) body.link = link.value.trim();
    // Where an answer was lost and the same is sent again, it is made once.
    const asked = JSON.stringify([user.value, body]);
    if (asked !== said) key = newKey();
    said = asked;
    try {
      await session.api.post(`/api/v1/ws/notify/${encodeURIComponent(user.value.trim())}`, { ...body, idempotency_key: key });
    } catch (error) {
      if (error.status !== 404) throw error;
      fieldError(user, t("nobody"));
      user.focus();
      return;
    }
    said = "";
    toast(t("sent", { user: user.value.trim() }));
    title.value = message.value = link.value = "";
    title.focus();
  });
}

function broadcastForm() {
  const level = choice("level");
  const message = element("input", { name: "message", autocomplete: "off", required: true });
  return form(t("broadcast_title"), t("broadcast_hint"), [
    field(t("message"), message), field(t("level"), level),
  ], t("broadcast"), { required: [message], inputs: { "data.message": message } }, async () => {
    const data = { message: message.value.trim(), level: level.value };
    await session.api.post("/api/v1/ws/broadcast", { type: "system_message", data });
    toast(t("told"));
    message.value = "";
    message.focus();
  });
}

function choice(name) {
  return element("select", { name }, ...KINDS.map((kind) => element("option", { value: kind }, t(kind))));
}

// `submit()` may reject with ApiError: it is said at the field that it is about, among `inputs`, or below the form.
function form(heading, hint, fields, label, { required, inputs }, submit) {
  const button = element("button", { type: "submit", className: "primary" }, label);
  const wrong = element("p", { className: "error", role: "alert" });
  const made = element("form", { className: "card", noValidate: true, autocomplete: "off" },
    element("h2", {}, heading), hint && element("p", { className: "hint lead" }, hint), ...fields,
    element("div", { className: "row" }, button, wrong));
  made.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (button.disabled) return;
    wrong.textContent = "";
    for (const input of Object.values(inputs)) fieldError(input, "");
    for (const input of required) fieldError(input, input.value.trim() ? "" : t("missing"));
    const empty = required.find((input) => !input.value.trim());
    if (empty) {
      empty.focus();
      return;
    }
    button.disabled = true;
    try {
      await submit();
    } catch (error) {
      const input = inputs[error.field];
      if (input) {
        fieldError(input, words(error));
        input.focus();
      } else {
        wrong.textContent = words(error);
      }
    } finally {
      button.disabled = false;
    }
  });
  return made;
}

// Not crypto.randomUUID: a console that is served without TLS has none.
function newKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
