// What was said in a conversation, in order and bounded: each line has its place, however late it comes.

// As many as people scroll through; older ones are asked for again.
export const KEPT = 600;

// Places from here on are of what waits to be said: behind all that was.
export const WAITING = 2 ** 52;

// A line: {order, kind, at, …}; the kinds are
//   said   {id, by, username, text, own, key, state, error}: `state` is sent, waiting, unsure (there was no answer),
//          full (too much waited), or failed
//   note   {text}: what happened, as that somebody came in
//   event  {id, type, text}: another program's publication
// Lines are replaced and never changed, so that whoever draws them sees by identity what is new.
export class Lines {
  all = [];
  // Whether older lines fell out, so that there is something to ask for again.
  isCut = false;

  // The last place that is not a waiting line's.
  get head() {
    return this.all.findLast((line) => line.order < WAITING)?.order ?? 0;
  }

  // Put a line in its place. False where it is there already.
  add(line) {
    const same = (other) => (line.id && other.id === line.id) || (line.key && other.key === line.key);
    const known = this.all.find(same);
    if (known?.id) return false;
    // What waited here has come back from where it was said.
    if (known) this.replace(known, null);
    let place = this.all.length;
    while (place > 0 && this.all[place - 1].order > line.order) place -= 1;
    this.all.splice(place, 0, line);
    return true;
  }

  // Take a line out, and another one in, wherever its place is.
  replace(line, other) {
    const index = this.all.indexOf(line);
    if (index >= 0) this.all.splice(index, 1);
    if (other) this.add(other);
  }

  // Keep the newest `most`, which are never so few that what waits would fall out.
  cut(most) {
    const excess = this.all.length - most;
    if (excess <= 0) return;
    this.all.splice(0, excess);
    this.isCut = true;
  }
}
