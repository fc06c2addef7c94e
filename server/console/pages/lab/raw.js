// A second connection, frame by frame: what a client of another dialect says and sees.

import { socketUrl } from "../../lib/api.js";
import { element, field, fieldError } from "../../lib/dom.js";
import { session } from "../../lib/session.js";
import { card } from "./card.js";
import { describe } from "./codes.js";
import { TOKEN, doors, messages } from "./dialects.js";
import { Frames } from "./frames.js";
import { t } from "./texts.js";

// Of a binary frame as much is shown, in hexadecimal.
const BINARY_SHOWN = 256;

export class Raw {
  #doors = doors();
  #socket = null;
  #frames = new Frames("raw-frames", t("raw_frames"));
  #door = element("select", { id: "door" });
  #address = plain("address");
  #open = element("button", { type: "submit", className: "primary", id: "raw-open" }, t("open"));
  #close = element("button", { type: "button", id: "raw-close", disabled: true }, t("close"));
  #state = element("p", { className: "hint", role: "status", id: "raw-state" }, t("raw_idle"));
  #example = element("select", { id: "raw-example" });
  #text = element("textarea", { id: "raw-text", rows: 3, spellcheck: false, autocapitalize: "off" });
  #send = element("button", { type: "submit", id: "raw-send", disabled: true }, t("send"));

  constructor(page) {
    const options = this.#doors.map(({ dialect }, index) => (
      element("option", { value: String(index) }, t(`dialect_${dialect}`))));
    this.#door.append(...options);
    const opening = element("form", { id: "raw", noValidate: true },
      field(t("client_of"), this.#door), field(t("address"), this.#address, t("address_hint")),
      element("div", { className: "row" }, this.#open, this.#close), this.#state);
    const sending = element("form", { id: "raw-sending", noValidate: true },
      field(t("example"), this.#example), field(t("frame"), this.#text),
      element("div", { className: "row" }, this.#send));
    const explained = element("p", { className: "hint" }, t("raw_about"));
    this.element = element("div", { className: "lanes second" },
      element("div", { className: "lane" }, card("another", t("raw"), null, explained, opening)),
      element("div", { className: "lane" }, card("raw-say", t("raw_say"), null, sending), this.#frames.element));
    page.listen(this.#door, "change", () => this.#choose());
    page.listen(this.#example, "change", () => (this.#text.value = this.#example.value));
    page.listen(opening, "submit", (event) => this.#connect(event));
    page.listen(this.#close, "click", () => this.#socket?.close(1000, "done"));
    page.listen(sending, "submit", (event) => this.#say(event));
    page.leave(() => {
      this.#frames.stop();
      this.#drop();
    });
    this.#choose();
  }

  #choose() {
    const { dialect, address } = this.#doors[Number(this.#door.value)];
    this.#address.value = address;
    this.#example.replaceChildren(...messages(dialect).map((text) => element("option", { value: text }, text)));
    this.#text.value = this.#example.value;
    if (this.element.isConnected) fieldError(this.#address, "");
  }

  #connect(event) {
    event.preventDefault();
    if (this.#open.disabled) return;
    this.#drop();
    let socket;
    try {
      const url = new URL(socketUrl(this.#address.value.trim()));
      // Behind a proxy's path, or on another port, is another server: it gets no token of this one's.
      if (url.host !== location.host) throw new Error(t("this_server"));
      socket = new WebSocket(url.href.replaceAll(encodeURIComponent(TOKEN), encodeURIComponent(session.token)));
    } catch (error) {
      fieldError(this.#address, error.message.replaceAll(session.token, TOKEN));
      this.#address.focus();
      return;
    }
    fieldError(this.#address, "");
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    this.#tell("busy", t("raw_opening"));
    const current = (handler) => (given) => socket === this.#socket && handler(given);
    let opened = false;
    socket.onopen = current(() => {
      opened = true;
      this.#tell("good", t("raw_open"));
      this.#text.focus();
    });
    socket.onmessage = current(({ data }) => this.#show("in", data));
    socket.onclose = current(({ code, reason }) => {
      this.#socket = null;
      const name = describe(code);
      const said = reason && reason !== name ? ` ${t("said", { reason })}` : "";
      this.#tell("bad", opened ? `${t("raw_closed", { code, name })}${said}` : t("raw_refused"));
    });
  }

  #say(event) {
    event.preventDefault();
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    this.#socket.send(this.#text.value.replaceAll(TOKEN, session.token));
    this.#show("out", this.#text.value);
  }

  #show(direction, data) {
    const text = typeof data === "string" ? data.replaceAll(session.token || TOKEN, TOKEN) : hexadecimal(data);
    let message = null;
    try {
      message = JSON.parse(text);
    } catch {
      // A bare word, as `ping`, or bytes.
    }
    this.#frames.add({ direction, text, message, at: new Date() });
  }

  #tell(tone, text) {
    this.#state.dataset.tone = tone;
    this.#state.textContent = text;
    this.#open.disabled = this.#socket !== null;
    this.#close.disabled = this.#socket === null;
    this.#send.disabled = this.#socket?.readyState !== WebSocket.OPEN;
  }

  // A socket that is only forgotten would stay open for as long as the console is.
  #drop() {
    const socket = this.#socket;
    this.#socket = null;
    socket?.close(1000, "done");
  }
}

function plain(id) {
  return element("input", { id, autocomplete: "off", autocapitalize: "off", spellcheck: false, className: "mono" });
}

function hexadecimal(buffer) {
  const shown = [...new Uint8Array(buffer, 0, Math.min(buffer.byteLength, BINARY_SHOWN))];
  const text = shown.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
  return buffer.byteLength > BINARY_SHOWN ? `${text} …` : text;
}
