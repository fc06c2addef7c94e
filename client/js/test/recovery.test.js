// Positions: what was missed is asked for, what comes twice is dropped, what is lost is told.

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { Ended, Lost, Refused } from "../tidings.js";
import { again, begin, client, connected, end, pass, published, settle } from "./support.js";

beforeEach(begin);
afterEach(end);

const at = (offset, epoch = "e1") => ({ epoch, offset });
const answer = (socket, channel, position, more = {}) => {
  const { id } = socket.all("subscribe").findLast(({ data }) => data.channel === channel);
  socket.say({ type: "subscribed", data: { channel, recovered: false, ...position, ...more }, id });
};

// A client that follows room:a and stands at offset 3 of it.
async function following(options) {
  const made = await connected(options);
  made.heard = [];
  made.subscription = made.tidings.subscribe("room:a", ({ offset }) => made.heard.push(offset));
  answer(made.sockets.last, "room:a", at(2));
  made.sockets.last.say(published("room:a", 3));
  await made.subscription.ready;
  return made;
}

test("ready says where the channel stands; what follows is heard by the listener and as its event", async () => {
  const { tidings, sockets } = await connected();
  const heard = [];
  tidings.on("news", (data, { offset }) => heard.push(["on", offset]));
  const members = [{ user_id: "bob", username: "Bob" }];
  const { channel, ready } = tidings.subscribe("room:a", (message) => heard.push(message), {
    presence: true, since: at(1),
  });
  assert.deepEqual(sockets.last.the("subscribe").data, { channel, since: at(1), presence: true });
  answer(sockets.last, channel, at(2), { recovered: true, members });
  sockets.last.say(published(channel, 2));
  sockets.last.say({ type: "joined", channel, data: { user_id: "bob" } });
  assert.deepEqual(await ready, { channel, ...at(2), recovered: true, members });
  assert.deepEqual(heard.map((message) => message.offset ?? message[1] ?? message.type), [2, 2, "joined"]);
  assert.deepEqual(tidings.positions(), { "room:a": at(2) });
});

test("after a reconnection what was missed is asked for, and what comes twice is dropped", async () => {
  const made = await following();
  const { tidings, sockets, heard, told } = made;
  await again(made);
  assert.deepEqual(sockets.last.the("subscribe").data, { channel: "room:a", since: at(3) });
  answer(sockets.last, "room:a", at(5), { recovered: true });
  for (const offset of [3, 4, 5, 5, 6]) sockets.last.say(published("room:a", offset));
  assert.deepEqual([heard, told.gaps], [[3, 4, 5, 6], []]);
  assert.deepEqual(tidings.positions(), { "room:a": at(6) });
});

test("what is not kept any more is told as a gap, as is a hole, a new epoch, and one that went back", async () => {
  const made = await following();
  const { sockets, heard, told } = made;
  await again(made);
  answer(sockets.last, "room:a", at(9));
  sockets.last.say(published("room:a", 10));
  sockets.last.say(published("room:a", 13));
  sockets.last.say({ type: "position", data: { channel: "room:a", ...at(15) } });
  sockets.last.say(published("room:a", 16));
  sockets.last.say({ type: "position", data: { channel: "room:a", ...at(0, "e2") } });
  sockets.last.say(published("room:a", 1));
  await again(made);
  answer(sockets.last, "room:a", at(4, "e3"));
  sockets.last.say(published("room:a", 5));
  await again(made);
  answer(sockets.last, "room:a", at(2, "e3"));
  assert.deepEqual(heard, [3, 10, 13, 16, 1, 5]);
  const gap = (from, to, epoch) => ({ channel: "room:a", from, to, epoch });
  assert.deepEqual(told.gaps, [
    gap(4, 9, "e1"), gap(11, 12, "e1"), gap(17, null, "e2"), gap(2, null, "e3"), gap(6, null, "e3"),
  ]);
});

