// What needs no server: what the status says, and that a server that renders opens nothing.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createElement } from "react";
import { renderToString } from "react-dom/server";
import { TEXTS, useWebSocket, WebSocketStatus } from "../react.js";

const shown = (state, more = {}) =>
  renderToString(createElement(WebSocketStatus, { socket: { state, retry() {} }, ...more }));

test("each state has words and a class, and a button where a person can do something", () => {
  const offered = [];
  for (const name of ["idle", "connecting", "connected", "waiting", "paused", "polling", "ended"]) {
    const html = shown({ name, attempt: 3, delay: 4200, reason: "token revoked" });
    assert.ok(html.startsWith(`<div class="websocket-status websocket-status-${name}"><span role="status">`), html);
    assert.doesNotMatch(html, /<span role="status"><\/span>|undefined/);
    if (html.includes('<button type="button">Retry now</button>')) offered.push(name);
  }
  assert.deepEqual(offered, ["waiting", "polling", "ended"]);
  assert.match(shown({ name: "waiting", attempt: 3, delay: 4200 }), /attempt 3 in 5 s/);
  assert.match(shown({ name: "ended", code: 3500, reason: "token revoked" }), /Disconnected: token revoked/);
});

test("its words and class are the page's where it gives them, one by one", () => {
  const texts = { waiting: ({ attempt }) => `第 ${attempt} 次`, retry: "重试", connected: "已连接" };
  const html = shown({ name: "waiting", attempt: 2, delay: 1 }, { texts, className: "header" });
  assert.equal(
    html,
    '<div class="websocket-status websocket-status-waiting header"><span role="status">第 2 次</span>' +
      '<button type="button">重试</button></div>',
  );
  assert.match(shown({ name: "connected" }, { texts }), />已连接</);
  assert.ok(shown({ name: "idle" }, { texts }).includes(TEXTS.idle));
});

test("what the server said is text", () => {
  assert.match(shown({ name: "ended", reason: "<b>no</b>" }), /&lt;b&gt;no&lt;\/b&gt;/);
});

test("a server that renders shows nobody connected, and opens nothing", () => {
  class Never {
    constructor() {
      assert.fail("a socket was opened");
    }
  }
  function Page() {
    const socket = useWebSocket("alice", "token", { url: "ws://localhost/ws", WebSocket: Never });
    assert.deepEqual([socket.isConnected, socket.lastMessage, socket.client], [false, null, null]);
    return createElement(WebSocketStatus, { socket });
  }
  assert.match(renderToString(createElement(Page)), /Not connected/);
});
