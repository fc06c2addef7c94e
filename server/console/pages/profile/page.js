// One's own account: what it is, live; its name, its address, its password; and where it is connected.

import { element } from "../../lib/dom.js";
import { Page } from "../../lib/page.js";
import { session } from "../../lib/session.js";
import { sheet } from "../../lib/sheet.js";
import { toast, words } from "../../lib/ui.js";
import { editor, facts } from "./account.js";
import { connections } from "./connections.js";
import { passwordForm } from "./password.js";
import { t } from "./texts.js";

sheet(new URL("page.css", import.meta.url));

// Connections come and go without an event to hear.
const CONNECTIONS_MS = 10_000;

class Profile extends Page {
  #user = null;
  #parts = null;
  #body = element("div", { className: "stack" });
  #notice = element("p", { className: "notice", hidden: true });

  enter() {
    this.replaceChildren(this.title(t("title")), this.#body);
    this.#body.append(element("p", { className: "empty", role: "status" }, t("loading")));
    this.hear("user:updated", (data, message) => this.#told(data, message));
    // Whatever was changed while nobody listened.
    this.listen(session, "state", ({ detail }) => detail.name === "connected" && this.#load());
    this.hear("@gap", () => this.#load());
    this.every(CONNECTIONS_MS, () => this.#parts?.connections?.load(this.signal));
    this.#load();
  }

  async #load() {
    let user;
    try {
      user = await session.api.get("/api/users/me", { signal: this.signal });
    } catch (error) {
      if (!this.signal.aborted) this.#failed(error);
      return;
    }
    this.#build();
    this.#show(user);
    this.#parts.connections?.load(this.signal);
  }

  #failed(error) {
    // What is shown already stays: the next connection asks again.
    if (this.#parts !== null) return;
    if (error.code === "not_found") {
      this.#body.replaceChildren(element("p", { className: "card" }, t("no_account")));
      return;
    }
    const again = element("button", { type: "button" }, t("try_again"));
    again.addEventListener("click", () => this.#load());
    this.#body.replaceChildren(element("div", { className: "card stack" },
      element("p", { role: "alert" }, words(error)), element("div", { className: "row" }, again)));
  }

  #build() {
    if (this.#parts !== null) return;
    this.#notice.textContent = t("temporary");
    const password = passwordForm(() => this.#show({ ...this.#user, must_change_password: false }));
    const edited = editor((user) => this.#show(user));
    this.#parts = { facts: facts(), editor: edited, password, connections: connections() };
    const { facts: account, connections: list } = this.#parts;
    this.#body.replaceChildren(this.#notice,
      element("div", { className: "profile" },
        element("div", { className: "stack" }, account.made, list?.made),
        element("div", { className: "stack" }, edited.made, password.made)));
    // From the login, with a temporary password.
    if (this.getAttribute("argument") === "password") password.focus();
  }

  #show(user) {
    this.#user = user;
    this.#notice.hidden = !user.must_change_password;
    this.#parts.facts.show(user);
    this.#parts.editor.show(user);
  }

  // Administrators hear of everybody, on their role's channel. The event says it all: asking again would race with
  // the end of this login, which some changes bring.
  #told(data, message) {
    if (data.id !== this.#user?.id || message.timestamp <= this.#user.updated_at) return;
    const changed = ["username", "email", "group_id"].some((name) => data[name] !== this.#user[name])
      || data.roles.join() !== this.#user.roles.join();
    this.#show({ ...this.#user, ...data, updated_at: message.timestamp });
    // One's own change is told before it is answered.
    if (changed && !this.#parts.editor.isSending()) toast(t("told"));
  }
}

customElements.define("tidings-profile", Profile);
export const page = Profile;
