// A connection's life: getting in, tokens, signs of life, the page it is in, and its end.

import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { Ended, Lost, Refused, Tidings, fixed } from "../tidings.js";
import { CONNECTED, begin, client, connected, end, pass, published, settle } from "./support.js";

const faults = [];

beforeEach(() => {
  begin();
  faults.length = 0;
  globalThis.reportError = (error) => faults.push(error);
});
afterEach(() => {
  end();
  for (const name of ["document", "addEventListener", "removeEventListener", "location"]) delete globalThis[name];
});

class Target extends EventTarget {
  listeners = 0;

  addEventListener(...given) {
    this.listeners += 1;
    super.addEventListener(...given);
  }

  removeEventListener(...given) {
    this.listeners -= 1;
    super.removeEventListener(...given);
  }
}

// A page that can be hidden, and a network that can go.
function page() {
  const target = new Target();
  globalThis.document = Object.assign(new Target(), { hidden: false });
  globalThis.addEventListener = target.addEventListener.bind(target);
  globalThis.removeEventListener = target.removeEventListener.bind(target);
  return {
    get listeners() {
      return target.listeners + document.listeners;
    },
    show(isShown) {
      document.hidden = !isShown;
      document.dispatchEvent(new Event("visibilitychange"));
      return settle();
    },
    network(event) {
      target.dispatchEvent(new Event(event));
      return settle();
    },
  };
}

test("an address is relative to the page, becomes a WebSocket's, and never holds the token", async () => {
  const found = [];
  for (const [href, url] of [
    ["https://example.org/app/page.html?x#y", undefined],
    ["http://example.org:8080/console/", "../ws"],
    ["blob:https://example.org/6ba7", "/ws"],
    ["file:///app/index.html", "https://example.org/ws"],
  ]) {
    globalThis.location = { href };
    const { sockets } = await connected({ url });
    assert.deepEqual(sockets.last.protocols, ["tidings.v1.json"]);
    found.push(sockets.last.url);
  }
  assert.deepEqual(found, [
    "wss://example.org/ws", "ws://example.org:8080/ws", "wss://example.org/ws", "wss://example.org/ws",
  ]);
  delete globalThis.location;
  assert.throws(() => new Tidings({ url: "/ws" }), TypeError);
});

test("connect lets in with the token in the first message, and tells it in one order", async () => {
  const { tidings, sockets } = client({ device: "laptop" });
  const order = [];
  tidings.on("@state", ({ name }) => order.push(name));
  tidings.on("connected", (data, message) => order.push([data.user_id, message.type, tidings.state.connection_id]));
  tidings.connect().then(() => order.push("resolved"));
  await settle();
  sockets.last.accept();
  assert.deepEqual(sockets.last.the("authenticate").data, { token: "secret", device: "laptop" });
  await settle();
  assert.deepEqual(order, ["connecting", "connected", ["alice", "connected", "k1"], "resolved"]);
});

test("disconnect closes with 1000 wherever it is called, ends what waits, and leaves no timer", async () => {
  for (const when of ["idle", "token", "connecting", "authenticating", "connected", "waiting", "@state", "news"]) {
    const { tidings, sockets } = client({ token: () => (when === "token" ? new Promise(() => {}) : "secret") });
    const ends = [];
    const note = (name) => (error) => ends.push([name, error.constructor, error.code]);
    if (when === "@state") tidings.on("@state", ({ name }) => name === "connecting" && tidings.disconnect());
    tidings.on("news", () => tidings.disconnect());
    const opening = when === "idle" ? Promise.resolve() : tidings.connect().catch(note("connect"));
    if (when !== "@state") tidings.request("history").catch(note("request"));
    const { ready } = tidings.subscribe("room:a");
    ready.catch(note("ready"));
    await settle();
    if (["authenticating"].includes(when)) sockets.last.open();
    if (["connected", "waiting", "news"].includes(when)) sockets.last.accept();
    if (when === "waiting") sockets.last.end();
    if (when === "news") sockets.last.say(published("all", 1));
    tidings.disconnect();
    tidings.disconnect();
    await opening;
    await settle();
    assert.deepEqual(tidings.state, { name: "ended", code: 1000, reason: "done" }, when);
    if (sockets.count && when !== "waiting") assert.equal(sockets.last.closed, 1000, when);
    const wasSent = ["connected", "waiting", "news"].includes(when);
    assert.deepEqual(ends.find(([name]) => name === "ready"), ["ready", Ended, 1000], when);
    const requested = ends.find(([name]) => name === "request")?.[1];
    if (when !== "@state") assert.equal(requested, wasSent ? Lost : Ended, when);
    assert.throws(() => tidings.send("ping"), Ended);
    const count = sockets.count;
    await pass(120_000, 10_000);
    sockets.last?.open();
    sockets.last?.end(1001);
    assert.deepEqual([tidings.state.name, sockets.count], ["ended", count], when);
  }
});

