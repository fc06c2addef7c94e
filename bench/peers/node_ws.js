// Node with `ws`: a message is framed once, with the library's public Sender.frame(), and the frame written to
// the socket of every member of the room. Sending with `send()`, which frames it for each, costs a tenth more.
//
// Run with --expose-gc, and with NODE_PATH naming the folder in which `ws` is installed.
"use strict";

const readline = require("node:readline");
const { Sender, WebSocket, WebSocketServer } = require("ws");

const BACKLOG = 4096;
const TEXT = 1;
const BINARY = 2;

const rooms = new Map();

function roomAt(path) {
  let room = rooms.get(path);
  if (room === undefined) rooms.set(path, (room = new Map()));
  return room;
}

function broadcast(room, data, isBinary) {
  const options = { fin: true, mask: false, opcode: isBinary ? BINARY : TEXT, readOnly: true, rsv1: false };
  const frame = Buffer.concat(Sender.frame(data, options));
  for (const [member, socket] of room) {
    if (member.readyState === WebSocket.OPEN) socket.write(frame);
  }
}

const server = new WebSocketServer({ host: "127.0.0.1", port: 0, backlog: BACKLOG, perMessageDeflate: false });

server.on("connection", (member, request) => {
  const room = roomAt(request.url);
  room.set(member, request.socket);
  member.on("message", (data, isBinary) => broadcast(room, data, isBinary));
  member.on("close", () => room.delete(member));
  member.on("error", (error) => console.error(error.message));
});

server.on("listening", () => {
  console.log(JSON.stringify({ ready: true, port: server.address().port }));
});

readline
  .createInterface({ input: process.stdin })
  .on("line", () => {
    globalThis.gc();
    console.log(JSON.stringify({ done: true }));
  })
  .on("close", () => process.exit(0));
