// What administrators send: a notification to one user, and a system message to everybody.

import { element, field, fieldError } from "../../lib/dom.js";
import { form } from "../../lib/form.js";
import { session } from "../../lib/session.js";
import { toast } from "../../lib/ui.js";
import { KINDS } from "./entry.js";
import { refusal } from "./refusals.js";
import { t } from "./texts.js";

export function sendingForms() {
  return element("section", { className: "stack sending", "aria-label": t("for_admins") },
    card(t("send_title"), "", sendForm()),
    card(t("broadcast_title"), t("broadcast_hint"), broadcastForm()));
}

function card(heading, hint, made) {
  return element("div", { className: "card" },
    element("h2", {}, heading), hint && element("p", { className: "hint lead" }, hint), made);
}

function sendForm() {
  const user = element("input", {
    name: "user_id", autocapitalize: "off", autocomplete: "off", spellcheck: false, required: true,
  });
  const type = choice("type");
  const title = element("input", { name: "title", maxLength: 200, autocomplete: "off", required: true });
  const message = element("textarea", {
    name: "message", rows: 3, maxLength: 4000, className: "prose", required: true,
  });
  const link = element("input", { name: "link", maxLength: 2048, autocomplete: "off", spellcheck: false });
  let key = newKey();
  let said = "";
  return form({
    className: "",
    inputs: { user, title, message, link, type },
    rows: [
      element("div", { className: "pair" }, field(t("user"), user, t("user_hint")), field(t("kind"), type)),
      field(t("heading"), title), field(t("message"), message), field(t("link"), link, t("link_hint")),
    ],
    submit: t("send"),
    explain: refusal,
    send: async () => {
      const to = user.value.trim();
      const body = { title: title.value.trim(), message: message.value.trim(), type: type.value };
      if (link.value.trim()) body.link = link.value.trim();
      // Where an answer was lost and the same is sent again, it is made once.
      const asked = JSON.stringify([to, body]);
      if (asked !== said) key = newKey();
      said = asked;
      await session.api.post(`/api/v1/ws/notify/${encodeURIComponent(to)}`, { ...body, idempotency_key: key });
      said = "";
      toast(t("sent", { user: to }));
      for (const input of [title, message, link]) empty(input);
      title.focus();
    },
  });
}

function broadcastForm() {
  const message = element("input", { name: "message", autocomplete: "off", required: true });
  const level = choice("level");
  return form({
    className: "",
    inputs: { message, level },
    rows: [field(t("message"), message), field(t("level"), level)],
    submit: t("broadcast"),
    explain: refusal,
    send: async () => {
      const data = { message: message.value.trim(), level: level.value };
      await session.api.post("/api/v1/ws/broadcast", { type: "system_message", data });
      toast(t("told"));
      empty(message);
      message.focus();
    },
  });
}

function choice(name) {
  return element("select", { name }, ...KINDS.map((kind) => element("option", { value: kind }, t(kind))));
}

function empty(input) {
  input.value = "";
  fieldError(input, "");
}

// Not crypto.randomUUID: a console that is served without TLS has none.
function newKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
