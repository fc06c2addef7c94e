// Logging in: by name and password where the server keeps users, by a token everywhere.

import { element, field, fieldError } from "../../lib/dom.js";
import { form } from "../../lib/form.js";
import { moment } from "../../lib/format.js";
import { Page } from "../../lib/page.js";
import { session } from "../../lib/session.js";
import { toast, words } from "../../lib/ui.js";
import { parting } from "./farewell.js";
import { conceal, passwordField } from "./password.js";
import { t } from "./texts.js";

class Login extends Page {
  enter() {
    const farewell = session.farewell && parting(session.farewell);
    session.farewell = null;
    const accounts = session.has("accounts");
    const byToken = this.#byToken(accounts ? "form" : "card form");
    this.replaceChildren(element("div", { className: "login stack" },
      this.title(t("title")),
      farewell && element("p", { className: "notice", role: "alert", id: "farewell", "data-tone": farewell.tone },
        farewell.text),
      element("p", { className: "hint" }, t("about")),
      accounts && this.#byPassword(),
      accounts ? element("details", { className: "card" }, element("summary", {}, t("or_token")), byToken)
        : byToken));
    // Where something is to be read first, the focus is at the top.
    if (!farewell) queueMicrotask(() => this.querySelector("input").focus());
  }

  #byPassword() {
    const username = element("input", {
      name: "username", autocomplete: "username", autocapitalize: "off", spellcheck: false, required: true,
    });
    const password = element("input", {
      name: "password", type: "password", autocomplete: "current-password", required: true,
    });
    const made = form({
      inputs: { username, password },
      rows: [field(t("username"), username), passwordField(t("password"), password)],
      submit: t("submit"),
      send: async () => {
        conceal(password);
        welcome(await session.logIn(username.value, password.value));
      },
      explain: (error) => {
        password.value = "";
        if (error.code === "rate_limited" && error.retryAfter) this.#wait(made, username, error.retryAfter);
        return { field: "password", text: refused(error) };
      },
    });
    return made;
  }

  #byToken(className) {
    const token = element("input", {
      name: "token", type: "password", autocomplete: "off", autocapitalize: "off", spellcheck: false, required: true,
      placeholder: "eyJ…",
    });
    return form({
      inputs: { token },
      rows: [field(t("token"), token, t("token_hint"))],
      submit: t("use_token"),
      className,
      send: () => session.begin(token.value),
      explain: (error) => ({ field: "token", text: error.status === 401 ? t("bad_token") : words(error) }),
    });
  }

  // Nothing helps before then, and the button counts the seconds down. Another account may have attempts left.
  #wait(made, username, seconds) {
    const button = made.querySelector("button[type=submit]");
    const until = performance.now() + seconds * 1000;
    const show = () => {
      const left = Math.ceil((until - performance.now()) / 1000);
      if (left <= 0) return end();
      button.disabled = true;
      // Plain, so that the number can be read though the button is faded.
      button.classList.remove("primary");
      button.textContent = t("wait", { seconds: left });
    };
    const timer = setInterval(show, 1000);
    const end = () => {
      clearInterval(timer);
      username.removeEventListener("input", end);
      button.disabled = false;
      button.classList.add("primary");
      button.textContent = t("submit");
    };
    username.addEventListener("input", end);
    this.leave(end);
    // Behind the form, which enables the button when it is done.
    queueMicrotask(show);
  }
}

function refused(error) {
  if (error.code === "rate_limited" && error.retryAfter) return t("too_many", { seconds: error.retryAfter });
  if (error.status !== 401) return words(error);
  // A temporary password, past its time, is not the same as a wrong one.
  return error.message.startsWith("the temporary password has ended") ? t("temporary_ended") : t("wrong");
}

// When this account was last used is for its owner to judge.
function welcome(account) {
  if (account.must_change_password) {
    location.hash = "#/profile/password";
    return;
  }
  const when = account.last_login_at;
  const text = when ? t("last_login", { when: moment(when) }) : t("first_login");
  toast(t("welcome", { name: account.username }), { text });
}

customElements.define("tidings-login", Login);
export const page = Login;
