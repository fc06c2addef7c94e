// What a chart has been told: times, each with a value of every series. Bounded, whatever is added.

export class Points {
  #times;
  #values;
  #first = 0;
  #length = 0;
  #apart = 0;
  #thin;

  // At most `capacity` points of `series` values each: 8 bytes for a time and each value, so 1,200 points of four
  // series are 48 kB. Beyond it the oldest go; or, with `thin`, every other one, and the rest cover all the time.
  constructor(series, capacity, { thin = false } = {}) {
    this.#times = new Float64Array(capacity);
    this.#values = Array.from({ length: series }, () => new Float64Array(capacity));
    this.#thin = thin;
  }

  get length() {
    return this.#length;
  }

  // How far apart points are, at least, since they have been thinned out, in milliseconds; 0: as they came.
  get apart() {
    return this.#apart;
  }

  time(index) {
    return this.#times[this.#at(index)];
  }

  // NaN where nothing was measured.
  value(index, series) {
    return this.#values[series][this.#at(index)];
  }

  // Add what was measured at `time` (milliseconds), the newest. What is null, or missing, was not measured.
  add(time, values) {
    // A clock that was put back: what it calls the future has not been.
    while (this.#length > 0 && this.time(this.#length - 1) > time) this.#length--;
    // The newest point is always the last that was told; while thinning those behind it keep their distance.
    const close = this.#length > 1 && time - this.time(this.#length - 2) < this.#apart;
    const same = this.#length > 0 && this.time(this.#length - 1) === time;
    if (close || same) this.#length--;
    if (this.#length === this.#times.length) this.#makeRoom();
    const at = this.#at(this.#length++);
    this.#times[at] = time;
    this.#values.forEach((column, series) => (column[at] = values[series] ?? NaN));
  }

  clear() {
    this.#first = this.#length = this.#apart = 0;
  }

  // The first index that is not before `time`; the length where all are.
  from(time) {
    let low = 0;
    let high = this.#length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.time(middle) < time) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  // The index that is nearest to `time`; -1 without any.
  nearest(time) {
    const after = this.from(time);
    if (after === this.#length) return after - 1;
    return after > 0 && time - this.time(after - 1) < this.time(after) - time ? after - 1 : after;
  }

  #at(index) {
    return (this.#first + index) % this.#times.length;
  }

  #makeRoom() {
    if (!this.#thin) {
      this.#first = (this.#first + 1) % this.#times.length;
      this.#length--;
      return;
    }
    const kept = Math.floor(this.#length / 2);
    // From the front: what is written has been read. `#first` is 0: nothing else moves it where points are thinned.
    for (let index = 0; index < kept; index++) {
      this.#times[index] = this.#times[2 * index];
      for (const column of this.#values) column[index] = column[2 * index];
    }
    this.#apart = (this.#times[kept - 1] - this.#times[0]) / (kept - 1);
    this.#length = kept;
  }
}
