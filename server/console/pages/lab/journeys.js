// How long a message of one's own takes from being sent to coming back with everybody else's.

// Arrivals are remembered because they overtake the answer that gives their offset; publications of others
// pass through the same memory, so it is bounded.
const KEPT = 500;

export class Journeys {
  #arrivals = new Map();
  #expected = new Map();

  // A publication came, at `at` as performance.now() counts.
  arrived(channel, offset, at) {
    const key = `${channel} ${offset}`;
    const expected = this.#expected.get(key);
    if (expected !== undefined) {
      this.#expected.delete(key);
      expected(at);
      return;
    }
    remember(this.#arrivals, key, at);
  }

  // The server gave our message an offset: `done` is called with its arrival, now or when it comes.
  published(channel, offset, done) {
    const key = `${channel} ${offset}`;
    const at = this.#arrivals.get(key);
    if (at !== undefined) done(at);
    else remember(this.#expected, key, done);
  }

  // Offsets begin anew with a new connection's epoch.
  reset() {
    this.#arrivals.clear();
    this.#expected.clear();
  }
}

function remember(map, key, value) {
  map.set(key, value);
  if (map.size > KEPT) map.delete(map.keys().next().value);
}
