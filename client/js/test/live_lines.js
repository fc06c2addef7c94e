// How a test speaks with these programs in Node: a line of JSON for each command on standard input, and one for its
// value on standard output.

import { createInterface } from "node:readline";

// Runs the commands one after the other until standard input ends.
export async function serve(run) {
  const write = (value) => process.stdout.write(`${JSON.stringify(value ?? null)}\n`);
  write("ready");
  for await (const line of createInterface({ input: process.stdin })) {
    const { command, given } = JSON.parse(line);
    write(await run(command, given));
  }
}
