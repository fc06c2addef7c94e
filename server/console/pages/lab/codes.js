// Close codes: what they are called, what they mean (other languages: meanings.js), whether a client may come back.

// Number → name, and what to do about it. The numbers are those of tidings.protocol.close_codes.
export const CODES = {
  1000: ["done", "One side had nothing more to say."],
  1001: ["going away", "The page or the server is leaving."],
  1002: ["protocol error", "A frame broke RFC 6455."],
  1003: ["unsupported data", "Text where bytes are spoken, or the other way round."],
  1005: ["no status", "The close frame gave no reason."],
  1006: ["connection lost", "No close frame: network, proxy or server went away, or the handshake was refused."],
  1007: ["invalid UTF-8", "A text message was not UTF-8."],
  1008: ["policy violation", "A rule of the server was broken."],
  1009: ["message too big", "A message was longer than the server takes."],
  1011: ["internal error", "The server failed; it was not your fault."],
  1012: ["service restart", "The server restarts."],
  1013: ["try again later", "The server is too busy."],
  3001: ["server shutting down", "Another server, or this one restarted, will take over."],
  3004: ["internal error", "The server failed; it was not your fault."],
  3005: ["token expired", "Come back with a new token."],
  3008: ["slow consumer", "This client read too slowly, and its queue was full."],
  3010: ["insufficient state", "What was missed cannot be replayed: load the state anew."],
  3012: ["no pong in time", "The other side was silent for too long."],
  3013: ["too many requests", "Commands came faster than allowed."],
  3500: ["invalid token", "The server does not accept this token. Get another one."],
  3501: ["bad request", "The handshake asked for something impossible."],
  3502: ["no authentication in time", "No token came within ten seconds."],
  3503: ["disconnected by an administrator", "Somebody decided that this connection ends."],
  3504: ["too many connections of this user", "Close another tab or device first."],
  3505: ["too many channels", "A connection may have only so many."],
  3506: ["wrong protocol", "Client and server do not speak the same."],
  3507: ["denied", "This is not allowed."],
  3508: ["logged in elsewhere", "A newer login of this user has replaced this one."],
  3509: ["too many errors", "Too many of this client's commands were wrong."],
  3510: ["account deleted", "The account is gone."],
};

// Of RFC 6455's codes, those after which the same attempt would fail the same way again.
const FINAL = new Set([1000, 1002, 1003, 1007, 1008, 1009]);

// Holds for codes that are not in the table too, as later servers may send.
export function mayReconnect(code) {
  return !(code >= 3500 && code <= 3999) && !FINAL.has(code);
}

// As the server calls it, in its logs too.
export function describe(code) {
  return CODES[code]?.[0] ?? "unknown code";
}
