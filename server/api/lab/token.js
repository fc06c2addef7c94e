// Where the token comes from and where it is kept: this tab alone, and nowhere that is sent or shown.

const KEY = "tidings.token";
export const MASK = "•••";

// A link may bring a token as #token=…: a fragment never leaves the browser, and here it leaves the address
// bar and the history entry at once. Returns the fragment's token, or null.
export function takeFromAddress() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  const token = fragment.get("token");
  if (token === null) return null;
  history.replaceState(history.state, "", location.pathname + location.search);
  return tidy(token);
}

// Pasted from a shell or a header: without blanks, quotes and "Bearer".
export function tidy(text) {
  return text.trim().replace(/^bearer\s+/i, "").replace(/^["']|["']$/g, "").replace(/\s+/g, "");
}

// sessionStorage is refused in some private modes: then a reload asks for the token again.
export function keep(token) {
  try {
    sessionStorage.setItem(KEY, token);
  } catch {
    return;
  }
}

export function kept() {
  try {
    return sessionStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}

export function forget() {
  try {
    sessionStorage.removeItem(KEY);
  } catch {
    return;
  }
}

// What a frame may show: a bearer's token in place of itself, wherever it stands.
export function masked(text, message, token) {
  const own = message?.data?.token;
  const secrets = [typeof own === "string" ? own : "", token].filter((secret) => secret.length > 0);
  return secrets.reduce((shown, secret) => shown.split(secret).join(`${MASK} (${secret.length} characters)`), text);
}
