// The inbox: what comes on user:<id> is acknowledged once it is dealt with, and comes again until it is.

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { Ended, QueueFull, Refused } from "../tidings.js";
import { again, begin, client, connected, end, pass, published, settle } from "./support.js";

beforeEach(begin);
afterEach(end);

const CHANNEL = "user:alice";
const inbox = (offset, epoch = "e1") => ({ inbox: { epoch, offset } });
const acked = (socket) => socket.all("ack").map(({ data }) => data.offset);
const answer = (socket) => {
  const { data } = socket.the("ack");
  socket.answer("ack", "acked", data);
};
const say = (socket, ...offsets) => offsets.forEach((offset) => socket.say(published(CHANNEL, offset)));

async function reading(options, position = inbox(0)) {
  const made = await connected(options, position);
  made.heard = [];
  made.tidings.on("news", (data, { offset }) => made.heard.push(offset));
  return made;
}

test("what the handlers have had is acknowledged within a second, many by one command", async () => {
  const { tidings, sockets } = await reading();
  say(sockets.last, 1, 2, 3);
  await pass(750);
  say(sockets.last, 4);
  assert.deepEqual(acked(sockets.last), []);
  await pass(250);
  assert.deepEqual(acked(sockets.last), [4], "what comes later does not put it off");
  say(sockets.last, 5, 6);
  await pass(5_000);
  assert.deepEqual(acked(sockets.last), [4], "one at a time");
  answer(sockets.last);
  await pass(1_000);
  sockets.last.say({ type: "position", data: { channel: CHANNEL, epoch: "e1", offset: 8 } });
  answer(sockets.last);
  await pass(1_000);
  answer(sockets.last);
  assert.deepEqual(acked(sockets.last), [4, 6, 8], "what was not for this login is passed over");
  say(sockets.last, 9);
  tidings.disconnect();
  assert.deepEqual(acked(sockets.last), [4, 6, 8, 9], "an end does not wait for the second");
  await pass(10_000);
  assert.equal(sockets.last.all("ack").length, 4);
});

test("what was not acknowledged comes again, is handed over once, and is acknowledged as it comes", async () => {
  const made = await reading();
  const { sockets, heard, told } = made;
  say(sockets.last, 1, 2, 3);
  await again(made, inbox(1));
  assert.equal(sockets.last.all("subscribe").length, 0, "the inbox comes unasked");
  say(sockets.last, 2);
  await pass(1_000);
  assert.deepEqual(acked(sockets.last), [2], "the server takes no more than it has sent on this connection");
  answer(sockets.last);
  say(sockets.last, 3, 4);
  await pass(1_000);
  assert.deepEqual([heard, acked(sockets.last), told.gaps], [[1, 2, 3, 4], [2, 4], []]);
  answer(sockets.last);
  await again(made, inbox(7));
  assert.deepEqual(told.gaps, [{ channel: CHANNEL, from: 5, to: 7, epoch: "e1" }], "acknowledged by another page");
});

test("an inbox that has begun anew is told as a gap, and what was dealt with before counts no more", async () => {
  const made = await reading({ acknowledge: "manual" });
  const { tidings, sockets, told } = made;
  say(sockets.last, 1, 2);
  const first = tidings.ack(CHANNEL, 2);
  await again(made, inbox(0, "e2"));
  await first;
  say(sockets.last, 1);
  await pass(5_000);
  assert.deepEqual(acked(sockets.last), []);
  const second = tidings.ack(CHANNEL, 1);
  sockets.last.say({ type: "position", data: { channel: CHANNEL, epoch: "e3", offset: 4 } });
  await second;
  const gaps = told.gaps.map(({ from, to, epoch }) => [from, to, epoch]);
  assert.deepEqual(gaps, [[3, null, "e2"], [2, null, "e3"]]);
});

