// A page that uses the hook of document S2 as the document does; its text is in ../knowledge, as printed. The hook
// itself is not printed: this one says the document's messages, and keeps what is said before there is a connection.
//
// node knowledge_page.js PORT USER TOKEN, with NODE_PATH naming the folder of the packages.
"use strict";

const path = require("node:path");
const { Sources } = require("./compile");
const { browserSocket } = require("./socket");
const { report, serve } = require("./wire");

const [port, userId, token] = process.argv.slice(2);
// The document's default port.
const WebSocket = browserSocket("localhost:8000", Number(port), report);

function useWebSocket(userId, token, { onMessage, onConnect, onDisconnect }) {
  const waiting = [];
  const socket = new WebSocket(`ws://localhost:8000/api/v1/ws/${userId}?token=${token}`);
  const hook = {
    isConnected: false,
    sendMessage: (message) => (hook.isConnected ? socket.send(JSON.stringify(message)) : waiting.push(message)),
    subscribe: (room) => hook.sendMessage({ type: "room_subscribe", data: { room } }),
    unsubscribe: (room) => hook.sendMessage({ type: "room_unsubscribe", data: { room } }),
    close: () => socket.close(),
  };
  socket.onopen = () => {
    hook.isConnected = true;
    onConnect();
    waiting.splice(0).forEach(hook.sendMessage);
  };
  socket.onmessage = (event) => onMessage(JSON.parse(event.data));
  socket.onclose = () => {
    hook.isConnected = false;
    onDisconnect();
  };
  socket.onerror = () => {};
  return hook;
}

let hook = null;
const sources = new Sources(path.join(__dirname, "..", "knowledge"), {
  console: { log: (text, message = null) => report({ event: "log", text, message }) },
  useWebSocket: (...given) => (hook = useWebSocket(...given)),
  userId,
  token,
});
sources.snippet("connect.ts");

serve({
  send: ({ message }) => hook.sendMessage(message),
  unsubscribe: ({ room }) => hook.unsubscribe(room),
  close: () => hook.close(),
});
