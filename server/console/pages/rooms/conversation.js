// One conversation, with a room or with a person: what was said, what waits to be said, what is unread.

import { Lost } from "../../../sdk/tidings.js";
import { KEPT, Lines, WAITING } from "./lines.js";

// More unread than this is many.
const MOST_UNREAD = 999;
// While somebody reads what is long past, so many may stand there.
const READING = 4 * KEPT;

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

  // A line was said, or happened. `news`: it counts as unread where nobody looks. Returns whether it is new.
  put(line, { news = false } = {}) {
    if (!this.lines.add(line)) return false;
    this.lines.cut(this.isReading ? READING : KEPT);
    if (news && !line.own && !this.isSeen) this.unread = Math.min(MOST_UNREAD, this.unread + 1);
    this.changed();
    return true;
  }

  // Behind all that was said so far, and before whatever comes.
  note(text) {
    this.put({ kind: "note", order: Math.floor(this.lines.head) + 0.5, at: new Date(), text });
  }

  see(isSeen) {
    this.isSeen = isSeen;
    if (!isSeen || this.unread === 0) return;
    this.unread = 0;
    this.changed();
  }

  // Say something, now or when there is a connection.
  say(text) {
    const line = {
      kind: "said", order: WAITING + (waiting += 1), at: new Date(), own: true, state: "waiting",
      by: this.own.user_id, username: this.own.username, text, key: newKey(),
    };
    this.put(line);
    // The client keeps it while there is no connection, in order, up to its bound.
    this.send(line).then(
      (published) => this.#become(line, { state: "sent", at: new Date(), ...this.place(published) }),
      (error) => this.#become(line, error instanceof Lost ? { state: "unsure" } : { state: "failed", error }),
    );
  }

  // Say once more what was refused, or may not have arrived.
  sayAgain(line) {
    this.lines.replace(line, null);
    this.say(line.text);
  }

  drop(line) {
    this.lines.replace(line, null);
    this.changed();
  }

  #become(line, change) {
    // A room says it to everybody, also to who has said it: that may have come before the answer.
    if (!this.lines.all.includes(line)) return;
    this.lines.replace(line, { ...line, ...change });
    this.changed();
  }
}

// Not crypto.randomUUID: a console that is served without TLS has none.
function newKey() {
  return [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
