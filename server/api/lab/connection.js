// A client of the native protocol in JSON: one socket at a time, commands with answers, and coming back.

import { mayReconnect } from "./codes.js";
import { masked } from "./token.js";

export const SUBPROTOCOL = "tidings.v1.json";

// From opening the socket to `connected`; the server's own handshake limit is 5 s, its patience for a token 10 s.
const OPEN_MS = 10_000;
// A command's handler may take 10 s on the server; then it says `unavailable`.
const ANSWER_MS = 12_000;
const PING_EVERY_MS = 5_000;
// Full jitter: anything from 0 to BASE × 2^attempts, at most CAP, so that clients do not return together.
const BASE_MS = 500;
const CAP_MS = 30_000;
// A connection that held this long was a good one: the next attempt starts from BASE again.
const STEADY_MS = 10_000;
// More waiting than this is not sent: the server, or the line, does not keep up.
const BUFFERED_BYTES = 1_048_576;
const AWAITED = 200;

// The server said no; `code` is its error code.
export class Refused extends Error {
  constructor({ code, message }) {
    super(message);
    this.code = code;
  }
}

// There is no answer: not connected, or the connection ended first, or nothing came in time.
export class Lost extends Error {}

// Events (CustomEvent, what they say in `detail`):
//   state        {name, …}: idle, connecting, authenticating, connected, waiting, ended
//   frame        {direction, text, message, size, at}
//   publication  {message, arrived}: `arrived` as performance.now() counts
//   notice       a message that answers nothing: unsubscribed, token_expiring, disconnect, …
//   pong         milliseconds
export class Connection extends EventTarget {
  #url;
  #token = "";
  #socket = null;
  #awaited = new Map();
  #sent = 0;
  #attempts = 0;
  #connectedAt = null;
  #farewell = null;
  #refusal = null;
  #timer = 0;
  #heartbeat = 0;
  state = { name: "idle" };

  constructor(url) {
    super();
    this.#url = url;
  }

  get isConnected() {
    return this.state.name === "connected";
  }

  connect(token) {
    this.#leave(new Lost("connecting anew"));
    this.#token = token;
    this.#attempts = 0;
    this.#open();
  }

  // End it, and the attempts to come back.
  disconnect() {
    this.#leave(new Lost("disconnected"));
    this.#become({ name: "ended", code: 1000, reason: "done", by: "you", mayReturn: true });
  }

  // Do not wait for the next attempt.
  retryNow() {
    if (this.state.name === "waiting") this.#open();
  }

  // Replace the token of the living connection. Rejects as `command` does.
  async refresh(token) {
    const answer = await this.command("refresh", { token });
    this.#token = token;
    this.#become({ ...this.state, expiresAt: answer.data.expires_at });
  }

  // Send a command and wait for its answer, the whole message. Rejects with Refused or Lost; never waits for ever.
  command(type, data = {}) {
    if (!this.isConnected) return Promise.reject(new Lost("not connected"));
    return this.#command(type, data);
  }

  // The time to the server's pong and back, in milliseconds.
  async ping() {
    const began = performance.now();
    await this.command("ping");
    const took = performance.now() - began;
    this.#emit("pong", took);
    return took;
  }

