// React's hook on scripted sockets: users, tokens and rooms that change under a component.

import { leave, root } from "./live_page.js";

import assert from "node:assert/strict";
import { after, afterEach, beforeEach, test } from "node:test";
import { act, createElement } from "react";
import { createRoot } from "react-dom/client";
import { useWebSocket, WebSocketStatus } from "../react.js";
import { Sockets, begin, end, pass, published } from "./support.js";

globalThis.IS_REACT_ACT_ENVIRONMENT = true;

const faults = [];

beforeEach(() => {
  begin();
  faults.length = 0;
  globalThis.reportError = (error) => faults.push(error.message);
});
afterEach(end);
after(leave);

// A component that uses the hook, on sockets that the test plays the other end of.
function page() {
  const sockets = new Sockets();
  const mounted = createRoot(root);
  const heard = [];
  let socket;
  function Page({ user, token, ...options }) {
    socket = useWebSocket(user, token, {
      url: "ws://server/ws", heartbeat: false, reconnect: () => 1_000, WebSocket: sockets.WebSocket,
      onMessage: (message) => heard.push(message), ...options,
    });
    return createElement(WebSocketStatus, { socket });
  }
  return {
    sockets,
    heard,
    get hook() {
      return socket;
    },
    render: (given) => act(async () => mounted.render(createElement(Page, given))),
    unmount: () => act(async () => mounted.unmount()),
    // What the other end does, or time.
    then: (doing) => act(async () => doing(sockets.last)),
    // Who has been let in, with which token, and what each socket was told beside.
    get said() {
      return sockets.made.map(({ sent }) => sent.map(({ type, data }) => data?.token ?? data?.text ?? type));
    },
  };
}

const text = (words) => ({ type: "room_message", data: { room: "a", text: words } });

test("a token that is replaced while the line is down drops nothing that was said", async () => {
  const here = page();
  await here.render({ user: "alice", token: "t1" });
  await here.then((socket) => socket.accept());
  await here.then((socket) => socket.end());
  here.hook.sendMessage(text("offline"));
  await here.render({ user: "alice", token: "t2" });
  await here.then((socket) => socket.accept());
  assert.deepEqual(here.said, [["t1"], ["t2", "offline"]], "it is tried at once, with the new one");
  // On a connection that lives, in band.
  await here.render({ user: "alice", token: "t3" });
  assert.deepEqual(here.said[1], ["t2", "offline", "t3"]);
  await here.then((socket) => socket.answer("refresh", "refreshed", { expires_at: 9 }));
  assert.equal(here.hook.state.expires_at, 9);
  // Another login's is another connection. An end of the login is one until there is another token.
  await here.render({ user: "alice", token: "t4" });
  await here.then((socket) => socket.answer("refresh", "error", { code: "forbidden", message: "another login" }));
  assert.deepEqual([here.sockets.count, here.sockets.made[1].closed], [3, 1000]);
  await here.then((socket) => socket.accept());
  await here.then((socket) => socket.end(3500, "token revoked"));
  assert.equal(here.hook.state.name, "ended");
  await here.render({ user: "alice", token: "t5" });
  await here.then((socket) => socket.accept());
  // Where the answer is lost with the line, the next connection has it.
  await here.render({ user: "alice", token: "t6" });
  await here.then((socket) => {
    socket.end();
    here.hook.sendMessage(text("meanwhile"));
  });
  assert.deepEqual(here.said.slice(2), [["t4"], ["t5", "t6"], []]);
  await here.then((socket) => socket.accept());
  assert.deepEqual([here.said.at(-1), here.hook.isConnected], [["t6", "meanwhile"], true]);
  await here.render({ user: "alice", token: "t1" });
  assert.equal(here.said.at(-1).at(-1), "t1");
  await here.unmount();
});

test("a token of another user says nothing of what this one said, and is not shown as this one", async () => {
  const here = page();
  await here.render({ user: "alice", token: "bob's" });
  here.hook.sendMessage(text("alice's words"));
  await here.then((socket) => socket.accept({ user_id: "bob" }));
  assert.deepEqual(here.said, [["bob's"]]);
  assert.deepEqual([here.hook.state.name, here.hook.state.code, here.hook.isConnected], ["ended", 3507, false]);
  await here.render({ user: "alice", token: "alice's" });
  await here.then((socket) => socket.accept({ user_id: "alice" }));
  assert.ok(here.hook.isConnected);
  await here.unmount();
});

