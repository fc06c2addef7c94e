// What operators, programs and other people tell, as toasts on whichever page is shown.

import { texts } from "./i18n.js";
import { session } from "./session.js";
import { toast } from "./ui.js";

const t = texts({
  en: {
    system: "From the operators", changed: "{entity} {id}: {action}", more: "And {count} more changes.",
    said: "Message from {name}", invited: "{by} invited you to {room}", room: "Room name: {room}",
    notification: "Notification",
  },
  zh: {
    system: "系统消息", changed: "{entity} {id}：{action}", more: "另有 {count} 项更改。",
    said: "来自 {name} 的消息", invited: "{by} 邀请您加入 {room}", room: "聊天室名称：{room}",
    notification: "通知",
  },
  ja: {
    system: "運営からのお知らせ", changed: "{entity} {id}：{action}", more: "ほか {count} 件の変更があります。",
    said: "{name} さんからのメッセージ", invited: "{by} さんが {room} に招待しています", room: "ルーム名：{room}",
    notification: "通知",
  },
});

const TONES = { info: "good", success: "good", warning: "busy", error: "bad", critical: "bad" };

// Programs may change a thousand records a second; people read one line at a time.
const PAUSE_MS = 5_000;
// A toast is a line to be read in passing.
const SHOWN = 300;

// Begin, for as long as this client lives.
export function tellNews(tidings) {
  let passedOver = 0;
  let quiet = false;
  tidings.on("system_message", ({ message, level }) => {
    toast(t("system"), { text: clipped(message), tone: TONES[level] ?? "good" });
  });
  tidings.on("user_message", ({ from, to, username, text }) => {
    const mine = session.user?.user_id;
    const link = `#/rooms/${encodeURIComponent(`@${from}`)}`;
    if (to !== mine || from === mine || isShown(link)) return;
    toast(t("said", { name: username ?? from }), { text: clipped(text), link });
  });
  tidings.on("room_invitation", ({ room, title, by }) => {
    // A title may be another room's name: what it is entered by stands below.
    const text = title && title !== room ? t("room", { room }) : "";
    const link = `#/rooms/${encodeURIComponent(room)}`;
    toast(t("invited", { room: title || room, by }), { text, link });
  });
  tidings.on("data_update", (data) => {
    if (quiet) {
      passedOver += 1;
      return;
    }
    quiet = true;
    toast(clipped(t("changed", data)));
    setTimeout(() => {
      quiet = false;
      if (passedOver > 0) toast(t("more", { count: passedOver }));
      passedOver = 0;
    }, PAUSE_MS);
  });
}

// Tell of a notification; `link` is where a list of them is, for whoever does not have it before their eyes.
export function tellNotification(data, link = null) {
  const { title, message } = data ?? {};
  toast(clipped(title) || t("notification"), { text: clipped(message), link });
}

// Whether the page at this address is the one that is shown; an address may be written in several ways.
function isShown(link) {
  try {
    return decodeURIComponent(location.hash) === decodeURIComponent(link);
  } catch {
    // Somebody's own "%".
    return false;
  }
}

// What has come for a text, as one, whatever it is.
export function worded(value) {
  if (typeof value === "string") return value;
  return value === null || value === undefined ? "" : JSON.stringify(value);
}

function clipped(value) {
  const text = worded(value);
  return text.length > SHOWN ? `${text.slice(0, SHOWN)}…` : text;
}
