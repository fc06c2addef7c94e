// Which figures are bad. What to do about them is in the texts: `note_<key>` and `do_<key>`.

import { bytes, milliseconds, number } from "../../lib/format.js";
import { happened } from "./history.js";

const MINUTE_MS = 60_000;

// Later than that, people notice: a message is shown with it, and so is the next one behind it.
const LAG_SECONDS = 0.1;
const FANOUT_SECONDS = 0.25;
const REQUEST_SECONDS = 1;
// One core is what the server's loop has.
const CPU_SHARE = 0.85;
// A minute with more than so many refusals is an attack, or a client in a loop.
const REFUSALS = 60;
// A tenth of the default limit of one connection's outbox, on average of those that wait.
const WAITING_BYTES = 104_858;

// [{key, tone, values}]: the worst first.
export function advice({ report, samples, recent }) {
  const { latencies, totals, deepest_outboxes: deepest } = report;
  const slow = happened(samples, "slow_consumers", MINUTE_MS);
  const refused = happened(samples, "refusals", MINUTE_MS);
  const notes = [
    over(latencies.lag.p99, LAG_SECONDS) && ["lag", "bad", late(latencies.lag)],
    recent.cpu > CPU_SHARE && ["cpu", "bad", { share: number(recent.cpu * 100) }],
    slow > 0 && ["slow", "bad", { count: number(slow) }],
    totals.waiting > 0 && totals.outbox_bytes / totals.waiting > WAITING_BYTES && ["waiting", "busy", {
      bytes: bytes(totals.outbox_bytes), count: number(totals.waiting), user: deepest[0]?.user_id ?? "–",
    }],
    over(latencies.fanout.p99, FANOUT_SECONDS) && ["fanout", "busy", late(latencies.fanout)],
    over(latencies.requests.p99, REQUEST_SECONDS) && ["requests", "busy", late(latencies.requests)],
    refused > REFUSALS && ["refused", "busy", { count: number(refused) }],
  ];
  return notes.filter(Boolean).map(([key, tone, values]) => ({ key, tone, values }));
}

function late({ p99 }) {
  return { time: milliseconds(p99 * 1000) };
}

function over(value, limit) {
  return value !== null && value > limit;
}