test("after an end connect begins anew, and what an old socket still says is not heard", async () => {
  const { tidings, sockets } = await connected();
  const heard = [];
  tidings.on("news", (data) => heard.push(data.offset));
  const old = sockets.last;
  tidings.disconnect();
  const opening = tidings.connect();
  await settle();
  old.say(published("all", 1));
  old.end(3500);
  sockets.last.accept();
  await opening;
  old.onopen?.({});
  sockets.last.say(published("all", 2));
  assert.deepEqual([heard, sockets.count, tidings.isConnected()], [[2], 2, true]);
});

test("a socket that never opens, or never lets in, is given up after 20 seconds", async () => {
  const { tidings, sockets } = client();
  tidings.connect();
  await settle();
  await pass(20_000);
  assert.deepEqual([tidings.state.name, tidings.state.code, sockets.last.closed], ["waiting", 1006, 1000]);
  await pass(1_000);
  sockets.last.open();
  await pass(20_000);
  assert.equal(tidings.state.name, "waiting");
});

test("a socket that the browser forbids ends it with the reason", async () => {
  class Forbidding {
    constructor() {
      throw new Error("insecure");
    }
  }
  const { tidings } = client({ WebSocket: Forbidding });
  await assert.rejects(tidings.connect(), (error) => error instanceof Ended && /insecure/.test(error.reason));
  assert.equal(tidings.state.name, "ended");
});

test("a token provider is asked at each connection; one that fails or is slow is a failed attempt", async () => {
  const asked = [];
  let give = () => "t1";
  const { tidings, sockets } = client({ token: (why) => asked.push(why) && give() });
  tidings.connect();
  await settle();
  sockets.last.accept();
  const failing = [
    () => { throw new Error("offline"); },
    () => Promise.reject(new Error("offline")),
    () => new Promise(() => {}),
  ];
  for (give of failing) {
    if (sockets.last.readyState === 1) sockets.last.end();
    await pass(1_000);
    if (give === failing[2]) await pass(20_000);
    assert.equal(tidings.state.name, "waiting");
  }
  let late;
  give = () => new Promise((resolve) => (late = resolve));
  await pass(21_000);
  give = () => "t2";
  await pass(1_000);
  late("too late");
  give = () => new Promise((resolve, reject) => (late = reject));
  sockets.last.end();
  await pass(21_000);
  give = () => "t2";
  await pass(1_000);
  late(new Error("too late"));
  await settle();
  sockets.last.open();
  assert.equal(sockets.count, 3, "a token that comes too late opens nothing, and ends nothing");
  sockets.last.answer("authenticate", "connected", CONNECTED);
  assert.equal(sockets.last.the("authenticate").data.token, "t2");
  give = () => null;
  sockets.last.end();
  await pass(1_000);
  assert.deepEqual([tidings.state.name, tidings.state.code, sockets.count], ["ended", 3500, 3]);
  assert.ok(asked.length === 9 && asked.every(({ expired }) => !expired));
});

test("a refused token is asked for anew once, as expired; a second refusal is final", async () => {
  const asked = [];
  const { tidings, sockets } = client({ token: async ({ expired }) => `t${asked.push(expired)}` });
  const opening = tidings.connect();
  const refuse = async () => {
    await settle();
    sockets.last.open();
    sockets.last.answer("authenticate", "error", { code: "unauthorized", message: "the token has expired" });
    const data = { code: 3500, reason: "invalid token", reconnect: false, delay: 0 };
    sockets.last.say({ type: "disconnect", data });
    sockets.last.end(3500, "invalid token");
  };
  await refuse();
  assert.equal(tidings.state.name, "waiting");
  await pass(1_000);
  sockets.last.accept();
  await opening;
  // In the middle of a connection 3500 is a login that was ended, and 3005 a token that was too old.
  sockets.last.end(3005, "token expired");
  await pass(1_000);
  await refuse();
  assert.deepEqual(tidings.state, { name: "ended", code: 3500, reason: "the token has expired" });
  assert.deepEqual(asked, [false, true, true]);
});