test("acknowledged by hand, it is told at once, gathered meanwhile, and on the next connection", async () => {
  const made = await reading({ acknowledge: "manual" });
  const { tidings, sockets } = made;
  say(sockets.last, 1, 2, 3, 4);
  await pass(5_000);
  assert.deepEqual(acked(sockets.last), []);
  const acks = [1, 2, 3].map((offset) => tidings.ack(published(CHANNEL, offset)));
  assert.deepEqual(acked(sockets.last), [1]);
  answer(sockets.last);
  assert.deepEqual(acked(sockets.last), [1, 3]);
  await acks[0];
  await again(made, inbox(1));
  say(sockets.last, 2, 3, 4);
  await pass(1_000);
  answer(sockets.last);
  await Promise.all(acks);
  const fourth = tidings.ack(CHANNEL, 4);
  answer(sockets.last);
  await fourth;
  assert.deepEqual(acked(sockets.last), [3, 4]);
  await tidings.ack(CHANNEL, 2);
  await tidings.ack(published("room:a", 99));
  assert.equal(sockets.last.all("ack").length, 2, "what is known, or is no inbox, needs no word");
});

test("what the server has not got of what was acknowledged by hand waits over a reconnection", async () => {
  const made = await reading({ acknowledge: "manual" });
  const { tidings, sockets } = made;
  say(sockets.last, 1, 2, 3);
  const known = [];
  const acks = [1, 2, 3].map((offset) => tidings.ack(CHANNEL, offset).then(() => known.push(offset)));
  await again(made, inbox(1));
  assert.deepEqual(known, [1], "it got the first, though its answer was lost");
  say(sockets.last, 2, 3);
  await pass(1_000);
  assert.deepEqual([acked(sockets.last), known], [[3], [1]]);
  answer(sockets.last);
  await Promise.all(acks);
  assert.deepEqual(known, [1, 2, 3]);
});

test("what is acknowledged before there is a connection is told as soon as it has come on one", async () => {
  const { tidings, sockets } = client({ acknowledge: "manual" });
  const known = [];
  for (const [channel, offset] of [[CHANNEL, 1], [CHANNEL, 3], ["room:a", 9]]) {
    tidings.ack(channel, offset).then(() => known.push(`${channel} ${offset}`));
  }
  tidings.connect();
  await settle();
  assert.deepEqual(known, []);
  sockets.last.accept(inbox(1));
  await settle();
  assert.deepEqual(known, [`${CHANNEL} 1`, "room:a 9"], "what it has, and what is no inbox, needs no word");
  say(sockets.last, 2, 3, 4);
  await pass(1_000);
  assert.deepEqual(acked(sockets.last), [3]);
  answer(sockets.last);
  await settle();
  assert.equal(known.at(-1), `${CHANNEL} 3`);
  // Of an earlier life of the inbox, it says nothing of this one.
  const old = client({ acknowledge: "manual", positions: { [CHANNEL]: { epoch: "e0", offset: 9 } } });
  const dealt = old.tidings.ack(CHANNEL, 9);
  old.tidings.connect();
  await settle();
  old.sockets.last.accept(inbox(0));
  await dealt;
  say(old.sockets.last, 1, 2);
  await pass(5_000);
  assert.deepEqual(acked(old.sockets.last), []);
  const gone = client();
  const ended = assert.rejects(gone.tidings.ack(CHANNEL, 1), Ended);
  gone.tidings.disconnect();
  await ended;
});

test("an acknowledgement refused for now is repeated; for good, it is told, and tried elsewhere", async () => {
  const made = await reading();
  const { tidings, sockets, told } = made;
  const refuse = (code) => sockets.last.answer("ack", "error", { code, message: "no", retry_after: 2 });
  say(sockets.last, 1);
  await pass(1_000);
  refuse("unavailable");
  await pass(2_000);
  assert.deepEqual(acked(sockets.last), [1, 1]);
  say(sockets.last, 2);
  const waiting = tidings.ack(CHANNEL, 2);
  refuse("limit_reached");
  await assert.rejects(waiting, Refused);
  assert.deepEqual(told.errors, [{ channel: CHANNEL, code: "limit_reached", message: "no" }]);
  await pass(10_000);
  assert.equal(sockets.last.all("ack").length, 2);
  await again(made, inbox(0));
  say(sockets.last, 1, 2);
  await pass(1_000);
  assert.deepEqual(acked(sockets.last), [2]);
});

