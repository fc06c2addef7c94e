// One conversation, with a room or with a person: what was said, what waits to be said, what is unread.

import { Refused } from "../../../sdk/tidings.js";
import { KEPT, Lines, WAITING } from "./lines.js";

// More unread than this is many.
const MOST_UNREAD = 999;
// While somebody reads what is long past, so many may stand there.
const READING = 4 * KEPT;
// Lines that wait for a connection.
const MOST_WAITING = 100;
// A line that was sent so often without an answer is not sent again unasked.
const MOST_TRIES = 4;

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
  // `in` while it may be spoken in.
  standing = "in";
  #outbox = [];
  #tries = 0;
  #isSending = false;

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

  // --- saying something -------------------------------------------------------------------------------

  // Say something, now or when there is a connection. Whatever becomes of it is told by its line.
  say(text) {
    const token = newKey();
    const line = {
      kind: "said", order: WAITING + (waiting += 1), at: new Date(), own: true, state: "waiting",
      by: this.own.user_id, username: this.own.username, text, token, key: keyOf(this.own.user_id, token),
    };
    if (this.#outbox.length < MOST_WAITING) this.#outbox.push(line);
    else line.state = "full";
    this.put(line);
    this.flush();
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

  // Send what waits, one after the other: the second is not said where the first was lost. Call it when there is a
  // connection again.
  async flush() {
    if (this.#isSending) return;
    this.#isSending = true;
    while (this.#outbox.length > 0 && this.standing === "in" && this.client.isConnected()) await this.#sendFirst();
    this.#isSending = false;
  }

  async #sendFirst() {
    const [line] = this.#outbox;
    try {
      // Its answer was lost. Where that can be seen, it is looked whether the line was taken all the same.
      if (this.#tries > 0) await this.look();
      const published = this.lines.all.includes(line) ? await this.send(line) : null;
      if (published) this.#settle(line, { state: "sent", at: new Date(), ...this.place(published) });
      else this.#settle(line, {});
    } catch (error) {
      if (error instanceof Refused) this.#settle(line, { state: "failed", error });
      else if ((this.#tries += 1) >= MOST_TRIES) this.#settle(line, { state: "unsure" });
    }
  }

  // Have what may have been missed here; a subclass's that can. Rejects as the client's `request` does.
  async look() {}

  // Nothing of what waits can be said any more.
  giveUp(error) {
    for (const line of this.#outbox.splice(0)) this.lines.replace(line, { ...line, state: "failed", error });
  }

  #settle(line, change) {
    if (this.#outbox[0] === line) this.#outbox.shift();
    this.#tries = 0;
    // What was said comes back from where it was said, perhaps before the answer.
    if (!this.lines.all.includes(line)) return;
    this.lines.replace(line, { ...line, ...change });
    this.changed();
  }
}

// What tells a line from all others, also where it was sent twice: the token is its sender's, and so holds for that
// sender alone.
export function keyOf(userId, token) {
  return typeof token === "string" ? `${userId} ${token}` : undefined;
}

// Not crypto.randomUUID: a console that is served without TLS has none.
function newKey() {
  return [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
