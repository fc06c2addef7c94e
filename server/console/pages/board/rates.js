// How many lines came in each second, of the last eleven minutes: what the chart of lines per minute is made from.

const SECONDS = 661;
// A minute's rate is that of the last minute; at first, of as much as is known, once it says something.
const MINUTE = 60;
const LEAST = 10;

export class Rates {
  // By second of the server's clock, modulo; `#second` says which second a place is about.
  #second = new Float64Array(SECONDS);
  #lines = new Uint32Array(SECONDS);
  #duplicates = new Uint32Array(SECONDS);
  // From this second on, every line is counted here. Infinity: none yet.
  #since = Infinity;

  // Count a line that came in at this second.
  add(second, duplicate) {
    const place = second % SECONDS;
    if (this.#second[place] > second) return;
    if (this.#second[place] < second) {
      this.#second[place] = second;
      this.#lines[place] = this.#duplicates[place] = 0;
    }
    this.#lines[place] += 1;
    if (duplicate) this.#duplicates[place] += 1;
  }

  // Say from which second on all are counted. What came before is forgotten: it is not all.
  knows(since) {
    this.#since = since;
  }

  // [[second, [lines a minute, duplicates a minute]], …] of ten minutes up to `until`, one in `every` seconds; nulls
  // where they are not known.
  perMinute(until, every) {
    const points = [];
    for (let at = until - 600 + ((600 - until) % every + every) % every; at <= until; at += every) {
      const from = Math.max(at - MINUTE, this.#since - 1);
      const seconds = at - from;
      const sums = seconds < LEAST ? [null, null] : this.#sums(from, at);
      points.push([at, sums.map((sum) => sum && (sum * MINUTE) / seconds)]);
    }
    return points;
  }

  // Of the seconds after `from`, up to `to`.
  #sums(from, to) {
    let lines = 0;
    let duplicates = 0;
    for (let second = from + 1; second <= to; second++) {
      const place = second % SECONDS;
      if (this.#second[place] !== second) continue;
      lines += this.#lines[place];
      duplicates += this.#duplicates[place];
    }
    return [lines, duplicates];
  }
}
