// The texts of the login page.

import { texts } from "../../lib/i18n.js";

export const all = {
  en: {
    title: "Log in", username: "User name", password: "Password", submit: "Log in",
    or_token: "Or with a token", token: "Token", use_token: "Use this token",
    token_hint: "From your own service, from the output of make serve, or from: tidings token --user alice",
    missing: "Please fill this in.", wrong: "The user name or the password is wrong.",
    bad_token: "The token was refused: it is wrong, or has ended.",
    refused: "Your login has ended. Please log in again.", deleted: "This account has been deleted.",
    said: "{message}", 3005: "Your login has expired. Please log in again.",
    3500: "Your login has ended: {reason}.", 3508: "You have been logged in elsewhere.", 3510: "This account has been deleted.",
    about: "A real-time push server: see it work. Open this page in two tabs, log in as two people, and talk.",
  },
  zh: {
    title: "登录", username: "用户名", password: "密码", submit: "登录",
    or_token: "或使用令牌", token: "令牌", use_token: "使用此令牌",
    token_hint: "来自您自己的服务、make serve 的输出，或命令：tidings token --user alice",
    missing: "请填写此项。", wrong: "用户名或密码错误。",
    bad_token: "令牌被拒绝：无效或已过期。",
    refused: "您的登录已失效，请重新登录。", deleted: "此账号已被删除。",
    said: "{message}", 3005: "登录已过期，请重新登录。",
    3500: "您的登录已结束：{reason}。", 3508: "您的账号已在其他地方登录。", 3510: "此账号已被删除。",
    about: "实时推送服务器：亲眼看它工作。在两个标签页中打开本页，以两个用户登录，然后聊天。",
  },
  ja: {
    title: "ログイン", username: "ユーザー名", password: "パスワード", submit: "ログイン",
    or_token: "またはトークンで", token: "トークン", use_token: "このトークンを使う",
    token_hint: "ご自身のサービス、make serve の出力、または tidings token --user alice から",
    missing: "入力してください。", wrong: "ユーザー名またはパスワードが違います。",
    bad_token: "トークンが拒否されました。無効か、期限切れです。",
    refused: "ログインが無効になりました。もう一度ログインしてください。", deleted: "このアカウントは削除されました。",
    said: "{message}", 3005: "ログインの有効期限が切れました。もう一度ログインしてください。",
    3500: "ログインが終了しました：{reason}。", 3508: "他の場所でログインされました。", 3510: "このアカウントは削除されました。",
    about: "リアルタイムプッシュサーバーの動作を確かめられます。二つのタブで開き、二人としてログインして話してみてください。",
  },
};

export const t = texts(all);
