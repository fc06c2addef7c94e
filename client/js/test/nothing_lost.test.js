// Whatever happens, nothing is lost in silence: a server in a few lines, a line that breaks at any moment, chance.

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { CONNECTED, begin, client, end, pass, settle } from "./support.js";

beforeEach(begin);
afterEach(end);

const INBOX = "user:alice";
const CHANNELS = [INBOX, "all", "room:a"];
const RUNS = 120;
const STEPS = 60;

// mulberry32: a run that fails is run again by its number.
function chance(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Channels with their history, and one connection at a time: what of the protocol positions rest on. */
class Server {
  channels = new Map(CHANNELS.map((name) => [name, { epoch: `${name} 0`, log: [], kept: 1 }]));
  published = 0;
  acked = 0;
  socket = null;

  // A new connection: nothing of the last one's outbox arrives any more.
  attach(socket) {
    Object.assign(this, { socket, outbox: [], live: new Set(), sent: 0, done: 0 });
  }

  position(name) {
    const { epoch, log } = this.channels.get(name);
    return { epoch, offset: log.length };
  }

  push(message) {
    this.outbox.push(message);
    const channel = message.channel ?? message.data.channel;
    if (channel === INBOX) this.sent = this.channels.get(INBOX).log.length;
  }

  publish(name, isForOthers) {
    const channel = this.channels.get(name);
    channel.log.push({ number: (this.published += 1), isForOthers });
    if (this.socket && this.live.has(name)) this.deliver(name, channel.log.length);
  }

  deliver(name, offset) {
    const { epoch, log } = this.channels.get(name);
    const { number, isForOthers } = log[offset - 1];
    if (isForOthers) this.push({ type: "position", data: { channel: name, epoch, offset } });
    else this.push({ type: "news", channel: name, offset, data: { number, epoch } });
  }

  // Its history is gone: it counts from 1 again.
  restart(name) {
    const channel = this.channels.get(name);
    Object.assign(channel, { epoch: `${name} ${this.published} ${Math.random()}`, log: [], kept: 1 });
    if (name === INBOX) this.acked = 0;
    if (this.socket && this.live.has(name)) {
      this.push({ type: "position", data: { channel: name, epoch: channel.epoch, offset: 0 } });
    }
  }

  replay(name, offset) {
    while (offset < this.channels.get(name).log.length) this.deliver(name, (offset += 1));
    this.live.add(name);
  }

  // The next command of the client's.
  handle() {
    const command = this.socket?.sent[this.done];
    if (!command) return;
    this.done += 1;
    const { type, data, id } = command;
    if (type === "authenticate") {
      const { epoch, kept } = this.channels.get(INBOX);
      const offset = Math.max(this.acked, kept - 1);
      const told = { ...CONNECTED, inbox: { epoch, offset }, channels: { all: this.position("all") } };
      this.outbox.push({ type: "connected", data: told, id });
      this.live.add("all");
      this.replay(INBOX, offset);
    } else if (type === "subscribe") {
      const { channel, since } = data;
      const { epoch, offset } = this.position(channel);
      const { kept } = this.channels.get(channel);
      const recovered = since?.epoch === epoch && since.offset >= kept - 1 && since.offset <= offset;
      this.outbox.push({ type: "subscribed", data: { channel, epoch, offset, recovered }, id });
      this.replay(channel, recovered ? since.offset : offset);
    } else if (type === "ack") {
      // It was of the epoch before, on its way while the inbox began anew; any other is a fault of the client's.
      const refusal = { code: "invalid_data", message: "an offset up to which it was sent" };
      if (data.offset > this.sent) return this.outbox.push({ type: "error", data: refusal, id });
      this.acked = Math.max(this.acked, data.offset);
      this.outbox.push({ type: "acked", data, id });
    }
  }

  arrive() {
    const message = this.outbox?.shift();
    if (message && this.socket) this.socket.say(message);
  }
}

async function run(seed) {
  const random = chance(seed);
  const below = (most) => Math.floor(random() * most);
  const any = (list) => list[below(list.length)];
  const server = new Server();
  const { tidings, sockets, told } = client({ reconnect: () => 100 });
  const heard = new Map(CHANNELS.map((name) => [name, []]));
  const ids = new Map(CHANNELS.map((name) => [name, []]));
  tidings.on("news", (data, { channel, offset }) => heard.get(channel).push({ ...data, offset }));
  tidings.on("@gap", (gap) => heard.get(gap.channel).push({ gap }));
  tidings.subscribe("room:a");
  tidings.connect();

  const steps = {
    publish() {
      const name = any(CHANNELS);
      const isForOthers = random() < 0.2;
      server.publish(name, isForOthers);
      const { epoch, log } = server.channels.get(name);
      ids.get(name).push({ number: server.published, epoch, offset: log.length, isForOthers });
    },
    handle: () => server.handle(),
    arrive: () => {
      for (let left = below(4); left >= 0; left -= 1) server.arrive();
    },
    break() {
      const { socket } = server;
      server.socket = null;
      socket?.end();
    },
    trim() {
      const channel = server.channels.get(any(CHANNELS));
      channel.kept = Math.min(channel.log.length + 1, channel.kept + below(4));
    },
    restart: () => server.restart(any(CHANNELS)),
    wait: () => pass(300, 100),
  };
  const odds = { publish: 8, handle: 6, arrive: 6, wait: 3, break: 1, trim: 1, restart: 1 };
  const bag = Object.entries(odds).flatMap(([name, times]) => Array(times).fill(name));

  // A socket that the client has made is taken up by the server as soon as it is there.
  const take = async () => {
    await settle();
    if (sockets.last && sockets.last.readyState === 0) {
      server.attach(sockets.last);
      sockets.last.open();
    }
  };
  const quiet = async () => {
    for (let round = 0; round < 8; round += 1) {
      await pass(1_100, 550);
      await take();
      for (let left = 200; left > 0; left -= 1) {
        server.handle();
        server.arrive();
      }
    }
  };

  await quiet();
  for (let step = 0; step < STEPS; step += 1) {
    await steps[any(bag)]();
    await take();
  }
  await quiet();

  assert.ok(tidings.isConnected());
  assert.deepEqual(told.errors, []);
  for (const name of CHANNELS) {
    assert.deepEqual(tidings.positions()[name], server.position(name));
    // All that was published to be heard, and all that was heard, side by side.
    const expected = ids.get(name).filter(({ isForOthers }) => !isForOthers);
    let gap = false;
    for (const entry of heard.get(name)) {
      if (entry.gap) {
        const { from, to, epoch } = entry.gap;
        const wasHeard = (one) => one.epoch === epoch && one.offset >= from && one.offset <= (to ?? -1);
        assert.ok(!heard.get(name).some(wasHeard), `${name}: said to be missing, and heard`);
        gap = true;
      } else {
        const place = expected.findIndex(({ number }) => number === entry.number);
        assert.ok(place >= 0, `${name}: ${entry.number} comes twice, or too late`);
        assert.ok(place === 0 || gap, `${name}: lost in silence before ${entry.number}`);
        expected.splice(0, place + 1);
        gap = false;
      }
    }
    assert.ok(expected.length === 0 || gap, `${name}: lost in silence at the end`);
  }
  const { log, kept } = server.channels.get(INBOX);
  assert.equal(Math.max(server.acked, kept - 1), log.length, "all that is kept of the inbox is acknowledged");
  tidings.disconnect();
}

test("whatever is published is heard once and in order, or told as a gap at its place", async () => {
  for (let seed = 1; seed <= RUNS; seed += 1) {
    try {
      await run(seed);
    } catch (error) {
      error.message = `run ${seed}: ${error.message}`;
      throw error;
    }
  }
});