test("channels that come unasked go on where they were, with what comes meanwhile at its place", async () => {
  const channels = (all, group) => ({ channels: { all: at(all), "group:x": at(group) } });
  const made = await connected({}, channels(5, 7));
  const { tidings, sockets, told } = made;
  const heard = [];
  tidings.on("news", (data, { channel, offset }) => heard.push(`${channel} ${offset}`));
  assert.equal(sockets.last.all("subscribe").length, 0);
  sockets.last.say(published("all", 6));
  await again(made, channels(8, 7));
  // Of `all` 7 and 8 are missing: asked for, and 9 waits for them; of the group nothing is.
  assert.deepEqual(sockets.last.all("subscribe").map(({ data }) => data), [{ channel: "all", since: at(6) }]);
  sockets.last.say(published("all", 9));
  sockets.last.say(published("group:x", 8));
  answer(sockets.last, "all", at(9), { recovered: true });
  for (const offset of [7, 8, 9, 10]) sockets.last.say(published("all", offset));
  assert.deepEqual(heard, ["all 6", "group:x 8", "all 7", "all 8", "all 9", "all 10"]);
  await again(made, channels(15, 8));
  sockets.last.say(published("all", 16));
  answer(sockets.last, "all", at(16));
  sockets.last.say(published("all", 17));
  assert.deepEqual(told.gaps, [{ channel: "all", from: 11, to: 15, epoch: "e1" }]);
  assert.deepEqual(heard.slice(6), ["all 16", "all 17"]);
  // A policy that lets nobody subscribe to it by name: it comes all the same.
  await again(made, { channels: { all: at(19) } });
  sockets.last.answer("subscribe", "error", { code: "forbidden", message: "no" });
  sockets.last.say(published("all", 20));
  assert.deepEqual([told.gaps[1], heard.at(-1)], [{ channel: "all", from: 18, to: 19, epoch: "e1" }, "all 20"]);
  assert.deepEqual(tidings.positions(), { all: at(20) }, "the group is no more of the user's");
  assert.deepEqual(told.errors, []);
});

test("more than a thousand that wait for their place are a gap, and not memory", async () => {
  const made = await connected({}, { channels: { all: at(1) } });
  const { tidings, sockets, told } = made;
  let heard = 0;
  tidings.on("news", () => (heard += 1));
  await again(made, { channels: { all: at(2) } });
  for (let offset = 3; offset <= 1_500; offset += 1) sockets.last.say(published("all", offset));
  answer(sockets.last, "all", at(1_500));
  assert.equal(heard, 1_000);
  assert.deepEqual(told.gaps.map(({ from, to }) => [from, to]), [[2, 2], [1_003, 1_500]]);
});

test("positions go on in another client: of what is followed, and of what comes unasked", async () => {
  const positions = { "room:a": at(3), "room:left": at(8), all: at(5), "room:ahead": at(90) };
  const { tidings, sockets, told } = client({ positions });
  tidings.subscribe("room:a");
  tidings.subscribe("room:ahead");
  tidings.connect();
  await settle();
  sockets.last.accept({ channels: { all: at(6) } });
  const asked = Object.fromEntries(sockets.last.all("subscribe").map(({ data }) => [data.channel, data.since]));
  assert.deepEqual(asked, { "room:a": at(3), "room:ahead": at(90), all: at(5) });
  answer(sockets.last, "room:ahead", at(7));
  assert.deepEqual(told.gaps, [{ channel: "room:ahead", from: 91, to: null, epoch: "e1" }]);
  tidings.subscribe("room:left");
  assert.deepEqual(sockets.last.the("subscribe").data.since, at(8));
  assert.deepEqual(tidings.positions()["room:left"], at(8));
});

test("two who follow one channel share one subscription, which ends with the last of them", async () => {
  const made = await connected();
  const { tidings, sockets } = made;
  const heard = [];
  const first = tidings.subscribe("room:a", () => heard.push("first"));
  const second = tidings.subscribe("room:a", () => heard.push("second"));
  answer(sockets.last, "room:a", at(2));
  const third = tidings.subscribe("room:a", () => heard.push("third"));
  assert.equal(sockets.last.all("subscribe").length, 1);
  assert.deepEqual(await Promise.all([first.ready, second.ready, third.ready]).then((all) => all.length), 3);
  const asking = tidings.subscribe("room:a", () => {}, { presence: true });
  assert.deepEqual(sockets.last.the("subscribe").data, { channel: "room:a", presence: true });
  sockets.last.say(published("room:a", 3));
  answer(sockets.last, "room:a", at(3), { members: [] });
  assert.deepEqual((await asking.ready).members, []);
  const refused = tidings.subscribe("room:a", () => heard.push("refused"), { presence: true });
  sockets.last.answer("subscribe", "error", { code: "forbidden", message: "presence is not kept" });
  await assert.rejects(refused.ready, Refused);
  first.unsubscribe();
  first.unsubscribe();
  asking.unsubscribe();
  third.unsubscribe();
  sockets.last.say(published("room:a", 4));
  assert.deepEqual(heard, ["first", "second", "third", "second"]);
  assert.equal(sockets.last.all("unsubscribe").length, 0);
  second.unsubscribe();
  assert.equal(sockets.last.all("unsubscribe").length, 1);
  sockets.last.answer("unsubscribe", "unsubscribed", { channel: "room:a" });
  await again(made);
  assert.deepEqual([sockets.last.all("subscribe"), tidings.positions()], [[], {}]);
});

