// Beside a room: who is in it, and of a kept one its members, with what one may do about them.

import { arrange } from "../../lib/arrange.js";
import { element, field, fieldError } from "../../lib/dom.js";
import { form } from "../../lib/form.js";
import { number } from "../../lib/format.js";
import { ask, toast, words } from "../../lib/ui.js";
import { t } from "./texts.js";

// Members in one list; a kept room may have 10,000.
const MOST = 200;

export class People {
  #talk;
  #room;
  #signal;
  #members = null;
  #isCut = false;
  #error = null;
  #turn = 0;
  #invite = null;
  // What is drawn of who is here, and of the members: what has not changed is not drawn again, since somebody may be
  // pressing it.
  #shownHere = "";
  #shown = null;

  // `signal` ends what it asks for.
  constructor(talk, room, signal) {
    this.#talk = talk;
    this.#room = room;
    this.#signal = signal;
    this.here = element("ul", { className: "members" });
    this.hereHeading = element("h3", {});
    this.keptHeading = element("h3", { tabIndex: -1 });
    this.keptList = element("ul", { className: "members" });
    this.kept = element("div", { className: "stack" });
    this.node = element("aside", { className: "people", "aria-label": t("people_of") },
      this.hereHeading, this.here, this.kept);
  }

  get #entry() {
    return this.#talk.kept.get(this.#room.name) ?? null;
  }

  get #manages() {
    return this.#talk.manages(this.#entry);
  }

  draw() {
    const { members, standing } = this.#room;
    this.node.hidden = standing === "over" || standing === "refused";
    this.hereHeading.textContent = t("here", { count: number(members.size) });
    const sorted = [...members.values()].sort((one, other) => one.username.localeCompare(other.username));
    const shown = sorted.slice(0, MOST);
    const here = JSON.stringify(shown);
    if (here !== this.#shownHere) {
      this.here.replaceChildren(...shown.map((member) => this.#person(member.user_id, member.username, true)));
    }
    this.#shownHere = here;
    this.#drawMembers();
    if (this.#entry === null) {
      this.kept.replaceChildren();
      this.#members = this.#shown = null;
    } else if (this.#members === null && this.#turn === 0) {
      this.load();
    }
  }

  // Members by the server's list: anew when it may differ.
  async load() {
    if (this.#entry === null) return;
    const turn = ++this.#turn;
    try {
      const path = `/api/v1/rooms/${this.#room.name}/members?limit=${MOST}`;
      const page = await this.#talk.api.get(path, { signal: this.#signal });
      if (turn !== this.#turn) return;
      this.#members = page.members;
      this.#isCut = page.next !== null;
      this.#error = null;
    } catch (error) {
      if (this.#signal.aborted || turn !== this.#turn) return;
      this.#error = error;
    }
    this.#drawMembers();
  }

  #drawMembers() {
    if (this.#error !== null) {
      if (this.#shown === this.#error) return;
      this.#shown = this.#error;
      const again = element("button", { type: "button", className: "small" }, t("retry"));
      again.addEventListener("click", () => this.load());
      this.kept.replaceChildren(element("p", { className: "error", role: "alert" }, words(this.#error)), again);
      return;
    }
    if (this.#members === null || this.#entry === null) return;
    const shown = JSON.stringify([
      this.#members.map(({ user_id: id, role }) => [id, role, this.#talk.nameOf(id), this.#room.members.has(id)]),
      this.#entry.role,
      this.#isCut && this.#entry.members,
    ]);
    if (shown === this.#shown) return;
    this.#shown = shown;
    const hadFocus = this.keptList.contains(document.activeElement);
    const count = this.#members.filter(({ role }) => role !== "removed").length;
    this.keptHeading.textContent = t("members", { count: number(this.#isCut ? this.#entry.members : count) });
    this.keptList.replaceChildren(...this.#members.map((member) => this.#member(member)));
    this.#invite ??= this.#manages ? this.#inviteForm() : null;
    const cut = this.#isCut && element("p", { className: "hint" }, t("members_cut", { count: number(MOST) }));
    arrange(this.kept, [this.keptHeading, this.keptList, cut, this.#invite].filter(Boolean));
    // What was pressed is gone: the list's heading is where one goes on.
    if (hadFocus) this.keptHeading.focus();
  }

  #person(id, name, isHere) {
    const isOwn = id === this.#talk.own.user_id;
    const label = [element("span", { className: isHere ? "sign here" : "sign", "aria-hidden": "true" }), name];
    const href = `#/rooms/${encodeURIComponent(`@${id}`)}`;
    return element("li", { "data-user": id }, isOwn
      ? element("span", { className: "who" }, ...label, element("span", { className: "tag" }, t("you")))
      : element("a", { className: "who", href, title: t("write_to", { name }) }, ...label));
  }

  #member({ user_id: id, role }) {
    const made = this.#person(id, this.#talk.nameOf(id), this.#room.members.has(id));
    made.append(element("span", { className: "role hint" }, t(`role_${role}`)));
    const actions = this.#actions(id, role);
    if (actions.length > 0) made.append(element("div", { className: "actions" }, ...actions));
    return made;
  }

  // What the caller may do about a member, as buttons.
  #actions(id, role) {
    const name = this.#talk.nameOf(id);
    const isOwn = id === this.#talk.own.user_id;
    const owns = this.#entry.role === "owner" || this.#talk.isAdmin;
    const put = (as) => () => this.#talk.api.put(this.#path(id), { role: as });
    const remove = () => this.#talk.api.delete(this.#path(id));
    const button = (label, action, question = null, danger = false) => {
      const properties = { type: "button", className: "small quiet", "aria-label": `${label}: ${name}` };
      const made = element("button", properties, label);
      const asked = question && { title: question, confirm: label, danger };
      made.addEventListener("click", () => this.#do(made, action, asked));
      return made;
    };
    const mayResign = role === "admin" || role === "member";
    if (isOwn) return mayResign ? [button(t("resign"), remove, t("resign_title"), true)] : [];
    if (!this.#manages || role === "owner") return [];
    if (role === "removed") return [button(t("invite"), put("member"))];
    if (role === "admin" && !owns) return [];
    return [
      owns && role === "member" && button(t("make_admin"), put("admin")),
      owns && role === "admin" && button(t("make_member"), put("member")),
      owns && button(t("hand_over"), put("owner"), t("hand_over_title", { name })),
      button(t("remove"), remove, t("remove_title", { name }), true),
    ].filter(Boolean);
  }

  async #do(button, action, question) {
    if (question && !(await ask(question))) return;
    button.disabled = true;
    try {
      await action();
    } catch (error) {
      button.disabled = false;
      if (!this.#signal.aborted) toast(words(error), { tone: "bad" });
      return;
    }
    // The room says it to all who are in; whoever manages it need not be.
    this.#talk.refresh();
    await this.load();
    // Where the list is what it was, so is the button.
    button.disabled = false;
  }

  #path(id) {
    return `/api/v1/rooms/${this.#room.name}/members/${encodeURIComponent(id)}`;
  }

  #inviteForm() {
    const list = element("datalist", { id: "people-known" },
      ...[...this.#talk.people].slice(-MOST).map(([id, name]) => element("option", { value: id }, name)));
    const user = element("input", {
      name: "user_id", autocomplete: "off", autocapitalize: "off", spellcheck: false, required: true,
    });
    user.setAttribute("list", list.id);
    return form({
      className: "invite",
      inputs: { user },
      rows: [list, field(t("invite_user"), user)],
      submit: t("invite"),
      explain: (error) => ({ field: "user", text: error.status === 404 ? t("nobody") : words(error) }),
      send: async () => {
        await this.#talk.api.put(this.#path(this.#talk.idOf(user.value.trim())), { role: "member" });
        user.value = "";
        fieldError(user, "");
        user.focus();
        this.#talk.refresh();
        await this.load();
      },
    });
  }
}
