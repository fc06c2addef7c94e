// A browser's socket that a test plays the other end of, and time that passes when the test says so.

import assert from "node:assert/strict";
import { mock } from "node:test";
import { Tidings } from "../tidings.js";

// Late promises run, and nothing else: setImmediate is not mocked.
export const settle = () => new Promise((resolve) => setImmediate(resolve));

export const begin = () => mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"] });
export const end = () => mock.timers.reset();

/** Let time pass, timer by timer as they are due, with what each of them begins. */
export async function pass(milliseconds, step = 250) {
  for (let left = milliseconds; left > 0; left -= step) {
    mock.timers.tick(Math.min(step, left));
    await settle();
  }
}

/** Every socket that a client makes, in order; `last` is the newest. */
export class Sockets {
  made = [];

  constructor() {
    const { made } = this;
    this.WebSocket = class {
      readyState = 0;
      bufferedAmount = 0;
      /** What the client has sent, decoded. */
      sent = [];
      /** The code that the client has closed it with. */
      closed = null;

      constructor(url, protocols) {
        Object.assign(this, { url, protocols, at: Date.now() });
        made.push(this);
      }

      send(text) {
        assert.equal(this.readyState, 1, "sent on a socket that is not open");
        this.sent.push(JSON.parse(text));
      }

      close(code) {
        assert.ok(code === 1000 || (code >= 3000 && code < 5000), `a page may not close with ${code}`);
        this.closed ??= code;
        this.readyState = Math.max(this.readyState, 2);
      }

      // --- the other end ---

      open() {
        this.readyState = 1;
        this.onopen?.({});
      }

      say(message) {
        this.onmessage?.({ data: typeof message === "string" ? message : JSON.stringify(message) });
      }

      /** The answer to the last command of a type. */
      answer(type, kind, data = {}) {
        this.say({ type: kind, data, id: this.the(type).id });
      }

      /** The connection ends: by a close frame with a code, or (1006) without one. */
      end(code = 1006, reason = "") {
        this.readyState = 3;
        this.onerror?.({});
        this.onclose?.({ code, reason });
      }

      all(type) {
        return this.sent.filter((command) => command.type === type);
      }

      the(type) {
        const found = this.all(type).at(-1);
        assert.ok(found, `no ${type} among ${JSON.stringify(this.sent)}`);
        return found;
      }

      /** Let the client in. */
      accept(data = {}) {
        this.open();
        this.answer("authenticate", "connected", { ...CONNECTED, ...data });
      }
    };
  }

  get last() {
    return this.made.at(-1);
  }

  get count() {
    return this.made.length;
  }
}

export const CONNECTED = {
  connection_id: "k1", user_id: "alice", username: "Alice", ping_interval: 20, pong_timeout: 10, expires_at: 2e9,
  inbox: null, channels: {},
};

/** A client on scripted sockets, with what it tells. */
export function client(options = {}) {
  const sockets = new Sockets();
  const tidings = new Tidings({
    url: "ws://server/ws", token: "secret", reconnect: () => 1_000, heartbeat: false, WebSocket: sockets.WebSocket,
    ...options,
  });
  const told = { states: [], gaps: [], errors: [] };
  tidings.on("@state", (state) => told.states.push(state.name));
  tidings.on("@gap", (gap) => told.gaps.push(gap));
  tidings.on("@error", (error) => told.errors.push(error));
  return { tidings, sockets, told };
}

/** As `client`, connected. */
export async function connected(options = {}, data = {}) {
  const made = client(options);
  made.tidings.connect();
  await settle();
  made.sockets.last.accept(data);
  await settle();
  assert.ok(made.tidings.isConnected());
  return made;
}

/** The line breaks, and the next connection stands. */
export async function again({ sockets }, data = {}) {
  sockets.last.end();
  await pass(1_000);
  sockets.last.accept(data);
  await settle();
}

/** A publication. */
export const published = (channel, offset, type = "news") => ({
  type, channel, offset, data: { offset }, timestamp: "2026-11-21T20:10:00.123Z",
});
