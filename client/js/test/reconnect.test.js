// When a lost connection is tried again, and when not.

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { Ended, exponential, fixed, jitter } from "../tidings.js";
import { begin, client, connected, end, pass, settle } from "./support.js";

beforeEach(begin);
afterEach(end);

// From the end of one socket to the next one: the milliseconds until each attempt, every one of which fails.
async function delays(sockets, most) {
  const found = [];
  while (found.length < most) {
    const count = sockets.count;
    const lost = Date.now();
    sockets.last.end();
    await settle();
    for (let waited = 0; sockets.count === count && waited < 60_000; waited += 50) await pass(50);
    if (sockets.count === count) break;
    found.push(sockets.last.at - lost);
  }
  return found;
}

test("exponential tries after 1, 2, 4, 8 and 16 seconds, and then it is over (document S0)", async () => {
  const { tidings, sockets, told } = await connected({ reconnect: exponential() });
  assert.deepEqual(await delays(sockets, 9), [1_000, 2_000, 4_000, 8_000, 16_000]);
  assert.deepEqual(tidings.state, { name: "ended", code: 1006, reason: "" });
  assert.equal(told.states.filter((name) => name === "waiting").length, 5);
  await pass(600_000, 10_000);
  assert.equal(sockets.count, 6);
});

test("fixed tries five times after 3 seconds, and then it asks every 60 seconds (document S1)", async () => {
  const answers = [];
  const { tidings, sockets } = await connected({
    reconnect: fixed(),
    poll: { check: async () => answers.push(Date.now()) > 0 },
  });
  const begun = Date.now();
  assert.deepEqual(await delays(sockets, 5), [3_000, 3_000, 3_000, 3_000, 3_000]);
  sockets.last.end();
  assert.equal(tidings.state.name, "polling");
  await pass(59_750);
  assert.deepEqual([answers.length, sockets.count], [0, 6]);
  await pass(250);
  assert.deepEqual([answers.length, sockets.count], [1, 7], "a check that says yes makes one attempt");
  sockets.last.end();
  assert.equal(tidings.state.name, "polling");
  await pass(60_000);
  sockets.last.accept();
  assert.ok(tidings.isConnected());
  await pass(300_000, 10_000);
  assert.deepEqual(answers.map((at) => at - begun), [75_000, 135_000], "connected, nobody asks");
});

test("a check that says no ends it; one that fails, or does not answer in 20 seconds, does not", async () => {
  const checks = [() => Promise.reject(new Error("offline")), () => new Promise(() => {}), () => false];
  const poll = { check: () => checks.shift()(), interval: 5_000 };
  const { tidings, sockets } = client({ reconnect: () => null, poll });
  const opening = tidings.connect();
  await settle();
  sockets.last.end();
  await pass(5_000);
  assert.equal(sockets.count, 2, "a check that failed says nothing: the attempt will");
  sockets.last.end();
  await pass(24_750);
  assert.deepEqual([sockets.count, checks.length], [2, 1]);
  await pass(250);
  assert.equal(sockets.count, 3, "nor does one that hangs");
  sockets.last.end();
  await pass(5_000);
  assert.deepEqual([tidings.state.name, tidings.state.code], ["ended", 3500]);
  await assert.rejects(opening, (error) => error instanceof Ended && error.code === 3500);
});

test("what is no time is none: it is neither asked nor tried all the time", async () => {
  const checks = [];
  const check = () => checks.push(Date.now()) && Promise.reject(new Error("offline"));
  const given = [[undefined, 60_000], [NaN, 60_000], [0, 60_000], [1, 1_000], [1e12, 2 ** 31 - 1]];
  for (const [interval, expected] of given) {
    checks.length = 0;
    const { tidings, sockets } = client({ reconnect: () => null, poll: { check, interval } });
    tidings.connect();
    await settle();
    const begun = Date.now();
    sockets.last.end();
    await pass(expected - 1, expected - 1);
    assert.deepEqual(checks, [], `${interval}`);
    await pass(1);
    assert.deepEqual(checks, [begun + expected], `${interval}`);
    tidings.disconnect();
  }
  const { tidings, sockets } = await connected({ heartbeat: { interval: undefined, timeout: NaN } });
  await pass(24_750);
  assert.equal(sockets.last.all("ping").length, 0);
  await pass(250);
  assert.equal(sockets.last.all("ping").length, 1);
  await pass(9_750);
  assert.ok(tidings.isConnected());
  await pass(500);
  assert.equal(tidings.state.code, 3012);
});

