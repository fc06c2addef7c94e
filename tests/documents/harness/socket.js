// The WebSocket of a browser, made of that of `ws`, and pointed at the server of the test.
"use strict";

const { WebSocket } = require("ws");

// Where a page comes from that is worked on; a browser tells it with every handshake.
const ORIGIN = "http://localhost:5173";

// The class for a page whose text says `written` (host and port), where the server listens at `port`.
function browserSocket(written, port, report) {
  return class extends WebSocket {
    constructor(url, protocols = []) {
      const there = new URL(url);
      if (there.host !== written) throw new Error(`the document connects to ${written}, not to ${there.host}`);
      there.host = `127.0.0.1:${port}`;
      // In a browser each message is a task of its own: what waits for one runs before the next.
      super(there, protocols, { allowSynchronousEvents: false, origin: ORIGIN });
      // Sees what a page never does: the answer to a handshake that was refused.
      this.on("unexpected-response", async (_request, response) => {
        const body = Buffer.concat(await response.toArray()).toString();
        report({ event: "refused", status: response.statusCode, type: response.headers["content-type"], body });
        this.close(); // The page gets `error` and `close`, as in a browser.
      });
    }

    // What a browser's says. By it Vue's `ref` knows that this is no plain object, to be watched in depth.
    get [Symbol.toStringTag]() {
      return "WebSocket";
    }
  };
}

module.exports = { browserSocket };