test("no token, a login that is ended, and an account that is denied are final, also with a provider", async () => {
  const empty = client({ token: () => "" });
  await assert.rejects(empty.tidings.connect(), (error) => error instanceof Ended && error.code === 3500);
  const { tidings, sockets } = await connected({ token: () => "t1" });
  sockets.last.end(3500, "logged out");
  assert.deepEqual(tidings.state, { name: "ended", code: 3500, reason: "logged out" });
  tidings.connect();
  await settle();
  sockets.last.open();
  sockets.last.answer("authenticate", "error", { code: "forbidden", message: "not here" });
  sockets.last.end(3507);
  assert.deepEqual(tidings.state, { name: "ended", code: 3507, reason: "not here" });
});

test("a token is final where there is only one; a refusal for now is not", async () => {
  const { tidings, sockets } = client();
  tidings.connect();
  await settle();
  sockets.last.open();
  sockets.last.answer("authenticate", "error", { code: "unavailable", message: "later" });
  assert.equal(tidings.state.name, "waiting");
  await pass(1_000);
  sockets.last.open();
  sockets.last.answer("authenticate", "error", { code: "unauthorized", message: "wrong" });
  sockets.last.end(3500);
  assert.deepEqual([tidings.state.name, tidings.state.reason], ["ended", "wrong"]);
});

test("a token that ends soon is replaced in band; what fails is tried again", async () => {
  let give = () => "t1";
  const { tidings, sockets, told } = await connected({ token: () => give() });
  const expiring = () => sockets.last.say({ type: "token_expiring", data: { expires_at: 1 } });
  give = () => Promise.reject(new Error("offline"));
  expiring();
  await settle();
  give = () => "t2";
  await pass(10_000);
  assert.deepEqual(sockets.last.the("refresh").data, { token: "t2" });
  sockets.last.answer("refresh", "refreshed", { expires_at: 77 });
  const { name, expires_at, user_id } = tidings.state;
  assert.deepEqual([name, expires_at, user_id], ["connected", 77, "alice"]);
  expiring();
  await settle();
  sockets.last.answer("refresh", "error", { code: "forbidden", message: "another user's" });
  await pass(60_000, 10_000);
  assert.deepEqual([sockets.last.all("refresh").length, told.errors[0].code], [2, "forbidden"]);
  give = () => null;
  expiring();
  await settle();
  assert.deepEqual([tidings.state.name, tidings.state.code], ["ended", 3500]);
});

test("refresh replaces a token that was given, now and for the connections to come", async () => {
  const { tidings, sockets } = await connected();
  const refreshing = tidings.refresh("newer");
  sockets.last.answer("refresh", "refreshed", { expires_at: 5 });
  await refreshing;
  sockets.last.end();
  await tidings.refresh("newest");
  await pass(1_000);
  sockets.last.open();
  assert.equal(sockets.last.the("authenticate").data.token, "newest");
});

test("a token that is refused does not take the place of the one that is good", async () => {
  const { tidings, sockets } = await connected();
  const refused = assert.rejects(tidings.refresh("another login's"), Refused);
  sockets.last.answer("refresh", "error", { code: "forbidden", message: "another login's" });
  await refused;
  sockets.last.end();
  await pass(1_000);
  sockets.last.open();
  assert.equal(sockets.last.the("authenticate").data.token, "secret");
  // While somebody else's word is waited for, the new one is tried at once.
  await tidings.refresh("newer");
  await settle();
  sockets.last.open();
  assert.deepEqual([sockets.count, sockets.last.the("authenticate").data.token], [3, "newer"]);
});

