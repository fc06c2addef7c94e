// A room that is open here: its channel, its history, who is there.

import { Refused } from "../../../sdk/tidings.js";
import { Conversation, keyOf } from "./conversation.js";
import { WAITING } from "./lines.js";
import { t } from "./texts.js";

// Lines asked for at once.
const PAGE = 200;
// Of what was missed, when it is looked whether a line arrived.
const MISSED = 1_000;
// Of what another program publishes; the connection lab shows it whole.
const SHOWN = 300;
// A channel that begins anew counts from 1 again: its lines come behind those of its former life.
const LIFE = 2 ** 40;

// `standing` is entering, in, refused (`reason` says why; empty: only members may), or over (`reason` is removed,
// deleted or out).
export class Room extends Conversation {
  standing = "entering";
  reason = "";
  // User id → {user_id, username} of those who are there.
  members = new Map();
  // Title and policy of a kept room, as last known: it has them still when one is taken out.
  kept = null;
  // Whether the channel keeps older lines than those at hand.
  hasEarlier = false;
  isLoading = false;
  loadError = null;
  #talk;
  #subscription = null;
  #epoch = null;
  #life = 0;

  constructor(talk, name) {
    super(talk.client, talk.own);
    this.#talk = talk;
    this.name = name;
    this.channel = `room:${name}`;
  }

  get key() {
    return this.name;
  }

  async enter() {
    this.standing = "entering";
    this.reason = "";
    this.changed();
    const subscription = this.client.subscribe(this.channel, (message) => this.#heard(message), { presence: true });
    this.#subscription = subscription;
    try {
      const answer = await subscription.ready;
      if (subscription !== this.#subscription) return;
      this.standing = "in";
      this.#lives(answer.epoch);
      this.#count(answer.members ?? []);
      await this.load();
      this.flush();
    } catch (error) {
      if (subscription !== this.#subscription || !(error instanceof Refused)) return;
      this.standing = "refused";
      this.reason = error.code === "forbidden" ? "" : error.message;
      this.changed();
    }
  }

  leave() {
    this.#subscription?.unsubscribe();
    this.#subscription = null;
  }

  // The server has taken us out: `reason` is removed, deleted or out.
  end(reason) {
    this.standing = "over";
    this.reason = reason;
    this.#subscription = null;
    this.members.clear();
    this.giveUp(new Error(t(`over_${reason}`)));
    this.changed();
  }

  // The newest that the channel keeps, as far as one page goes. `loadError` says what went wrong.
  load() {
    return this.#attempt(() => this.#read(Math.max(0, this.#stand() - PAGE)));
  }

  // The page before what is at hand.
  loadEarlier() {
    return this.#attempt(() => this.#read(Math.max(0, this.#firstOffset() - 1 - PAGE)));
  }

  // What the room has said since it was last heard.
  look() {
    return this.#read(this.#stand(), MISSED);
  }

  // There is a connection again, after another.
  back() {
    if (this.standing === "refused") this.enter();
    this.askWho();
    this.flush();
  }

  // The channel stands elsewhere than we thought: what lies between is lost, but for what it keeps.
  missed({ epoch }) {
    if (epoch) this.#lives(epoch);
    this.load();
  }

  // Who is there, where nobody tells who comes and goes, or may have told it while there was no connection.
  async askWho() {
    if (this.standing !== "in" || !this.client.isConnected()) return;
    try {
      const { members } = await this.client.request("presence", { channel: this.channel });
      if (this.standing === "in") this.#count(members);
    } catch {
      // A channel without presence; or the connection ended, and the next one asks again.
    }
  }

  came(member) {
    const isNew = !this.members.has(member.user_id);
    this.members.set(member.user_id, member);
    this.#talk.meet(member);
    if (isNew && member.user_id !== this.own.user_id) this.note(t("came", { name: member.username }));
    this.changed();
  }

  went({ user_id: id, username }) {
    if (this.members.delete(id)) this.note(t("went", { name: username }));
    this.changed();
  }

  send({ text, token }) {
    return this.client.request("room_message", { room: this.name, text, key: token });
  }

  place({ offset }) {
    return { id: `${this.#epoch} ${offset}`, order: this.#life * LIFE + offset };
  }

  #lives(epoch) {
    if (this.#epoch !== null && this.#epoch !== epoch) {
      this.#life += 1;
      this.hasEarlier = false;
    }
    this.#epoch = epoch;
  }

  #count(members) {
    this.members = new Map(members.map((member) => [member.user_id, member]));
    for (const member of members) this.#talk.meet(member);
    this.changed();
  }

  #heard(message) {
    const { type, data } = message;
    if (type === "room_changed") {
      const name = (id) => this.#talk.nameOf(id);
      this.note(t(`change_${data.change}`, { by: name(data.by), user: data.user_id ? name(data.user_id) : "" }));
      this.#talk.roomChanged(this.name);
    } else if (type !== "joined" && type !== "left") {
      this.put(this.#lineOf(message), { news: type === "room_message" });
      const isStranger = type === "room_message" && data.user_id && !this.members.has(data.user_id);
      if (isStranger) this.askWho();
    }
  }

  #lineOf({ type, data, offset, timestamp }) {
    const place = offset ? this.place({ offset }) : { order: Math.floor(this.lines.head) + 0.5 };
    const at = new Date(timestamp);
    if (type !== "room_message") {
      const text = JSON.stringify(data) ?? "";
      return { ...place, kind: "event", at, type, text: text.length > SHOWN ? `${text.slice(0, SHOWN)}…` : text };
    }
    // Either may be null, or empty: somebody without a name has their id, and only nobody is the server.
    const by = data.user_id ?? "";
    const username = data.username || by;
    const { text, key } = data;
    if (by) this.#talk.meet({ user_id: by, username });
    const own = by === this.own.user_id;
    return {
      ...place, kind: "said", at, by, username, text: String(text), own, state: "sent", key: keyOf(by, key),
    };
  }

  // --- history ----------------------------------------------------------------------------------------

  // Where the channel stands, as far as it is heard here.
  #stand() {
    return this.client.positions()[this.channel]?.offset ?? 0;
  }

  #firstOffset() {
    const base = this.#life * LIFE;
    const first = this.lines.all.find((line) => line.id && line.order > base && line.order < WAITING);
    return first ? first.order - base : this.#stand() + 1;
  }

  async #attempt(reading) {
    if (this.isLoading || this.standing !== "in") return;
    this.isLoading = true;
    this.loadError = null;
    this.changed();
    try {
      await reading();
    } catch (error) {
      this.loadError = error;
    }
    this.isLoading = false;
    this.changed();
  }

  // A page of what came after an offset. Rejects as the client's `request` does.
  async #read(after, limit = PAGE) {
    const since = { epoch: this.#epoch, offset: after };
    const page = await this.client.request("history", { channel: this.channel, since, limit });
    if (page.epoch !== this.#epoch) return;
    const before = this.#firstOffset();
    for (const message of page.publications) this.lines.add(this.#lineOf(message));
    // It begins where it was asked to: there may be older ones before that. Of what came later it says nothing.
    if (after < before) this.hasEarlier = page.complete && after > 0;
    this.changed();
  }
}
