// What the server says of a notification, or a system message, that an administrator sends, in the reader's language.

import { words } from "../../lib/ui.js";
import { t } from "./texts.js";

const LENGTH = /length <= (\d+)/;

// An ApiError as {field, text}; the field is the form's, "" for none.
export function refusal(error) {
  if (error.status === 404) return { field: "user", text: t("nobody") };
  const field = error.field.split(".").at(-1);
  return { field, text: said(error, field) };
}

function said(error, field) {
  if (error.code === "too_large") return t("too_large");
  if (error.code !== "invalid_data") return words(error);
  const most = LENGTH.exec(error.message)?.[1];
  if (most) return t("too_long", { most });
  if (field === "link") return t("bad_link");
  if (field === "title" || field === "message") return t("bad_text");
  return words(error);
}
