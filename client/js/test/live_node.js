// The commands of live.js in Node.
//
// node live_node.js, beside whose SDK the package `ws` is installed.

import { WebSocket } from "ws";
import * as sdk from "../tidings.js";
import { live } from "./live.js";
import { serve } from "./live_lines.js";

const run = live(sdk, { WebSocket });

await serve(run);
// Standard input has ended: if anything of the SDK were left, a timer or a socket, the program would not.
await run("call", { method: "disconnect" });
