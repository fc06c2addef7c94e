// Days and times of what was said.

import { language } from "../../lib/i18n.js";
import { t } from "./texts.js";

const DAY_MS = 86_400_000;

// "14:05"; the day stands above.
export function timeOf(date) {
  return new Intl.DateTimeFormat(language(), { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }).format(date);
}

// "Today", "Yesterday", else the date.
export function formatDay(date) {
  const now = new Date();
  if (date.toDateString() === now.toDateString()) return t("today");
  if (date.toDateString() === new Date(now.getTime() - DAY_MS).toDateString()) return t("yesterday");
  const year = date.getFullYear() === now.getFullYear() ? {} : { year: "numeric" };
  const parts = { weekday: "long", month: "long", day: "numeric", ...year };
  return new Intl.DateTimeFormat(language(), parts).format(date);
}
