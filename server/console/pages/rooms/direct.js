// A conversation with one person: what their messages brought to the inbox, and what was said to them from here.

import { Conversation, keyOf } from "./conversation.js";

export class Direct extends Conversation {
  // Where the last message of theirs stands that was before somebody's eyes, in milliseconds.
  seenUpTo;

  constructor(talk, userId) {
    super(talk.client, talk.own);
    this.talk = talk;
    this.userId = userId;
    this.seenUpTo = talk.memory.seen(userId);
    for (const { at, text } of talk.memory.sentTo(userId)) this.lines.add(sent(this.own, at, text));
  }

  get key() {
    return `@${this.userId}`;
  }

  get lastAt() {
    return this.lines.all.at(-1)?.at ?? null;
  }

  // One of theirs, from the inbox, live or from its history: the same comes twice, and stands once.
  heard({ data, offset, timestamp }, epoch) {
    const at = new Date(timestamp);
    const own = data.from === this.own.user_id;
    const line = {
      // Ties of a millisecond are broken by the order in the inbox.
      id: `${epoch} ${offset}`, order: at.getTime() + (offset % 1000) / 1000, kind: "said", at, own,
      by: data.from, username: data.username ?? data.from, text: String(data.text), state: "sent",
      key: keyOf(data.from, data.key),
    };
    return this.put(line, { news: at.getTime() > this.seenUpTo });
  }

  see(isSeen) {
    super.see(isSeen);
    const last = this.lines.all.findLast((line) => line.id)?.at.getTime() ?? 0;
    if (!isSeen || last <= this.seenUpTo) return;
    this.seenUpTo = last;
    this.talk.memory.see(this.userId, last);
  }

  // There is a connection again.
  back() {
    this.flush();
  }

  // Nobody can see another's inbox: what was lost on the way is sent again, and its token tells the receiver.
  async send({ text, at, token }) {
    const answer = await this.client.request("user_message", { to: this.userId, text, key: token });
    // What one says to oneself the inbox keeps.
    if (this.userId !== this.own.user_id) this.talk.memory.keepSent(this.userId, at, text);
    return answer;
  }

  place({ offset }) {
    return { id: `to ${this.userId} ${offset}`, order: Math.max(Date.now(), this.lines.head + 0.001) };
  }
}

function sent(own, at, text) {
  const order = at.getTime();
  return { id: `sent ${order}`, order, kind: "said", at, own: true, by: own.user_id, username: own.username, text,
    state: "sent" };
}
