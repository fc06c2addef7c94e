// What pages tell and ask people: toasts, questions, and errors in words.

import { $, element } from "./dom.js";
import { number } from "./format.js";
import { texts } from "./i18n.js";

const t = texts({
  en: {
    close: "Close", cancel: "Cancel", ok: "OK",
    unreachable: "The server cannot be reached. Try again in a moment.",
    rate_limited: "Too many requests: try again in {seconds} s.",
    forbidden: "You may not do this.", not_found: "It is not there any more.",
  },
  zh: {
    close: "关闭", cancel: "取消", ok: "确定",
    unreachable: "无法连接服务器，请稍后再试。",
    rate_limited: "请求过于频繁，请在 {seconds} 秒后重试。",
    forbidden: "您没有执行此操作的权限。", not_found: "该内容已不存在。",
  },
  ja: {
    close: "閉じる", cancel: "キャンセル", ok: "OK",
    unreachable: "サーバーに接続できません。しばらくしてからもう一度お試しください。",
    rate_limited: "リクエストが多すぎます。{seconds} 秒後にもう一度お試しください。",
    forbidden: "この操作は許可されていません。", not_found: "すでに存在しません。",
  },
});

const TOAST_MS = 6_000;
// More at once is a wall: the oldest goes.
const MOST_TOASTS = 4;

// Tell something in passing. `link` is an address the toast leads to. It goes by itself, but not from under a pointer
// or a keyboard that is at it.
export function toast(title, { text = "", tone = "good", link = null } = {}) {
  const heading = link === null ? element("strong", {}, title) : element("a", { href: link }, title);
  const close = element("button", { type: "button", className: "quiet small", "aria-label": t("close") }, "✕");
  const made = element("div", { className: "toast", "data-tone": tone },
    element("div", {}, heading, text && element("p", { className: "hint" }, text)), close);
  let timer;
  const remove = () => {
    clearTimeout(timer);
    const held = made.contains(document.activeElement);
    made.remove();
    // Else a keyboard would begin again at the top.
    if (held) $("main").focus({ preventScroll: true });
  };
  const wait = () => (timer = setTimeout(remove, TOAST_MS));
  for (const type of ["pointerenter", "focusin"]) made.addEventListener(type, () => clearTimeout(timer));
  for (const type of ["pointerleave", "focusout"]) {
    made.addEventListener(type, () => {
      clearTimeout(timer);
      wait();
    });
  }
  close.addEventListener("click", remove);
  if (link !== null) heading.addEventListener("click", remove);
  wait();
  const list = $("toasts");
  // Whatever is outside of a modal dialog is dimmed, and cannot be reached.
  const dialog = [...document.querySelectorAll("dialog[open]")].at(-1);
  if (dialog && !dialog.contains(list)) dialog.append(list);
  list.append(made);
  while (list.childElementCount > MOST_TOASTS) list.firstElementChild.remove();
}

// Ask whether to do it. Resolves to true or false; Escape is no.
export function ask({ title, text = "", confirm = t("ok"), danger = false }) {
  return new Promise((resolve) => {
    const yes = element("button", { type: "submit", value: "yes", className: danger ? "danger" : "primary" }, confirm);
    // The answer that harms nothing has the focus.
    const no = element("button", { type: "submit", value: "no", autofocus: true }, t("cancel"));
    const dialog = element("dialog", { "aria-labelledby": "dialog-title" },
      element("form", { method: "dialog" },
        element("h2", { id: "dialog-title" }, title),
        text && element("p", {}, text),
        element("div", { className: "row" }, no, yes)));
    show(dialog, () => resolve(dialog.returnValue === "yes"));
  });
}

// Open a <dialog>, and take it out of the page again when it closes.
export function show(dialog, closed = () => {}) {
  dialog.addEventListener("close", () => {
    // What was told in it is still to be read.
    if (dialog.contains($("toasts"))) document.body.append($("toasts"));
    dialog.remove();
    closed();
  });
  document.body.append(dialog);
  dialog.showModal();
}

// An error in words, for whoever has just asked for something. The server's own words are English, and say the field.
export function words(error) {
  if (error.code === "rate_limited" && error.retryAfter) return t("rate_limited", { seconds: number(error.retryAfter) });
  if (["unreachable", "forbidden", "not_found"].includes(error.code)) return t(error.code);
  // Which field of the request it was about is for programs.
  return error.message.replace(/ - at `[^`]*`$/, "");
}
