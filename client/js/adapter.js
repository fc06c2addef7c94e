// What the adapters for frameworks share: a connection for as long as somebody is logged in, with what components
// have subscribed to, listen to and have said before there is one. Components come in any order: a child asks for
// its room before its parent has connected, and still wants it when the parent connects as somebody else.

import { Lost, QueueFull, Refused, Tidings } from "./tidings.js";

/**
 * @typedef {import("./tidings.js").Message} Message
 * @typedef {import("./tidings.js").Options} Options
 * @typedef {import("./tidings.js").State} State
 * @typedef {(message: Message) => void} Hear
 * @typedef {{type: string, data?: any, content?: any}} Said A message as components write it: document S2 calls
 *   what it holds `data`, document S4 `content`.
 * @typedef {{channel: string, hear: Hear, end: (() => void) | null, isOut: boolean}} Wish `isOut`: the server has
 *   refused it, or has taken it back.
 * @typedef {{event: string, handler: (data: any, message: Message) => void, end: (() => void) | null}} Ear
 */

// The documents' words for joining and leaving: kept as subscriptions, which come back with the connection.
const JOINING = new Set(["join_room", "room_subscribe"]);
const LEAVING = new Set(["leave_room", "room_unsubscribe"]);

/** @type {State} */
export const IDLE = { name: "idle" };

/** @param {string} name of a room */
const channelOf = (name) => `room:${name}`;

/**
 * Call what an application gave: its faults are told where it looks for those, and end nothing of ours.
 * @param {((...given: any[]) => any) | undefined} handler
 * @param {any[]} given
 */
export function call(handler, ...given) {
  const report = (/** @type {unknown} */ error) => (globalThis.reportError ?? console.error)(error);
  try {
    handler?.(...given)?.catch?.(report);
  } catch (error) {
    report(error);
  }
}

export class Link {
  /** @type {Tidings | null} */
  client = null;
  /** @type {State} */
  state = IDLE;
  /** @type {Set<Wish>} */
  #wishes = new Set();
  /** @type {Set<Ear>} */
  #ears = new Set();
  /** @type {Map<string, {holders: number, wish: Wish}>} Rooms by name. */
  #rooms = new Map();
  /** @type {Said[]} */
  #unsaid = [];
  #bound;
  #onState;
  #onMessage;

  /**
   * @param {(state: State, before: State) => void} onState
   * @param {Hear} onMessage
   * @param {number} [bound] of what is kept to be said, until there is a client that has a bound of its own
   */
  constructor(onState, onMessage, bound = 100) {
    this.#onState = onState;
    this.#onMessage = onMessage;
    this.#bound = bound;
  }

