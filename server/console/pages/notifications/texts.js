// The texts of the notifications page.

import { texts } from "../../lib/i18n.js";

export const all = {
  en: {
    title: "Notifications", demo: "Send me one", all: "All", unread: "Unread", filter: "Which are shown",
    read_all: "Mark all as read", clear: "Delete what is read", older: "Show older ones",
    list: "Notifications, newest first", loading: "Loading…", retry: "Try again",
    failed: "The list could not be loaded.",
    none: "Nothing here yet. “Send me one” shows how a notification arrives: stored first, pushed second.",
    none_unread: "You have read everything.", bound: "The newest {count} are shown.", mark: "Mark as read",
    remove: "Delete", open: "Open", is_new: "Unread", arrived: "New notification: {title}", removed: "Deleted.",
    info: "Info", success: "Success", warning: "Warning", error: "Error",
    clear_title: "Delete everything that is read?", clear_text: "What is unread stays.",
    stale: "There is no connection: new ones appear when it is back.", for_admins: "For administrators",
    send_title: "Send a notification", user: "User id", user_hint: "As in the list of users: alice, say.",
    kind: "Type", heading: "Title", message: "Message", link: "Link (optional)",
    link_hint: "Where a click leads: https://… or a path.", send: "Send", sent: "Sent to {user}.",
    nobody: "There is no such user.", broadcast_title: "Tell everybody",
    broadcast_hint: "A system message, to whoever is connected now. It is not kept.", level: "Level",
    broadcast: "Tell everybody", told: "Everybody who is connected has been told.",
  },
  zh: {
    title: "通知", demo: "给我发一条", all: "全部", unread: "未读", filter: "显示哪些",
    read_all: "全部标为已读", clear: "删除已读", older: "显示更早的", list: "通知，最新的在前",
    loading: "加载中…", retry: "重试", failed: "列表加载失败。",
    none: "还没有通知。点击“给我发一条”，看看通知如何到达：先存储，再推送。", none_unread: "您已全部读完。",
    bound: "仅显示最新的 {count} 条。", mark: "标为已读", remove: "删除", open: "打开", is_new: "未读",
    arrived: "新通知：{title}", removed: "已删除。", info: "信息", success: "成功", warning: "警告",
    error: "错误", clear_title: "删除所有已读通知？", clear_text: "未读的会保留。",
    stale: "当前没有连接，恢复后会显示新通知。", for_admins: "管理员功能", send_title: "发送通知",
    user: "用户 ID", user_hint: "与用户列表中一致，例如 alice。", kind: "类型", heading: "标题",
    message: "内容", link: "链接（可选）", link_hint: "点击后打开的地址：https://… 或路径。", send: "发送",
    sent: "已发送给 {user}。", nobody: "没有这个用户。", broadcast_title: "系统广播",
    broadcast_hint: "发送给当前在线的所有人的系统消息，不会保存。", level: "级别", broadcast: "广播",
    told: "已通知所有在线用户。",
  },
  ja: {
    title: "通知", demo: "自分に送ってみる", all: "すべて", unread: "未読", filter: "表示する通知",
    read_all: "すべて既読にする", clear: "既読を削除", older: "以前の通知を表示", list: "通知（新しい順）",
    loading: "読み込み中…", retry: "再試行", failed: "一覧を読み込めませんでした。",
    none: "通知はまだありません。「自分に送ってみる」を押すと、保存されてからプッシュされる様子がわかります。",
    none_unread: "すべて既読です。", bound: "最新の {count} 件を表示しています。", mark: "既読にする",
    remove: "削除", open: "開く", is_new: "未読", arrived: "新しい通知：{title}", removed: "削除しました。",
    info: "情報", success: "成功", warning: "警告", error: "エラー",
    clear_title: "既読の通知をすべて削除しますか？", clear_text: "未読のものは残ります。",
    stale: "接続がありません。再接続すると新しい通知が表示されます。", for_admins: "管理者向け",
    send_title: "通知を送る", user: "ユーザー ID", user_hint: "ユーザー一覧にある ID（例：alice）。",
    kind: "種類", heading: "タイトル", message: "本文", link: "リンク（任意）",
    link_hint: "クリック先：https://… またはパス。", send: "送信", sent: "{user} に送信しました。",
    nobody: "該当するユーザーがいません。", broadcast_title: "全員に知らせる",
    broadcast_hint: "接続中の全員へのシステムメッセージです。保存はされません。", level: "レベル",
    broadcast: "全員に送信", told: "接続中の全員に送信しました。",
  },
};

export const t = texts(all);