test("a policy that throws, or says nothing of use, is reported, and the default one decides", async () => {
  const faults = [];
  globalThis.reportError = (error) => faults.push(error.message);
  const bad = [() => { throw new Error("no policy"); }, () => NaN, () => -1, () => "soon", async () => 1_000];
  for (const reconnect of bad) {
    const { tidings, sockets } = await connected({ reconnect });
    sockets.last.end();
    assert.equal(tidings.state.name, "waiting", `${reconnect}`);
    assert.ok(tidings.state.delay >= 0 && tidings.state.delay <= 500);
    await pass(500);
    sockets.last.accept();
    assert.ok(tidings.isConnected());
    tidings.disconnect();
  }
  assert.deepEqual([faults.length, faults[0], faults[1]], [5, "no policy", "not a number of milliseconds: NaN"]);
  delete globalThis.reportError;
});

test("jitter draws between 0 and a bound that doubles up to its cap, without end", () => {
  const policy = jitter({ base: 500, cap: 30_000 });
  for (let attempt = 1; attempt < 2_000; attempt += attempt < 12 ? 1 : 331) {
    const bound = Math.min(30_000, 500 * 2 ** (attempt - 1));
    const drawn = Array.from({ length: 400 }, () => policy(attempt));
    assert.ok(drawn.every((delay) => delay >= 0 && delay <= bound));
    // Full jitter: 400 draws leave no tenth of the range out but once in 10^17 times.
    assert.ok(Math.min(...drawn) < bound / 10 && Math.max(...drawn) > bound * 0.9);
  }
});

test("what the server asks to wait comes on top, and its word decides where the close frame got lost", async () => {
  const { tidings, sockets } = await connected();
  const say = (data) => sockets.last.say({ type: "disconnect", data });
  say({ code: 3001, reason: "server shutting down", reconnect: true, delay: 7.5 });
  sockets.last.end(1006);
  assert.deepEqual(tidings.state, {
    name: "waiting", attempt: 1, delay: 8_500, code: 3001, reason: "server shutting down",
  });
  await pass(8_250);
  assert.equal(sockets.count, 1);
  await pass(250);
  sockets.last.accept();
  say({ code: 3001, reason: "nonsense", reconnect: true, delay: 1e9 });
  sockets.last.end(3001);
  assert.equal(tidings.state.delay, 3_601_000, "an hour at most");
  await pass(3_601_000, 100_000);
  sockets.last.accept();
  say({ code: 3001, reason: "go", reconnect: false, delay: 0 });
  sockets.last.end(1006);
  assert.deepEqual(tidings.state, { name: "ended", code: 3001, reason: "go" });
});

test("after the codes that mean so it is over, and after every other one it is tried again", async () => {
  const final = [1000, 1002, 1003, 1007, 1008, 1009, 3500, 3503, 3508, 3510, 3999];
  const passing = [1001, 1005, 1006, 1011, 1012, 1013, 3000, 3001, 3004, 3005, 3008, 3010, 3012, 3499, 4000];
  for (const code of [...final, ...passing]) {
    const { tidings, sockets } = await connected();
    sockets.last.end(code, "why");
    assert.equal(tidings.state.name, final.includes(code) ? "ended" : "waiting", `${code}`);
    assert.deepEqual([tidings.state.code, tidings.state.reason], [code, "why"]);
    tidings.disconnect();
  }
});

test("a connection that dies at once does not begin the count anew; one of 10 seconds does", async () => {
  const asked = [];
  const { sockets } = await connected({ reconnect: (attempt) => asked.push(attempt) && 1_000 });
  for (const lasted of [0, 9_500, 10_000, 0]) {
    await pass(lasted);
    sockets.last.end();
    await pass(1_000);
    sockets.last.accept();
  }
  assert.deepEqual(asked, [1, 2, 1, 2]);
});

test("connect while it waits tries at once, and with a connection or an attempt changes nothing", async () => {
  const { tidings, sockets } = client({ reconnect: () => 60_000 });
  const first = tidings.connect();
  assert.equal(tidings.connect(), first);
  await settle();
  tidings.connect();
  await settle();
  assert.equal(sockets.count, 1);
  sockets.last.end();
  assert.equal(tidings.connect(), first);
  await settle();
  assert.equal(sockets.count, 2);
  sockets.last.accept();
  await first;
  await tidings.connect();
  await pass(120_000, 10_000);
  assert.equal(sockets.count, 2, "the timer of the attempt that was made earlier is gone");
});
