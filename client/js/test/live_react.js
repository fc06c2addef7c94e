// A page that uses React's hook as document S2 does.
//
// node live_react.js WS-URL

import { CountedSocket, leave, press, root, shown, sockets } from "./live_page.js";

import { createElement, StrictMode, useEffect } from "react";
import { createRoot } from "react-dom/client";
import { jitter } from "../tidings.js";
import { useWebSocket, WebSocketStatus } from "../react.js";
import { Journal } from "./live_journal.js";
import { serve } from "./live_lines.js";

const url = process.argv[2];
const journal = new Journal();
const note = (entry) => journal.note(entry);

let hook = null;
// What undoes each `join`.
const undoing = [];
const renders = { quiet: 0 };

// The document's call, in its words; `label` is what a new `onMessage` of a later render says.
function Page({ user, token, label, room }) {
  const socket = useWebSocket(user, Array.isArray(token) ? () => token[0] : token, {
    url,
    WebSocket: CountedSocket,
    reconnect: jitter({ base: 20, cap: 200 }),
    onMessage: ({ type, data: { n = null, code = null } }) => note({ kind: "message", label, type, n, code }),
    onConnect: () => note({ kind: "connect", user }),
    onDisconnect: ({ name }) => note({ kind: "disconnect", user, name }),
  });
  const { isConnected, sendMessage, subscribe, lastMessage, state } = socket;
  hook = socket;
  useEffect(() => {
    subscribe("notifications");
    if (room) subscribe(room);
    sendMessage({ type: "ping" });
  }, [subscribe, sendMessage, room]);
  useEffect(() => {
    const last = lastMessage?.data?.n ?? null;
    note({ kind: "rendered", label, isConnected, state: state.name, code: state.code ?? null, last });
  });
  return createElement(WebSocketStatus, { socket });
}

// Who does not read `lastMessage`.
function Quiet({ user, token }) {
  const onMessage = ({ data: { n } }) => note({ kind: "quiet", n });
  useWebSocket(user, token, { url, WebSocket: CountedSocket, onMessage });
  renders.quiet += 1;
  return null;
}

const pages = { Page, Quiet };
let mounted = createRoot(root);

const commands = {
  render({ page = "Page", strict = false, ...properties }) {
    const element = createElement(pages[page], properties);
    mounted.render(strict ? createElement(StrictMode, null, element) : element);
  },
  unmount() {
    mounted.unmount();
    mounted = createRoot(root);
  },
  say: ({ message }) => hook.sendMessage(message),
  leave: ({ room }) => hook.unsubscribe(room),
  join: ({ room }) => void undoing.push(hook.subscribe(room)),
  undo: () => undoing.pop()(),
  press: ({ selector }) => press(selector),
  shown: () => ({ text: shown(), class: root.firstChild?.className, role: root.querySelector("span")?.role }),
  sockets: () => sockets,
  renders: () => renders,
  journal: ({ fields }) => journal.noted(fields),
  until: ({ fields, count }) => journal.until(fields, count),
};

await serve((command, given) => commands[command](given));
mounted.unmount();
await leave();
