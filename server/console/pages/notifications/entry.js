// One notification as it stands in the list.

import { element } from "../../lib/dom.js";
import { moment } from "../../lib/format.js";
import { t } from "./texts.js";

// The types that have a colour and a word; another program's stand as they are.
export const KINDS = ["info", "success", "warning", "error"];

const EMOJI = /^\p{Extended_Pictographic}\S{0,7}$/u;

// `act(action, id)` is called with "mark" or "remove".
export function entryOf(note, act) {
  const unread = !note.read_at;
  const known = KINDS.includes(note.type);
  const titleId = `note-${note.id}`;
  const button = (action, label) => {
    const made = element("button", { type: "button", className: "small quiet", "data-action": action,
      "aria-describedby": titleId }, label);
    made.addEventListener("click", () => act(action, note.id));
    return made;
  };
  const href = safeAddress(note.link);
  const opening = { href, target: "_blank", rel: "noopener noreferrer", "aria-describedby": titleId };
  const link = href && element("a", opening, t("open"));
  if (link && unread) link.addEventListener("click", () => act("mark", note.id));
  const made = element("li", { className: "note", "data-kind": known ? note.type : "other", "data-id": note.id },
    element("span", { className: "mark", "aria-hidden": "true" }, EMOJI.test(note.icon ?? "") ? note.icon : ""),
    element("div", { className: "said" },
      element("p", { className: "line" },
        element("strong", { id: titleId }, note.title),
        unread && element("span", { className: "new" }, t("is_new"))),
      element("p", { className: "message" }, note.message),
      element("p", { className: "line hint" },
        element("span", { className: "kind" }, known ? t(note.type) : note.type),
        element("time", { dateTime: note.created_at }, moment(note.created_at)),
        link)),
    element("div", { className: "actions" }, unread && button("mark", t("mark")), button("remove", t("remove"))));
  made.toggleAttribute("data-unread", unread);
  return made;
}

// A link that a click may follow: to a page, and nothing that runs here. Other programs' are theirs to open.
export function safeAddress(link) {
  if (!link) return null;
  try {
    const url = new URL(link, document.baseURI);
    return url.protocol === "https:" || url.protocol === "http:" ? url.href : null;
  } catch {
    return null;
  }
}