  #command(type, data) {
    if (this.#awaited.size >= AWAITED) return Promise.reject(new Lost("too many commands wait for their answers"));
    if (this.#socket.bufferedAmount > BUFFERED_BYTES) return Promise.reject(new Lost("the line is congested"));
    const id = `c${++this.#sent}`;
    const message = { type, data, id };
    const text = JSON.stringify(message);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#awaited.delete(id);
        reject(new Lost(`no answer in ${ANSWER_MS / 1000} s`));
      }, ANSWER_MS);
      this.#awaited.set(id, { resolve, reject, timer });
      this.#socket.send(text);
      this.#show("out", text, message);
    });
  }

  #open() {
    clearTimeout(this.#timer);
    this.#farewell = this.#refusal = null;
    this.#become({ name: "connecting", attempt: this.#attempts });
    let socket;
    try {
      socket = new WebSocket(this.#url, [SUBPROTOCOL]);
    } catch (error) {
      this.#become({ name: "ended", code: 1006, reason: error.message, by: "the browser", mayReturn: false });
      return;
    }
    this.#socket = socket;
    // A socket that was given up may still speak for a while: only the current one is heard.
    socket.onopen = () => this.#socket === socket && this.#authenticate();
    socket.onmessage = (event) => this.#socket === socket && this.#receive(event.data);
    socket.onclose = (event) => this.#socket === socket && this.#ended(event.code, event.reason, "the server");
    this.#timer = setTimeout(() => this.#giveUp(1006, `no answer in ${OPEN_MS / 1000} s`), OPEN_MS);
  }

  async #authenticate() {
    this.#become({ name: "authenticating" });
    try {
      const { data } = await this.#command("authenticate", { token: this.#token });
      clearTimeout(this.#timer);
      this.#connectedAt = performance.now();
      this.#heartbeat = setInterval(() => this.#beat(), PING_EVERY_MS);
      this.#become({
        name: "connected",
        connectionId: data.connection_id,
        userId: data.user_id,
        username: data.username,
        expiresAt: data.expires_at,
        protocol: this.#socket.protocol,
        since: new Date(),
      });
      this.#beat();
    } catch (error) {
      // The close that follows tells the rest.
      if (error instanceof Refused) this.#refusal = error.message;
    }
  }

  async #beat() {
    try {
      await this.ping();
    } catch (error) {
      // Refused, as beyond the command rate, is an answer, and so a sign of life.
      if (error instanceof Lost && this.isConnected) this.#giveUp(3012, "no pong in time");
    }
  }

  #receive(text) {
    const arrived = performance.now();
    if (typeof text !== "string") {
      this.#giveUp(1003, "the server sent bytes", false);
      return;
    }
    let message;
    try {
      message = JSON.parse(text);
    } catch {
      message = null;
    }
    this.#show("in", text, message);
    if (typeof message?.type !== "string") return;
    const awaited = this.#awaited.get(message.id);
    if (awaited) {
      this.#awaited.delete(message.id);
      clearTimeout(awaited.timer);
      if (message.type === "error") awaited.reject(new Refused(message.data));
      else awaited.resolve({ ...message, arrived });
      return;
    }
    if (message.type === "disconnect") this.#farewell = message.data;
    if (typeof message.channel === "string") this.#emit("publication", { message, arrived });
    else this.#emit("notice", message);
  }

  #giveUp(code, reason, mayReturn = true) {
    const socket = this.#socket;
    this.#ended(code, reason, "this page", mayReturn);
    // Nobody listens any more; a dead peer would keep the browser waiting for its close frame.
    socket?.close(4000, "given up");
  }

  #ended(code, reason, by, allowed = true) {
    const farewell = this.#farewell;
    const steady = this.#connectedAt !== null && performance.now() - this.#connectedAt >= STEADY_MS;
    // The word before the close counts where the close frame itself got lost.
    const known = code === 1006 && farewell ? farewell.code : code;
    const end = { code: known, reason: reason || farewell?.reason || "", detail: this.#refusal, by };
    this.#drop(new Lost("the connection ended"));
    if (steady) this.#attempts = 0;
    end.mayReturn = allowed && mayReconnect(known) && farewell?.reconnect !== false;
    // An expired token would be refused with a terminal code: wait for a new one instead.
    if (!end.mayReturn || known === 3005) {
      this.#become({ name: "ended", ...end });
      return;
    }
    const spread = Math.random() * Math.min(CAP_MS, BASE_MS * 2 ** this.#attempts);
    const delay = Math.max(0, Number(farewell?.delay) || 0) * 1000 + spread;
    this.#attempts += 1;
    this.#timer = setTimeout(() => this.#open(), delay);
    this.#become({ name: "waiting", ...end, until: performance.now() + delay, attempt: this.#attempts });
  }

  // A socket that is only forgotten would stay open, logged in and subscribed, for as long as the page is there.
  #leave(error) {
    const socket = this.#socket;
    this.#drop(error);
    socket?.close(1000, "done");
  }

  #drop(error) {
    clearTimeout(this.#timer);
    clearInterval(this.#heartbeat);
    this.#socket = this.#connectedAt = null;
    for (const { reject, timer } of this.#awaited.values()) {
      clearTimeout(timer);
      reject(error);
    }
    this.#awaited.clear();
  }

  #show(direction, text, message) {
    const size = new TextEncoder().encode(text).length;
    this.#emit("frame", { direction, text: masked(text, message, this.#token), message, size, at: new Date() });
  }

  #become(state) {
    this.state = state;
    this.#emit("state", state);
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
