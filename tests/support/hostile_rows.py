"""What is tried on a server's WebSockets, by section: every row talks to a port, and can be tried on any server.

A row makes its own clients of the peers it is given, and asserts what they are answered. Whoever tries it
sees to what must hold of all rows: a neighbour is served, and nothing is left. Rows about tokens, HTTP and
rights stand in hostile_rights.py.
"""

import select
import socket
from functools import partial
from typing import Any

import trio

from support.client import RawClient, masked
from support.hostile import BAD_FRAMES, BAD_HEADS, BAD_UTF8, TOKEN, head
from support.hostile_http import API_KEY, BAD_BODIES, PUBLISH
from support.hostile_messages import BAD_MESSAGES, BAD_PACKED
from support.hostile_site import Row
from support.tasks import Peers, converse, reset
from support.web import WebClient, request
from tidings.protocol.frames import Opcode

PACKED = {"Sec-WebSocket-Protocol": "tidings.v1.msgpack"}

# --- heads -------------------------------------------------------------------------------------------


async def bad_head(sent: bytes, status: int, peers: Peers) -> None:
    """Refused as HTTP, with a JSON body, before the upgrade; then the connection ends."""
    client = await peers.open()
    await client.send(sent.replace(TOKEN, peers.site.token().encode()))
    answered, fields, body = await client.response()
    assert answered == status, body
    assert isinstance(body["error"]["code"], str)
    assert isinstance(body["error"]["message"], str)
    assert fields["connection"] == "close"
    assert await client.at_end()


HEADS: dict[str, Row] = {name: partial(bad_head, *row) for name, row in BAD_HEADS.items()}

# --- what a stock server dies of -----------------------------------------------------------------------

HALVES = {
    "before a byte": b"",
    "in the request line": b"GET /ws",
    "behind a bad handshake": head(b"Sec-WebSocket-Protocol: \xff"),
    "before the end of a head": head()[:-2],
    "behind a good handshake": head(),
    "within the first frame": head() + b"\x81",
}


async def resets(sent: bytes, peers: Peers) -> None:
    """RST, twenty times: each ends its own peer's task."""
    for _ in range(20):
        client = await peers.open()
        if sent:
            await client.send(sent.replace(TOKEN, peers.site.token().encode()))
        reset(client)


async def resets_once_accepted(peers: Peers) -> None:
    """RST between the 101 and the first message."""
    for _ in range(20):
        client = await peers.open()
        assert (await client.handshake(token=peers.site.token()))[0] == 101
        reset(client)


async def leaves_within_the_handshake(peers: Peers) -> None:
    """FIN in the middle of the head ends the task at once, without an answer."""
    client = await peers.open()
    await client.send(head()[:40])
    assert isinstance(client.stream, trio.SocketStream)
    await client.stream.send_eof()
    assert await client.at_end()


async def closed_while_pinging(peers: Peers) -> None:
    """A client's pings and the server's close cross each other: the chosen code arrives."""
    for _ in range(20):
        client = await peers.connect("pinging")
        api = WebClient(await peers.open())
        await client.send(masked(Opcode.PING, b"before it"))
        await api.send(asking("/api/v1/users/pinging/disconnect", b'{"code":3503}'))
        await client.send(masked(Opcode.PING, b"under way"))
        assert (await api.answer("POST")).json == {"disconnected": 1}
        await client.send(masked(Opcode.PING, b"after it"))
        assert (await client.closed()).code == 3503
        await client.send_close(3503)
        assert await client.at_end()


async def plain_gets(peers: Peers) -> None:
    """200 plain GETs to the socket's path, all of them open at once, are answered 426."""
    clients = [await peers.open() for _ in range(200)]
    for client in clients:
        await client.send(b"GET /ws HTTP/1.1\r\nHost: x\r\n\r\n")
    assert {(await client.response())[0] for client in clients} == {426}


async def never_reads(peers: Peers) -> None:
    """A peer whose window is shut is reset `close_timeout` after it was closed, not when TCP gives it up."""
    api = WebClient(await peers.open())
    sock = trio.socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await sock.connect(("127.0.0.1", peers.site.port))
    client = peers.adopt(RawClient(trio.SocketStream(sock)))
    assert (await client.handshake(token=peers.site.token("deaf")))[0] == 101
    assert (await client.receive_json())["type"] == "connected"  # before it, nobody lists the connection
    about = "/api/v1/users/deaf/connections"
    large = b'{"channel":"user:deaf","event":"e","payload":{"x":"%b"}}' % (b"x" * 200_000)
    while not (await asked(api, "GET", about))["connections"][0]["outbox_bytes"]:
        await asked(api, "POST", PUBLISH, large)
    await asked(api, "POST", "/api/v1/users/deaf/disconnect", b"{}")
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLRDHUP)
    assert await trio.to_thread.run_sync(poll.poll, 15_000), "it is still there"


