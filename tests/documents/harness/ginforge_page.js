// A page with the front end that document S4 prints. What the document takes from around its texts is here; the
// texts themselves are in ../ginforge, as printed.
//
// node ginforge_page.js PORT, with NODE_PATH naming the folder of the packages.
"use strict";

const path = require("node:path");
const { createPinia, setActivePinia } = require("pinia");
const { h, nextTick, ref } = require("vue");
const { Sources } = require("./compile");
const { createApp, screen } = require("./screen");
const { browserSocket } = require("./socket");
const { Time, logs, report, serve } = require("./wire");

const port = Number(process.argv[2]);

const kept = new Map();
const time = new Time();
// The address that the document writes.
const WebSocket = browserSocket("localhost:8087", port, report);
const called = (name) => (...given) => report({ event: "called", name, given });

const sources = new Sources(path.join(__dirname, "..", "ginforge"), {
  WebSocket,
  setTimeout: time.setTimeout,
  setInterval: time.setInterval,
  console: logs,
  localStorage: { getItem: (key) => kept.get(key) ?? null },
  // What the document leaves to the page: what comes goes to whoever shows it.
  handleMessage(message) {
    report({ event: "message", message });
    if (message.type === "room_message") shown.get("Chat.vue")?.messages.push(message.content);
  },
  loadUsers: called("loadUsers"),
  updateOrderStatus: called("updateOrderStatus"),
  ElMessage: { success: called("ElMessage.success"), info: called("ElMessage.info") },
  ElNotification: called("ElNotification"),
});

// Two components of Element Plus, as far as the document uses them.
const ElInput = {
  inheritAttrs: false,
  props: ["modelValue"],
  emits: ["update:modelValue"],
  setup: (props, { attrs, emit, slots }) => () => [
    h("input", { ...attrs, value: props.modelValue, onInput: (event) => emit("update:modelValue", event.value) }),
    slots.append?.(),
  ],
};
const ElButton = { setup: (_props, { slots }) => () => h("button", slots.default?.()) };

const pinia = createPinia();
setActivePinia(pinia);
const wsStore = sources.module("stores/websocket.ts").useWebSocketStore();

const apps = new Map();
const screens = new Map();
// The components' own state, as far as they give it to their templates.
const shown = new Map();

// Of the chat: its field, its button.
const element = (tag) => screens.get("Chat.vue").all((node) => node.tag === tag)[0];

// The tips refer to a `ws` that is at once a ref (`ws.value?.send`) and has a socket's handlers (`ws.onclose =`),
// to `connect` and to `connected`: these are they, and a page that follows both tips has both on one `ws`.
function withTips(token) {
  const ws = ref(null);
  const connected = ref(false);
  function connect(token) {
    const socket = new WebSocket(`ws://localhost:8087/ws?token=${token}`);
    ws.value = socket;
    socket.onopen = (event) => {
      connected.value = true;
      ws.onopen(event);
    };
    socket.onclose = (event) => {
      connected.value = false;
      report({ event: "closed", code: event.code });
      ws.onclose(event);
    };
    socket.onerror = () => report({ event: "failed" });
    socket.onmessage = (event) => report({ event: "message", message: JSON.parse(event.data) });
  }
  sources.snippet("reconnect.ts", { ws, connect, token });
  return { connect: () => connect(token), ...sources.snippet("queue.ts", { ws, connected }, ["send", "messageQueue"]) };
}

let tips = null;

serve({
  // Time passes for the document's timers; how many of them still wait.
  pass({ milliseconds }) {
    time.pass(milliseconds);
    return time.size;
  },
  // localStorage, as a login leaves it.
  keep: ({ key, value }) => void kept.set(key, value),
  async mount({ component }) {
    const app = createApp(sources.component(component));
    app.use(pinia).component("ElInput", ElInput).component("ElButton", ElButton);
    const root = screen();
    shown.set(component, app.mount(root).$.setupState);
    apps.set(component, app);
    screens.set(component, root);
    await nextTick();
  },
  unmount: ({ component }) => apps.get(component).unmount(),
  run: ({ snippet }) => void sources.snippet(snippet, { wsStore }),
  connect: ({ token }) => wsStore.connect(token),
  send: ({ message }) => wsStore.send(message),
  // Types into the chat's field, and presses Enter or the button.
  async type({ text, submit }) {
    element("input").dispatch("onInput", { value: text });
    await nextTick();
    if (submit === "button") element("button").dispatch("onClick", {});
    else element("input").dispatch("onKeyup", { key: "Enter" });
    await nextTick();
    return element("input").props.value;
  },
  // What the chat shows: a line for each message, name and text.
  chat: () =>
    screens
      .get("Chat.vue")
      .all((node) => node.props.class === "message")
      .map((line) => line.children.filter((child) => child.tag === "span").map((span) => span.textContent)),
  store: () => ({ connected: wsStore.connected, messages: wsStore.messages }),
  tips({ token }) {
    tips = withTips(token);
    tips.connect();
  },
  tip_send({ message }) {
    tips.send(message);
    return tips.messageQueue.length;
  },
});
