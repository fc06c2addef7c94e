// Who of some users is online, as the presence routes tell.

import { session } from "../../lib/session.js";

// Resolves to {online, count}: the ids of those of `ids` who are online, and how many are in all; null where they are
// more than one page of the server's tells, which are `least`. Rejects with ApiError.
export async function whoIsOnline(ids, signal) {
  const { users, next } = await session.api.get("/api/v1/users/online?kind=user", { signal });
  const online = new Set(users.map((user) => user.user_id));
  if (next === null) return { online, count: online.size };
  // A crowd, of which a page here is a few: they are asked for by name, as many at once as the browser lets.
  const wanted = ids.filter((id) => !online.has(id));
  const ask = (id) => session.api.get(`/api/v1/users/${encodeURIComponent(id)}/presence`, { signal });
  const found = await Promise.all(wanted.map(ask));
  for (const presence of found) if (presence.online) online.add(presence.user_id);
  return { online, count: null, least: users.length };
}
