// Rooms and direct messages: "#/rooms", "#/rooms/<name>", "#/rooms/@<user id>".

import { arrange } from "../../lib/arrange.js";
import { element, field, fieldError } from "../../lib/dom.js";
import { number } from "../../lib/format.js";
import { Paced } from "../../lib/paced.js";
import { Page } from "../../lib/page.js";
import { session } from "../../lib/session.js";
import { sheet } from "../../lib/sheet.js";
import { Chat } from "./chat.js";
import { composer } from "./composer.js";
import { changeRoom, createRoom, writeTo, wrongName } from "./dialogs.js";
import { Lists } from "./list.js";
import { People } from "./people.js";
import { LOBBY, talk } from "./talk.js";
import { t } from "./texts.js";

const dressed = sheet(new URL("page.css", import.meta.url));

// How often it is asked who is in the room that is shown, where its channel does not tell.
const WHO_MS = 15_000;
// How often it is drawn, however much comes.
const DRAW_MS = 200;

class Rooms extends Page {
  #talk;
  #conversation = null;
  #chat = null;
  #people = null;
  #parts = {};
  #drawing = new Paced(DRAW_MS, () => this.#draw());

  enter() {
    this.#talk = talk();
    const asked = this.getAttribute("argument");
    this.toggleAttribute("data-chosen", asked !== "");
    this.#parts = this.#build();
    this.replaceChildren(
      this.title(t("title"), element("span", { className: "spring" }), this.#parts.create, this.#parts.write),
      element("div", { className: "talk" }, this.#parts.column, this.#parts.pane));
    this.#open(asked);
    this.listen(this.#talk, "change", () => this.#drawing.ask());
    this.listen(this.#talk, "members", ({ detail }) => {
      if (detail === this.#conversation?.name) this.#people?.load();
    });
    this.listen(document, "visibilitychange", () => this.#look());
    this.hear("@state", () => this.#drawing.ask());
    for (const event of ["online", "offline"]) this.listen(window, event, () => this.#drawing.ask());
    this.every(WHO_MS, () => {
      this.#conversation?.askWho?.();
      this.#talk.refresh();
    });
    this.listen(window, "resize", () => {
      this.#fit();
      this.#look();
    });
    const sizes = new ResizeObserver(() => this.#fit());
    sizes.observe(document.querySelector(".top"));
    this.leave(() => {
      sizes.disconnect();
      this.#drawing.stop();
      this.#conversation?.see(false);
    });
    this.#talk.refresh();
    this.#fit();
    // Before its sheet applies, the page is laid out in another way.
    dressed.then(() => this.signal.aborted || this.#fit());
    this.#draw();
    // Where a keyboard is at hand, one goes on by writing. After the frame, which gives the heading the focus.
    if (asked && matchMedia("(pointer: fine)").matches) {
      setTimeout(() => {
        if (this.signal.aborted || document.querySelector("dialog[open]")) return;
        this.querySelector(".composer textarea")?.focus();
      });
    }
  }

  #build() {
    const create = element("button", { type: "button", hidden: true }, t("new_room"));
    create.addEventListener("click", () => createRoom(this.#talk));
    const write = element("button", { type: "button" }, t("new_message"));
    write.addEventListener("click", () => writeTo(this.#talk));
    const lists = new Lists(this.#talk);
    return {
      create, write, lists,
      column: element("nav", { className: "column card", "aria-label": t("conversations") },
        this.#joinForm(), lists.node),
      pane: element("section", { className: "pane card", "aria-label": t("conversation") }),
    };
  }

  // The height of the window below the header is the conversation's.
  #fit() {
    const { top } = this.querySelector(".talk").getBoundingClientRect();
    this.style.setProperty("--above", `${Math.round(top + scrollY)}px`);
    this.#chat?.draw();
  }

  #joinForm() {
    const name = element("input", {
      name: "room", autocomplete: "off", autocapitalize: "off", spellcheck: false, maxLength: 128,
      placeholder: t("room_name"),
    });
    const made = element("form", { className: "join", noValidate: true }, field(t("join_name"), name));
    const row = element("div", { className: "joined" });
    name.replaceWith(row);
    row.append(name, element("button", { type: "submit" }, t("join")));
    this.listen(made, "submit", (event) => {
      event.preventDefault();
      const wanted = name.value.trim();
      const wrong = wanted ? wrongName(wanted) : t("bad_name");
      fieldError(name, wrong);
      if (wrong) name.focus();
      else location.hash = `#/rooms/${wanted}`;
    });
    return made;
  }

  // --- which conversation -----------------------------------------------------------------------------

  #open(asked) {
    if (asked.startsWith("@")) this.#show(this.#talk.openDirect(asked.slice(1)));
    else if (asked) this.#show(wrongName(asked) ? null : this.#talk.openRoom(asked));
    // Beside the list there is room for one.
    else this.#show(this.#talk.rooms.get(LOBBY) ?? [...this.#talk.rooms.values()][0] ?? null);
  }

  #show(conversation) {
    this.#conversation = conversation;
    const { pane } = this.#parts;
    if (conversation === null) {
      pane.replaceChildren(element("p", { className: "empty" }, t("choose")));
      return;
    }
    const isRoom = conversation.channel !== undefined;
    this.#chat = new Chat(conversation);
    this.#people = isRoom ? new People(this.#talk, conversation, this.signal) : null;
    this.#parts.head = this.#head(isRoom);
    this.#parts.notice = element("div", { className: "notices" });
    this.#parts.composer = composer(conversation);
    this.#parts.foot = element("div", { className: "foot" }, this.#parts.composer.node);
    pane.replaceChildren(this.#parts.head.node, this.#parts.notice, this.#chat.node, this.#parts.foot,
      ...(this.#people ? [this.#people.node] : []));
    this.#look();
    conversation.askWho?.();
  }

  #head(isRoom) {
    const unread = element("span", { className: "badge", hidden: true });
    const back = element("a", { className: "back", href: "#/rooms" }, element("span", { "aria-hidden": "true" }, "‹"), unread);
    const name = element("h2", {});
    const own = element("code", { className: "own-name" });
    const about = element("p", { className: "hint" });
    const people = element("button", { type: "button", className: "small who-is", "aria-expanded": "false" });
    people.addEventListener("click", () => {
      const isShown = this.#parts.pane.toggleAttribute("data-people");
      people.setAttribute("aria-expanded", String(isShown));
      this.#draw();
    });
    const settings = element("button", { type: "button", className: "small", hidden: true }, t("settings"));
    settings.addEventListener("click", () => changeRoom(this.#talk, this.#talk.kept.get(this.#conversation.name)));
    const leave = element("button", { type: "button", className: "small" }, t("leave"));
    leave.addEventListener("click", () => {
      this.#talk.closeRoom(this.#conversation.name);
      location.hash = "#/rooms";
      // Where that is already shown, nothing would happen.
      if (!this.hasAttribute("data-chosen")) this.#show(null);
    });
    const buttons = isRoom ? [people, settings, leave] : [];
    const node = element("header", { className: "talk-head" },
      back, element("div", { className: "names" }, element("div", { className: "named" }, name, own), about), ...buttons);
    return { name, own, about, back, unread, people, settings, node };
  }

  #name() {
    const conversation = this.#conversation;
    if (conversation.channel === undefined) return this.#talk.nameOf(conversation.userId);
    return (this.#talk.kept.get(conversation.name) ?? conversation.kept)?.title || conversation.name;
  }

  #look() {
    const isSeen = !document.hidden && this.#isShown;
    this.#conversation?.see(isSeen);
    if (isSeen) this.#drawing.ask();
  }

  // Where there is little room, the list stands alone until one is chosen.
  get #isShown() {
    return this.hasAttribute("data-chosen") || !matchMedia("(max-width: 860px)").matches;
  }

  // --- drawing ----------------------------------------------------------------------------------------

  #draw() {
    this.#parts.create.hidden = this.#talk.keeps !== true;
    this.#parts.lists.draw(this.#isShown ? this.#conversation?.key : undefined);
    if (this.#conversation !== null) this.#drawPane();
  }

  #drawPane() {
    const conversation = this.#conversation;
    const isRoom = conversation.channel !== undefined;
    const { head, notice, foot } = this.#parts;
    const name = this.#name();
    if (head.name.textContent !== name) {
      head.name.textContent = name;
      this.#parts.composer.address(name);
    }
    head.own.textContent = isRoom && name !== conversation.name ? conversation.name : "";
    const elsewhere = this.#talk.unreadBeside(conversation);
    head.unread.hidden = elsewhere === 0;
    head.unread.textContent = elsewhere > 99 ? "99+" : String(elsewhere);
    const beside = elsewhere > 0 ? t("unread", { count: number(elsewhere) }) : "";
    head.back.setAttribute("aria-label", [t("back"), beside].filter(Boolean).join(", "));
    const kept = isRoom ? this.#talk.kept.get(conversation.name) : undefined;
    head.about.textContent = isRoom ? this.#about(kept ?? conversation.kept)
      : this.#talk.isHere(conversation.userId) ? t("is_here") : t("reaches_later");
    head.people.textContent = t("people_button", { count: number(conversation.members?.size ?? 0) });
    head.settings.hidden = !kept || !this.#talk.manages(kept);
    arrange(notice, this.#notices(kept));
    foot.hidden = !this.#maySpeak(kept);
    this.#chat.draw();
    this.#people?.draw();
  }

  #about(kept) {
    if (kept) return kept.topic || t(`choose_${kept.policy}`);
    return this.#talk.keeps === null ? "" : t("any_room");
  }

  #maySpeak(kept) {
    const { standing } = this.#conversation;
    const isHeard = kept?.policy !== "announcements" || this.#talk.manages(kept);
    return isHeard && (standing === "in" || standing === "entering");
  }

  #notices(kept) {
    const { standing, reason, loadError, lines, isLoading } = this.#conversation;
    const found = [];
    const { name } = session.tidings.state;
    // A browser that knows of no network says so before the connection is found to be dead.
    const isCut = !navigator.onLine || (name !== "connected" && name !== "connecting");
    if (isCut) found.push(this.#notice("offline", t("offline")));
    if (standing === "over") found.push(this.#notice(reason, t(`over_${reason}`), "bad"));
    if (standing === "refused") {
      found.push(this.#notice("refused", reason ? t("refused", { why: reason }) : t("members_only"), "bad"));
    }
    if (standing === "in" && !this.#maySpeak(kept)) found.push(this.#notice("silent", t("silent")));
    if (loadError) {
      const again = element("button", { type: "button", className: "small" }, t("retry"));
      again.addEventListener("click", () => this.#conversation.load());
      found.push(this.#notice("failed", t("load_failed"), "bad", again));
    } else if (lines.all.length === 0 && standing === "in" && !isLoading) {
      found.push(this.#notice("empty", t("nobody_said"), "empty"));
    } else if (lines.all.length === 0 && (isLoading || standing === "entering") && name === "connected") {
      found.push(this.#notice("loading", t("loading"), "empty"));
    }
    return found;
  }

  // The same notice is the same node, so that it is told once.
  #notice(key, text, tone = "busy", ...beside) {
    const there = [...this.#parts.notice.children].find((each) => each.dataset.key === key);
    if (there) return there;
    const className = tone === "empty" ? "empty" : "notice";
    const role = tone === "empty" ? null : "status";
    const said = element("p", {}, text);
    return element("div", { className, "data-key": key, "data-tone": tone, role }, said, ...beside);
  }
}

customElements.define("tidings-rooms", Rooms);
export const page = Rooms;
