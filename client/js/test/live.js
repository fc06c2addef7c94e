// What a test has the SDK do against a real server: the same commands in Node, in a page and in a Worker. The test
// says what to do and what to wait for; what happened is noted here, as plain data that can go to another process.

import { Journal } from "./live_journal.js";

// A state with its name, and what matters of it beside.
const told = ({ name, code, reason, attempt, user_id: user }) => ({ name, code, reason, attempt, user });

/**
 * @param {Record<string, any>} sdk the module
 * @param {object} [surroundings] options that are no plain data, as Node's WebSocket
 */
export function live(sdk, surroundings = {}) {
  /** @type {any} */
  let tidings = null;
  const journal = new Journal();
  /** @type {Map<string, any>} */
  const subscriptions = new Map();
  let tokens = [];
  /** @type {any} */
  let policy = null;
  let sent = null;

  const note = (entry) => journal.note(entry);

  // Nothing else of the whole program is done meanwhile.
  const work = (milliseconds) => {
    const end = performance.now() + milliseconds;
    while (performance.now() < end);
  };

  // A promise's end as data.
  const settled = (promise) =>
    promise.then(
      (value) => ({ value: value ?? null }),
      ({ name, code, reason, message }) => ({ error: { name, code, reason: reason ?? message } }),
    );

  const commands = {
    // `tokens` are handed out one after the other, the last again and again; each asking is noted. `reconnect` is a
    // policy's name with its arguments, and `reconnect` by itself another one for the waits to come. `busy`:
    // milliseconds for which Node is busy behind the first ping, before it looks at its sockets again.
    open({ tokens: given, reconnect = ["jitter"], busy = 0, ...options }) {
      tokens = given;
      commands.reconnect({ policy: reconnect });
      tidings = new sdk.Tidings({
        ...surroundings,
        ...options,
        reconnect: (attempt) => policy(attempt),
        token: (why) => {
          note({ kind: "asked", ...why });
          return tokens.length > 1 ? tokens.shift() : tokens[0];
        },
      });
      tidings.on("@state", (state) => note({ kind: "state", ...told(state) }));
      tidings.on("@gap", ({ channel }) => note({ kind: "gap", channel }));
      tidings.on("@error", ({ code, message }) => note({ kind: "error", code, message }));
      tidings.on("*", (data, { type, channel = null, offset = null }) => {
        note({ kind: "message", type, channel, offset, n: data?.n ?? null, text: data?.text ?? null });
      });
      const undo = busy && tidings.on("@frame", ({ direction, message }) => {
        if (direction !== "out" || message.type !== "ping") return;
        undo();
        setImmediate(work, busy);
      });
      return null;
    },
    reconnect({ policy: [name, ...given] }) {
      policy = sdk[name](...given);
      return null;
    },
    connect: () => settled(tidings.connect().then(() => null)),
    state: () => told(tidings.state),
    // `busy`: milliseconds for which each message keeps the whole program from doing anything else.
    subscribe: ({ channel, busy = 0, ...options }) => {
      const hear = ({ data }) => {
        note({ kind: "heard", channel, n: data.n ?? null, text: data.text ?? null });
        work(busy);
      };
      subscriptions.set(channel, tidings.subscribe(channel, hear, options));
      return settled(subscriptions.get(channel).ready);
    },
    unsubscribe: ({ channel }) => void subscriptions.get(channel).unsubscribe(),
    // Any method: its result, or what its promise becomes.
    call: ({ method, given = [] }) => settled(Promise.resolve().then(() => tidings[method](...given))),
    // As `call`, begun now and asked for later: what waits for a connection.
    begin: ({ method, given = [] }) => {
      sent = settled(Promise.resolve().then(() => tidings[method](...given)));
      return null;
    },
    outcome: () => sent,
    journal: ({ fields }) => journal.noted(fields),
    until: ({ fields, count }) => journal.until(fields, count),
  };
  return (command, given) => commands[command](given ?? {});
}
