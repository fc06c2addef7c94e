// How a test speaks with a program of the harness: a line of JSON for each command on standard input, and on
// standard output one for each event, among them the answer to each command.
"use strict";

const readline = require("node:readline");

function report(event) {
  process.stdout.write(`${JSON.stringify(event)}\n`);
}

// Serves `commands` by name until standard input ends, one after the other.
async function serve(commands) {
  report({ event: "ready" });
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { command, ...given } = JSON.parse(line);
    report({ event: "done", value: (await commands[command](given)) ?? null });
  }
  process.exit(0);
}

// For the texts of a document: what they log is an event.
const told = (level) => (...words) =>
  report({ event: "console", level, text: words.map((word) => (typeof word === "string" ? word : "…")).join(" ") });
const logs = { log: told("log"), error: told("error") };

// Time for the documents' texts alone, which goes when a test says so: what runs beneath them keeps its own.
class Time {
  #now = 0;
  #timers = new Set();

  setTimeout = (callback, milliseconds) => this.#start({ callback, due: this.#now + milliseconds });
  setInterval = (callback, milliseconds) => this.#start({ callback, due: this.#now + milliseconds, milliseconds });

  pass(milliseconds) {
    const end = this.#now + milliseconds;
    for (;;) {
      const [next] = [...this.#timers].sort((one, other) => one.due - other.due);
      if (next === undefined || next.due > end) break;
      this.#now = next.due;
      if (next.milliseconds === undefined) this.#timers.delete(next);
      else next.due += next.milliseconds;
      next.callback();
    }
    this.#now = end;
  }

  // How many wait.
  get size() {
    return this.#timers.size;
  }

  #start(timer) {
    this.#timers.add(timer);
  }
}

module.exports = { Time, logs, report, serve };
