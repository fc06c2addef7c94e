// What this tab remembers of one user's conversations over a reload: which rooms are open, what was said to whom.
// And this browser, for longer: up to where somebody's messages were seen. It is bounded.

import { store, stored } from "../../lib/i18n.js";

const MOST_ROOMS = 20;
const MOST_SENT = 200;
const MOST_SEEN = 100;

export class Memory {
  #user;

  constructor(userId) {
    this.#user = userId;
  }

  // Names; null where nothing is remembered.
  get rooms() {
    return parsed(recall(this.#key("rooms")));
  }

  set rooms(names) {
    remember(this.#key("rooms"), names.slice(-MOST_ROOMS));
  }

  sentTo(userId) {
    return this.#sent.filter(({ to }) => to === userId).map(({ at, text }) => ({ at: new Date(at), text }));
  }

  get addressees() {
    return [...new Set(this.#sent.map(({ to }) => to))];
  }

  keepSent(to, at, text) {
    remember(this.#key("sent"), [...this.#sent, { to, at: at.getTime(), text }].slice(-MOST_SENT));
  }

  seen(userId) {
    return this.#seen[userId] ?? 0;
  }

  see(userId, at) {
    const { [userId]: _, ...others } = this.#seen;
    const kept = Object.entries(others).slice(-(MOST_SEEN - 1));
    store(this.#key("seen"), JSON.stringify({ ...Object.fromEntries(kept), [userId]: at }));
  }

  // Whoever logs out leaves nothing they have said to whoever is next.
  forget() {
    for (const what of ["rooms", "sent"]) remember(this.#key(what), null);
  }

  get #sent() {
    return parsed(recall(this.#key("sent"))) ?? [];
  }

  get #seen() {
    return parsed(stored(this.#key("seen"))) ?? {};
  }

  #key(what) {
    return `tidings.${what}.${this.#user}`;
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

// sessionStorage is refused in some private modes, and bounded: then a reload forgets.
function remember(key, value) {
  try {
    if (value === null) sessionStorage.removeItem(key);
    else sessionStorage.setItem(key, JSON.stringify(value));
  } catch {
    return;
  }
}

function recall(key) {
  try {
    return sessionStorage.getItem(key);
  } catch {
    return null;
  }
}
