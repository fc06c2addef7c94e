// What the server says of a room, its members or a message, in the reader's language where it is known.

import { words } from "../../lib/ui.js";
import { t } from "./texts.js";

// An ApiError as {field, text}; the field is the form's, "" for none.
export function refusal(error) {
  const { code, field } = error;
  const isText = code === "invalid_data" && (field === "title" || field === "topic");
  return { field, text: isText ? t(`bad_${field}`) : why(error) };
}

// An error in words: an ApiError, the SDK's Refused, or one of the page's own.
export function why(error) {
  return error.code === "too_large" ? t("too_large") : words(error);
}
