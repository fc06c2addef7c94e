// A program that uses the package, for the compiler alone. Every line below `@ts-expect-error` must not compile.

import { Ended, Lost, QueueFull, Refused, Tidings, exponential, fixed, jitter } from "tidings-client";
import type { Gap, Message, Options, Policy, Position, State, Subscribed } from "tidings-client";

const linear: Policy = (attempt) => (attempt > 3 ? null : attempt * 1_000);
const options: Options = {
  url: "wss://example.org/ws",
  token: async ({ expired }) => (expired ? null : "token"),
  reconnect: linear,
  heartbeat: false,
  poll: { check: () => true },
};
const tidings = new Tidings(options);
new Tidings();
new Tidings({ reconnect: jitter({ cap: 5_000 }), heartbeat: { interval: 5_000 } });
new Tidings({ reconnect: exponential(), hidden: "pause" });
new Tidings({ reconnect: fixed({ attempts: 9 }), acknowledge: "manual", positions: tidings.positions() });

const undo: () => void = tidings.on("user:updated", (data, message) => [data.username, message.offset]);
tidings.on("@state", ({ name, delay }) => `${name satisfies State["name"]} ${delay}`);
tidings.on("@gap", (gap: Gap) => (gap.to === null ? 0 : gap.to - gap.from));
tidings.on("@frame", ({ direction }) => direction === "in");
tidings.on("connected", ({ user_id, inbox }) => `${user_id} ${inbox?.offset}`);
tidings.off("user:updated");

export async function use(): Promise<Position> {
  const done: void = await tidings.connect();
  const subscription = tidings.subscribe("room:lobby", (message: Message) => message.data, { presence: true });
  const answer: Subscribed = await subscription.ready;
  const { offset } = await tidings.publish("room:lobby", "greeting", { text: "hello" }, { idempotency_key: "k" });
  tidings.send("room_message", { room: "lobby", text: "hello" });
  try {
    await tidings.request("history", { channel: "room:lobby" });
  } catch (error) {
    if (error instanceof Refused) return { epoch: error.code, offset: error.retry_after ?? 0 };
    if (error instanceof Ended) return { epoch: error.reason, offset: error.code };
    if (error instanceof Lost || error instanceof QueueFull) return { epoch: error.message, offset };
  }
  await tidings.ack("user:alice", 3);
  await tidings.refresh("newer");
  subscription.unsubscribe();
  undo();
  tidings.disconnect();
  return { epoch: answer.epoch, offset: answer.members?.length ?? (done === undefined ? 0 : 1) };
}

// @ts-expect-error: no such policy
new Tidings({ reconnect: "exponential" });
// @ts-expect-error: no such option
new Tidings({ retries: 5 });
// @ts-expect-error: nothing but two words
new Tidings({ hidden: "close" });
// @ts-expect-error: milliseconds are a number
new Tidings({ heartbeat: { interval: "25s" } });
// @ts-expect-error: a position has an epoch
new Tidings({ positions: { all: { offset: 3 } } });
// @ts-expect-error: a state has a name, and no `status`
tidings.on("@state", (state) => state.status);
// @ts-expect-error: a channel is a name
tidings.subscribe(["room:lobby"], () => {});
// @ts-expect-error: a payload is an object
tidings.publish("room:lobby", "greeting", "hello");
// @ts-expect-error: an offset is a number
tidings.ack("user:alice", "3");
// @ts-expect-error: a token is a text
tidings.refresh(5);
// @ts-expect-error: what is private stays so
tidings.positions().lobby = 3;