test("of a channel that was left nothing is heard, and one that is taken up again begins anew", async () => {
  const { tidings, sockets, subscription, told } = await following();
  const heard = [];
  tidings.on("news", (data, { offset }) => heard.push(offset));
  subscription.unsubscribe();
  sockets.last.say(published("room:a", 4));
  const anew = tidings.subscribe("room:a");
  assert.deepEqual(sockets.last.the("subscribe").data, { channel: "room:a" });
  sockets.last.answer("unsubscribe", "unsubscribed", { channel: "room:a" });
  answer(sockets.last, "room:a", at(6));
  sockets.last.say(published("room:a", 7));
  assert.deepEqual([heard, told.gaps, (await anew.ready).offset], [[7], [], 6]);
  // Left before its answer: nothing of it stays behind.
  const early = tidings.subscribe("room:b");
  early.unsubscribe();
  await assert.rejects(early.ready, Lost);
  answer(sockets.last, "room:b", at(1));
  sockets.last.answer("unsubscribe", "unsubscribed", { channel: "room:b" });
  assert.deepEqual(Object.keys(tidings.positions()), ["room:a"]);
  // Its refusal is not that of the subscription that came after it.
  const refused = tidings.subscribe("room:c");
  refused.unsubscribe();
  const wanted = tidings.subscribe("room:c");
  const [first, second] = sockets.last.all("subscribe").filter(({ data }) => data.channel === "room:c");
  sockets.last.say({ type: "error", data: { code: "forbidden", message: "no" }, id: first.id });
  sockets.last.answer("unsubscribe", "error", { code: "not_found", message: "not subscribed" });
  sockets.last.say({ type: "subscribed", data: { channel: "room:c", recovered: false, ...at(5) }, id: second.id });
  assert.equal((await wanted.ready).offset, 5);
});

test("a channel that was left as the line broke is heard again once it is taken up", async () => {
  const made = await following();
  const { tidings, sockets, subscription } = made;
  const heard = [];
  subscription.unsubscribe();
  await again(made);
  tidings.subscribe("room:a", ({ offset }) => heard.push(offset));
  answer(sockets.last, "room:a", at(8));
  sockets.last.say(published("room:a", 9));
  assert.deepEqual(heard, [9]);
});

test("disconnecting over what was held ends it there, and another connection goes on behind it", async () => {
  const made = await connected({}, { channels: { all: at(1) } });
  const { tidings, sockets, told } = made;
  const heard = [];
  tidings.on("news", (data, { offset }) => heard.push(offset) === 2 && tidings.disconnect());
  await again(made, { channels: { all: at(2) } });
  for (const offset of [3, 4, 5]) sockets.last.say(published("all", offset));
  answer(sockets.last, "all", at(5));
  assert.deepEqual([heard, tidings.state.name], [[3, 4], "ended"]);
  tidings.connect();
  await settle();
  sockets.last.accept({ channels: { all: at(5) } });
  assert.deepEqual(sockets.last.the("subscribe").data, { channel: "all", since: at(4) });
  assert.equal(told.gaps.length, 1);
});

test("who is there is asked also of a channel that comes unasked, and that nobody can leave", async () => {
  const made = client();
  const { tidings, sockets } = made;
  const asking = tidings.subscribe("all", () => {}, { presence: true });
  tidings.connect();
  await settle();
  sockets.last.accept({ channels: { all: at(1) } });
  const members = [{ user_id: "bob", username: "Bob" }];
  assert.equal(sockets.last.the("subscribe").data.presence, true);
  answer(sockets.last, "all", at(1), { members });
  assert.deepEqual((await asking.ready).members, members);
  asking.unsubscribe();
  assert.deepEqual([sockets.last.all("unsubscribe"), tidings.positions()], [[], { all: at(1) }]);
});

