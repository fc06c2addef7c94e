// What time it is at the server, whose times lines have: clocks of pages are wrong by minutes, at times by hours.

export class Clock {
  #ahead = null;

  // Take a message's time. The one that was quickest here says most: no message comes before it was sent.
  heard(timestamp) {
    const ahead = Date.now() - Date.parse(timestamp);
    if (!Number.isNaN(ahead)) this.#ahead = this.#ahead === null ? ahead : Math.min(this.#ahead, ahead);
  }

  // Begin anew: the page's clock may have been put right, or the server be another.
  reset() {
    this.#ahead = null;
  }

  // Milliseconds since 1970, at the server; the page's own while nothing has been heard.
  now() {
    return Date.now() - (this.#ahead ?? 0);
  }

  // The page's time of a moment at the server's.
  here(time) {
    return time + (this.#ahead ?? 0);
  }
}
