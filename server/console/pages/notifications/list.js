// A user's notifications as this page knows them: the newest pages of the server's list, and what came since.

import { worded } from "../../lib/news.js";

const PAGE = 50;
// A page of the server's at most.
const MOST_ASKED = 200;
// Loaded at once at most; a server keeps 1,000 of a user unless it is told otherwise.
export const MOST = 1_000;

// Ids are numbers that JavaScript cannot tell apart, as text: the longer is the larger.
const isNewer = (one, other) => (one.length === other.length ? one > other : one.length > other.length);

// Whether an event is about an entry of the server's list. A program may publish the event alone, which is stored
// nowhere, and has no id, or one of its own.
export const isKept = (data) => typeof data?.id === "string" && /^[1-9][0-9]{0,17}$/.test(data.id);

export class Notes {
  // Newest first: {id, title, message, type, icon?, link?, created_at, read_at?}.
  entries = [];
  unread = 0;
  onlyUnread = false;
  #api;
  #next = null;
  // Whether the server's list has been read; what was pushed before is not shown yet.
  #isLoaded = false;
  // Each reading of the list makes the earlier ones' answers void.
  #turn = 0;

  constructor(api) {
    this.#api = api;
  }

  // Whether there are older ones that could be shown.
  get hasOlder() {
    return this.#next !== null && this.entries.length < MOST;
  }

  get isCut() {
    return this.#next !== null && this.entries.length >= MOST;
  }

  get newest() {
    return this.entries[0]?.id ?? null;
  }

  // Read the list anew, as far as it was shown. Resolves to whether the answer counts. Rejects with ApiError.
  async read(signal) {
    const turn = ++this.#turn;
    const wanted = Math.min(Math.max(PAGE, this.#isLoaded ? this.entries.length : 0), MOST);
    const found = [];
    let before = null;
    let answer;
    do {
      answer = await this.#page(before, Math.min(wanted - found.length, MOST_ASKED), signal);
      if (turn !== this.#turn) return false;
      found.push(...answer.notifications);
      before = answer.next;
    } while (before !== null && found.length < wanted);
    this.entries = found;
    this.#isLoaded = true;
    this.unread = answer.unread;
    this.#next = before;
    return true;
  }

  // Add the next older page. Rejects with ApiError.
  async readOlder(signal) {
    let turn;
    let answer;
    do {
      if (this.#next === null) return;
      turn = this.#turn;
      answer = await this.#page(this.#next, PAGE, signal);
      // What was read meanwhile may end elsewhere: then it is asked again from there.
    } while (turn !== this.#turn);
    this.entries.push(...answer.notifications);
    this.unread = answer.unread;
    this.#next = answer.next;
    // A reading that began before would take them back.
    this.#turn += 1;
  }

  // One was pushed that `isKept`. Returns whether it is new to the list. The inbox hands over again what nobody has
  // acknowledged, which may be older than all that is shown: then it comes with the older ones.
  add({ id, title, message, type, icon, link }, createdAt) {
    if (this.#next !== null && !isNewer(id, this.#next)) return false;
    if (this.entries.some((entry) => entry.id === id)) return false;
    const text = { title: worded(title), message: worded(message), type: worded(type) || "info" };
    const entry = { id, ...text, icon: worded(icon), link: worded(link), created_at: createdAt };
    const place = this.entries.findIndex((other) => isNewer(id, other.id));
    this.entries.splice(place < 0 ? this.entries.length : place, 0, entry);
    // Whatever falls out is on the server, and asked for where somebody wants older ones.
    if (this.entries.length > MOST) {
      this.entries.length = MOST;
      this.#next = this.entries[MOST - 1].id;
    }
    return true;
  }

  // What the server does with one, or with many; the list is told as it answers. Rejects with ApiError.
  async mark(id) {
    await this.#change(this.#api.post(`/api/v1/notifications/${id}/read`));
    this.#keep((entry) => (entry.id === id ? read(entry) : entry));
  }

  // What came since the newest that is shown stays unread.
  async markAll() {
    const upTo = this.newest;
    await this.#change(this.#api.post("/api/v1/notifications/read", { up_to: upTo }));
    this.#keep((entry) => (isNewer(entry.id, upTo) ? entry : read(entry)));
  }

  async remove(id) {
    await this.#change(this.#api.delete(`/api/v1/notifications/${id}`));
    this.#keep((entry) => (entry.id === id ? null : entry));
  }

  async removeRead() {
    await this.#change(this.#api.delete("/api/v1/notifications?read=true"));
    this.#keep((entry) => (entry.read_at ? null : entry));
  }

  async #change(asked) {
    ({ unread: this.unread } = await asked);
    // A list that was read before the change, and answered after it, would take it back.
    this.#turn += 1;
  }

  #keep(each) {
    const isShown = (entry) => entry !== null && !(this.onlyUnread && entry.read_at);
    this.entries = this.entries.map(each).filter(isShown);
  }

  #page(before, limit, signal) {
    const asked = new URLSearchParams({ limit });
    if (before !== null) asked.set("before", before);
    if (this.onlyUnread) asked.set("unread", "true");
    return this.#api.get(`/api/v1/notifications?${asked}`, { signal });
  }
}

const read = (entry) => (entry.read_at ? entry : { ...entry, read_at: new Date().toISOString() });
