// Logging in: by name and password where the server keeps users, by a token everywhere.

import { element, field, fieldError } from "../../lib/dom.js";
import { Page } from "../../lib/page.js";
import { session } from "../../lib/session.js";
import { words } from "../../lib/ui.js";
import { t } from "./texts.js";

class Login extends Page {
  enter() {
    const { farewell } = session;
    session.farewell = null;
    const accounts = session.has("accounts");
    const byToken = this.#byToken();
    this.replaceChildren(element("div", { className: "login stack" },
      this.title(t("title")),
      farewell && element("p", { className: "notice", role: "alert", id: "farewell" }, t(farewell.key, farewell.values)),
      element("p", { className: "hint" }, t("about")),
      accounts && this.#byPassword(),
      accounts ? element("details", { className: "card" }, element("summary", {}, t("or_token")), byToken)
        : element("div", { className: "card" }, byToken)));
    this.querySelector("input").focus();
  }

  #byPassword() {
    const username = element("input", { name: "username", autocomplete: "username", autocapitalize: "off", spellcheck: false, required: true });
    const password = element("input", { name: "password", type: "password", autocomplete: "current-password", required: true });
    return this.#form([field(t("username"), username), field(t("password"), password)], t("submit"), [username, password], async () => {
      try {
        await session.logIn(username.value, password.value);
      } catch (error) {
        password.value = "";
        fieldError(password, error.status === 401 ? t("wrong") : words(error));
        password.focus();
      }
    });
  }

  #byToken() {
    const token = element("input", { name: "token", type: "password", autocomplete: "off", spellcheck: false, autocapitalize: "off", placeholder: "eyJ…" });
    return this.#form([field(t("token"), token, t("token_hint"))], t("use_token"), [token], async () => {
      try {
        await session.begin(token.value);
      } catch (error) {
        fieldError(token, error.status === 401 ? t("bad_token") : words(error));
        token.focus();
      }
    });
  }

  #form(fields, label, inputs, submit) {
    const button = element("button", { className: "primary", type: "submit" }, label);
    const form = element("form", { className: "card stack", noValidate: true }, ...fields, element("div", { className: "row" }, button));
    this.listen(form, "submit", async (event) => {
      event.preventDefault();
      for (const input of inputs) fieldError(input, input.value.trim() ? "" : t("missing"));
      const empty = inputs.find((input) => !input.value.trim());
      if (empty) {
        empty.focus();
        return;
      }
      button.disabled = true;
      await submit();
      button.disabled = false;
    });
    return form;
  }
}

customElements.define("tidings-login", Login);
export const page = Login;
