// The commands of live.js in a module Worker: as messages, each with the port for its value.

import * as sdk from "/sdk/tidings.js";
import { live } from "./live.js";

const run = live(sdk);

onmessage = async ({ data: { command, given }, ports: [port] }) => {
  port.postMessage((await run(command, given)) ?? null);
};
