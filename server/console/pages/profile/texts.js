// The texts of the profile page.

import { texts } from "../../lib/i18n.js";

export const all = {
  en: {
    title: "Profile", loading: "Loading…", try_again: "Try again",
    account: "Account", user_id: "User id", username: "User name", email: "E-mail", roles: "Roles", group: "Group",
    created: "Created", changed: "Changed", last_login: "Last login", none: "none", never: "never",
    edit: "Name and e-mail", save: "Save", saved: "Saved.", unchanged: "Nothing has changed.",
    email_hint: "May be empty. No mail is sent to it.", elsewhere: "Changed elsewhere meanwhile: {value}",
    emptied: "Taken away elsewhere meanwhile.", told: "Your account has been changed elsewhere.",
    password: "Password", old_password: "Current password", new_password: "New password", again: "New password, again",
    password_hint: "Long and unusual beats short and full of signs: four random words do well.",
    differs: "This is not the same as above.", change_password: "Change password",
    password_changed: "Your password is changed. Your other logins have ended.",
    temporary: "You have a temporary password, which soon ends by itself. Please choose one of your own.",
    connections: "Your connections", this_page: "this page", since: "for {duration}", channels: "Channels: {names}",
    no_connections: "You are not connected at the moment.", from_peer: "{dialect} from {peer}",
    no_account: "This token belongs to nobody who has an account here. Whoever issued it keeps your name and password.",
  },
  zh: {
    title: "个人资料", loading: "加载中…", try_again: "重试",
    account: "账号", user_id: "用户 ID", username: "用户名", email: "电子邮件", roles: "角色", group: "组",
    created: "创建时间", changed: "修改时间", last_login: "上次登录", none: "无", never: "从未",
    edit: "用户名与电子邮件", save: "保存", saved: "已保存。", unchanged: "没有任何更改。",
    email_hint: "可以留空，不会向其发送邮件。", elsewhere: "期间已在别处更改为：{value}",
    emptied: "期间已在别处被清空。", told: "您的账号已在别处被修改。",
    password: "密码", old_password: "当前密码", new_password: "新密码", again: "再次输入新密码",
    password_hint: "长而少见胜过短而符号多：四个随机的词就很好。",
    differs: "两次输入不一致。", change_password: "修改密码",
    password_changed: "密码已修改，您的其他登录已结束。",
    temporary: "您正在使用临时密码，它很快会自动失效。请设置自己的密码。",
    connections: "您的连接", this_page: "本页面", since: "已连接 {duration}", channels: "频道：{names}",
    no_connections: "当前没有连接。", from_peer: "{dialect}，来自 {peer}",
    no_account: "此令牌的用户在本服务器上没有账号，用户名和密码由令牌的签发方管理。",
  },
  ja: {
    title: "プロフィール", loading: "読み込み中…", try_again: "再試行",
    account: "アカウント", user_id: "ユーザー ID", username: "ユーザー名", email: "メールアドレス", roles: "ロール", group: "グループ",
    created: "作成日時", changed: "更新日時", last_login: "前回のログイン", none: "なし", never: "なし",
    edit: "名前とメールアドレス", save: "保存", saved: "保存しました。", unchanged: "変更はありません。",
    email_hint: "空欄でもかまいません。メールは送信されません。", elsewhere: "別の場所で変更されました：{value}",
    emptied: "別の場所で削除されました。", told: "アカウントが別の場所で変更されました。",
    password: "パスワード", old_password: "現在のパスワード", new_password: "新しいパスワード", again: "新しいパスワード（確認）",
    password_hint: "短く記号の多いものより、長く珍しいものが安全です。無関係な単語四つがおすすめです。",
    differs: "上の入力と一致しません。", change_password: "パスワードを変更",
    password_changed: "パスワードを変更しました。他のログインは終了しました。",
    temporary: "仮パスワードでログインしています。まもなく無効になりますので、ご自身のパスワードを設定してください。",
    connections: "あなたの接続", this_page: "このページ", since: "接続時間 {duration}", channels: "チャンネル：{names}",
    no_connections: "現在、接続はありません。", from_peer: "{dialect}（{peer} から）",
    no_account: "このトークンのユーザーはこのサーバーにアカウントがありません。名前とパスワードは発行元で管理されています。",
  },
};

export const t = texts(all);
