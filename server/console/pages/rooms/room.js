// A room that is open here: its channel, its history, who is there.

import { Refused } from "../../../sdk/tidings.js";
import { Conversation } from "./conversation.js";
import { t } from "./texts.js";

// Lines asked for at once.
const PAGE = 200;
// Of what another program publishes; the connection lab shows it whole.
const SHOWN = 300;
// A channel that begins anew counts from 1 again: its lines come behind those of its former life.
const LIFE = 2 ** 40;

// `standing` is entering, in, refused (`reason` says why) or over (`reason` is removed, deleted or out).
export class Room extends Conversation {
  standing = "entering";
  reason = "";
  // User id → {user_id, username} of those who are there.
  members = new Map();
  // Whether the channel keeps older lines than those at hand.
  hasEarlier = false;
  isLoading = false;
  loadError = null;
  #talk;
  #subscription = null;
  #epoch = null;
  #life = 0;
  // The offset before the first line at hand.
  #first = 0;

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
    const subscription = this.#subscription = this.client.subscribe(this.channel, (message) => this.#heard(message), { presence: true });
    try {
      const answer = await subscription.ready;
      if (subscription !== this.#subscription) return;
      this.standing = "in";
      this.#lives(answer.epoch);
      this.#first = answer.offset;
      this.#count(answer.members ?? []);
      await this.load();
    } catch (error) {
      if (subscription !== this.#subscription || !(error instanceof Refused)) return;
      this.standing = "refused";
      this.reason = error.message;
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
    this.changed();
  }

  // What the channel keeps, as far as one page goes. It never rejects: `loadError` says what went wrong.
  load() {
    return this.#read(Math.max(0, this.#headOffset() - PAGE));
  }

  // The page before what is at hand.
  loadEarlier() {
    return this.#read(Math.max(0, this.#firstOffset() - 1 - PAGE));
  }

  // The channel stands elsewhere than we thought: what lies between is kept, or lost.
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

  send({ text, key }) {
    return this.client.request("room_message", { room: this.name, text, key });
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
    const { user_id: by = "", username = by, text, key } = data;
    if (by) this.#talk.meet({ user_id: by, username });
    const own = by === this.own.user_id;
    // The field is anybody's to send: only to who has sent it does it say anything.
    return { ...place, kind: "said", at, by, username, text: String(text), own, state: "sent", key: own ? key : undefined };
  }

  // --- history ----------------------------------------------------------------------------------------

  #offsets() {
    const base = this.#life * LIFE;
    return this.lines.all.filter((line) => line.id && line.order > base).map((line) => line.order - base);
  }

  #headOffset() {
    return Math.max(this.#first, this.#offsets().at(-1) ?? 0);
  }

  #firstOffset() {
    return this.#offsets()[0] ?? this.#first + 1;
  }

  async #read(after) {
    if (this.isLoading || this.standing !== "in") return;
    this.isLoading = true;
    this.loadError = null;
    this.changed();
    try {
      const since = { epoch: this.#epoch, offset: after };
      const page = await this.client.request("history", { channel: this.channel, since, limit: PAGE });
      if (page.epoch === this.#epoch) {
        for (const message of page.publications) this.lines.add(this.#lineOf(message));
        // The list begins where it was asked to: there may be older ones before that.
        this.hasEarlier = page.complete && after > 0;
      }
    } catch (error) {
      this.loadError = error;
    }
    this.isLoading = false;
    this.changed();
  }
}
