// The texts of the console's frame.

import { texts } from "./lib/i18n.js";

export const all = {
  en: {
    skip: "Skip to the content", pages: "Pages", language: "Language", menu: "Menu", log_out: "Log out",
    try_again: "Try again", page_failed: "This page could not be loaded: the server does not answer.", unread: "{count} not read",
    theme: "Colours: {name}", theme_system: "Auto", theme_light: "Light", theme_dark: "Dark",
    login: "Log in", notifications: "Notifications", rooms: "Rooms", board: "Line board", profile: "Profile",
    users: "Users", monitor: "Monitor", lab: "Connection lab",
    state_idle: "Not connected", state_connecting: "Connecting", state_connected: "Connected", state_waiting: "Reconnecting",
    state_paused: "Paused", state_polling: "No connection", state_ended: "Disconnected",
    stale: "There is no connection: what is shown here may be out of date.",
    link_failed: "The link was not followed", replace_ask: "Go on as {name}?", replace: "Go on as {name}",
    replace_text: "The link logs in as somebody else than who is logged in here.",
    lose_ask: "Change the language now?", lose_text: "What you have typed on this page is lost.", lose: "Change it",
  },
  zh: {
    skip: "跳到内容", pages: "页面", language: "语言", menu: "菜单", log_out: "退出登录",
    try_again: "重试", page_failed: "页面加载失败：服务器没有响应。", unread: "{count} 条未读",
    theme: "配色：{name}", theme_system: "自动", theme_light: "浅色", theme_dark: "深色",
    login: "登录", notifications: "通知", rooms: "聊天室", board: "进线看板", profile: "个人资料",
    users: "用户管理", monitor: "监控", lab: "连接实验室",
    state_idle: "未连接", state_connecting: "连接中", state_connected: "已连接", state_waiting: "正在重连",
    state_paused: "已暂停", state_polling: "无连接", state_ended: "已断开",
    stale: "连接已断开：此处显示的内容可能已过时。",
    link_failed: "未打开该链接", replace_ask: "以 {name} 的身份继续？", replace: "以 {name} 继续",
    replace_text: "该链接会以另一位用户的身份登录。",
    lose_ask: "现在切换语言？", lose_text: "您在此页面输入的内容将会丢失。", lose: "切换",
  },
  ja: {
    skip: "本文へ移動", pages: "ページ", language: "言語", menu: "メニュー", log_out: "ログアウト",
    try_again: "再試行", page_failed: "ページを読み込めませんでした。サーバーが応答しません。", unread: "未読 {count} 件",
    theme: "配色：{name}", theme_system: "自動", theme_light: "ライト", theme_dark: "ダーク",
    login: "ログイン", notifications: "通知", rooms: "ルーム", board: "着信ボード", profile: "プロフィール",
    users: "ユーザー管理", monitor: "モニター", lab: "接続ラボ",
    state_idle: "未接続", state_connecting: "接続中", state_connected: "接続済み", state_waiting: "再接続中",
    state_paused: "一時停止", state_polling: "接続なし", state_ended: "切断",
    stale: "接続が切れています。表示内容は最新ではない可能性があります。",
    link_failed: "リンクを開けませんでした", replace_ask: "{name} さんとして続けますか？", replace: "{name} さんとして続ける",
    replace_text: "このリンクは、今ログインしている人とは別の人としてログインします。",
    lose_ask: "言語を切り替えますか？", lose_text: "このページに入力した内容は失われます。", lose: "切り替える",
  },
};

export const t = texts(all);
