// The client of a Tidings server for browsers, workers, Electron and Node: one connection that is kept up over as
// many sockets as it takes, with what was missed in between.
//
// One rule runs through it: whatever is begun for one socket (a timer, a token that is asked for, a command under
// way) ends with it. `#leave` ends it, and `#turn` tells what comes late all the same.
//
// It is one file, so that a page can load it as it is.

const SUBPROTOCOL = "tidings.v1.json";

// From asking for a token to the server's `connected`: what a bad mobile line and a busy server need together.
const OPEN_MS = 20_000;
// A handler of the server's has 10 s; then it answers `unavailable`.
const ANSWER_MS = 20_000;
// A connection that lasted so long was a good one. One that dies at once must not be tried again in a tight loop.
const STEADY_MS = 10_000;
// Whoever was busy itself reads what has come meanwhile before it takes the other side for dead. After a pause Node runs
// the timers that are due before it reads its sockets: one more timer, so much later, comes behind them.
const LATE_MS = 100;
// What is dealt with of the inbox is told in so long: a page that is closed meanwhile gets so much again.
const ACK_MS = 1_000;
// Before what was refused for now is tried again: at first, and at most. A token, always after the latter.
// Nothing that a program asks for is asked for more often than the former, whatever it says.
const RETRY_MS = 1_000;
const LONGEST_RETRY_MS = 10_000;
// The server remembers an idempotency key for 5 minutes: later the same key would publish a second time.
const REPEATABLE_MS = 240_000;
// A server that asks to wait longer has made a mistake.
const LONGEST_DELAY_S = 3_600;
// setTimeout takes no more, and calls at once what is to be called later.
const LONGEST_MS = 2 ** 31 - 1;
// Publications of one channel that wait for the server to tell where it stands. What comes beyond shows as a gap.
const HELD = 1_000;
// More under way than this is not sent: the server, or the line, does not keep up.
const AWAITED = 1_000;
const BUFFERED_BYTES = 1_048_576;

const NO_PONG = 3012;
const TOKEN_EXPIRED = 3005;
const INVALID_TOKEN = 3500;
const DENIED = 3507;
const LOST = 1006;

const PART = "part ";
const NOBODY = "nobody is logged in";
const ENDED = "the connection ended";
const OTHER_USER = "the token is of another user";

/**
 * A place in a channel: an offset in one life (epoch) of its history.
 * @typedef {{epoch: string, offset: number}} Position
 */
/**
 * What the server sends. Publications have a channel and an offset.
 * @typedef {{type: string, data: any, timestamp?: string, id?: string, channel?: string, offset?: number,
 *   user_id?: string}} Message
 */
/** @typedef {{user_id: string, username: string, kind?: "user" | "device" | "service"}} Member */
/**
 * What the server says of a connection once it stands.
 * @typedef {{connection_id: string, user_id: string, username: string, ping_interval: number, pong_timeout: number,
 *   expires_at: number, inbox: Position | null, channels: Record<string, Position>}} Connected
 */
/**
 * `waiting`: `delay` milliseconds until attempt `attempt`; `code` and `reason` say what ended the last connection.
 * @typedef {{name: "idle" | "connecting" | "connected" | "waiting" | "paused" | "polling" | "ended",
 *   attempt?: number, delay?: number, code?: number, reason?: string} & Partial<Connected>} State
 */
/**
 * Publications that were missed and cannot be had: from one offset to another. `to` is null where the channel has
 * begun anew, and nobody knows how many.
 * @typedef {{channel: string, from: number, to: number | null, epoch: string | undefined}} Gap
 */
/** @typedef {{code: string, message: string, retry_after?: number, channel?: string}} Failure */
/** @typedef {{direction: "in" | "out", text: string, message: any}} Frame */
/**
 * `recovered`: whether everything after the position that was known follows.
 * @typedef {{channel: string, epoch: string, offset: number, recovered: boolean, members?: Member[]}} Subscribed
 */
/** @typedef {{channel: string, ready: Promise<Subscribed>, unsubscribe: () => void}} Subscription */
/** @typedef {{channel: string, offset: number}} Published */
/**
 * Milliseconds before the given attempt, which is 1 for the first; null gives up.
 * @typedef {(attempt: number) => number | null} Policy
 */
/**
 * @typedef {{"@state": State, "@gap": Gap, "@error": Failure, "@frame": Frame, connected: Connected,
 *   token_expiring: {expires_at: number}, unsubscribed: {channel: string},
 *   disconnect: {code: number, reason: string, reconnect: boolean, delay: number}}} Known
 */
/**
 * @typedef {string | null | undefined} Token
 * @typedef {object} Options
 * @property {string} [url] Relative to the page; http(s) becomes ws(s). "/ws" by default.
 * @property {Token | ((why: {expired: boolean}) => Token | Promise<Token>)} [token] Or where to get one, asked at
 *   each connection and before a token ends; `expired`: the last one was refused. Without a token nobody is logged
 *   in, which ends it.
 * @property {string} [user] Whose the token has to be: another user's ends it, before anything is said.
 * @property {string} [device] Whose place in the inbox it is. Connections without a name share one.
 * @property {Policy} [reconnect] `jitter()` by default.
 * @property {{interval?: number, timeout?: number} | false} [heartbeat] After `interval` ms of silence (25,000) the
 *   server is asked for a sign of life, and has `timeout` ms (10,000) to give one.
 * @property {number} [queue] How many messages are kept while there is no connection; 100 by default.
 * @property {{check: () => boolean | Promise<boolean>, interval?: number}} [poll] Once `reconnect` has given up:
 *   every `interval` ms (60,000), `false` ends it, and anything else makes one attempt.
 * @property {"stay" | "pause"} [hidden] What a page does while it is hidden; "pause" closes the socket.
 * @property {"auto" | "manual"} [acknowledge] Who tells that a publication of the inbox is dealt with: the client,
 *   when its handlers have returned, or `ack`.
 * @property {Record<string, Position>} [positions] Where to go on, from `positions()` of an earlier client.
 * @property {new (url: string, protocols: string[]) => any} [WebSocket] The global one by default.
 */