test("what one user said is not said by another, and what one has had is not what another has", async () => {
  let token = "alice's";
  const { tidings, sockets, told } = await connected({ token: () => token, acknowledge: "manual" }, {
    inbox: { epoch: "e1", offset: 0 }, channels: { "group:a": { epoch: "g", offset: 1 } },
  });
  tidings.subscribe("room:a");
  sockets.last.answer("subscribe", "subscribed", { channel: "room:a", epoch: "r", offset: 0, recovered: false });
  sockets.last.say(published("room:a", 1));
  sockets.last.say(published("user:alice", 1));
  const repeated = assert.rejects(tidings.publish("room:a", "news"), Lost);
  const acknowledged = assert.rejects(tidings.ack("user:alice", 1), Lost);
  sockets.last.end();
  tidings.send("room_message", { text: "alice's" });
  const asked = assert.rejects(tidings.request("history"), Lost);
  token = "bob's";
  await pass(1_000);
  sockets.last.accept({ user_id: "bob", inbox: { epoch: "e2", offset: 0 } });
  assert.deepEqual(sockets.last.sent.map(({ type }) => type), ["authenticate", "subscribe"]);
  assert.deepEqual(sockets.last.the("subscribe").data, { channel: "room:a" }, "from now on");
  await Promise.all([repeated, acknowledged, asked]);
  assert.deepEqual([Object.keys(tidings.positions()), told.gaps], [["user:bob"], []]);
  // After an end nothing waits: whoever speaks then speaks for whoever comes.
  tidings.disconnect();
  tidings.connect();
  tidings.send("room_message", { text: "carol's" });
  await settle();
  sockets.last.accept({ user_id: "carol" });
  assert.deepEqual(sockets.last.the("room_message").data, { text: "carol's" });
});

test("where one user is expected, another one's token ends it before anything is said", async () => {
  const { tidings, sockets } = client({ user: "alice" });
  const opening = assert.rejects(tidings.connect(), Ended);
  tidings.send("room_message", { text: "alice's" });
  tidings.subscribe("room:a");
  await settle();
  sockets.last.accept({ user_id: "bob" });
  await opening;
  assert.deepEqual(tidings.state, { name: "ended", code: 3507, reason: "the token is of another user" });
  assert.deepEqual([sockets.last.sent.length, sockets.last.closed], [1, 1000]);
  tidings.connect();
  await settle();
  sockets.last.accept({ user_id: "alice" });
  assert.ok(tidings.isConnected());
});

test("silence is broken by a ping, and longer silence ends the connection as 3012", async () => {
  const { tidings, sockets } = await connected({ heartbeat: { interval: 10_000, timeout: 3_000 } });
  const socket = sockets.last;
  await pass(9_000);
  socket.say(published("all", 1));
  await pass(9_750);
  assert.equal(socket.all("ping").length, 0, "whatever comes is a sign of life");
  await pass(250);
  assert.equal(socket.all("ping").length, 1);
  socket.say({ type: "pong", data: {} });
  await pass(12_750);
  assert.equal(tidings.state.name, "connected");
  assert.equal(socket.all("ping").length, 2);
  await pass(500);
  assert.deepEqual([tidings.state.name, tidings.state.code, socket.closed], ["waiting", 3012, 3012]);
  socket.end(1000);
  await pass(1_000);
  sockets.last.accept();
  assert.ok(tidings.isConnected(), "the old socket's late close is nobody's");
});

test("a program that was busy when the answer came reads it before it takes the server for dead", async () => {
  const { tidings, sockets } = await connected({ heartbeat: { interval: 10_000, timeout: 3_000 } });
  await pass(10_000);
  assert.equal(sockets.last.all("ping").length, 1);
  // What is due meanwhile is called at once, before what lies in the socket.
  mock.timers.tick(8_000);
  sockets.last.say({ type: "pong", data: {} });
  await pass(9_750);
  assert.deepEqual([tidings.state.name, sockets.count, sockets.last.all("ping").length], ["connected", 1, 1]);
  await pass(250);
  mock.timers.tick(8_000);
  await pass(250);
  assert.equal(tidings.state.code, 3012, "nothing had come");
});

test("a network that comes back is tried at once, and one that changed is probed", async () => {
  const shown = page();
  const { network, show } = shown;
  const heartbeat = { interval: 50_000, timeout: 5_000 };
  const { tidings, sockets } = await connected({ reconnect: () => 60_000, heartbeat });
  await network("offline");
  await network("online");
  await show(true);
  assert.equal(sockets.last.all("ping").length, 1, "one probe at a time");
  await show(false);
  await pass(5_250);
  assert.equal(tidings.state.code, 3012);
  await network("offline");
  assert.equal(sockets.count, 1);
  await network("online");
  assert.equal(sockets.count, 2);
  sockets.last.end();
  await show(false);
  assert.equal(sockets.count, 2, "nobody waits for a page that is hidden");
  await show(true);
  assert.equal(sockets.count, 3);
  assert.equal(shown.listeners, 3);
  tidings.disconnect();
  await network("online");
  await show(true);
  assert.deepEqual([sockets.count, tidings.state.name, shown.listeners], [3, "ended", 0]);
});

