// A document for the frameworks in Node, and sockets that are counted. Imported before the frameworks, which look
// around for a document when they are loaded.

import { Window } from "happy-dom";
import { WebSocket } from "ws";

const window = new Window({ url: "http://localhost/" });
const elements = ["Node", "Element", "HTMLElement", "HTMLIFrameElement", "SVGElement", "MathMLElement"];
for (const name of ["document", "navigator", ...elements]) {
  Object.defineProperty(globalThis, name, { value: window[name], configurable: true });
}
globalThis.window = window;

export const { document } = window;
export const root = document.body.appendChild(document.createElement("div"));

// How many sockets there have been, and how many of them are not closed.
export const sockets = { made: 0, living: 0 };

export class CountedSocket extends WebSocket {
  constructor(url, protocols) {
    // In a browser each message is a task of its own: what waits for one runs before the next.
    super(url, protocols, { allowSynchronousEvents: false });
    sockets.made += 1;
    sockets.living += 1;
    this.once("close", () => (sockets.living -= 1));
  }
}

// Presses what a person would: an element by its selector.
export const press = (selector) => void root.querySelector(selector).click();

export const shown = () => root.textContent;

// Leaves nothing that would keep the program.
export const leave = () => window.happyDOM.close();
