// React (18 and newer): the hook of document S2, and what shows how its connection stands.
//
//   const { isConnected, sendMessage, subscribe } = useWebSocket(userId, token, { onMessage, onConnect });
//
// Connected while the component is mounted and somebody is logged in. Nothing happens on a server that renders.

import { createElement, useEffect, useMemo, useRef, useState, useSyncExternalStore } from "react";
import { IDLE, Link } from "./adapter.js";

/**
 * @typedef {import("./adapter.js").Said} Said
 * @typedef {import("./tidings.js").Message} Message
 * @typedef {import("./tidings.js").Options} Options
 * @typedef {import("./tidings.js").State} State
 * @typedef {import("./tidings.js").Tidings} Tidings
 *
 * @typedef {object} Handlers Each render may bring new ones: the last are called, and nothing reconnects.
 * @property {(message: Message) => void} [onMessage] everything that the server sends
 * @property {(state: State) => void} [onConnect]
 * @property {(state: State) => void} [onDisconnect] with why; also when the component goes, if it was connected
 *
 * @typedef {object} Socket
 * @property {boolean} isConnected
 * @property {State} state
 * @property {Message | null} lastMessage Whoever reads it is rendered anew by each message, nobody else.
 * @property {Tidings | null} client for all that is not here; another one after a change of user or token
 * @property {(message: Said) => void} sendMessage
 * @property {(room: string) => () => void} subscribe
 * @property {(room: string) => void} unsubscribe
 * @property {() => void} retry connects at once
 */

// What stands for every function that provides tokens: written in place it is another one at each render.
const PROVIDER = Symbol("provider");

/**
 * @param {string | number | null | undefined} userId whose token it is; nobody: no connection
 * @param {Options["token"] | undefined} token A string, where another one connects anew; or a function, which is
 *   asked at each connection and before the token ends, so that the connection outlives its tokens.
 * @param {Omit<Options, "token"> & Handlers} [options] `url` and `device` are watched; the others are taken as they
 *   are when it connects.
 * @returns {Socket} Its functions are the same for as long as the component is mounted.
 */
export function useWebSocket(userId, token, options = {}) {
  const latest = useRef({ token, options });
  const [store] = useState(() => new Store(latest));
  // Declared first: the next effect connects with what this render brought.
  useEffect(() => {
    latest.current = { token, options };
  });
  const user = userId == null ? null : String(userId);
  const credential = typeof token === "function" ? PROVIDER : token;
  useEffect(
    () => (user !== null && credential ? store.open(user) : undefined),
    [store, user, credential, options.url, options.device],
  );
  const state = useSyncExternalStore(store.listen, store.state, () => IDLE);
  const last = useSyncExternalStore(store.listen, store.last, () => null);
  return useMemo(
    () => ({
      isConnected: state.name === "connected",
      state,
      get lastMessage() {
        return store.read(last);
      },
      client: store.link.client,
      sendMessage: store.send,
      subscribe: store.subscribe,
      unsubscribe: store.unsubscribe,
      retry: store.retry,
    }),
    [store, state, last],
  );
}

class Store {
  #listeners = new Set();
  #latest;
  #isRead = false;
  /** @type {Message | null} */
  #last = null;
  /** Whose positions they are. */
  #user = "";
  #positions = {};

  /** @param {{current: {token: any, options: any}}} latest */
  constructor(latest) {
    this.#latest = latest;
    this.link = new Link(
      (state, before) => this.#became(state, before),
      (message) => this.#heard(message),
      latest.current.options.queue,
    );
  }

  /**
   * Connect until the returned function is called.
   * @param {string} user
   */
  open(user) {
    // Strict mode mounts, unmounts and mounts again in one go. A client asks for its token before it opens a socket,
    // so that the first is over before it has one.
    this.#connect(user);
    return () => {
      this.#positions = this.link.client?.positions() ?? this.#positions;
      this.link.close();
    };
  }

  /** @param {() => void} listener */
  listen = (listener) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  state = () => this.link.state;

  last = () => (this.#isRead ? this.#last : null);

  /** @param {Message | null} rendered the last message, as long as somebody reads it */
  read(rendered) {
    const last = this.#isRead ? rendered : this.#last;
    this.#isRead = true;
    return last;
  }

  /** @param {Said} message */
  send = (message) => this.link.send(message);

  /** @param {string} room */
  subscribe = (room) => this.link.join(room);

  /** @param {string} room */
  unsubscribe = (room) => this.link.leave(room);

  retry = () => this.link.retry();

  /** @param {string} user */
  #connect(user) {
    const { token, options } = this.#latest.current;
    const { onMessage: _m, onConnect: _c, onDisconnect: _d, ...rest } = options;
    if (this.#user && this.#user !== user) {
      this.#positions = {};
      this.link.forget();
    }
    this.#user = user;
    this.link.open({
      ...rest,
      // What came while one token gave way to another is missed no more than over any other reconnection.
      positions: { ...options.positions, ...this.#positions },
      token: typeof token === "function" ? (/** @type {any} */ why) => this.#latest.current.token(why) : token,
    });
  }

  /**
   * @param {State} state
   * @param {State} before
   */
  #became(state, before) {
    if (state.name === "connected" && state.user_id !== this.#user) {
      // One of the two has changed before the other: what is this user's is not shown as that one's.
      this.link.close({ name: "ended", code: 3507, reason: "the token is of another user" });
      return;
    }
    const { onConnect, onDisconnect } = this.#latest.current.options;
    if (state.name === "connected" && before.name !== "connected") onConnect?.(state);
    if (state.name !== "connected" && before.name === "connected") onDisconnect?.(state);
    this.#tell();
  }

  /** @param {Message} message */
  #heard(message) {
    this.#last = message;
    this.#latest.current.options.onMessage?.(message);
    if (this.#isRead) this.#tell();
  }

  #tell() {
    for (const listener of this.#listeners) listener();
  }
}

/**
 * What the status says by the name of the state; each is a text, or made of the state.
 * @type {Record<string, string | ((state: State) => string)>}
 */
export const TEXTS = {
  idle: "Not connected",
  connecting: "Connecting…",
  connected: "Connected",
  waiting: ({ attempt, delay }) => `Connection lost: attempt ${attempt} in ${Math.ceil((delay ?? 0) / 1000)} s`,
  paused: "Paused",
  polling: "No connection: looking for news now and then",
  ended: ({ reason }) => (reason ? `Disconnected: ${reason}` : "Disconnected"),
  retry: "Retry now",
};

// Where a person can do something about it.
const RETRIED = new Set(["waiting", "polling", "ended"]);

/**
 * How a connection stands, in words that a screen reader says when they change. Of the class `websocket-status`,
 * with `websocket-status-<state>` beside it; what it looks like is up to the page.
 * @param {{socket: Pick<Socket, "state" | "retry">, texts?: typeof TEXTS, className?: string}} props
 */
export function WebSocketStatus({ socket, texts, className }) {
  const { state, retry } = socket;
  const say = (/** @type {string} */ key) => {
    const text = texts?.[key] ?? TEXTS[key];
    return typeof text === "function" ? text(state) : text;
  };
  const classes = ["websocket-status", `websocket-status-${state.name}`, className];
  return createElement(
    "div",
    { className: classes.filter(Boolean).join(" ") },
    createElement("span", { role: "status" }, say(state.name)),
    RETRIED.has(state.name) && createElement("button", { type: "button", onClick: retry }, say("retry")),
  );
}
