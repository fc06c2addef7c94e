// Where the lines of a chart's axes are: at round numbers and round times.

// Round values that cover low to high: {low, high, ticks}. `most`: intervals, about. `whole`: no fractions.
export function valueTicks(low, high, most, whole = false) {
  // A line that is level everywhere has room above it.
  const span = high > low ? high - low : Math.abs(high) || 1;
  let step = round(span / Math.max(1, most));
  if (whole) step = Math.max(1, Math.round(step));
  const first = Math.floor(low / step + 1e-9);
  const last = Math.max(first + 1, Math.ceil((high > low ? high : low + span) / step - 1e-9));
  const ticks = [];
  // Multiplied, not added up: ten times 0.1 is not 1.
  for (let n = first; n <= last; n++) ticks.push(Number((n * step).toPrecision(12)));
  return { low: ticks[0], high: ticks.at(-1), ticks };
}

// 1, 2 or 5 with zeros: the first that is not less.
function round(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  const digit = [1, 2, 5, 10].find((candidate) => candidate * power >= value * (1 - 1e-9));
  return digit * power;
}

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const STEPS = [
  SECOND, 2 * SECOND, 5 * SECOND, 10 * SECOND, 15 * SECOND, 30 * SECOND,
  MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 30 * MINUTE,
  HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, 24 * HOUR,
];

// Round times from `from` to `to`: {step, ticks}, all in milliseconds; round as clocks here show them.
export function timeTicks(from, to, most) {
  const step = STEPS.find((candidate) => (to - from) / candidate <= Math.max(1, most)) ?? STEPS.at(-1);
  const zone = new Date(to).getTimezoneOffset() * MINUTE;
  const ticks = [];
  for (let at = Math.ceil((from - zone) / step) * step + zone; at <= to; at += step) ticks.push(at);
  return { step, ticks };
}