test("acknowledgements that wait are bounded, and end with the connection", async () => {
  const { tidings, sockets } = await reading({ acknowledge: "manual" });
  say(sockets.last, 1, 2);
  sockets.last.end();
  const ends = Array.from({ length: 1_000 }, () => assert.rejects(tidings.ack(CHANNEL, 2), Ended));
  await assert.rejects(tidings.ack(CHANNEL, 2), QueueFull);
  tidings.disconnect();
  await Promise.all(ends);
  await assert.rejects(tidings.ack(CHANNEL, 2), Ended);
});

test("a page that is hidden and pauses says before what it has dealt with", async () => {
  globalThis.document = Object.assign(new EventTarget(), { hidden: false });
  const { sockets } = await reading({ hidden: "pause" });
  say(sockets.last, 1);
  document.hidden = true;
  document.dispatchEvent(new Event("visibilitychange"));
  delete globalThis.document;
  assert.deepEqual([acked(sockets.last), sockets.last.closed], [[1], 1000]);
});

test("the last one does not wait for the answer to the one before it, and is told once", async () => {
  globalThis.document = Object.assign(new EventTarget(), { hidden: false });
  for (const [leaving, meanwhile] of [["ended", "ended"], ["paused", "paused"], ["paused", "ended"]]) {
    document.hidden = false;
    const made = await reading({ hidden: "pause" });
    const { tidings, sockets, told } = made;
    const leave = (state) => {
      if (state === "ended") return tidings.disconnect();
      document.hidden = true;
      document.dispatchEvent(new Event("visibilitychange"));
    };
    const socket = sockets.last;
    say(socket, 1);
    await pass(1_000);
    say(socket, 2, 3);
    // Whoever is shown the last one may leave over it.
    tidings.on("@frame", ({ message }) => message.type === "ack" && leave(meanwhile));
    leave(leaving);
    assert.deepEqual([acked(socket), socket.closed], [[1, 3], 1000], leaving);
    assert.deepEqual(told.states.slice(2), [meanwhile], "once");
    answer(socket);
    await settle();
    tidings.off("@frame");
    // The answers are nobody's: the next connection says how far it got.
    document.hidden = false;
    document.dispatchEvent(new Event("visibilitychange"));
    tidings.connect();
    await settle();
    sockets.last.accept(inbox(1));
    say(sockets.last, 2, 3, 4);
    await pass(1_000);
    assert.deepEqual([acked(sockets.last), made.heard, told.gaps], [[4], [1, 2, 3, 4], []], leaving);
    answer(sockets.last);
    leave(leaving);
    assert.deepEqual(acked(sockets.last), [4], "nothing is left to be told");
    tidings.disconnect();
  }
  delete globalThis.document;
});

test("where what waits for its answer is the last one, leaving does not tell it again", async () => {
  const { tidings, sockets } = await reading();
  say(sockets.last, 1);
  await pass(1_000);
  tidings.disconnect();
  assert.deepEqual(acked(sockets.last), [1]);
});

test("whoever subscribes to the inbox asks for nothing, and hears it", async () => {
  const made = await reading({}, inbox(4));
  const { tidings, sockets } = made;
  const offsets = [];
  const subscription = tidings.subscribe(CHANNEL, ({ offset }) => offsets.push(offset));
  assert.deepEqual(await subscription.ready, { channel: CHANNEL, epoch: "e1", offset: 4, recovered: true });
  say(sockets.last, 5);
  subscription.unsubscribe();
  await settle();
  say(sockets.last, 6);
  assert.deepEqual([offsets, made.heard], [[5], [5, 6]]);
  assert.deepEqual([sockets.last.all("subscribe"), sockets.last.all("unsubscribe")], [[], []]);
});

test("another user's inbox is another one", async () => {
  const made = await reading();
  const { tidings, sockets, told } = made;
  say(sockets.last, 1, 2, 3);
  tidings.disconnect();
  tidings.connect();
  await settle();
  sockets.last.accept({ user_id: "bob", ...inbox(1) });
  sockets.last.say(published("user:bob", 2));
  await pass(1_000);
  assert.deepEqual(sockets.last.the("ack").data, { channel: "user:bob", offset: 2 });
  assert.deepEqual([sockets.last.all("subscribe"), told.gaps], [[], []]);
  assert.deepEqual(Object.keys(tidings.positions()), ["user:bob"]);
});