  /**
   * Connect, in place of the connection there is. How it goes is told by the states.
   * @param {Options} options
   */
  open(options) {
    this.close();
    const client = new Tidings(options);
    this.client = client;
    client.on("@state", (/** @type {State} */ state) => {
      if (this.client === client) this.#become(state);
    });
    const hear = (/** @type {Message} */ message) => {
      if (this.client === client) this.#onMessage(message);
    };
    client.on("*", (_data, message) => hear(message));
    // A refusal is a message like others to the documents' components: they say things, and wait for no answers.
    client.on("@error", (data) => hear({ type: "error", data }));
    client.on("unsubscribed", ({ channel }) => {
      for (const wish of this.#wishes) if (wish.channel === channel && wish.end) wish.isOut = true;
    });
    for (const ear of this.#ears) ear.end = client.on(ear.event, ear.handler);
    for (const wish of this.#wishes) this.#grant(client, wish);
    for (const said of this.#unsaid.splice(0)) this.send(said);
    this.retry();
  }

  /**
   * Go on with another token: on the living connection, or on the next one, with all that waits to be said. Where
   * the server takes it for that of another login, or of another user, a new connection goes on in its place.
   * @param {string} token
   * @returns {Promise<void>}
   */
  async renew(token) {
    const { client } = this;
    try {
      await client?.refresh(token);
    } catch (error) {
      if (!client || client !== this.client) return;
      // Nobody knows whether it was taken: the next connection shows it.
      if (error instanceof Lost) return this.renew(token);
      client.disconnect();
      await client.refresh(token);
    }
    if (client === this.client) this.retry();
  }

  /**
   * End the connection. What components subscribed to and listen to is theirs, and stays for the next one.
   * @param {State} [state] how it stands then
   */
  close(state = IDLE) {
    const { client } = this;
    if (!client) return;
    // First, so that nothing of its end is heard: that it is over is told here, once.
    this.client = null;
    for (const each of [...this.#ears, ...this.#wishes]) each.end = null;
    client.disconnect();
    this.#become(state);
  }

  /** Forget what was not said yet: the next to connect is somebody else. */
  forget() {
    this.#unsaid.length = 0;
  }

  /** Leave every room that was joined by its name. */
  leaveAll() {
    for (const room of [...this.#rooms.keys()]) this.leave(room);
  }

  /** Connect at once where a connection is waited for, or has ended. */
  retry() {
    // Why it ends is in the state, and told to whoever listens; here it would be a rejection that nobody handles.
    this.client?.connect().catch(() => {});
  }

  /**
   * Say something, now or when there is a connection. Throws QueueFull beyond what is kept until then, and Ended
   * where there will be none.
   * @param {Said} message
   */
  send(message) {
    const { type } = message;
    const data = message.data ?? message.content;
    if (JOINING.has(type)) this.join(nameOf(data));
    else if (LEAVING.has(type)) this.leave(nameOf(data));
    else if (this.client) this.client.send(type, data);
    else if (this.#unsaid.length < this.#bound) this.#unsaid.push(message);
    else throw new QueueFull("too much waits for a connection");
  }

  /**
   * Be in a room, once, however many components ask for it, until all of them have undone that, or `leave`. Who was
   * put out of it, or not let in, asks again by this.
   * @param {string} room
   * @returns {() => void} undoes it
   */
  join(room) {
    const held = this.#rooms.get(room) ?? { holders: 0, wish: this.#wish(channelOf(room), () => {}) };
    this.#rooms.set(room, held);
    if (held.wish.isOut && this.client) this.#grant(this.client, held.wish);
    held.holders += 1;
    let isUndone = false;
    return () => {
      if (!isUndone) held.holders -= 1;
      isUndone = true;
      if (!held.holders && this.#rooms.get(room) === held) this.leave(room);
    };
  }

  /**
   * Leave a room, whoever asked for it.
   * @param {string} room
   */
  leave(room) {
    const held = this.#rooms.get(room);
    this.#rooms.delete(room);
    if (held) this.#drop(this.#wishes, held.wish);
  }

  /**
   * Subscribe, now and whenever there is a new connection.
   * @param {string} channel
   * @param {Hear} hear
   * @returns {() => void} ends it
   */
  subscribe(channel, hear) {
    const wish = this.#wish(channel, hear);
    return () => this.#drop(this.#wishes, wish);
  }

  /**
   * Listen to an event, now and whenever there is a new connection.
   * @param {string} event
   * @param {(data: any, message: Message) => void} handler
   * @returns {() => void} ends it
   */
  on(event, handler) {
    /** @type {Ear} */
    const ear = { event, handler, end: this.client?.on(event, handler) ?? null };
    this.#ears.add(ear);
    return () => this.#drop(this.#ears, ear);
  }

  /**
   * @param {string} channel
   * @param {Hear} hear
   */
  #wish(channel, hear) {
    /** @type {Wish} */
    const wish = { channel, hear, end: null, isOut: false };
    this.#wishes.add(wish);
    if (this.client) this.#grant(this.client, wish);
    return wish;
  }

  /**
   * @param {Tidings} client
   * @param {Wish} wish
   */
  #grant(client, wish) {
    wish.isOut = false;
    const subscription = client.subscribe(wish.channel, wish.hear);
    wish.end = () => subscription.unsubscribe();
    subscription.ready.catch((error) => {
      // Ended with its connection, or by the component: nobody's concern.
      if (wish.end && this.client === client && error instanceof Refused) {
        const { code, message } = error;
        wish.isOut = true;
        this.#onMessage({ type: "error", data: { code, message, channel: wish.channel } });
      }
    });
  }

  /**
   * @template {Wish | Ear} T
   * @param {Set<T>} all
   * @param {T} one
   */
  #drop(all, one) {
    all.delete(one);
    one.end?.();
    one.end = null;
  }

  /** @param {State} state */
  #become(state) {
    const before = this.state;
    this.state = state;
    this.#onState(state, before);
  }
}

// A room as the documents give it: bare (S4), or in an object.
const nameOf = (/** @type {any} */ data) => (typeof data === "string" ? data : data.room);