def asking(target: str, body: bytes, method: str = "POST") -> bytes:
    """A request of one who may ask for anything."""
    fields = (f"X-API-Key: {API_KEY}", "Content-Type: application/json", f"Content-Length: {len(body)}")
    return request(target, *fields, method=method) + body


async def asked(api: WebClient, method: str, target: str, body: bytes = b"") -> Any:
    """The answer to it, which must be a good one."""
    await api.send(asking(target, body, method))
    answer = await api.answer(method)
    assert answer.status == 200, answer.body
    return answer.json


FATAL: dict[str, Row] = {
    **{f"reset {name}": partial(resets, sent) for name, sent in HALVES.items()},
    "reset between the 101 and the first message": resets_once_accepted,
    "gone within the handshake": leaves_within_the_handshake,
    "closed while pinging": closed_while_pinging,
    "200 plain GETs": plain_gets,
}

# --- frames --------------------------------------------------------------------------------------------


async def bad_frames(sent: bytes, code: int, peers: Peers) -> None:
    """Closed with the one code that says what was wrong, and TCP ends."""
    client = await peers.connect()
    await client.send(sent)
    assert (await client.closed()).code == code
    await client.send_close(code)
    assert await client.at_end()


FRAMES: dict[str, Row] = {name: partial(bad_frames, *row) for name, row in (BAD_FRAMES | BAD_UTF8).items()}

# --- messages ------------------------------------------------------------------------------------------


async def bad_message(sent: bytes, code: str, peers: Peers) -> None:
    """It costs nothing but an error, which bears the id where one could be read."""
    client = await peers.connect()
    await client.send(masked(Opcode.TEXT, sent))
    _check_error(await client.receive_json(), code)
    await converse(client)


async def bad_packed(sent: bytes, code: str, peers: Peers) -> None:
    """The same in MessagePack."""
    client = await packed(peers)
    await client.send(masked(Opcode.BINARY, sent))
    _check_error(await client.receive_packed(), code)
    assert (await client.packed_command("ping"))["type"] == "pong"


async def packed(peers: Peers, user: str = "alice", **more: Any) -> RawClient:
    """A client that speaks MessagePack and has read `connected`."""
    client = await peers.open()
    assert (await client.handshake(token=peers.site.token(user, **more), headers=PACKED))[0] == 101
    assert (await client.receive_packed())["type"] == "connected"
    return client


def _check_error(error: Any, code: str) -> None:
    assert (error["type"], error["data"]["code"]) == ("error", code), error
    assert error.get("id") == ("x" if code != "bad_request" else None)
    assert len(error["data"]["message"]) < 500


async def bad_utf8_that_is_skipped(peers: Peers) -> None:
    """A MessagePack string of bad UTF-8 in a field that nobody reads: an answer, and the connection lives."""
    client = await packed(peers)
    await client.send(masked(Opcode.BINARY, b"\x82\xa4type\xa4ping\xa1x\xa1\xff"))
    assert (await client.receive_packed())["type"] in ("pong", "error")
    assert (await client.packed_command("ping"))["type"] == "pong"


async def poisoned_publication(body: bytes, peers: Peers) -> None:
    """A publication over HTTP that would make subscribers close is refused, and they live and hear nothing."""
    subscriber = await peers.connect("subscriber")
    api = WebClient(await peers.open())
    await api.send(asking(PUBLISH, body))
    answer = await api.answer("POST")
    assert (answer.status, answer.code in ("bad_request", "invalid_data")) == (400, True), answer.body
    await subscriber.send_json({"type": "ping"})
    assert (await subscriber.receive_json())["type"] == "pong"


async def poisoned_from_messagepack(peers: Peers) -> None:
    """Bad UTF-8 that an admin publishes in MessagePack reaches nobody who speaks JSON."""
    subscriber = await peers.connect("subscriber")
    admin = await packed(peers, "root", roles=["admin"])
    await admin.send(masked(Opcode.BINARY, BAD_PACKED["bad UTF-8 in a payload"][0]))
    assert (await admin.receive_packed())["data"]["code"] == "bad_request"
    await subscriber.send_json({"type": "ping"})
    assert (await subscriber.receive_json())["type"] == "pong"


MESSAGES: dict[str, Row] = {
    **{name: partial(bad_message, *row) for name, row in BAD_MESSAGES.items()},
    **{f"MessagePack: {name}": partial(bad_packed, *row) for name, row in BAD_PACKED.items()},
    "MessagePack: bad UTF-8 in a field that is skipped": bad_utf8_that_is_skipped,
    **{f"published: {name}": partial(poisoned_publication, body) for name, body in BAD_BODIES.items()},
    "published: bad UTF-8 in MessagePack": poisoned_from_messagepack,
}
