// What happened, as plain data, and waiting for it.
export class Journal {
  #entries = [];
  #waiting = new Set();

  note(entry) {
    this.#entries.push(entry);
    for (const look of this.#waiting) look();
  }

  // The entries with those fields.
  noted(fields = {}) {
    const fits = (entry) => Object.entries(fields).every(([name, value]) => entry[name] === value);
    return this.#entries.filter(fits);
  }

  // The same, when there are so many.
  until(fields, count = 1) {
    return new Promise((resolve) => {
      const look = () => {
        const found = this.noted(fields);
        if (found.length < count) return;
        this.#waiting.delete(look);
        resolve(found);
      };
      this.#waiting.add(look);
      look();
    });
  }
}
