// What was said in a conversation, in order and bounded: each line has its place, however late it comes.

// As many as people scroll through; older ones are asked for again.
export const KEPT = 600;

// A line: {order, kind, at, …}; the kinds are
//   said   {by, username, text, own, key, state, error}: `state` is sent, waiting, unsure (no answer came) or failed
//   note   {text}: what happened, as that somebody came in
//   event  {type, text}: another program's publication
// Lines are replaced and never changed, so that whoever draws them sees by identity what is new.
export class Lines {
  #all = [];
  // Whether older lines fell out, so that there is something to ask for again.
  isCut = false;

  get all() {
    return this.#all;
  }

  get last() {
    return this.#all.at(-1) ?? null;
  }

  // The highest place that is not a waiting line's.
  get head() {
    return this.#all.findLast((line) => Number.isFinite(line.order))?.order ?? 0;
  }

  // Put a line in its place. False where it is there already, or a line with its key is.
  add(line) {
    if (line.key) {
      const index = this.#all.findIndex((other) => other.key === line.key);
      if (index >= 0) {
        // What waited here has come back from the room.
        if (this.#all[index].state === "sent") return false;
        this.#all.splice(index, 1);
      }
    }
    let place = this.#all.length;
    while (place > 0 && this.#all[place - 1].order > line.order) place -= 1;
    if (Number.isInteger(line.order) && this.#all[place - 1]?.order === line.order) return false;
    this.#all.splice(place, 0, line);
    return true;
  }

  // Replace a line by another; nothing where it has gone.
  replace(line, other) {
    const index = this.#all.indexOf(line);
    if (index < 0) return;
    this.#all.splice(index, 1);
    if (other) this.add(other);
  }

  // Keep the newest `most`; what waits to be said always stays.
  cut(most = KEPT) {
    const excess = this.#all.length - most;
    if (excess <= 0) return;
    this.#all = this.#all.slice(excess);
    this.isCut = true;
  }

  clear() {
    this.#all = [];
    this.isCut = false;
  }
}
