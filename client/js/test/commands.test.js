// What is sent, when, how often, and what becomes of its answer.

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { Lost, QueueFull, Refused } from "../tidings.js";
import { again, begin, client, connected, end, pass, published, settle } from "./support.js";

beforeEach(begin);
afterEach(end);

const names = (socket) => socket.sent.map(({ type }) => type);

test("what is sent before there is a connection waits in order, behind subscriptions, within a bound", async () => {
  const { tidings, sockets } = client({ queue: 3 });
  const data = { text: "as it was" };
  tidings.send("room_message", data);
  data.text = "changed";
  const request = tidings.request("history", { channel: "room:a" });
  const publish = tidings.publish("room:a", "news", { n: 1 });
  assert.throws(() => tidings.send("late"), QueueFull);
  await assert.rejects(tidings.request("late"), QueueFull);
  await assert.rejects(tidings.publish("room:a", "late"), QueueFull);
  tidings.subscribe("room:a");
  tidings.connect();
  await settle();
  sockets.last.accept();
  assert.deepEqual(names(sockets.last), ["authenticate", "subscribe", "room_message", "history", "publish"]);
  assert.deepEqual(sockets.last.the("room_message"), { type: "room_message", data: { text: "as it was" } });
  sockets.last.answer("history", "history", { publications: [] });
  sockets.last.answer("publish", "published", { channel: "room:a", offset: 9 });
  assert.deepEqual(await request, { publications: [] });
  assert.deepEqual(await publish, { channel: "room:a", offset: 9 });
});

test("a refusal carries its code, its words and its time; an answer nobody waits for is nobody's", async () => {
  const { tidings, sockets, told } = await connected();
  const request = tidings.request("history", { channel: "room:a" });
  sockets.last.answer("history", "error", { code: "rate_limited", message: "slower", retry_after: 1.5 });
  await assert.rejects(request, (error) => {
    assert.ok(error instanceof Refused);
    assert.deepEqual([error.code, error.message, error.retry_after], ["rate_limited", "slower", 1.5]);
    return true;
  });
  sockets.last.say({ type: "error", data: { code: "forbidden", message: "no" }, id: "c99" });
  assert.deepEqual(told.errors, []);
  sockets.last.say({ type: "error", data: { code: "forbidden", message: "no" } });
  assert.deepEqual(told.errors, [{ code: "forbidden", message: "no" }]);
});

test("where the line breaks a request is lost, a publication repeated with its key, a message not", async () => {
  const made = await connected();
  const { tidings, sockets } = made;
  const request = tidings.request("stats");
  const first = tidings.publish("room:a", "news", { n: 1 });
  const second = tidings.publish("room:a", "news", { n: 2 }, { idempotency_key: "mine" });
  tidings.send("room_message", { text: "once" });
  const sent = sockets.last.all("publish");
  assert.match(sent[0].data.idempotency_key, /^[\d-]{7,60}$/);
  sockets.last.answer("publish", "published", { channel: "room:a", offset: 2 });
  assert.equal((await second).offset, 2);
  sockets.last.readyState = 2;
  const third = tidings.publish("room:a", "news", { n: 3 });
  sockets.last.end();
  await assert.rejects(request, Lost);
  await pass(1_000);
  sockets.last.accept();
  assert.deepEqual(names(sockets.last), ["authenticate", "publish", "publish"]);
  assert.deepEqual(sockets.last.all("publish")[0], sent[0]);
  for (const { id } of sockets.last.all("publish")) {
    sockets.last.say({ type: "published", data: { channel: "room:a", offset: 5 }, id });
  }
  assert.deepEqual([(await first).offset, (await third).offset], [5, 5]);
  await again(made);
  assert.deepEqual(names(sockets.last), ["authenticate"]);
});

test("a publication that the server may have forgotten the key of is not repeated", async () => {
  const made = await connected({ reconnect: () => 250_000 });
  const { tidings, sockets } = made;
  const lost = assert.rejects(tidings.publish("room:a", "news"), Lost);
  sockets.last.end();
  await pass(250_000, 10_000);
  sockets.last.accept();
  assert.deepEqual(names(sockets.last), ["authenticate"]);
  await lost;
  const ended = assert.rejects(tidings.publish("room:a", "news"), Lost);
  sockets.last.end();
  tidings.disconnect();
  await ended;
});

test("an answer that does not come in 20 seconds is lost, and may come late", async () => {
  const { tidings, sockets } = await connected();
  const lost = assert.rejects(tidings.request("stats"), Lost);
  const kept = tidings.request("stats");
  await pass(19_750);
  sockets.last.answer("stats", "stats", {});
  await pass(250);
  await lost;
  sockets.last.say({ type: "stats", data: {}, id: sockets.last.all("stats")[0].id });
  assert.deepEqual(await kept, {});
});

test("a server that does not keep up takes no more, and a socket that is closing sends nothing", async () => {
  const { tidings, sockets } = await connected();
  sockets.last.bufferedAmount = 2_000_000;
  assert.throws(() => tidings.send("room_message"), QueueFull);
  sockets.last.bufferedAmount = 0;
  const lost = Array.from({ length: 1_000 }, () => assert.rejects(tidings.request("stats"), Lost));
  await assert.rejects(tidings.request("stats"), QueueFull);
  sockets.last.readyState = 2;
  tidings.send("room_message", { text: "kept" });
  sockets.last.end();
  await Promise.all(lost);
  await pass(1_000);
  sockets.last.accept();
  assert.deepEqual(sockets.last.the("room_message").data, { text: "kept" });
});

test("words of the server come under their names, with the whole message, and answers do not", async () => {
  const { tidings, sockets } = await connected();
  const heard = [];
  tidings.on("*", (data, message) => heard.push([message.type, data, message.data]));
  const message = { type: "token_expiring", data: { expires_at: 3 }, timestamp: "now" };
  sockets.last.say(message);
  tidings.request("stats");
  sockets.last.answer("stats", "stats", {});
  sockets.last.say(published("all", 1));
  sockets.last.say({ type: "joined", channel: "room:a", data: { user_id: "bob" } });
  sockets.last.say({ type: "new_in_a_later_version" });
  assert.deepEqual(heard, [
    ["token_expiring", { expires_at: 3 }, { expires_at: 3 }],
    ["news", { offset: 1 }, { offset: 1 }],
    ["joined", { user_id: "bob" }, { user_id: "bob" }],
    ["new_in_a_later_version", {}, undefined],
  ]);
});

test("what cannot be sent is refused where it is said", async () => {
  const { tidings } = await connected();
  const circle = {};
  circle.self = circle;
  assert.throws(() => tidings.send("room_message", circle), TypeError);
  await assert.rejects(tidings.publish("room:a", "news", circle), TypeError);
});
