// An example of every command of the native protocol: its data, ready to be sent.

import { session } from "../../lib/session.js";

// Type → data, in the order of docs and of what a newcomer tries.
export function commands() {
  const { user_id: me } = session.user;
  const { offset = 0 } = session.tidings.positions()[`user:${me}`] ?? {};
  return {
    ping: {},
    stats: {},
    subscribe: { channel: "room:lobby", presence: true },
    unsubscribe: { channel: "room:lobby" },
    join_room: { room: "lobby" },
    leave_room: { room: "lobby" },
    room_subscribe: { room: "notifications" },
    room_unsubscribe: { room: "notifications" },
    room_message: { room: "lobby", text: "Hello" },
    user_message: { to: me, text: "A note to myself" },
    publish: { channel: "room:lobby", event: "news", payload: { title: "It works" } },
    history: { channel: "room:lobby", limit: 10 },
    presence: { channel: "room:lobby" },
    ack: { channel: `user:${me}`, offset },
    refresh: { token: "eyJ…" },
    authenticate: { token: "eyJ…", device: "console" },
  };
}
