// All conversations of whoever is logged in, for as long as they are: pages come and go, what is said goes on here.

import { session } from "../../lib/session.js";
import { Direct } from "./direct.js";
import { Memory } from "./memory.js";
import { Room } from "./room.js";
import { t } from "./texts.js";

export const LOBBY = "lobby";

// Each is a channel of the connection's, which may have 128 in all.
const MOST_ROOMS = 32;
const MOST_DIRECTS = 100;
const MOST_PEOPLE = 2_000;
// Rooms that are listed, and publications of the inbox that are looked through, in pages of the server's.
const MOST_LISTED = 500;
const MOST_PAGES = 5;
const PAGE = 1_000;
// The list of rooms is read again at most so often, however much changes.
const PAUSE_MS = 1_000;

const talks = new WeakMap();

// Of the client of the moment, made when it is first asked for.
export function talk() {
  const { tidings } = session;
  if (!talks.has(tidings)) talks.set(tidings, new Talk(session));
  return talks.get(tidings);
}

// Events: `change`, when the lists are to be drawn anew; `members` (detail: a room's name), when its members may
// differ.
class Talk extends EventTarget {
  // Open rooms by name, conversations with people by their ids.
  rooms = new Map();
  directs = new Map();
  // Kept rooms that may be entered, by name; `keeps` is null until the server has said whether it keeps any.
  kept = new Map();
  keeps = null;
  listError = null;
  // User id → {user_id, username, room count}: who was met here, the latest last.
  people = new Map();
  #due = 0;
  #listed = 0;
  #inboxRead = null;

