// The lab page: puts its parts together, and sees to the token.

import { Channels } from "./channels.js";
import { Chat } from "./chat.js";
import { Connection } from "./connection.js";
import { $, fieldError } from "./dom.js";
import { FramesView } from "./frames.js";
import { Journeys } from "./journeys.js";
import { LatencyView } from "./latency.js";
import { PublishView } from "./publish.js";
import { StatsView } from "./stats.js";
import { StatusView } from "./status.js";
import { forget, keep, kept, takeFromAddress, tidy } from "./token.js";

// First of all: the address bar is on screens, in screenshots and in the history.
const brought = takeFromAddress();

// Relative, so that the page works below a proxy's path too.
const endpoint = new URL("ws", location.href);
endpoint.protocol = location.protocol === "https:" ? "wss:" : "ws:";
endpoint.search = endpoint.hash = "";

const connection = new Connection(endpoint.href);
const journeys = new Journeys();
const channels = new Channels(connection);
const latency = new LatencyView(connection);
new FramesView(connection);
new StatusView(connection);
new Chat(connection, channels, journeys, latency);
new PublishView(connection, journeys, latency);
new StatsView(connection);

function begin(token) {
  keep(token);
  connection.connect(token);
}

async function submitToken(event) {
  event.preventDefault();
  const field = $("token");
  const token = tidy(field.value) || kept();
  if (!token) {
    fieldError(field, "Paste a token. `make serve` prints some; `tidings token --user alice` makes one.");
    field.focus();
    return;
  }
  fieldError(field, "");
  field.value = "";
  if (!connection.isConnected) {
    begin(token);
    return;
  }
  try {
    await connection.refresh(token);
    keep(token);
  } catch (error) {
    fieldError(field, error.message);
  }
}

function aboutToken({ code, detail, reason }) {
  if (code === 3500) return `Refused: ${detail ?? reason}`;
  return code === 3005 ? "It has expired: paste a new one." : "";
}

function tokenChanged() {
  const has = kept() !== "";
  const living = connection.isConnected;
  $("forget").hidden = !has;
  $("connect").textContent = living ? "Refresh token" : "Connect";
  $("token-hint").textContent = has
    ? "A token is kept in this tab, until it is closed. Paste another one to replace it."
    : "From the server's output (make serve), or tidings token --user alice. It stays in this tab. A link may bring it, as #token=…";
}

$("login").addEventListener("submit", submitToken);
$("disconnect").addEventListener("click", () => connection.disconnect());
$("retry").addEventListener("click", () => connection.retryNow());
$("forget").addEventListener("click", () => {
  forget();
  connection.disconnect();
});
connection.addEventListener("state", ({ detail }) => {
  if (detail.name === "connecting") journeys.reset();
  // A refusal belongs to the field that it is about.
  if (detail.name === "ended") fieldError($("token"), aboutToken(detail));
  tokenChanged();
});
// The network is back before the next attempt would be.
addEventListener("online", () => connection.retryNow());
// A link with a token, opened where the page already is.
addEventListener("hashchange", () => {
  const token = takeFromAddress();
  if (token) begin(token);
});

tokenChanged();
const first = brought || kept();
if (first) begin(first);
