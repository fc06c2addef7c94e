// What every page is: a custom element that undoes, when it is left, whatever it has begun.

import { element } from "./dom.js";
import { session } from "./session.js";

export class Page extends HTMLElement {
  #left = new AbortController();
  #undo = [];

  connectedCallback() {
    this.#left = new AbortController();
    this.enter();
  }

  disconnectedCallback() {
    this.#left.abort();
    for (const undo of this.#undo.splice(0)) undo();
  }

  // Build the page and begin; a page has its own. What it draws goes into `this`.
  enter() {}

  // Aborted when the page is left: give it to requests and listeners.
  get signal() {
    return this.#left.signal;
  }

  // The page's heading, with whatever stands beside it.
  title(text, ...beside) {
    const heading = element("h1", { tabIndex: -1 }, text);
    return element("div", { className: "title" }, heading, ...beside);
  }

  // addEventListener until the page is left.
  listen(target, type, handler) {
    target.addEventListener(type, handler, { signal: this.signal });
  }

  // An event of the server's until the page is left: handler(data, message).
  hear(event, handler) {
    this.leave(session.tidings.on(event, handler));
  }

  // A channel until the page is left. Returns the SDK's subscription.
  subscribe(channel, handler, options) {
    const subscription = session.tidings.subscribe(channel, handler, options);
    // Whoever wants to know why awaits `ready`; nobody has to.
    subscription.ready.catch(() => {});
    this.leave(() => subscription.unsubscribe());
    return subscription;
  }

  // Call it every so many milliseconds while somebody looks, and at once when they look again.
  every(interval, action) {
    const timer = setInterval(() => document.hidden || action(), interval);
    this.listen(document, "visibilitychange", () => document.hidden || action());
    this.leave(() => clearInterval(timer));
  }

  // Do it when the page is left.
  leave(undo) {
    if (this.signal.aborted) undo();
    else this.#undo.push(undo);
  }
}