test("a hidden page that pauses does nothing; shown, it checks and connects at once (document S1)", async () => {
  const { network, show } = page();
  let isValid = true;
  const checks = [];
  const { tidings, sockets } = await connected({
    hidden: "pause", reconnect: fixed({ attempts: 0 }), poll: { check: () => checks.push(Date.now()) && isValid },
  });
  tidings.send("kept");
  await show(false);
  assert.deepEqual([tidings.state, sockets.last.closed], [{ name: "paused" }, 1000]);
  tidings.send("waits");
  await network("online");
  tidings.connect();
  await pass(300_000, 10_000);
  assert.deepEqual([checks.length, sockets.count], [0, 1]);
  await show(true);
  assert.deepEqual([checks.length, sockets.count], [1, 2]);
  sockets.last.accept();
  assert.equal(sockets.last.all("waits").length, 1);
  sockets.last.end();
  assert.equal(tidings.state.name, "polling");
  await show(false);
  await pass(300_000, 10_000);
  assert.deepEqual([checks.length, sockets.count, tidings.state.name], [1, 2, "paused"]);
  isValid = false;
  await show(true);
  assert.deepEqual([checks.length, sockets.count, tidings.state.code], [2, 2, 3500]);
  await show(false);
  tidings.connect();
  assert.equal(tidings.state.name, "paused");
  tidings.disconnect();
  await show(true);
  assert.deepEqual([sockets.count, tidings.state.name], [2, "ended"]);
});

test("a page that is shown while its check hangs is paused no longer, and tries after 20 seconds", async () => {
  const { show } = page();
  const poll = { check: () => new Promise(() => {}) };
  const { tidings, sockets } = await connected({ hidden: "pause", poll });
  await show(false);
  await show(true);
  assert.equal(tidings.state.name, "polling");
  await pass(19_750);
  assert.equal(sockets.count, 1);
  await pass(250);
  assert.equal(sockets.count, 2);
  sockets.last.accept();
  assert.ok(tidings.isConnected());
});

test("whoever disconnects a page that is shown again, before its check, has nobody asked", async () => {
  const { show } = page();
  const checks = [];
  const poll = { check: () => checks.push(Date.now()) };
  const { tidings, sockets } = await connected({ hidden: "pause", poll });
  tidings.on("@state", ({ name }) => name === "polling" && tidings.disconnect());
  await show(false);
  await show(true);
  await pass(60_000, 10_000);
  assert.deepEqual([tidings.state.name, sockets.count, checks], ["ended", 1, []]);
});

test("a network that comes back ends an attempt that hangs, and no attempt that has just begun", async () => {
  const { network, show } = page();
  const { tidings, sockets } = client();
  tidings.connect();
  await settle();
  await pass(1_000);
  await network("online");
  assert.equal(sockets.count, 1);
  await pass(250);
  await network("offline");
  await show(true);
  assert.equal(sockets.count, 1, "neither says that the network is another one");
  await network("online");
  await network("online");
  assert.deepEqual([sockets.count, sockets.made[0].closed], [2, 1000]);
  sockets.last.accept();
  assert.ok(tidings.isConnected());
});

test("a network that comes back counts the attempts anew, also where one is just being made", async () => {
  const { network } = page();
  const asked = [];
  const { tidings, sockets } = client({ reconnect: (attempt) => asked.push(attempt) && 60_000 });
  tidings.connect();
  await settle();
  sockets.last.end();
  await pass(60_000, 10_000);
  sockets.last.end();
  await network("online");
  assert.equal(sockets.count, 3);
  await network("online");
  assert.equal(sockets.count, 3, "it has just begun");
  sockets.last.end();
  assert.deepEqual(asked, [1, 2, 1]);
  await pass(60_000, 10_000);
  await network("online");
  sockets.last.end();
  assert.deepEqual(asked, [1, 2, 1, 1]);
});

