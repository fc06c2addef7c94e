// What the server says of names, addresses and passwords, in the reader's language where it is known.

import { language, texts } from "../../lib/i18n.js";
import { words } from "../../lib/ui.js";

export const all = {
  en: {
    name_taken: "Another user has this name, or one that looks the same.",
    last_admin: "This is the last administrator: make somebody else one first.",
    wrong_password: "This is not your password.",
    same_password: "This is the old password: choose another.",
    bad_email: "An e-mail address has one @, with something on either side, and no spaces.",
    bad_role: "A role has 1 to 64 characters: A-Z a-z 0-9 _ . : -",
    bad_group: "A group has 1 to 128 characters: A-Z a-z 0-9 _ . : -",
    name: "{said}", too_short: "This password is too short: it needs at least {least} characters.",
    too_easy: "This password is too easy to guess. {hints}",
  },
  zh: {
    name_taken: "该用户名（或看起来相同的名称）已被使用。",
    last_admin: "这是最后一位管理员，请先将其他人设为管理员。",
    wrong_password: "原密码不正确。",
    same_password: "新密码与旧密码相同，请另选一个。",
    bad_email: "电子邮件地址应包含一个 @，前后都有内容，且不含空格。",
    bad_role: "角色名为 1 到 64 个字符：A-Z a-z 0-9 _ . : -",
    bad_group: "组名为 1 到 128 个字符：A-Z a-z 0-9 _ . : -",
    name: "该用户名不可用：{said}", too_short: "密码太短，至少需要 {least} 个字符。",
    too_easy: "密码太容易被猜到。再加一两个不常见的词会更好。{hints}",
  },
  ja: {
    name_taken: "このユーザー名、または見た目が同じ名前はすでに使われています。",
    last_admin: "最後の管理者です。先に他のユーザーを管理者にしてください。",
    wrong_password: "パスワードが違います。",
    same_password: "現在のパスワードと同じです。別のものにしてください。",
    bad_email: "メールアドレスには @ が一つ必要です。前後に文字を入れ、空白は含めないでください。",
    bad_role: "ロールは 1～64 文字です：A-Z a-z 0-9 _ . : -",
    bad_group: "グループは 1～128 文字です：A-Z a-z 0-9 _ . : -",
    name: "このユーザー名は使えません：{said}", too_short: "パスワードが短すぎます。{least} 文字以上にしてください。",
    too_easy: "推測されやすいパスワードです。珍しい単語を一つ二つ加えてください。{hints}",
  },
};

const t = texts(all);

// An ApiError as {field, text}; the field is the request's, "" for none.
export function refusal(error) {
  const field = error.field?.split(/[.[]/)[0] ?? "";
  return { field, text: said(error, field) };
}

function said(error, field) {
  if (error.code === "forbidden" && field === "old_password") return t("wrong_password");
  if (error.code === "conflict") return field === "username" ? t("name_taken") : t("last_admin");
  if (error.code !== "invalid_data") return words(error);
  const text = sentence(error.message);
  switch (field) {
    case "email":
      return t("bad_email");
    case "roles":
      return t("bad_role");
    case "group_id":
      return t("bad_group");
    case "username":
      return t("name", { said: text });
    case "new_password":
    case "password":
      return password(text);
    default:
      return text;
  }
}

function password(text) {
  const least = /at least (\d+) characters/.exec(text)?.[1];
  if (least) return t("too_short", { least });
  if (text.startsWith("This is the old one")) return t("same_password");
  const hints = /^This password is too easy to guess\.(.*)/.exec(text)?.[1];
  return hints === undefined ? text : t("too_easy", { hints: language() === "en" ? hints.trim() : "" }).trim();
}

// "too short - at `$.password`" → "Too short."
function sentence(message) {
  const text = message.replace(/ - at `\$[^`]*`$/, "");
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}