test("the next user inherits neither what was not said nor a position; the same one does", async () => {
  const here = page();
  const news = (socket) => {
    const { channel } = socket.the("subscribe").data;
    socket.answer("subscribe", "subscribed", { channel, epoch: "r", offset: 0, recovered: false });
    socket.say(published(channel, 1));
  };
  await here.render({ user: "alice", token: "a" });
  await here.then(() => void here.hook.subscribe("tea"));
  await here.then((socket) => socket.accept());
  await here.then(news);
  await here.render({ user: null, token: null });
  here.hook.sendMessage(text("alice's"));
  await here.render({ user: "bob", token: "b" });
  await here.then((socket) => socket.accept({ user_id: "bob" }));
  assert.deepEqual(here.said[1], ["b", "subscribe"]);
  assert.deepEqual(here.sockets.last.the("subscribe").data, { channel: "room:tea" });
  await here.then(news);
  await here.render({ user: null, token: null });
  here.hook.sendMessage(text("bob's"));
  await here.render({ user: "bob", token: "b" });
  await here.then((socket) => socket.accept({ user_id: "bob" }));
  assert.deepEqual(here.said[2], ["b", "subscribe", "bob's"], "in order, and once");
  assert.deepEqual(here.sockets.last.the("subscribe").data.since, { epoch: "r", offset: 1 });
  // Another address, or another device, is another connection, from the same place.
  for (const [more, url, device] of [
    [{ url: "ws://other/ws" }, "ws://other/ws", undefined],
    [{ url: "ws://other/ws", device: "d" }, "ws://other/ws", "d"],
  ]) {
    const before = here.sockets.count;
    await here.render({ user: "bob", token: "b", ...more });
    await here.then((socket) => socket.accept({ user_id: "bob" }));
    const { last, count } = here.sockets;
    assert.deepEqual([count, last.url, last.the("authenticate").data.device], [before + 1, url, device]);
    assert.deepEqual(last.sent.map(({ type }) => type), ["authenticate", "subscribe"]);
    assert.deepEqual(last.the("subscribe").data.since, { epoch: "r", offset: 1 });
  }
  await here.unmount();
});

test("who was put out of a room, or not let in, hears so, and asks again by joining again", async () => {
  const here = page();
  await here.render({ user: "alice", token: "a" });
  await here.then((socket) => socket.accept());
  const { hook, sockets, heard } = here;
  const asked = () => sockets.last.all("subscribe").length;
  const refusal = { code: "forbidden", message: "not you" };
  await here.then(() => hook.sendMessage({ type: "join_room", data: { room: "tea" } }));
  await here.then((socket) => socket.answer("subscribe", "error", refusal));
  assert.deepEqual(heard.at(-1), { type: "error", data: { ...refusal, channel: "room:tea" } });
  let undo;
  await here.then(() => (undo = hook.subscribe("tea")));
  assert.equal(asked(), 2);
  const told = { channel: "room:tea", epoch: "r", offset: 0, recovered: false };
  await here.then((socket) => socket.answer("subscribe", "subscribed", told));
  await here.then(() => void hook.subscribe("tea"));
  assert.equal(asked(), 2, "whoever is in is in");
  await here.then((socket) => socket.say({ type: "unsubscribed", data: { channel: "room:tea" } }));
  await here.then(() => undo());
  await here.then(() => void hook.subscribe("tea"));
  assert.equal(asked(), 3);
  await here.then((socket) => socket.answer("subscribe", "subscribed", told));
  await here.then((socket) => socket.say(published("room:tea", 1)));
  assert.equal(heard.at(-1).channel, "room:tea");
  await here.then(() => void hook.subscribe("tea"));
  await here.then(() => hook.unsubscribe("tea"));
  assert.deepEqual(sockets.last.the("unsubscribe").data, { channel: "room:tea" }, "and is out of it by one word");
  // What answers nothing comes as a message, too.
  await here.then((socket) => socket.say({ type: "error", data: { code: "rate_limited", message: "slower" } }));
  assert.deepEqual(heard.at(-1), { type: "error", data: { code: "rate_limited", message: "slower" } });
  await here.unmount();
});

test("what a callback throws is reported, and takes nothing away", async () => {
  const here = page();
  const fails = (name) => async () => { throw new Error(name); };
  const throws = (name) => () => { throw new Error(name); };
  const given = { onMessage: throws("message"), onConnect: throws("connect"), onDisconnect: throws("disconnect") };
  await here.render({ user: "alice", token: "a", ...given });
  await here.then((socket) => socket.accept());
  assert.ok(here.hook.isConnected);
  await here.then((socket) => socket.end());
  await here.then(() => pass(1_000));
  await here.then((socket) => socket.accept());
  assert.equal(here.hook.lastMessage.type, "connected");
  await here.then((socket) => socket.say(published("all", 1)));
  assert.equal(here.hook.lastMessage.offset, 1, "it is shown all the same");
  await here.render({ user: "alice", token: "a", ...given, onDisconnect: fails("logged out") });
  await here.render({ user: null, token: null });
  assert.equal(root.textContent, "Not connected");
  assert.deepEqual(faults, ["connect", "message", "disconnect", "connect", "message", "message", "logged out"]);
  await here.unmount();
});
