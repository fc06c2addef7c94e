// What needs no server: that one that renders opens nothing, what is said before there is a connection, and what
// another token takes over.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createSSRApp, effectScope, h } from "vue";
import { renderToString } from "vue/server-renderer";
import { useTidings } from "../vue.js";
import { Sockets, published, settle } from "./support.js";

class Never {
  constructor() {
    assert.fail("a socket was opened");
  }
}

const options = { url: "ws://localhost/ws", WebSocket: Never };

test("a server that renders shows nobody connected, and opens nothing", async () => {
  const app = createSSRApp({
    setup() {
      const { connected, state, messages, client } = useTidings(options);
      return () => h("p", JSON.stringify([connected.value, state.value, messages.value, client()]));
    },
  });
  assert.equal(await renderToString(app), "<p>[false,{&quot;name&quot;:&quot;idle&quot;},[],null]</p>");
});

test("what is said before there is a connection waits, up to the bound of the queue", () => {
  const scope = effectScope();
  scope.run(() => {
    const { send, disconnect } = useTidings({ ...options, queue: 2 });
    // A room is not said but wished for: once, and not one of those that wait.
    for (let n = 0; n < 3; n++) send({ type: "join_room", content: "chat:room001" });
    send({ type: "ping" });
    send({ type: "room_message", content: { room: "chat:room001", text: "hello" } });
    assert.throws(() => send({ type: "ping" }), { name: "QueueFull" });
    disconnect();
    send({ type: "ping" });
  });
  scope.stop();
});

// A connection on scripted sockets, in the room `tea` with one message heard.
async function inTea() {
  const sockets = new Sockets();
  const url = "ws://server/ws";
  const socket = useTidings({ url, heartbeat: false, reconnect: () => 60_000, WebSocket: sockets.WebSocket });
  const { connect, send } = socket;
  send({ type: "join_room", content: "tea" });
  connect("t1");
  await settle();
  sockets.last.accept();
  sockets.last.answer("subscribe", "subscribed", { channel: "room:tea", epoch: "r", offset: 0, recovered: false });
  sockets.last.say(published("room:tea", 1));
  return { ...socket, sockets };
}

const since = ({ sockets }) => sockets.last.the("subscribe").data.since;

test("another token goes on from where the last one stood, unless it is another user's", async () => {
  const made = await inTea();
  const { connect, send, sockets, disconnect } = made;
  sockets.last.end();
  send({ type: "room_message", content: { text: "offline" } });
  connect("t2");
  await settle();
  sockets.last.accept();
  assert.deepEqual(sockets.last.sent.map(({ type }) => type), ["authenticate", "subscribe", "room_message"]);
  assert.deepEqual([sockets.last.the("authenticate").data.token, since(made)], ["t2", { epoch: "r", offset: 1 }]);
  // Of another login it is refused in band.
  const answered = async (user_id) => {
    sockets.last.answer("refresh", "error", { code: "forbidden", message: "not of this login" });
    await settle();
    sockets.last.accept({ user_id });
  };
  connect("t3");
  await answered("alice");
  assert.deepEqual([sockets.count, since(made)], [3, { epoch: "r", offset: 1 }]);
  connect("t4");
  await answered("bob");
  assert.deepEqual([sockets.count, since(made)], [4, undefined]);
  disconnect();
});

test("disconnect leaves the rooms, and what a logged out user says waits for the next one", async () => {
  const { connect, send, sockets, disconnect, messages } = await inTea();
  assert.equal(messages.value.at(-1).content.offset, 1);
  sockets.last.say({ type: "error", data: { code: "rate_limited", message: "slower" } });
  assert.deepEqual(messages.value.at(-1).content, { code: "rate_limited", message: "slower" });
  disconnect();
  send({ type: "room_message", content: { text: "later" } });
  for (const expected of [["authenticate", "room_message"], ["authenticate"]]) {
    connect("t2");
    await settle();
    sockets.last.accept();
    assert.deepEqual(sockets.last.sent.map(({ type }) => type), expected);
    disconnect();
  }
});
