// One's own connections: what a stolen token would be among.

import { element } from "../../lib/dom.js";
import { duration } from "../../lib/format.js";
import { session } from "../../lib/session.js";
import { t } from "./texts.js";

// Where users may read their own; null where this server tells them nothing.
function path() {
  const id = encodeURIComponent(session.user.user_id);
  if (session.has("notifications")) return `/api/v1/ws/connections/${id}`;
  return session.isAdmin ? `/api/v1/users/${id}/connections` : null;
}

// A <section> with the list, and `load(signal)` that asks for it anew; null where there is nothing to ask.
export function connections() {
  const asked = path();
  if (asked === null) return null;
  const list = element("ul", { className: "connections" });
  const made = element("section", { className: "card", "aria-labelledby": "connections-title" },
    element("h2", { id: "connections-title" }, t("connections")), list);
  const load = async (signal) => {
    let answer;
    try {
      answer = await session.api.get(asked, { signal });
    } catch {
      // It is asked for again soon; what is shown was right a moment ago.
      return;
    }
    const found = answer.details ?? answer.connections;
    list.replaceChildren(...found.map(entry));
    if (!found.length) list.append(element("li", { className: "hint" }, t("no_connections")));
  };
  return { made, load };
}

function entry(connection) {
  const own = connection.connection_id === session.tidings?.state.connection_id;
  const { dialect, peer } = connection;
  // Addresses are told to administrators alone.
  const name = peer ? t("from_peer", { dialect, peer }) : dialect;
  const channels = connection.channels.filter((channel) => !channel.startsWith("user:"));
  return element("li", {},
    element("p", { className: "row" },
      element("span", {}, name),
      own && element("span", { className: "tag" }, t("this_page")),
      element("span", { className: "hint" }, t("since", { duration: duration(connection.connected_seconds) }))),
    element("p", { className: "hint" }, t("channels", { names: channels.join(", ") })));
}
