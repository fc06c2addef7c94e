// The HTTP API, by the token of whoever is logged in.

// The server said no: `status`, and its `code`; `message` is for people, `field` what it is about where it says so.
export class ApiError extends Error {
  constructor(status, { code, message }, retryAfter) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter;
    this.field = /at `\$\.?([\w.[\]]*)`/.exec(message)?.[1] ?? "";
  }
}

// No answer: the network, or a proxy that answers for a server that is gone.
const UNREACHABLE = { code: "unreachable", message: "the server cannot be reached" };

// A server's handler has 10 s; a request that takes longer has been lost.
const PATIENCE_MS = 15_000;

// Relative to the console's folder, so that it works below a proxy's path too.
const root = new URL("..", document.baseURI.split("#")[0]);

export class Api {
  #token;
  #refused;

  // `token()` is asked at each request; `refused(error)` is told of a 401, which ends a login.
  constructor(token, refused = () => {}) {
    this.#token = token;
    this.#refused = refused;
  }

  get = (path, options) => this.#ask("GET", path, undefined, options);
  post = (path, body, options) => this.#ask("POST", path, body, options);
  put = (path, body, options) => this.#ask("PUT", path, body, options);
  patch = (path, body, options) => this.#ask("PATCH", path, body, options);
  delete = (path, options) => this.#ask("DELETE", path, undefined, options);

  // The decoded answer; null for one without a body. Rejects with ApiError, or AbortError by `signal`. `quiet`: a 401
  // does not end the login, as when it is asked whether it goes on.
  async #ask(method, path, body, { signal, quiet = false } = {}) {
    const token = this.#token();
    const headers = {
      ...(token ? { Authorization: `Bearer ${token}` } : {}),
      ...(body === undefined ? {} : { "Content-Type": "application/json" }),
    };
    const limits = [AbortSignal.timeout(PATIENCE_MS), ...(signal ? [signal] : [])];
    let response, text;
    try {
      response = await fetch(new URL(path.replace(/^\//, ""), root), {
        method, headers, body: body === undefined ? undefined : JSON.stringify(body), signal: AbortSignal.any(limits), cache: "no-store",
      });
      text = await response.text();
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new ApiError(0, UNREACHABLE);
    }
    let answer = null;
    try {
      answer = text ? JSON.parse(text) : null;
    } catch {
      // A proxy's page in place of the server's answer.
      if (response.ok) throw new ApiError(response.status, UNREACHABLE);
    }
    if (response.ok) return answer;
    const error = new ApiError(response.status, answer?.error ?? UNREACHABLE, Number(response.headers.get("Retry-After")) || null);
    // A login is over when its token is refused, and only then: a wrong password is answered 401, too.
    if (response.status === 401 && !quiet && token && token === this.#token()) this.#refused(error);
    throw error;
  }
}

// The address of a path of this server for a WebSocket.
export function socketUrl(path) {
  const url = new URL(path.replace(/^\//, ""), root);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}