test("a server too busy to end a subscription is asked again, unless it is wanted again", async () => {
  const { tidings, sockets, subscription } = await following();
  const heard = [];
  tidings.on("news", (data, { offset }) => heard.push(offset));
  subscription.unsubscribe();
  const refusal = { code: "rate_limited", message: "slower", retry_after: 2 };
  const busy = () => sockets.last.answer("unsubscribe", "error", refusal);
  busy();
  await pass(2_000);
  assert.equal(sockets.last.all("unsubscribe").length, 2);
  sockets.last.say(published("room:a", 4));
  busy();
  tidings.subscribe("room:a");
  answer(sockets.last, "room:a", at(4));
  await pass(10_000);
  sockets.last.say(published("room:a", 5));
  assert.deepEqual([heard, sockets.last.all("unsubscribe").length], [[5], 2]);
  const second = tidings.subscribe("room:b");
  second.unsubscribe();
  tidings.subscribe("room:b");
  busy();
  answer(sockets.last, "room:b", at(1));
  await pass(10_000);
  sockets.last.say(published("room:b", 2));
  assert.deepEqual([heard, sockets.last.all("unsubscribe").length], [[5, 2], 3]);
});

test("a subscription refused for now is asked for again; for good, ready rejects and it is over", async () => {
  const made = await connected();
  const { tidings, sockets, told } = made;
  const { ready } = tidings.subscribe("room:a");
  const refuse = (code, more) => sockets.last.answer("subscribe", "error", { code, message: "no", ...more });
  refuse("rate_limited", { retry_after: 3 });
  await pass(2_750);
  assert.equal(sockets.last.all("subscribe").length, 1);
  await pass(250);
  refuse("unavailable");
  await pass(2_000);
  assert.equal(sockets.last.all("subscribe").length, 3);
  refuse("forbidden");
  // Nobody waits for this one: its rejection is nobody's fault.
  tidings.subscribe("room:b");
  refuse("forbidden");
  await settle();
  await assert.rejects(ready, (error) => error instanceof Refused && error.code === "forbidden");
  await again(made);
  assert.deepEqual([sockets.last.all("subscribe"), told.errors], [[], []]);
});

test("what was granted and is refused on return, or taken away, is told and forgotten", async () => {
  const made = await following();
  const { tidings, sockets, heard, told } = made;
  const left = [];
  tidings.on("unsubscribed", ({ channel }) => left.push(channel));
  await again(made);
  sockets.last.answer("subscribe", "error", { code: "forbidden", message: "not a member" });
  assert.deepEqual(told.errors, [{ channel: "room:a", code: "forbidden", message: "not a member" }]);
  const removed = tidings.subscribe("room:b", ({ offset }) => heard.push(offset));
  answer(sockets.last, "room:b", at(1));
  sockets.last.say({ type: "unsubscribed", data: { channel: "room:b" } });
  assert.deepEqual([left, tidings.positions()], [["room:a", "room:b"], {}]);
  removed.unsubscribe();
  assert.equal(sockets.last.all("unsubscribe").length, 0);
  await again(made);
  assert.equal(sockets.last.all("subscribe").length, 0);
});

test("a room that was joined by its own command comes back, and one that was left does not", async () => {
  const made = await connected();
  const { tidings, sockets } = made;
  tidings.request("join_room", { room: "a" });
  sockets.last.answer("join_room", "subscribed", { channel: "room:a", ...at(4), recovered: false });
  await again(made);
  assert.deepEqual(sockets.last.the("subscribe").data, { channel: "room:a", since: at(4) });
  answer(sockets.last, "room:a", at(4), { recovered: true });
  tidings.request("leave_room", { room: "a" });
  sockets.last.answer("leave_room", "unsubscribed", { channel: "room:a" });
  await again(made);
  assert.equal(sockets.last.all("subscribe").length, 0);
});

test("a subscription stays over an end and another connect, and its ready does not", async () => {
  const { tidings, sockets } = client();
  const { ready } = tidings.subscribe("room:a");
  tidings.connect();
  await settle();
  tidings.disconnect();
  await assert.rejects(ready, Ended);
  await assert.rejects(tidings.subscribe("room:b").ready, Ended);
  tidings.connect();
  await settle();
  sockets.last.accept();
  assert.deepEqual(sockets.last.all("subscribe").map(({ data }) => data.channel), ["room:a", "room:b"]);
});

test("a server that does not answer a subscription is left for another connection", async () => {
  const { tidings } = await following();
  tidings.subscribe("room:b");
  await pass(20_000);
  assert.deepEqual([tidings.state.name, tidings.state.code], ["waiting", 1006]);
});