  constructor({ tidings, api, user }) {
    super();
    this.client = tidings;
    this.api = api;
    this.own = { user_id: user.user_id, username: user.username };
    this.isAdmin = session.isAdmin;
    this.memory = new Memory(user.user_id);
    this.inbox = `user:${user.user_id}`;
    tidings.on("user_message", (data, message) => this.#told(message));
    tidings.on("room_invitation", (data) => this.#invited(data));
    tidings.on("joined", (data) => this.rooms.get(nameOf(data.channel))?.came(data));
    tidings.on("left", (data) => this.rooms.get(nameOf(data.channel))?.went(data));
    tidings.on("unsubscribed", ({ channel }) => this.#takenOut(nameOf(channel)));
    tidings.on("@gap", (gap) => this.rooms.get(nameOf(gap.channel))?.missed(gap));
    tidings.on("@state", ({ name }) => name === "connected" && this.#back());
    // Somebody else, or nobody, is logged in from now on.
    session.addEventListener("change", () => this.memory.forget(), { once: true });
    for (const name of this.memory.rooms ?? [LOBBY]) this.openRoom(name);
    for (const id of this.memory.addressees) this.openDirect(id);
    if (tidings.isConnected()) this.#back();
  }

  // --- conversations ----------------------------------------------------------------------------------

  openRoom(name) {
    let room = this.rooms.get(name);
    if (!room) {
      room = new Room(this, name);
      this.rooms.set(name, room);
      room.addEventListener("change", () => this.#changed());
      // The one that was opened first makes place.
      const oldest = [...this.rooms.values()].find((other) => other !== room && !other.isSeen);
      if (this.rooms.size > MOST_ROOMS && oldest) this.closeRoom(oldest.name);
      this.#remember();
      room.enter();
    }
    return room;
  }

  closeRoom(name) {
    this.rooms.get(name)?.leave();
    this.rooms.delete(name);
    this.#remember();
    this.#changed();
  }

  openDirect(userId) {
    let direct = this.directs.get(userId);
    if (!direct) {
      direct = new Direct(this, userId);
      this.directs.set(userId, direct);
      direct.addEventListener("change", () => this.#changed());
      const isIdle = (other) => other !== direct && !other.isSeen && other.unread === 0;
      const oldest = [...this.directs.values()].find(isIdle);
      if (this.directs.size > MOST_DIRECTS && oldest) this.directs.delete(oldest.userId);
      this.#changed();
    }
    return direct;
  }

  // How much is unread in all others than the one that is shown.
  unreadBeside(shown) {
    const others = [...this.rooms.values(), ...this.directs.values()].filter((each) => each !== shown);
    return others.reduce((sum, { unread }) => sum + unread, 0);
  }

  // --- people -----------------------------------------------------------------------------------------

  meet({ user_id: id, username }) {
    if (this.people.get(id) === username) return;
    this.people.delete(id);
    this.people.set(id, username);
    if (this.people.size > MOST_PEOPLE) this.people.delete(this.people.keys().next().value);
  }

  nameOf(userId) {
    if (userId === this.own.user_id) return this.own.username;
    return this.people.get(userId) ?? userId;
  }

  // The id of somebody who was written as an id, or by the name that they are met by.
  idOf(written) {
    if (this.people.has(written)) return written;
    const wanted = written.toLowerCase();
    const found = [...this.people].filter(([, name]) => name.toLowerCase() === wanted);
    return found.length === 1 ? found[0][0] : written;
  }

  // Whether somebody is seen in a room that is open here; of others one cannot know.
  isHere(userId) {
    return [...this.rooms.values()].some((room) => room.members.has(userId));
  }

  // Everybody who is, without oneself, by name.
  get here() {
    const found = new Map();
    for (const room of this.rooms.values()) for (const [id, member] of room.members) found.set(id, member);
    found.delete(this.own.user_id);
    return [...found.values()].sort((one, other) => one.username.localeCompare(other.username));
  }

  // --- kept rooms -------------------------------------------------------------------------------------

  // Read the list of rooms, soon, and once for all who ask meanwhile.
  refresh() {
    if (this.#due) return;
    this.#due = setTimeout(() => this.#list(), Math.max(0, this.#listed + PAUSE_MS - performance.now()));
  }

  roomChanged(name) {
    this.refresh();
    this.dispatchEvent(new CustomEvent("members", { detail: name }));
  }

  // Whether whoever is logged in looks after a kept room.
  manages(kept) {
    return this.isAdmin || kept?.role === "owner" || kept?.role === "admin";
  }

  async #list() {
    // Who is logged in now would be asked for their own.
    if (session.tidings !== this.client) return;
    this.#listed = performance.now();
    try {
      const found = new Map();
      let after = "";
      do {
        const page = await this.api.get(`/api/v1/rooms?after=${after}`);
        for (const room of page.rooms) found.set(room.name, room);
        after = page.next;
      } while (after !== null && found.size < MOST_LISTED);
      this.kept = found;
      for (const [name, kept] of found) if (this.rooms.has(name)) this.rooms.get(name).kept = kept;
      this.keeps = true;
      this.listError = null;
    } catch (error) {
      // A server that keeps no rooms has no such list.
      if (error.status === 404) this.keeps = false;
      else this.listError = error;
    }
    this.#due = 0;
    this.#changed();
  }

  // --- what comes -------------------------------------------------------------------------------------

  #told(message) {
    this.#heard(message, this.client.positions()[this.inbox]?.epoch);
  }

  #heard(message, epoch) {
    const { from, to, username } = message.data;
    if (to !== this.own.user_id) return;
    if (from !== this.own.user_id) this.meet({ user_id: from, username: username ?? from });
    this.openDirect(from).heard(message, epoch);
  }

  #invited({ room: name }) {
    this.refresh();
    // Who was taken out, and is asked in again, goes on where they were.
    const room = this.rooms.get(name);
    if (room && room.standing !== "in" && room.standing !== "entering") room.enter();
  }

  async #takenOut(name) {
    const room = this.rooms.get(name);
    if (!room || room.standing !== "in") return;
    const wasKept = this.kept.has(name);
    room.end("out");
    this.refresh();
    try {
      await this.api.get(`/api/v1/rooms/${name}`);
    } catch (error) {
      if (room.standing === "over" && error.status === 403) room.end("removed");
      if (room.standing === "over" && error.status === 404 && wasKept) room.end("deleted");
    }
  }

  // Connected, for the first time or again: what nobody tells a second time is asked for.
  #back() {
    this.refresh();
    for (const conversation of [...this.rooms.values(), ...this.directs.values()]) conversation.back();
    this.#inboxRead ??= this.#readInbox();
  }

  // What the inbox still keeps, also of what this device has had before: the conversations of the last days.
  async #readInbox() {
    let since;
    try {
      for (let page = 0; page < MOST_PAGES; page++) {
        const found = await this.client.request("history", { channel: this.inbox, since, limit: PAGE });
        for (const message of found.publications) {
          if (message.type === "user_message") this.#heard(message, found.epoch);
        }
        const last = found.publications.at(-1);
        if (!last || last.offset >= found.offset) break;
        since = { epoch: found.epoch, offset: last.offset };
      }
    } catch {
      // Lost with its connection: the next one asks.
      this.#inboxRead = null;
    }
  }

  #remember() {
    this.memory.rooms = [...this.rooms.keys()];
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

function nameOf(channel) {
  return channel?.startsWith("room:") ? channel.slice(5) : "";
}
