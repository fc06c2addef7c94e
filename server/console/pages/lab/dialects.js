// What clients of other servers say: where each dialect is spoken, and an example of every message.

import { session } from "../../lib/session.js";

// Stands for the token of whoever is logged in: in an address and in a frame that are about to be sent, and in all
// that is shown.
export const TOKEN = "•••";

const QUERY = `token=${TOKEN}`;
const CODE = "activation_code=CODE&device=lab";
const ROOM = "lobby";

// `credential` is what the address needs to bear; `messages` are what a client may say.
const DIALECTS = {
  native: {
    credential: "",
    messages: [
      { type: "authenticate", data: { token: TOKEN }, id: "1" },
      { type: "join_room", data: { room: ROOM }, id: "2" },
      { type: "room_message", data: { room: ROOM, text: "Hello" }, id: "3" },
      { type: "ping", id: "4" },
    ],
  },
  knowledge: {
    credential: QUERY,
    messages: [
      { type: "ping" },
      { type: "stats" },
      { type: "room_subscribe", data: { room: "notifications" } },
      { type: "room_unsubscribe", data: { room: "notifications" } },
      { type: "room_message", data: { room: ROOM, text: "Hello" } },
    ],
  },
  ginforge: {
    credential: QUERY,
    messages: [
      { type: "ping" },
      { type: "join_room", content: ROOM },
      { type: "room_message", content: { room: ROOM, text: "你好" } },
      { type: "user_message", content: { to: "bob", text: "你好" } },
      { type: "leave_room", content: ROOM },
    ],
  },
  single_login: { credential: QUERY, messages: ["ping", { type: "ping" }] },
  single_login_en: { credential: QUERY, messages: ["ping", { type: "ping" }] },
  single_login_zh: { credential: QUERY, messages: ["ping", { type: "ping" }] },
  line_board: {
    credential: QUERY,
    messages: [{ type: "heartbeat" }, { type: "ack", data: { id: 1 } }],
    app: "lines",
  },
  line_board_device: {
    credential: CODE,
    messages: [
      { type: "heartbeat", timestamp: 1234567890 },
      { type: "sync_line_accounts", data: [{ line_account_id: "front-desk" }] },
      { type: "incoming", data: { line_account_id: "front-desk", incoming_line_id: "customer-1", id: "1" } },
      { type: "account_status_change", data: { line_account_id: "front-desk", online_status: "offline" } },
      { type: "customer_sync", data: { customer_id: "c1", line_account_id: "front-desk" } },
      { type: "follow_up_sync", data: { customer_id: "c1", id: "f1", content: "已联系" } },
    ],
    app: "lines",
  },
};

// [{dialect, address}]: the endpoints of this server, then what a client may ask for by name.
export function doors() {
  const { endpoints } = session.about;
  const door = (path, dialect) => ({ dialect, address: addressOf(path, dialect) });
  const found = Object.entries(endpoints).map(([path, dialect]) => door(path, dialect));
  const own = new Set(Object.values(endpoints));
  const [plain = "/ws"] = Object.keys(endpoints).filter((path) => !path.includes("{"));
  for (const [dialect, { app }] of Object.entries(DIALECTS)) {
    if (!own.has(dialect) && (!app || session.has(app))) {
      found.push(door(`${plain}?dialect=${dialect}`, dialect));
    }
  }
  return found;
}

// What its clients say, as text.
export function messages(dialect) {
  const { messages: each = [] } = DIALECTS[dialect] ?? {};
  return each.map((message) => (typeof message === "string" ? message : JSON.stringify(message)));
}

function addressOf(path, dialect) {
  const credential = DIALECTS[dialect]?.credential ?? QUERY;
  const whole = path.replace("{user_id}", encodeURIComponent(session.user.user_id));
  return credential ? `${whole}${whole.includes("?") ? "&" : "?"}${credential}` : whole;
}
