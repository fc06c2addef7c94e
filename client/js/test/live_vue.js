// A page with the components that document S4 prints, unchanged, on a store made of `useTidings`.
//
// node live_vue.js WS-URL FOLDER-OF-THE-COMPONENTS

import { CountedSocket, document, leave, press, root, shown, sockets } from "./live_page.js";

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { transformSync } from "esbuild";
import { createPinia, defineStore, setActivePinia } from "pinia";
import { createApp, h, nextTick, watch } from "vue";
import { compileScript, parse } from "vue/compiler-sfc";
import { jitter } from "../tidings.js";
import { useTidings } from "../vue.js";
import { Journal } from "./live_journal.js";
import { serve } from "./live_lines.js";

const [url, folder] = process.argv.slice(2);
const journal = new Journal();
const note = (entry) => journal.note(entry);

const pinia = createPinia();
setActivePinia(pinia);

// The whole of a store, in place of the document's own.
const useWebSocketStore = defineStore("websocket", () =>
  useTidings({ url, WebSocket: CountedSocket, reconnect: jitter({ base: 20, cap: 200 }), keep: 5 }),
);
const store = useWebSocketStore();

// What the components take from around them.
const kept = new Map();
const called = (name) => (...given) => note({ kind: "called", name, given });
const surroundings = {
  localStorage: { getItem: (key) => kept.get(key) ?? null },
  loadUsers: called("loadUsers"),
  updateOrderStatus: called("updateOrderStatus"),
  ElMessage: { success: called("ElMessage.success"), info: called("ElMessage.info") },
  ElNotification: called("ElNotification"),
};

// As a build would: the template into the script, TypeScript away, `@/stores/websocket` to the store above.
function component(name) {
  const { descriptor } = parse(readFileSync(join(folder, name), "utf8"), { filename: name });
  const script = compileScript(descriptor, { id: name, inlineTemplate: true });
  const { code } = transformSync(script.content, { loader: "ts", format: "cjs" });
  const module = { exports: {} };
  const require = createRequire(import.meta.url);
  const resolve = (wanted) => (wanted === "@/stores/websocket" ? { useWebSocketStore } : require(wanted));
  const scope = { module, require: resolve, ...surroundings };
  new Function(...Object.keys(scope), code)(...Object.values(scope));
  const { default: made } = module.exports;
  return descriptor.template === null ? { ...made, render: () => null } : made;
}

// Two components of Element Plus, as far as the document uses them.
const ElInput = {
  inheritAttrs: false,
  props: ["modelValue"],
  emits: ["update:modelValue"],
  setup: (props, { attrs, emit, slots }) => {
    const onInput = ({ target }) => emit("update:modelValue", target.value);
    return () => [h("input", { ...attrs, value: props.modelValue, onInput }), slots.append?.()];
  },
};
const ElButton = { setup: (_props, { slots }) => () => h("button", slots.default?.()) };

// A component of our own: what it listens to and subscribes to ends with it.
const Listener = {
  setup() {
    store.on("notification", ({ title }) => note({ kind: "listened", title }));
    store.subscribe("room:news", ({ data }) => note({ kind: "subscribed", n: data.n }));
    return () => h("p", store.connected ? "connected" : "not connected");
  },
};

const apps = new Map();
const commands = {
  keep: ({ key, value }) => void kept.set(key, value),
  async mount({ name }) {
    const app = createApp(name === "Listener" ? Listener : component(name));
    app.use(pinia).component("ElInput", ElInput).component("ElButton", ElButton);
    app.mount(root.appendChild(document.createElement("section")));
    apps.set(name, app);
    await nextTick();
  },
  unmount: ({ name }) => apps.get(name).unmount(),
  async type({ text }) {
    const input = root.querySelector("input");
    input.value = text;
    input.dispatchEvent(new window.Event("input"));
    await nextTick();
    press("button");
    await nextTick();
    return root.querySelector("input").value;
  },
  send: ({ message }) => store.send(message),
  disconnect: () => store.disconnect(),
  dispose: () => store.$dispose(),
  store: () => ({ connected: store.connected, state: store.state.name, messages: store.messages }),
  // Until the store says so, watched as any component would.
  connected: () =>
    new Promise((resolve) => {
      const end = watch(
        () => store.connected,
        (is) => {
          if (!is) return;
          resolve(null);
          queueMicrotask(() => end());
        },
        { immediate: true },
      );
    }),
  shown,
  sockets: () => sockets,
  journal: ({ fields }) => journal.noted(fields),
  until: ({ fields, count }) => journal.until(fields, count),
};

await serve((command, given) => commands[command](given));
for (const app of apps.values()) app.unmount();
store.$dispose();
await leave();
