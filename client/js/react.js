// React (18 and newer): the hook of document S2, and what shows how its connection stands.
//
//   const { isConnected, sendMessage, subscribe } = useWebSocket(userId, token, { onMessage, onConnect });
//
// Connected while the component is mounted and somebody is logged in. Nothing happens on a server that renders.

import { createElement, useEffect, useMemo, useRef, useState, useSyncExternalStore } from "react";
import { call, IDLE, Link } from "./adapter.js";

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

/**
 * @param {string | number | null | undefined} userId whose token it is; nobody: no connection
 * @param {Options["token"] | undefined} token A string, where another one is handed to the living connection; or a
 *   function, which is asked at each connection and before the token ends.
 * @param {Omit<Options, "token" | "user"> & Handlers} [options] `url` and `device` are watched; the others are
 *   taken as they are when it connects.
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
  // A function that is written in place is another one at each render.
  const kind = token ? typeof token : null;
  useEffect(
    () => (user !== null && kind ? store.open(user) : undefined),
    [store, user, kind, options.url, options.device],
  );
  // Another user's connection has begun with it; of the same user it takes the place of the one before.
  useEffect(() => store.renew(token), [store, kind === "string" ? token : kind]);
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
  /** @type {any} What the connection was given. */
  #token = null;

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
    // Strict mode mounts, unmounts and mounts again in one go. A client asks for its token before it opens a
    // socket, so that the first is over before it has one.
    this.#connect(user);
    return () => {
      this.#positions = this.link.client?.positions() ?? this.#positions;
      this.link.close();
    };
  }

  /** @param {any} token */
  renew(token) {
    if (typeof token !== "string" || !this.link.client || token === this.#token) return;
    this.#token = token;
    this.link.renew(token);
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
    this.#token = token;
    this.link.open({
      ...rest,
      // User and token may change one before the other: what is this user's is not said, nor shown, as that one's.
      user,
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
    const { onConnect, onDisconnect } = this.#latest.current.options;
    // In an effect's end, what is thrown would take the whole page away.
    if (state.name === "connected" && before.name !== "connected") call(onConnect, state);
    if (state.name !== "connected" && before.name === "connected") call(onDisconnect, state);
    this.#tell();
  }

  /** @param {Message} message */
  #heard(message) {
    this.#last = message;
    call(this.#latest.current.options.onMessage, message);
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
