// What operators, programs and other people tell, as toasts on whichever page is shown.

import { texts } from "./i18n.js";
import { session } from "./session.js";
import { toast } from "./ui.js";

const t = texts({
  en: {
    system: "From the operators", changed: "{entity} {id}: {action}", more: "And {count} more changes.",
    said: "Message from {name}", invited: "{by} invited you to {room}",
  },
  zh: {
    system: "系统消息", changed: "{entity} {id}：{action}", more: "另有 {count} 项更改。",
    said: "来自 {name} 的消息", invited: "{by} 邀请您加入 {room}",
  },
  ja: {
    system: "運営からのお知らせ", changed: "{entity} {id}：{action}", more: "ほか {count} 件の変更があります。",
    said: "{name} さんからのメッセージ", invited: "{by} さんが {room} に招待しています",
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
    if (to !== mine || from === mine || location.hash.startsWith("#/rooms")) return;
    toast(t("said", { name: username ?? from }), { text: clipped(text), link: `#/rooms/${encodeURIComponent(`@${from}`)}` });
  });
  tidings.on("room_invitation", ({ room, title, by }) => {
    toast(t("invited", { room: title || room, by }), { link: `#/rooms/${encodeURIComponent(room)}` });
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

function clipped(value) {
  const text = String(value);
  return text.length > SHOWN ? `${text.slice(0, SHOWN)}…` : text;
}