/**
 * @typedef {{listener: (message: Message) => unknown, presence: boolean,
 *   settle: ((answer: Subscribed | null, error?: Error) => void) | null}} Listener
 * @typedef {{listeners: Set<Listener>, answer: Subscribed | null}} Followed
 * @typedef {(message: Message | null, error?: Error) => unknown} Done
 * @typedef {{type: string, text: string, id?: string, done?: Done, repeats?: boolean, isOwn?: boolean,
 *   sent?: number}} Command
 * @typedef {{channel: string, epoch: string, told: number, came: number, wanted: number, asked: number}} Inbox
 */

/** The server said no. `code` is its error code, `retry_after` in seconds. */
export class Refused extends Error {
  /** @param {Failure} failure */
  constructor({ code, message, retry_after }) {
    super(message);
    this.name = "Refused";
    this.code = code;
    this.retry_after = retry_after;
  }
}

/** There is no answer, and whether the server carried it out is not known. */
export class Lost extends Error {
  name = "Lost";
}

/** Too much waits already. Nothing was sent. */
export class QueueFull extends Error {
  name = "QueueFull";
}

/** The connection has ended for good; nothing was sent. `code` is a close code. */
export class Ended extends Error {
  /** @param {{code?: number, reason?: string}} end */
  constructor({ code = LOST, reason = "" }) {
    super(`${code} ${reason}`);
    this.name = "Ended";
    this.code = code;
    this.reason = reason;
  }
}

/**
 * Full jitter, without end: a random time between 0 and a bound that doubles, so that thousands who lost the same
 * server come back one by one and not in waves.
 * @param {{base?: number, cap?: number}} [options] in milliseconds
 * @returns {Policy}
 */
export const jitter = ({ base = 500, cap = 30_000 } = {}) => (attempt) =>
  Math.random() * Math.min(cap, base * 2 ** (attempt - 1));

/**
 * 1, 2, 4, 8 and 16 seconds, then no more.
 * @param {{base?: number, attempts?: number}} [options]
 * @returns {Policy}
 */
export const exponential = ({ base = 1_000, attempts = 5 } = {}) => (attempt) =>
  attempt > attempts ? null : base * 2 ** (attempt - 1);

/**
 * Five times after 3 seconds, then no more.
 * @param {{delay?: number, attempts?: number}} [options]
 * @returns {Policy}
 */
export const fixed = ({ delay = 3_000, attempts = 5 } = {}) => (attempt) => (attempt > attempts ? null : delay);

// The same attempt would fail the same way again: ours of 3500-3999, and RFC 6455's where one side broke the rules.
/** @param {number} code */
const isFinal = (code) => (code >= 3500 && code < 4000) || [1000, 1002, 1003, 1007, 1008, 1009].includes(code);

// The same command may be granted later.
/** @param {unknown} error */
const passes = (error) =>
  error instanceof Refused && ["rate_limited", "unavailable", "internal"].includes(error.code);

// What is no time is not asked for all the time.
/** @param {number} given @param {number} otherwise */
const time = (given, otherwise) => (given > 0 ? given : otherwise);

/** @param {unknown} error A fault of the application's, told where it looks for those; Node has no reportError. */
const report = (error) => (globalThis.reportError ?? console.error)(error);

/** One logical connection to a Tidings server. */
export class Tidings {
  /** @type {State} Replaced as a whole at every change, which `@state` tells. */
  state = { name: "idle" };

  #url;
  /** @type {Token | ((why: {expired: boolean}) => Token | Promise<Token>)} */
  #token;
  #user;
  #device;
  #reconnect;
  #heartbeat;
  #limit;
  #poll;
  #hidden;
  #acknowledges;
  #Socket;
  /** @type {any} */
  #socket = null;
  // Who says what waits. After an end nothing does.
  #speaker = "";
  // When the attempt began.
  #begun = 0;
  // Counts the attempts and their ends: what was begun in another turn has nothing to say any more.
  #turn = 0;
  // Every timer by its name. All of them belong to the present turn.
  /** @type {Map<string, ReturnType<typeof setTimeout>>} */
  #timers = new Map();
  #attempts = 0;
  #expired = false;
  #isProbing = false;
  /** @type {{code: number, reason: string, reconnect: boolean, delay: number} | null} */
  #farewell = null;
  /** @type {Error | null} */
  #refusal = null;
  /** @type {{promise: Promise<void>, resolve: () => void, reject: (error: Error) => void} | null} */
  #opening = null;

  #numbers = 0;
  /** @type {Command[]} */
  #queue = [];
  /** @type {Map<string, Command>} */
  #awaited = new Map();

  /** @type {Map<string, Set<(data: any, message: any) => unknown>>} */
  #handlers = new Map();
  /** @type {Map<string, Followed>} */
  #channels = new Map();
  // Channels that the server sends unasked, and goes on sending: nobody can leave them.
  /** @type {Set<string>} */
  #own = new Set();
  // The last publication that was handed over, by channel. Without an epoch until the server has told it. What the
  // application brought along (`isGiven`) waits until somebody follows the channel, or the server sends it unasked.
  /** @type {Map<string, {epoch: string | undefined, offset: number, isGiven?: boolean}>} */
  #positions = new Map();
  // What came of a channel before the server has told whether it sends what was missed: if so, it comes again.
  /** @type {Map<string, Message[]>} */
  #held = new Map();
  // Channels that were left, by the command that said so, until it is answered: nothing of them is heard.
  /** @type {Map<string, Command>} */
  #leaving = new Map();
  // `told`: up to where the server has our acknowledgement; `came`: of this connection, since it takes no more than
  // that; `wanted`: what is dealt with; `asked`: up to where one is under way, Infinity where it takes none.
  /** @type {Inbox | null} */
  #inbox = null;
  /**
   * @type {{channel: string | undefined, offset: number, resolve: () => void, reject: (error: Error) => void}[]}
   */
  #acks = [];

