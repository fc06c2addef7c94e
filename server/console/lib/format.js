// Numbers and times as people read them, in the language of the moment.

import { language } from "./i18n.js";

const made = new Map();

function formatter(kind, options) {
  const key = `${language()} ${kind.name} ${JSON.stringify(options)}`;
  if (!made.has(key)) made.set(key, new kind(language(), options));
  return made.get(key);
}

export function number(value, digits = 0) {
  return formatter(Intl.NumberFormat, { maximumFractionDigits: digits }).format(value);
}

// 1234 → 1.2K, for axes and tiles.
export function compact(value) {
  return formatter(Intl.NumberFormat, { notation: "compact", maximumFractionDigits: 1 }).format(value);
}

export function timeOfDay(date, milliseconds = false) {
  const parts = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
  const text = formatter(Intl.DateTimeFormat, parts).format(date);
  return milliseconds ? `${text}.${String(date.getMilliseconds()).padStart(3, "0")}` : text;
}

// A day and a time; of today the time alone.
export function moment(date) {
  const when = new Date(date);
  const today = when.toDateString() === new Date().toDateString();
  const options = { hour: "2-digit", minute: "2-digit", hourCycle: "h23", ...(today ? {} : { year: "numeric", month: "short", day: "numeric" }) };
  return formatter(Intl.DateTimeFormat, options).format(when);
}

export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const [value, unit] = whole < 90 ? [whole, "second"] : whole < 5400 ? [whole / 60, "minute"]
    : whole < 172800 ? [whole / 3600, "hour"] : [whole / 86400, "day"];
  return formatter(Intl.NumberFormat, { style: "unit", unit, unitDisplay: "short", maximumFractionDigits: 0 }).format(value);
}

export function bytes(count) {
  if (count < 1024) return `${count} B`;
  if (count < 1048576) return `${(count / 1024).toFixed(1)} KiB`;
  return `${(count / 1048576).toFixed(1)} MiB`;
}

export function milliseconds(value) {
  return value < 10 ? value.toFixed(1) : String(Math.round(value));
}
