// Who is logged in, and the connection they have: one for the whole console, whichever page is shown.

import { Tidings } from "../../sdk/tidings.js";
import { Api, socketUrl } from "./api.js";

const KEY = "tidings.token";

// Close codes after which a login counts no more, and a new one is asked for. The rest of the terminal ones are about
// this connection: the page says so, and stays.
const LOGIN_OVER = new Set([3005, 3500, 3508, 3510]);

// When a login ends, the server refuses its token at once, says why on the socket, and closes that within a second.
const WHY_MS = 2_000;

// The server warns a minute ahead.
const ENDS_SOON_S = 90;

// Events: `change` when somebody comes or goes, `renewed` when they have another name, role or group, `state` of the
// connection (detail: the SDK's state).
class Session extends EventTarget {
  // {version, apps, endpoints} of the server; null until `start` has asked.
  about = null;
  // {user_id, username, roles, group_id, kind, expires_at}; null while nobody is logged in.
  user = null;
  // The SDK's client while somebody is logged in, else null.
  tidings = null;
  // Why the last login ended, for the login page: {key, values}; taken once.
  farewell = null;
  api = new Api(() => this.#token, () => this.#refused());
  #token = "";
  #said = "";
  // Whether the user has asked to log out, and it is under way.
  #isLeaving = false;

  get isAdmin() {
    return this.user?.roles.includes("admin") ?? false;
  }

  // For a connection beside this one, as the lab's: it is shown nowhere.
  get token() {
    return this.#token;
  }

  has(app) {
    return this.about?.apps.includes(app) ?? false;
  }

  // Ask what the server is, and go on with the login of this tab, or with the one that a link brings. Rejects with
  // ApiError where it cannot be reached.
  async start() {
    this.about = await this.api.get("/api/v1/about");
    if (await this.takeLink()) return;
    const token = recall();
    if (!token) return;
    try {
      await this.begin(token);
    } catch (error) {
      if (error.status !== 401) throw error;
      forget();
      this.farewell = { key: "refused" };
    }
  }

  // Go on as whoever the address's token belongs to. Resolves to whether somebody is logged in by it. Rejects with
  // ApiError, also with 401 while somebody is logged in, who stays so.
  async takeLink() {
    const token = takeFromAddress();
    if (!token) return false;
    try {
      return await this.begin(token, { byLink: true });
    } catch (error) {
      if (error.status !== 401 || this.user !== null) throw error;
      this.farewell = { key: "bad_token" };
      return false;
    }
  }

  // Log in where the server keeps users. Resolves to the account. Rejects with ApiError.
  async logIn(username, password) {
    const answer = await this.api.post("/api/auth/login", { username, password, device: "console" });
    await this.begin(answer.token);
    return answer.user;
  }

  // Go on as whoever a token belongs to. Resolves to whether it is so: a link does not replace somebody without a
  // question, or anybody could have others act in a login of theirs. Rejects with ApiError, 401 for a token that is
  // none; whoever is logged in stays so.
  async begin(token, { byLink = false } = {}) {
    const given = tidy(token);
    const user = await new Api(() => given).get("/api/v1/whoami");
    if (byLink && (await this.#isAnother(user)) && !(await this.mayReplace(user))) return false;
    this.#leave();
    this.#token = given;
    this.user = user;
    remember(given);
    this.tidings = this.#connect();
    this.#changed();
    return true;
  }

  // Whether somebody may be replaced by whom a link brings; the frame asks them.
  mayReplace = async () => false;

  // Who is logged in here, or was when the page was loaded, is somebody else.
  async #isAnother(user) {
    if (this.user !== null) return this.user.user_id !== user.user_id;
    const kept = recall();
    if (!kept) return false;
    try {
      return (await new Api(() => kept).get("/api/v1/whoami")).user_id !== user.user_id;
    } catch {
      return false;
    }
  }

  // A token that is newer than the one in force, as after a change of one's password.
  async renew(token) {
    this.#token = token;
    remember(token);
    await this.tidings?.refresh(token);
  }

  // Log out, on the server too where it keeps logins.
  async logOut() {
    const { tidings } = this;
    this.#isLeaving = true;
    // Else the server closes it, which would be news of a login that somebody has ended.
    tidings?.disconnect();
    try {
      if (this.has("accounts")) await this.api.post("/api/auth/logout");
    } catch {
      // A token of another issuer has no login here; a server that is gone has forgotten this one in a while.
    }
    // Unless a link has brought somebody else meanwhile.
    if (this.tidings === tidings) this.end();
  }

  // Be nobody. `farewell` says why, to whoever has not asked for it.
  end(farewell = null) {
    if (this.user === null) return;
    this.#leave();
    this.farewell = farewell;
    this.#changed();
  }

  // A request was refused. Where there is a socket, it is about to say why.
  #refused() {
    // What the page was asking for meanwhile is refused, and no news.
    if (this.#isLeaving) return;
    const { tidings } = this;
    if (!tidings?.isConnected()) {
      this.end({ key: "refused" });
      return;
    }
    setTimeout(() => this.tidings === tidings && !this.#isLeaving && this.end({ key: "refused" }), WHY_MS);
  }

  // The console's own connection speaks natively, whatever the path is that other front ends have.
  #connect() {
    const tidings = new Tidings({ url: socketUrl(this.#path()), token: (asked) => this.#fresh(asked) });
    this.#said = "";
    tidings.on("force_logout", ({ message }) => (this.#said = message));
    tidings.on("user:deleted", ({ id }) => {
      if (id === this.user?.user_id) this.end({ key: "deleted" });
    });
    tidings.on("user:updated", ({ id }) => {
      if (id === this.user?.user_id) this.#lookAgain();
    });
    tidings.on("@state", (state) => {
      if (this.tidings !== tidings) return;
      this.dispatchEvent(new CustomEvent("state", { detail: state }));
      if (state.name !== "ended" || !LOGIN_OVER.has(state.code)) return;
      if (this.#said) this.end({ key: "said", values: { message: this.#said } });
      else this.end({ key: String(this.#isOver() ? 3005 : state.code), values: state });
    });
    // Rejects when the end is for good, which `@state` has told.
    tidings.connect().catch(() => {});
    return tidings;
  }

  #path() {
    const native = Object.entries(this.about.endpoints).find(([, dialect]) => dialect === "native");
    return native ? native[0] : "/ws?dialect=native";
  }

  // The token for the next connection. One that ends is exchanged where this server has given it; null, which ends the
  // login, where nothing is to be had for it.
  async #fresh({ expired } = {}) {
    const ends = (this.user?.expires_at ?? 0) - Date.now() / 1000 < ENDS_SOON_S;
    if (!(expired || ends) || !this.has("accounts")) return this.#current();
    const before = this.#token;
    try {
      const { token, expires_at } = await this.api.post("/api/auth/refresh", undefined, { quiet: true });
      // Somebody else may have logged in meanwhile.
      if (this.#token !== before) return this.#token;
      this.user.expires_at = expires_at;
      remember((this.#token = token));
      return token;
    } catch (error) {
      // A server that does not answer is asked again, with the next attempt. One that says no has not given this token.
      if (error.status === 0 || error.status >= 500) throw error;
      return this.#current();
    }
  }

  // A new name, role or group is in the next token: with it the frame shows them, and what they allow.
  async #lookAgain() {
    const { tidings } = this;
    try {
      const { token } = await this.api.post("/api/auth/refresh", undefined, { quiet: true });
      if (this.tidings !== tidings) return;
      await this.renew(token);
      const user = await this.api.get("/api/v1/whoami");
      if (this.tidings !== tidings) return;
      this.user = user;
      this.dispatchEvent(new Event("renewed"));
    } catch {
      // A token that no login gave stays as it is; one whose login has ended is closed, and says so.
    }
  }

  #current() {
    return this.#isOver() ? null : this.#token;
  }

  #isOver() {
    return this.user === null || this.user.expires_at <= Date.now() / 1000;
  }

  #leave() {
    const { tidings } = this;
    this.tidings = this.user = null;
    this.#isLeaving = false;
    this.#token = "";
    forget();
    tidings?.disconnect();
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

// A link may bring a token as #token=…: a fragment never leaves the browser, and here it leaves the address
// bar and the history entry at once: those are on screens, in screenshots and in the history.
function takeFromAddress() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  const token = fragment.get("token");
  if (token === null) return "";
  history.replaceState(history.state, "", location.pathname + location.search);
  return tidy(token);
}

// Pasted from a shell or a header: without blanks, quotes and "Bearer".
export function tidy(text) {
  return text.trim().replace(/^bearer\s+/i, "").replace(/^["']|["']$/g, "").replace(/\s+/g, "");
}

// This tab's alone: two tabs may be two users, and closing one forgets it. sessionStorage is refused in some private
// modes: then a reload asks again.
function remember(token) {
  try {
    sessionStorage.setItem(KEY, token);
  } catch {
    return;
  }
}

function recall() {
  try {
    return sessionStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}

function forget() {
  try {
    sessionStorage.removeItem(KEY);
  } catch {
    return;
  }
}

export const session = new Session();