test("a page that is shown again counts its attempts anew", async () => {
  const { show } = page();
  const asked = [];
  const { sockets } = await connected({ hidden: "pause", reconnect: (attempt) => asked.push(attempt) && 1_000 });
  for (const isShown of [true, true, false, true]) {
    await show(isShown);
    if (!isShown) continue;
    sockets.last.end();
    await pass(1_000);
  }
  assert.deepEqual(asked, [1, 2, 1]);
});

test("a handler that throws, or rejects, stops nobody, and is reported", async () => {
  const { tidings, sockets } = await connected();
  const heard = [];
  tidings.on("news", () => { throw new Error("one"); });
  tidings.on("news", async () => { throw new Error("two"); });
  tidings.subscribe("all", () => { throw new Error("three"); });
  tidings.on("*", ({ offset }) => heard.push(offset));
  sockets.last.say(published("all", 1));
  sockets.last.say(published("all", 2));
  await settle();
  assert.deepEqual(heard, [1, 2]);
  assert.deepEqual(faults.map(({ message }) => message).sort(), ["one", "one", "three", "three", "two", "two"]);
});

test("what on returns undoes it, off takes away one handler or all, also of those still to be called", async () => {
  const { tidings, sockets } = await connected();
  const heard = [];
  const second = () => heard.push("second");
  const undo = tidings.on("news", () => {
    heard.push("first");
    undo();
    tidings.off("news", second);
  });
  tidings.on("news", second);
  tidings.on("news", () => heard.push("third"));
  sockets.last.say(published("all", 1));
  sockets.last.say(published("all", 2));
  tidings.off("news");
  sockets.last.say(published("all", 3));
  assert.deepEqual(heard, ["first", "third", "third"]);
});

test("what cannot be read ends the connection and not the client", async () => {
  for (const text of ["{", "null", "7", '{"data": {}}', ""]) {
    const { tidings, sockets } = await connected();
    sockets.last.onmessage({ data: text });
    assert.deepEqual([tidings.state.name, tidings.state.code], ["waiting", 1006], text);
  }
});

test("frames are shown as they are, but for tokens, and only to whoever asks", async () => {
  const { tidings, sockets } = client();
  const frames = [];
  tidings.on("@frame", (frame) => frames.push(frame));
  tidings.connect();
  await settle();
  sockets.last.accept();
  tidings.send("room_message", { room: "a", text: "hello" });
  assert.deepEqual(frames.map(({ direction, message }) => [direction, message.type]), [
    ["out", "authenticate"], ["in", "connected"], ["out", "room_message"],
  ]);
  assert.equal(sockets.last.the("authenticate").data.token, "secret");
  assert.ok(!JSON.stringify(frames).includes("secret"));
  assert.equal(frames[2].text, '{"type":"room_message","data":{"room":"a","text":"hello"}}');
  assert.deepEqual(frames[1].message.data, CONNECTED);
  const heard = [];
  tidings.on("disconnect", () => heard.push("disconnect"));
  tidings.on("@frame", () => tidings.disconnect());
  const data = { code: 3999, reason: "late", reconnect: false, delay: 0 };
  sockets.last.say({ type: "disconnect", data });
  assert.deepEqual([tidings.state.code, heard], [1000, []]);
});

test("whoever is shown a frame may disconnect over it, and nothing goes on behind it", async () => {
  for (const type of ["authenticate", "connected", "subscribe", "publish", "ping", "news"]) {
    const { tidings, sockets, told } = client({ heartbeat: { interval: 1_000, timeout: 1_000 } });
    const ends = [];
    const note = (promise) => promise.then(() => ends.push(Object), (error) => ends.push(error.constructor));
    tidings.on("@frame", ({ message }) => message.type === type && tidings.disconnect());
    note(tidings.connect());
    note(tidings.subscribe("room:a").ready);
    note(tidings.publish("room:a", "news"));
    note(tidings.request("stats"));
    await settle();
    sockets.last.open();
    if (sockets.last.readyState === 1) {
      sockets.last.answer("authenticate", "connected", { ...CONNECTED, inbox: { epoch: "e1", offset: 0 } });
      sockets.last.say(published("user:alice", 1));
    }
    await pass(60_000, 1_000);
    assert.deepEqual([tidings.state.code, sockets.count, ends.length], [1000, 1, 4], type);
    assert.equal(told.states.at(-1), "ended", type);
  }
});
