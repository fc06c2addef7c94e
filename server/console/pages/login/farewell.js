// Why the last login ended, in words.

import { all, t } from "./texts.js";

// The server's reasons for 3500, which it says in English.
const REASONS = {
  "logged out": "logged_out", "password changed": "password_changed", "roles changed": "roles_changed",
  "group changed": "group_changed", "token revoked": "revoked",
};

// `farewell` is the session's: {key, values}. Returns {text, tone}, as a notice shows them.
export function parting({ key, values = {} }) {
  if (key === "3500" && values.reason in REASONS) {
    const tone = values.reason === "logged out" ? "good" : "busy";
    return { text: t(REASONS[values.reason]), tone };
  }
  // The server speaks one language to everybody: what it says to whoever logs in elsewhere is known in all three.
  if (key === "said" && values.message === all.en[3508]) return { text: t("3508"), tone: "bad" };
  return { text: t(key, values), tone: ["deleted", "said", "3508", "3510"].includes(key) ? "bad" : "busy" };
}
