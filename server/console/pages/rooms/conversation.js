// One conversation, with a room or with a person: what was said, what waits to be said, what is unread.

import { Lines, KEPT } from "./lines.js";

// More unread than this is many.
const MOST_UNREAD = 999;
// While somebody reads what is long past, so many more may stand above it.
const READING = 4 * KEPT;

// A line that waits comes after all that were said.
let waiting = 0;

// Events: `change`, whenever anything of it is to be drawn anew.
export class Conversation extends EventTarget {
  lines = new Lines();
  unread = 0;
  // What was written and not sent.
  draft = "";
  // Whether somebody has it before their eyes: nothing becomes unread then.
  isSeen = false;
  // Whether somebody reads further up: nothing falls out under their eyes.
  isReading = false;

  // `client` is the SDK's, `own` the user {user_id, username}.
  constructor(client, own) {
    super();
    this.client = client;
    this.own = own;
  }

  changed() {
    this.dispatchEvent(new Event("change"));
  }

  // A line was said, or happened. `news`: it counts as unread where nobody looks.
  put(line, { news = false } = {}) {
    if (!this.lines.add(line)) return;
    this.lines.cut(this.isReading ? READING : KEPT);
    if (news && !line.own && !this.isSeen) this.unread = Math.min(MOST_UNREAD, this.unread + 1);
    this.changed();
  }

  note(text) {
    this.put({ kind: "note", order: this.lines.head + 0.5, at: new Date(), text });
  }

  see() {
    this.isSeen = true;
    if (this.unread === 0) return;
    this.unread = 0;
    this.changed();
  }

  // Say something, now or when there is a connection. Throws the SDK's QueueFull where too much waits already.
  say(text) {
    this.#send({
      kind: "said", order: Number.MAX_SAFE_INTEGER + (waiting += 2), at: new Date(), own: true, state: "waiting",
      by: this.own.user_id, username: this.own.username, text, key: newKey(),
    });
  }

  // Say once more what was refused, or may not have arrived.
  sayAgain(line) {
    this.lines.replace(line, null);
    this.say(line.text);
    this.changed();
  }

  drop(line) {
    this.lines.replace(line, null);
    this.changed();
  }

  // Where a line stands that the server has taken; a subclass's. `published` is the answer.
  place(_published) {
    return this.lines.head + 1;
  }

  #send(line) {
    // The client keeps it while there is no connection, in order, up to its bound.
    const asked = this.send(line);
    this.put(line);
    asked.then(
      (published) => this.#become(line, { state: "sent", order: this.place(published), at: new Date() }),
      (error) => this.#become(line, error.code ? { state: "failed", error } : { state: "unsure" }),
    );
  }

  #become(line, change) {
    // A room says it to everybody, also to who has said it: that line may have come before the answer.
    if (!this.lines.all.includes(line)) return;
    this.lines.replace(line, { ...line, ...change });
    this.changed();
  }
}

// Not crypto.randomUUID: a console that is served without TLS has none.
function newKey() {
  return [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
