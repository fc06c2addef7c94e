// What needs no server: that one that renders opens nothing, and what is said before there is a connection.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createSSRApp, effectScope, h } from "vue";
import { renderToString } from "vue/server-renderer";
import { useTidings } from "../vue.js";

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