  /**
   * Nothing happens before `connect`, so that handlers can be set up first.
   * @param {Options} [options]
   * @throws {TypeError} for a URL that is none
   */
  constructor({
    url = "/ws",
    token = "",
    user,
    device,
    reconnect = jitter(),
    heartbeat = {},
    queue = 100,
    poll,
    hidden = "stay",
    acknowledge = "auto",
    positions,
    WebSocket = globalThis.WebSocket,
  } = {}) {
    // In a worker made from a blob, what is relative is so to the page that made it.
    const address = new URL(url, globalThis.location?.href.replace(/^blob:/, ""));
    address.protocol = address.protocol.replace("http", "ws");
    this.#url = address.href;
    this.#token = token;
    this.#user = user;
    this.#device = device;
    this.#reconnect = reconnect;
    const { interval = 0, timeout = 0 } = heartbeat || {};
    this.#heartbeat = heartbeat && { interval: time(interval, 25_000), timeout: time(timeout, 10_000) };
    this.#limit = queue;
    this.#poll = poll && {
      check: poll.check,
      interval: Math.max(RETRY_MS, time(poll.interval ?? 0, 60_000)),
    };
    this.#hidden = hidden;
    this.#acknowledges = acknowledge !== "manual";
    this.#Socket = WebSocket;
    for (const [channel, { epoch, offset }] of Object.entries(positions ?? {})) {
      this.#positions.set(channel, { epoch, offset, isGiven: true });
    }
  }

  /**
   * Connect, and stay connected. Waiting for the next attempt, it is made at once. Idempotent.
   * @returns {Promise<void>} rejects with Ended
   */
  connect() {
    const { name } = this.state;
    if (name === "connected") return Promise.resolve();
    if (!this.#opening) {
      let resolve = () => {};
      /** @type {(error: Error) => void} */
      let reject = () => {};
      /** @type {Promise<void>} */
      const promise = new Promise((...settle) => ([resolve, reject] = settle));
      // Whoever does not wait learns it from `@state`.
      promise.catch(() => {});
      this.#opening = { promise, resolve, reject };
    }
    const { promise } = this.#opening;
    if (name === "idle" || name === "ended") {
      this.#attempts = 0;
      this.#expired = false;
      this.#listen("addEventListener");
      if (this.#mustPause()) this.#pause();
      else this.#attempt();
    } else if (name === "waiting" || name === "polling") {
      this.#attempt();
    }
    return promise;
  }

  /** End it with 1000. What waits is dropped, its promises rejected; subscriptions stay for another `connect`. */
  disconnect() {
    if (this.state.name === "ended") return;
    const turn = this.#turn;
    this.#acknowledge(true);
    // Whoever is shown the frame may have disconnected.
    if (turn === this.#turn) this.#end(1000, "done");
  }

  isConnected() {
    return this.state.name === "connected";
  }

  /**
   * Hear an event: a type of the server's, `*` for every message, or `@state`, `@gap`, `@error`, `@frame`.
   * @template {string} E
   * @param {E} event
   * @param {(data: E extends keyof Known ? Known[E] : any, message: Message) => unknown} handler
   * @returns {() => void} undoes it
   */
  on(event, handler) {
    const handlers = this.#handlers.get(event) ?? new Set();
    this.#handlers.set(event, handlers.add(handler));
    return () => this.off(event, handler);
  }

  /**
   * Hear it no longer.
   * @param {string} event
   * @param {(data: any, message: any) => unknown} [handler] all of them, if none is given
   */
  off(event, handler) {
    if (handler) this.#handlers.get(event)?.delete(handler);
    else this.#handlers.delete(event);
  }

  /**
   * Send a command, and forget it: at most once, in order, as soon as there is a connection.
   * @param {string} type
   * @param {object} [data]
   * @throws {QueueFull | Ended}
   */
  send(type, data) {
    this.#post(type, data);
  }

  /**
   * Send a command as soon as there is a connection.
   * @param {string} type
   * @param {object} [data]
   * @returns {Promise<any>} the answer's data; rejects with Refused, Lost, QueueFull or Ended
   */
  request(type, data) {
    return this.#request(type, data);
  }

  /**
   * Publish an event. Repeated where the answer was lost, and published once.
   * @param {string} channel
   * @param {string} event
   * @param {object} [payload]
   * @param {{idempotency_key?: string}} [options]
   * @returns {Promise<Published>} rejects as `request` does
   */
  publish(channel, event, payload = {}, { idempotency_key } = {}) {
    // crypto.randomUUID exists in secure contexts only.
    idempotency_key ??= crypto.getRandomValues(new Uint32Array(4)).join("-");
    return this.#request("publish", { channel, event, payload, idempotency_key }, true);
  }

  /**
   * Follow a channel, over every connection, until `unsubscribe`.
   * @param {string} channel
   * @param {(message: Message) => unknown} [listener]
   * @param {{presence?: boolean, since?: Position}} [options] whether `ready` shall say who is there, and where to
   *   begin if nothing is known of the channel yet
   * @returns {Subscription} `ready` rejects with Refused, or with Ended where it ends before
   */
  subscribe(channel, listener = () => {}, { presence = false, since } = {}) {
    /** @type {Listener} */
    const entry = { listener, presence, settle: null };
    /** @type {Promise<Subscribed>} */
    const ready = new Promise((resolve, reject) => {
      entry.settle = (answer, error) => {
        entry.settle = null;
        if (answer) resolve(answer);
        else reject(error);
      };
    });
    // Whoever does not wait learns it from `@error`, `unsubscribed` or `@state`.
    ready.catch(() => {});
    let followed = this.#channels.get(channel);
    const isFirst = !followed;
    if (!followed) {
      this.#channels.set(channel, (followed = { listeners: new Set(), answer: null }));
      if (since && !this.#positions.has(channel)) this.#positions.set(channel, since);
    }
    followed.listeners.add(entry);
    if (this.isConnected()) {
      if (followed.answer && !presence) this.#settle(channel, followed.answer);
      else if (isFirst || presence) this.#enter(channel, isFirst && !this.#own.has(channel));
    } else if (this.state.name === "ended") {
      // It stays for another `connect`, as those do that were made before the end.
      entry.settle?.(null, new Ended(this.state));
    }
    return { channel, ready, unsubscribe: () => this.#unsubscribe(channel, entry) };
  }

  /**
   * Say that everything of the inbox up to a publication is dealt with.
   * @param {Message | string} message or the channel
   * @param {number} [offset]
   * @returns {Promise<void>} resolves when the server knows; rejects with Refused, Ended, QueueFull, or, where
   *   another user came, Lost
   */
  ack(message, offset = 0) {
    const isMessage = typeof message !== "string";
    const channel = isMessage ? message.channel : message;
    const upTo = isMessage ? message.offset ?? 0 : offset;
    const inbox = this.#inbox;
    // Nothing else is kept until it is acknowledged. What that is, nobody knows before the first connection.
    if (inbox ? channel !== inbox.channel || upTo <= inbox.told : this.#own.size) return Promise.resolve();
    /** @type {Promise<void>} */
    const promise = new Promise((resolve, reject) => {
      if (this.state.name === "ended") throw new Ended(this.state);
      if (this.#acks.length >= AWAITED) throw new QueueFull("too many acknowledgements wait");
      if (inbox) inbox.wanted = Math.max(inbox.wanted, upTo);
      this.#acks.push({ channel, offset: upTo, resolve, reject });
      this.#acknowledge();
    });
    // Whoever does not wait learns it from `@error`, and what was not acknowledged comes again.
    promise.catch(() => {});
    return promise;
  }

  /**
   * Where each channel stands: to be kept, and given to another client as `positions`.
   * @returns {Record<string, Position>}
   */
  positions() {
    /** @type {Record<string, Position>} */
    const found = {};
    for (const [channel, { epoch, offset }] of this.#positions) if (epoch) found[channel] = { epoch, offset };
    return found;
  }

  /**
   * Replace the token, also that of the living connection. Refused, it changes nothing.
   * @param {string} token
   * @returns {Promise<void>} rejects as `request` does
   */
  async refresh(token) {
    if (this.isConnected()) await this.#request("refresh", { token });
    if (typeof this.#token === "function") return;
    this.#token = token;
    // What is tried with the old one may fail for good.
    if (this.state.name === "connecting") this.#attempt();
  }

  // --- connecting ---------------------------------------------------------------------------------------------

  async #attempt() {
    this.#leave();
    const turn = this.#turn;
    this.#begun = Date.now();
    this.#after("open", OPEN_MS, () => this.#lost(LOST, `no connection in ${OPEN_MS / 1000} s`));
    this.#become({ name: "connecting", attempt: this.#attempts + 1 });
    let token;
    try {
      token = await this.#newToken();
    } catch (error) {
      if (turn === this.#turn) this.#lost(LOST, `no token: ${error}`);
      return;
    }
    if (turn !== this.#turn) return;
    if (!token) return this.#end(INVALID_TOKEN, NOBODY);
    try {
      this.#open(token);
    } catch (error) {
      // The browser forbids it, and will again: an insecure socket on a secure page.
      this.#end(LOST, `${error}`);
    }
  }

  // In a promise, so that a provider that throws is one that rejects.
  async #newToken() {
    return typeof this.#token === "function" ? this.#token({ expired: this.#expired }) : this.#token;
  }

  /** @param {string} token */
  #open(token) {
    const socket = (this.#socket = new this.#Socket(this.#url, [SUBPROTOCOL]));
    const isCurrent = () => socket === this.#socket;
    socket.onopen = () => {
      if (!isCurrent()) return;
      this.#command("authenticate", { token, device: this.#device }, (message, error) => {
        if (message) this.#welcome(message);
        else if (passes(error)) this.#lost(LOST, `${error?.message}`);
        // The close that follows says the rest.
        else this.#refusal = error ?? null;
      });
    };
    /** @param {{data: any}} event */
    socket.onmessage = ({ data }) => {
      if (isCurrent()) this.#receive(socket, data);
    };
    /** @param {{code: number, reason: string}} event */
    socket.onclose = ({ code, reason }) => {
      if (isCurrent()) this.#lost(code, reason);
    };
    // The close that follows says all there is. Without a listener, Node's `ws` would throw.
    socket.onerror = () => {};
  }

  /** @param {Message} message */
  #welcome(message) {
    const turn = this.#turn;
    /** @type {Connected} */
    const data = message.data;
    const { inbox, channels = {} } = data;
    const own = `user:${data.user_id}`;
    if (this.#user !== undefined && this.#user !== data.user_id) return this.#end(DENIED, OTHER_USER);
    this.#cancel("open");
    this.#after("steady", STEADY_MS, () => (this.#attempts = 0));
    this.#expired = false;
    this.#heard();
    // It came unasked, and comes no more: a group that was left, or another user.
    const before = this.#own;
    this.#own = new Set([own, ...Object.keys(channels)]);
    // What one user has had is not what another one has, and what one has said no other says.
    if (before.size && !before.has(own)) this.#positions.clear();
    if (this.#speaker && this.#speaker !== own) {
      const error = new Lost(OTHER_USER);
      for (const { done } of this.#queue.splice(0)) done?.(null, error);
      for (const { reject } of this.#acks.splice(0)) reject(error);
    }
    this.#speaker = own;
    for (const channel of before) {
      if (!this.#own.has(channel) && !this.#channels.has(channel)) this.#positions.delete(channel);
    }
    this.state = { ...data, name: "connected" };
    this.#sit(own, inbox);

    // First the subscriptions, then what waited, then whoever is told: none of it may overtake what it needs.
    /** @type {Subscribed[]} */
    const stands = [];
    for (const channel of new Set([...this.#own, ...this.#positions.keys(), ...this.#channels.keys()])) {
      const there = channel === own && inbox ? inbox : channels[channel];
      const last = this.#positions.get(channel);
      if (last?.isGiven && !there && !this.#channels.has(channel)) continue;
      const isBehind = last && there && last.epoch === there.epoch && last.offset < there.offset;
      if (there && (there === inbox || (!isBehind && !this.#asksWho(channel)))) {
        stands.push({ channel, ...there, recovered: last?.epoch === there.epoch });
      } else if (last || this.#channels.has(channel)) {
        this.#enter(channel, true);
      }
    }
    for (const command of this.#queue.splice(0)) this.#transmit(command);
    for (const answer of stands) {
      // Of the inbox everything after what was acknowledged follows: what we have comes again.
      if (answer.channel === own && inbox) this.#stand(own, inbox.epoch, inbox.offset, true);
      else this.#told({ ...answer, recovered: false });
      this.#settle(answer.channel, answer);
    }
    if (turn !== this.#turn) return;
    const opening = this.#opening;
    this.#opening = null;
    opening?.resolve();
    this.#emit("@state", this.state);
    if (turn === this.#turn) this.#emit("connected", data, message);
  }

  // The connection, or the attempt at one, has ended.
  /** @param {number} code @param {string} reason */
  #lost(code, reason) {
    const farewell = this.#farewell;
    const refusal = this.#refusal;
    // What the server said before counts, also where its close frame got lost.
    if (farewell) ({ code, reason } = farewell);
    // The server does not tell a token that is too old from a wrong one. Refused twice, the fault is another.
    const isRenewable =
      !!refusal && code === INVALID_TOKEN && !this.#expired && typeof this.#token === "function";
    this.#expired ||= isRenewable || code === TOKEN_EXPIRED;
    this.#leave(code === NO_PONG ? NO_PONG : 1000);
    if (!isRenewable && (isFinal(code) || farewell?.reconnect === false)) {
      this.#end(code, refusal?.message ?? reason);
      return;
    }
    this.#attempts += 1;
    let wait;
    let fault;
    try {
      wait = this.#reconnect(this.#attempts);
      if (wait != null && !(wait >= 0)) throw new TypeError(`not a number of milliseconds: ${wait}`);
    } catch (error) {
      // A policy that says nothing of use must not end what it is to keep up.
      fault = error;
      wait = jitter()(this.#attempts);
    }
    // Whoever is told may call.
    if (fault) queueMicrotask(() => report(fault));
    if (wait == null) {
      if (this.#poll) this.#pollLater(code, reason);
      else this.#end(code, reason);
      return;
    }
    const delay = wait + Math.min(Math.max(farewell?.delay || 0, 0), LONGEST_DELAY_S) * 1000;
    this.#after("wait", delay, () => this.#attempt());
    this.#become({ name: "waiting", attempt: this.#attempts, delay, code, reason });
  }

  /** @param {number} code @param {string} reason */
  #end(code, reason) {
    this.#leave();
    this.#listen("removeEventListener");
    const opening = this.#opening;
    this.#opening = null;
    this.#speaker = "";
    this.state = { name: "ended", code, reason };
    const error = new Ended(this.state);
    opening?.reject(error);
    for (const { done, sent } of this.#queue.splice(0)) done?.(null, sent ? new Lost(ENDED) : error);
    for (const ack of this.#acks.splice(0)) ack.reject(error);
    for (const { listeners } of this.#channels.values()) for (const { settle } of listeners) settle?.(null, error);
    this.#emit("@state", this.state);
  }

  // End all that belongs to the present turn. What may be repeated waits for the next connection.
  #leave(code = 1000) {
    const socket = this.#socket;
    this.#turn += 1;
    this.#socket = this.#farewell = this.#refusal = null;
    this.#isProbing = false;
    for (const name of [...this.#timers.keys()]) this.#cancel(name);
    this.#held.clear();
    this.#leaving.clear();
    for (const followed of this.#channels.values()) followed.answer = null;
    const commands = [...this.#awaited.values()];
    this.#awaited.clear();
    // In front, and within the bound of what may be under way.
    this.#queue.unshift(...commands.filter((command) => command.repeats));
    for (const { repeats, done } of commands) if (!repeats) done?.(null, new Lost(ENDED));
    socket?.close(code);
  }

  /** @param {State} state */
  #become(state) {
    this.state = state;
    this.#emit("@state", state);
  }

  // --- the page -----------------------------------------------------------------------------------------------

  /** @param {"addEventListener" | "removeEventListener"} verb */
  #listen(verb) {
    globalThis.document?.[verb]("visibilitychange", this.#look);
    // Node has none of it.
    for (const event of ["online", "offline"]) globalThis[verb]?.(event, this.#look);
  }

  #mustPause() {
    return this.#hidden === "pause" && globalThis.document?.hidden;
  }

  // The page was hidden or shown, or the network has gone or come back.
  /** @param {Event} event */
  #look = ({ type }) => {
    const { name } = this.state;
    const isOld = name === "connecting" && type === "online" && Date.now() - this.#begun > RETRY_MS;
    const isWaiting = name === "waiting" || name === "polling" || isOld;
    // What was tried without a network says nothing of what can be had with one.
    if (type === "online") this.#attempts = 0;
    if (this.#mustPause()) this.#pause();
    else if (type === "visibilitychange" && globalThis.document?.hidden) return;
    else if (name === "paused") this.#resume();
    else if (name === "connected") this.#probe();
    else if (isWaiting && type !== "offline") this.#attempt();
  };

  #pause() {
    const turn = this.#turn;
    this.#acknowledge(true);
    // As in `disconnect`.
    if (turn !== this.#turn) return;
    this.#leave();
    if (this.state.name !== "paused") this.#become({ name: "paused" });
  }

  #resume() {
    this.#attempts = 0;
    if (this.#poll) this.#check();
    else this.#attempt();
  }

  /** @param {number} code @param {string} reason */
  #pollLater(code, reason) {
    this.#after("poll", this.#poll?.interval ?? 0, () => this.#check());
    this.#become({ name: "polling", code, reason });
  }

  async #check() {
    this.#leave();
    const turn = this.#turn;
    // One that is not answered says nothing either.
    this.#after("poll", ANSWER_MS, () => this.#attempt());
    if (this.state.name !== "polling") this.#become({ name: "polling" });
    if (turn !== this.#turn) return;
    let isValid;
    try {
      isValid = await this.#poll?.check();
    } catch {
      // It says nothing; the attempt will.
    }
    if (turn !== this.#turn) return;
    if (isValid === false) this.#end(INVALID_TOKEN, NOBODY);
    else this.#attempt();
  }

  // --- commands -----------------------------------------------------------------------------------------------

  /** @param {string} type @param {object} [data] @param {boolean} [repeats] @returns {Promise<any>} */
  #request(type, data, repeats) {
    return new Promise((resolve, reject) => {
      this.#post(type, data, (message, error) => (message ? resolve(message.data) : reject(error)), repeats);
    });
  }

  /** @param {string} type @param {object} [data] @param {Done} [done] @param {boolean} [repeats] */
  #post(type, data, done, repeats) {
    if (this.state.name === "ended") throw new Ended(this.state);
    const command = this.#made(type, data, done, repeats);
    // A socket that is closing takes everything, and sends nothing.
    const isOpen = this.isConnected() && this.#socket.readyState === 1;
    const isFull = isOpen
      ? this.#awaited.size >= AWAITED || this.#socket.bufferedAmount > BUFFERED_BYTES
      : this.#queue.length >= this.#limit;
    if (isFull) throw new QueueFull(isOpen ? "the server does not keep up" : "too much waits for a connection");
    if (isOpen) this.#transmit(command);
    else this.#queue.push(command);
  }

  // A command of the client's own. It waits for nothing, and its answer means nothing in another turn.
  /** @param {string} type @param {object} data @param {Done} [done] */
  #command(type, data, done) {
    const turn = this.#turn;
    const command = this.#made(type, data, done && ((...answer) => turn === this.#turn && done(...answer)));
    command.isOwn = true;
    this.#transmit(command);
    return command;
  }

  // As text: what becomes of the data afterwards is not sent.
  /**
   * @param {string} type @param {object} [data] @param {Done} [done] @param {boolean} [repeats]
   * @returns {Command}
   */
  #made(type, data, done, repeats) {
    const id = done && `c${++this.#numbers}`;
    return { type, text: JSON.stringify({ type, data, id }), id, done, repeats };
  }

  /** @param {Command} command */
  #transmit(command) {
    const { id, text, done } = command;
    // Whoever is shown the frame of one before it may have disconnected.
    if (!this.#socket) {
      done?.(null, new Lost(ENDED));
      return;
    }
    if (id) {
      if (Date.now() - (command.sent ??= Date.now()) > REPEATABLE_MS) {
        done?.(null, new Lost("the answer was lost too long ago"));
        return;
      }
      this.#awaited.set(id, command);
      this.#after(id, ANSWER_MS, () => {
        this.#awaited.delete(id);
        done?.(null, new Lost(`no answer in ${ANSWER_MS / 1000} s`));
      });
    }
    // One that is closing sends nothing, and browsers complain. The end that follows says what becomes of it.
    if (this.#socket.readyState !== 1) return;
    this.#socket.send(text);
    if (this.#handlers.get("@frame")?.size) this.#show("out", text, JSON.parse(text));
  }

  // --- what comes ---------------------------------------------------------------------------------------------

  /** @param {any} socket @param {any} text */
  #receive(socket, text) {
    /** @type {Message} */
    let message;
    try {
      message = JSON.parse(text);
      if (typeof message.type !== "string") throw new TypeError("a message has a type");
    } catch {
      this.#lost(LOST, "unreadable message");
      return;
    }
    this.#heard();
    this.#show("in", text, message);
    // Whoever is shown a frame may have disconnected.
    if (socket !== this.#socket) return;
    const { type, data = {}, id, channel } = message;
    const command = id === undefined ? undefined : this.#awaited.get(id);
    if (type === "subscribed" && !this.#leaving.has(data.channel)) {
      // Asked for again while it lives, as for who is there, it goes on as it was.
      if (this.#held.has(data.channel) || !this.#positions.get(data.channel)?.epoch) this.#told(data);
    } else if (type === "unsubscribed" && !command?.isOwn) {
      // The server took it away, or a command of the application's own did.
      this.#forget(data.channel, new Refused({ code: "forbidden", message: "the server ended the subscription" }));
    } else if (type === "refreshed") {
      this.#become({ ...this.state, ...data });
    }
    if (id !== undefined) {
      if (!command) return; // its time was up
      this.#awaited.delete(id);
      this.#cancel(id);
      if (type === "error") command.done?.(null, new Refused(data));
      else command.done?.(message);
    } else if (type === "position" || channel !== undefined) {
      this.#take(message);
    } else if (type === "error") {
      this.#emit("@error", data, message);
    } else {
      if (type === "disconnect") this.#farewell = data;
      if (type === "token_expiring") this.#renew();
      this.#emit(type, data, message);
    }
  }

  // A publication, or (`position`) the word that the channel stands there and nothing before it is for us.
  /** @param {Message} message */
  #take(message) {
    const { type, data } = message;
    const isWord = type === "position";
    /** @type {{channel: string, offset: number}} */
    const { channel, offset } = isWord ? data : message;
    if (this.#leaving.has(channel)) return;
    const held = this.#held.get(channel);
    if (held && (offset || isWord)) {
      if (held.length < HELD) held.push(message);
      return;
    }
    if (isWord) {
      this.#stand(channel, data.epoch, offset);
    } else {
      const last = this.#positions.get(channel);
      // An announcement, as of who comes and goes, has no offset: it is not kept, and nobody misses it.
      const isNew = !offset || !last || offset > last.offset;
      if (offset && isNew) {
        this.#stand(channel, last?.epoch, offset - 1, true);
        this.#positions.set(channel, { epoch: last?.epoch, offset });
      }
      if (isNew) {
        const listeners = this.#channels.get(channel)?.listeners;
        for (const entry of [...(listeners ?? [])]) if (listeners?.has(entry)) this.#call(entry.listener, message);
        this.#emit(type, data, message);
      }
    }
    if (offset && channel === this.#inbox?.channel) this.#arrived(offset);
  }

  // The channel stands here. What lies between that and where we are is missed, or was not for us.
  /**
   * @param {string} channel @param {string | undefined} epoch @param {number} offset
   * @param {boolean} [isMissed]
   */
  #stand(channel, epoch, offset, isMissed = false) {
    const last = this.#positions.get(channel);
    const isAnew = last?.epoch !== undefined && last.epoch !== epoch;
    this.#positions.set(channel, { epoch, offset: last && !isAnew ? Math.max(last.offset, offset) : offset });
    if (isAnew && channel === this.#inbox?.channel && epoch) this.#sit(channel, { epoch, offset });
    if (last && (isAnew || (isMissed && last.offset < offset))) {
      this.#emit("@gap", { channel, from: last.offset + 1, to: isAnew ? null : offset, epoch });
    }
  }

  // The server has subscribed us, and sends what was missed (`recovered`), or nothing of it.
  /** @param {Subscribed} answer */
  #told({ channel, epoch, offset, recovered }) {
    let held = this.#held.get(channel) ?? [];
    this.#held.delete(channel);
    const last = this.#positions.get(channel);
    if (recovered) return;
    if (!last) {
      this.#positions.set(channel, { epoch, offset });
      return;
    }
    // What an application brought along may be ahead of all that there ever was.
    if ((last.epoch ?? epoch) !== epoch || last.offset > offset) {
      this.#positions.set(channel, { epoch: "", offset: last.offset });
      // What came before this epoch began counts in another one.
      held = held.slice(held.findIndex(({ type, data }) => type === "position" && data.epoch === epoch) + 1);
    }
    // A publication that is held proves that what is missing lies before it; a word that it stands there, nothing.
    const first = held.find((message) => message.offset)?.offset ?? offset + 1;
    // Whoever is told of a gap, or is handed what was held, may disconnect: what is left comes another time.
    const turn = this.#turn;
    this.#stand(channel, epoch, Math.min(first - 1, offset), true);
    for (const message of held) if (turn === this.#turn) this.#take(message);
    if (turn === this.#turn) this.#stand(channel, epoch, offset, true);
  }

  /** @param {string} event @param {any} data @param {any} [message] */
  #emit(event, data, message) {
    for (const name of event[0] === "@" ? [event] : [event, "*"]) {
      const handlers = this.#handlers.get(name);
      // Those that are taken away by one before them are not called.
      for (const handler of [...(handlers ?? [])]) if (handlers?.has(handler)) this.#call(handler, data, message);
    }
  }

  // A command of the client's own was refused for good.
  /** @param {Refused} error @param {string} [channel] */
  #fault({ code, message }, channel) {
    this.#emit("@error", { channel, code, message });
  }

  // A fault of one handler is not another's.
  /** @param {(...given: any[]) => any} handler @param {any[]} given */
  #call(handler, ...given) {
    try {
      handler(...given)?.catch?.(report);
    } catch (error) {
      report(error);
    }
  }

  /** @param {"in" | "out"} direction @param {string} text @param {any} message */
  #show(direction, text, message) {
    if (!this.#handlers.get("@frame")?.size) return;
    // Frames are shown and logged; a token would let whoever sees it in.
    if (direction === "out" && message.data?.token) {
      message.data.token = "…";
      text = JSON.stringify(message);
    }
    this.#emit("@frame", { direction, text, message });
  }

  // --- subscriptions ------------------------------------------------------------------------------------------

  /** @param {string} channel */
  #asksWho(channel) {
    const listeners = this.#channels.get(channel)?.listeners ?? [];
    return [...listeners].some(({ presence, settle }) => presence && settle);
  }

  // Ask the server for a channel. With `resumes`, from where we are; without, it lives already.
  /** @param {string} channel @param {boolean} resumes @param {number} [pause] */
  #enter(channel, resumes, pause = RETRY_MS) {
    const followed = this.#channels.get(channel);
    const last = this.#positions.get(channel);
    if (channel === this.#inbox?.channel) {
      // It comes unasked, from where this device stands.
      if (last?.epoch) this.#settle(channel, { channel, epoch: last.epoch, offset: last.offset, recovered: true });
      return;
    }
    // Parting with it was refused for now, and is not wanted any more.
    if (this.#timers.has(PART + channel)) {
      this.#cancel(PART + channel);
      this.#leaving.delete(channel);
    }
    if (resumes && last && !this.#held.has(channel)) this.#held.set(channel, []);
    const since = resumes && last?.epoch ? { epoch: last.epoch, offset: last.offset } : undefined;
    const presence = this.#asksWho(channel) || undefined;
    this.#command("subscribe", { channel, since, presence }, (message, error) => {
      // Left meanwhile, and perhaps asked for anew: that has an answer of its own.
      if (this.#channels.get(channel) !== followed) return;
      if (message) this.#settle(channel, message.data);
      else if (passes(error)) {
        this.#after(`enter ${channel}`, this.#pauseAfter(error, pause), () => {
          if (this.#channels.get(channel) === followed) this.#enter(channel, resumes, pause * 2);
        });
      } else if (error instanceof Refused) this.#notEntered(channel, error);
      // The connection lives, and the server does not answer: another one may.
      else this.#lost(LOST, `${channel}: ${error?.message}`);
    });
  }

  /** @param {string} channel @param {number} [pause] */
  #part(channel, pause = RETRY_MS) {
    /** @type {Command} */
    const command = this.#command("unsubscribe", { channel }, (_, error) => {
      if (this.#leaving.get(channel) !== command) return;
      if (passes(error) && !this.#channels.has(channel)) {
        this.#after(PART + channel, this.#pauseAfter(error, pause), () => this.#part(channel, pause * 2));
      } else {
        this.#leaving.delete(channel);
      }
    });
    this.#leaving.set(channel, command);
  }

  /** @param {string} channel @param {Refused} error */
  #notEntered(channel, error) {
    const followed = this.#channels.get(channel);
    const there = this.state.channels?.[channel];
    if (there && this.#held.has(channel)) {
      // It comes all the same, but nothing of what was missed.
      this.#told({ channel, ...there, recovered: false });
      this.#settle(channel, { channel, ...there, recovered: false });
    } else if (followed?.answer || this.#own.has(channel)) {
      // Who is there is not told. Those who did not ask go on.
      for (const entry of followed?.listeners ?? []) {
        if (!entry.settle || !entry.presence) continue;
        followed?.listeners.delete(entry);
        entry.settle(null, error);
      }
      if (!followed?.listeners.size) this.#channels.delete(channel);
    } else {
      // On an earlier connection it was granted: whoever follows it is told that this is over.
      const isOver = [...(followed?.listeners ?? [])].some(({ settle }) => !settle);
      this.#forget(channel, error);
      if (!isOver) return;
      this.#fault(error, channel);
      this.#emit("unsubscribed", { channel });
    }
  }

  /** @param {string} channel @param {Subscribed} answer */
  #settle(channel, answer) {
    const followed = this.#channels.get(channel);
    if (!followed) return;
    followed.answer = { ...answer, members: undefined };
    for (const { presence, settle } of followed.listeners) {
      if (!presence || answer.members || channel === this.#inbox?.channel) settle?.(answer);
    }
  }

  /** @param {string} channel @param {Listener} entry */
  #unsubscribe(channel, entry) {
    const followed = this.#channels.get(channel);
    if (!followed?.listeners.delete(entry)) return;
    entry.settle?.(null, new Lost("unsubscribed"));
    if (followed.listeners.size) return;
    this.#channels.delete(channel);
    if (this.#own.has(channel)) return;
    this.#positions.delete(channel);
    this.#held.delete(channel);
    if (this.isConnected()) this.#part(channel);
  }

  // Nothing of the channel comes any more.
  /** @param {string} channel @param {Error} error */
  #forget(channel, error) {
    const followed = this.#channels.get(channel);
    this.#channels.delete(channel);
    this.#own.delete(channel);
    this.#positions.delete(channel);
    this.#held.delete(channel);
    for (const { settle } of followed?.listeners ?? []) settle?.(null, error);
  }

  // --- the inbox ----------------------------------------------------------------------------------------------

  // The server has our acknowledgement up to this position, and sends what comes after it.
  /** @param {string} channel @param {Position | null | undefined} position */
  #sit(channel, position) {
    const old = this.#inbox;
    this.#inbox = null;
    if (position) {
      const { epoch, offset } = position;
      // The first one is that of which acknowledgements wait, unless another life of it is known.
      const known = old ?? { channel, epoch: this.#positions.get(channel)?.epoch ?? epoch, wanted: 0 };
      const isSame = known.channel === channel && known.epoch === epoch;
      const waiting = this.#acks.map((ack) => (ack.channel === channel ? ack.offset : 0));
      const wanted = isSame ? Math.max(known.wanted, ...waiting) : 0;
      this.#inbox = { channel, epoch, told: offset, came: offset, wanted, asked: 0 };
      if (isSame) return this.#confirm();
    }
    // What was to be acknowledged counts no more.
    for (const ack of this.#acks.splice(0)) ack.resolve();
  }

  /** @param {number} offset */
  #arrived(offset) {
    const inbox = this.#inbox;
    // A handler may have disconnected: then it comes again.
    if (!inbox || !this.isConnected()) return;
    inbox.came = Math.max(inbox.came, offset);
    if (this.#acknowledges) inbox.wanted = Math.max(inbox.wanted, offset);
    if (inbox.wanted <= inbox.told || this.#timers.has("ack")) return;
    this.#after("ack", ACK_MS, () => this.#acknowledge());
  }

  // One command at a time, always for the newest: what is dealt with meanwhile is gathered. The last one, before the
  // connection is left, does not wait for the answer to the one before it: the server takes them in order.
  #acknowledge(isLast = false) {
    const inbox = this.#inbox;
    if (!inbox || !this.isConnected() || (inbox.asked && !isLast)) return;
    const { channel, told, came, wanted, asked } = inbox;
    const offset = Math.min(came, wanted);
    if (offset <= told || offset <= asked) return;
    inbox.asked = offset;
    this.#command("ack", { channel, offset }, (message, error) => {
      // Another connection, or another life of the inbox: what this one took says nothing there.
      if (inbox !== this.#inbox) return;
      inbox.asked = 0;
      if (message) {
        inbox.told = Math.max(inbox.told, offset);
        this.#confirm();
        if (this.#acks.length) this.#acknowledge();
        else this.#arrived(inbox.told);
      } else if (error instanceof Refused && !passes(error)) {
        // On this connection nothing more is acknowledged; what was not comes again on the next one.
        inbox.asked = Infinity;
        for (const ack of this.#acks.splice(0)) ack.reject(error);
        this.#fault(error, channel);
      } else {
        this.#after("ack", this.#pauseAfter(error), () => this.#acknowledge());
      }
    });
  }

  #confirm() {
    const { channel, told } = this.#inbox ?? { told: 0 };
    for (const ack of this.#acks.splice(0)) {
      if (ack.offset <= told || ack.channel !== channel) ack.resolve();
      else this.#acks.push(ack);
    }
  }

  // --- time ---------------------------------------------------------------------------------------------------

  // The token ends soon. What fails is tried again, until the server closes with 3005 and a new one is asked for.
  async #renew() {
    if (typeof this.#token !== "function") return;
    const turn = this.#turn;
    try {
      const token = await this.#newToken();
      if (turn !== this.#turn) return;
      if (token) await this.#request("refresh", { token });
      else this.#end(INVALID_TOKEN, NOBODY);
    } catch (error) {
      if (turn !== this.#turn) return;
      if (error instanceof Refused && !passes(error)) this.#fault(error);
      else this.#after("renew", this.#pauseAfter(error, LONGEST_RETRY_MS), () => this.#renew());
    }
  }

  // Milliseconds before what was refused for now is tried again.
  /** @param {unknown} error */
  #pauseAfter(error, pause = RETRY_MS) {
    const asked = error instanceof Refused ? Math.min(error.retry_after ?? 0, LONGEST_DELAY_S) * 1000 : 0;
    return Math.max(asked, Math.min(pause, LONGEST_RETRY_MS));
  }

  // Anything that comes is a sign of life.
  #heard() {
    if (!this.#heartbeat) return;
    this.#isProbing = false;
    this.#after("heartbeat", this.#heartbeat.interval, () => this.#probe());
  }

  #probe() {
    if (!this.#heartbeat || this.#isProbing) return;
    this.#isProbing = true;
    const late = () => this.#after("heartbeat", LATE_MS, () => this.#lost(NO_PONG, "no pong in time"));
    this.#after("heartbeat", this.#heartbeat.timeout, late);
    this.#command("ping", {});
  }

  // Each name has one timer.
  /** @param {string} name @param {number} delay @param {() => unknown} then */
  #after(name, delay, then) {
    this.#cancel(name);
    this.#timers.set(
      name,
      setTimeout(() => {
        this.#timers.delete(name);
        then();
      }, Math.min(delay, LONGEST_MS)),
    );
  }

  /** @param {string} name */
  #cancel(name) {
    clearTimeout(this.#timers.get(name));
    this.#timers.delete(name);
  }
}
