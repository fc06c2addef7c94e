// Drawing as often as people can read it, however often there is something new.

export class Paced {
  #every;
  #draw;
  #timer = null;
  #frame = 0;
  #drawn = -Infinity;

  // `draw()` runs in a frame, at most once in `every` milliseconds: in none while the document is hidden.
  constructor(every, draw) {
    this.#every = every;
    this.#draw = draw;
  }

  // Have it drawn soon, once for all who have asked since.
  ask() {
    if (this.#timer !== null || this.#frame !== 0) return;
    // A timer for what is too early: asking for a frame after the other would keep the screen awake.
    const early = this.#drawn + this.#every - performance.now();
    if (early > 0) this.#timer = setTimeout(() => this.#next(), early);
    else this.#next();
  }

  // Draw at the next frame, whatever the pace.
  hurry() {
    this.#drawn = -Infinity;
    clearTimeout(this.#timer);
    this.#timer = null;
    this.ask();
  }

  stop() {
    clearTimeout(this.#timer);
    cancelAnimationFrame(this.#frame);
    this.#timer = null;
    this.#frame = 0;
  }

  #next() {
    this.#timer = null;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      this.#drawn = performance.now();
      this.#draw();
    });
  }
}
