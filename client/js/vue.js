// Vue (3.3 and newer): a connection as refs, with the shape of the store of document S4.
//
//   const { connected, messages, connect, send, disconnect } = useTidings();
//
// In a component it ends with the component; in a Pinia setup store, with the store:
//
//   export const useWebSocketStore = defineStore("websocket", () => useTidings());

import { getCurrentScope, onScopeDispose, shallowRef } from "vue";
import { call, IDLE, Link } from "./adapter.js";

/**
 * @typedef {import("./adapter.js").Said} Said
 * @typedef {import("./tidings.js").Message} Message
 * @typedef {import("./tidings.js").Options} Options
 * @typedef {import("./tidings.js").State} State
 * @typedef {Message & {content: any}} Shown `content` is what `data` is, as document S4 calls it.
 */

// What a page can show; older messages give way.
const KEPT = 100;

/**
 * A connection that waits for `connect(token)`. Nothing happens before, so neither on a server that renders.
 * @param {Omit<Options, "token"> & {keep?: number, onMessage?: (message: Shown) => void}} [options] `keep` is how
 *   many messages `messages` holds; `onMessage` is called with each, also with what comes in one go.
 */
export function useTidings({ keep = KEPT, onMessage, ...options } = {}) {
  const connected = shallowRef(false);
  const state = shallowRef(IDLE);
  /** @type {import("vue").ShallowRef<Shown[]>} */
  const messages = shallowRef([]);
  const owner = getCurrentScope();

  const link = new Link(
    (now) => {
      state.value = now;
      connected.value = now.name === "connected";
    },
    (message) => {
      const shown = { ...message, content: message.data };
      // Another array each time: what watches it sees the change without a look into every message.
      const all = [...messages.value, shown];
      messages.value = all.slice(Math.max(0, all.length - keep));
      call(onMessage, shown);
    },
    options.queue,
  );

  /** @type {Options["token"]} */
  let last;

  /**
   * Connect as the token's user, in place of the connection there is. A string after a string is handed to that
   * one, which goes on from where it stands, with what waits to be said, where both are of one user.
   * @param {Options["token"]} token a string, or a function that is asked at each connection and before it ends
   */
  function connect(token) {
    if (link.client && token && typeof token === "string" && typeof last === "string") link.renew(token);
    else link.open({ ...options, token });
    last = token;
  }

  /** End the connection, as for a logout: what was not said is forgotten, and rooms are left. */
  function disconnect() {
    link.forget();
    link.leaveAll();
    link.close();
  }

  /**
   * Say something, now or when there is a connection: `{type, content}`, or `{type, data}`. `join_room` and
   * `leave_room` hold over reconnections. Throws QueueFull where too much waits.
   * @param {Said} message
   */
  function send(message) {
    link.send(message);
  }

  /**
   * Listen to an event; in a component's setup, for as long as the component is there.
   * @param {string} event
   * @param {(data: any, message: Message) => void} handler
   * @returns {() => void} ends it
   */
  function on(event, handler) {
    return scoped(link.on(event, handler));
  }

  /**
   * Subscribe to a channel, over all connections; in a component's setup, for as long as the component is there.
   * @param {string} channel as `room:lobby`
   * @param {(message: Message) => void} handler
   * @returns {() => void} ends it
   */
  function subscribe(channel, handler) {
    return scoped(link.subscribe(channel, handler));
  }

  /** @param {() => void} end */
  function scoped(end) {
    const scope = getCurrentScope();
    if (scope && scope !== owner) onScopeDispose(end);
    return end;
  }

  if (owner) onScopeDispose(disconnect);
  return {
    connected,
    messages,
    state,
    connect,
    send,
    disconnect,
    on,
    subscribe,
    /** Connect at once where a connection is waited for, or has ended. */
    retry: () => link.retry(),
    /** The SDK's own object, for all that is not here; null before `connect`. */
    client: () => link.client,
  };
}
