// The column of conversations: rooms that are open, others that may be entered, people.

import { arrange } from "../../lib/arrange.js";
import { element } from "../../lib/dom.js";
import { number } from "../../lib/format.js";
import { words } from "../../lib/ui.js";
import { t } from "./texts.js";

// People who are here and are not written to yet, in the list.
const MOST_PEOPLE = 100;
const PREVIEW = 60;

export class Lists {
  #talk;
  #failure = element("p", { className: "error", role: "alert" });
  #rooms = new Group(t("rooms"), t("no_rooms"));
  #people = new Group(t("people"), t("no_people"));

  constructor(talk) {
    this.#talk = talk;
    this.node = element("div", { className: "lists" }, this.#failure, this.#rooms.node, this.#people.node);
  }

  // `current` is the key of the conversation that is shown.
  draw(current) {
    const { listError } = this.#talk;
    this.#failure.textContent = listError ? words(listError) : "";
    this.#rooms.draw(rooms(this.#talk), current);
    this.#people.draw(people(this.#talk), current);
  }
}

function rooms(talk) {
  const open = [...talk.rooms.values()].map((room) => {
    const kept = talk.kept.get(room.name) ?? room.kept;
    const name = kept?.title || room.name;
    return { ...titled(room.name, name), hint: about(kept, room), unread: room.unread, isOpen: true };
  });
  const others = [...talk.kept.values()].filter(({ name }) => !talk.rooms.has(name));
  return [...open, ...others.map((kept) => ({
    ...titled(kept.name, kept.title || kept.name), hint: about(kept), unread: 0,
  }))];
}

// A title may be another room's name: below it stands what the room is entered by.
function titled(key, name) {
  return { key, name, mark: "#", own: name === key ? "" : key };
}

function people(talk) {
  const written = [...talk.directs.values()].sort((one, other) => (other.lastAt ?? 0) - (one.lastAt ?? 0));
  const here = talk.here.filter(({ user_id: id }) => !talk.directs.has(id)).slice(0, MOST_PEOPLE);
  return [
    ...written.map((direct) => ({
      key: direct.key, name: talk.nameOf(direct.userId),
      hint: direct.lines.all.at(-1)?.text.slice(0, PREVIEW) ?? "",
      unread: direct.unread, isHere: talk.isHere(direct.userId), isOpen: true,
    })),
    ...here.map(({ user_id: id, username: name }) => ({
      key: `@${id}`, name, hint: t("is_here"), unread: 0, isHere: true,
    })),
  ];
}

// How many are in; of a kept room also its members and policy.
function about(kept, room) {
  if (room?.standing === "over" || room?.standing === "refused") return t("not_in");
  const here = room?.standing === "in" ? room.members.size : kept?.online ?? 0;
  const parts = kept ? [t("member_count", { count: number(kept.members) }), t(`policy_${kept.policy}`)] : [];
  return [t("here_count", { count: number(here) }), ...parts].join(" · ");
}

class Group {
  #list = element("ul");
  #empty;
  #entries = new Map();

  constructor(heading, empty) {
    this.#empty = element("p", { className: "hint" }, empty);
    this.node = element("section", { "aria-label": heading }, element("h2", {}, heading), this.#list, this.#empty);
  }

  draw(wanted, current) {
    // An entry keeps its node: what is pressed while it changes is pressed all the same.
    const kept = new Map();
    for (const each of wanted) {
      const entry = this.#entries.get(each.key) ?? new Entry(each.key);
      entry.draw(each, each.key === current);
      kept.set(each.key, entry);
    }
    this.#entries = kept;
    arrange(this.#list, [...kept.values()].map(({ node }) => node));
    this.#list.hidden = kept.size === 0;
    this.#empty.hidden = kept.size > 0;
  }
}

class Entry {
  #sign = element("span", { "aria-hidden": "true" });
  #name = element("strong");
  #own = element("small", { className: "own-name" });
  #hint = element("small");
  #here = element("span", { className: "unseen" }, t("is_here"));
  #badge = element("span", { className: "badge" });
  #link;

  constructor(key) {
    this.#link = element("a", { href: `#/rooms/${encodeURIComponent(key)}` },
      this.#sign, element("span", { className: "name" }, this.#name, this.#own, this.#hint), this.#here, this.#badge);
    this.node = element("li", { "data-key": key }, this.#link);
  }

  draw({ name, own = "", mark = "", hint, unread, isHere = false, isOpen = false }, isCurrent) {
    this.#sign.className = isHere ? "sign here" : "sign";
    say(this.#sign, mark);
    say(this.#name, name);
    say(this.#own, own);
    say(this.#hint, hint);
    this.#here.hidden = !isHere || hint === t("is_here");
    this.#badge.hidden = unread === 0;
    say(this.#badge, unread > 99 ? "99+" : String(unread));
    this.#badge.title = t("unread", { count: number(unread) });
    this.#link.classList.toggle("open", isOpen);
    if (isCurrent) this.#link.setAttribute("aria-current", "true");
    else this.#link.removeAttribute("aria-current");
  }
}

function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
