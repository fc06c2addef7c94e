// An example of every command of the native protocol: its data, ready to be sent.

import { session } from "../../lib/session.js";

// Type → data; one after the other, from the first to the last, they tell a story.
export function commands() {
  const { user_id: me } = session.user;
  const { offset = 0 } = session.tidings.positions()[`user:${me}`] ?? {};
  return {
    ping: {},
    stats: {},
    join_room: { room: "lobby" },
    room_message: { room: "lobby", text: "Hello" },
    leave_room: { room: "lobby" },
    room_subscribe: { room: "notifications" },
    room_unsubscribe: { room: "notifications" },
    user_message: { to: me, text: "A note to myself" },
    subscribe: { channel: "room:lobby", presence: true },
    history: { channel: "room:lobby", limit: 10 },
    presence: { channel: "room:lobby" },
    publish: { channel: "room:lobby", event: "news", payload: { title: "It works" } },
    unsubscribe: { channel: "room:lobby" },
    ack: { channel: `user:${me}`, offset },
    refresh: { token: "eyJ…" },
    authenticate: { token: "eyJ…", device: "console" },
  };
}
