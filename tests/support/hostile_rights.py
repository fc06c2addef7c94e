"""What is tried on a server's tokens, HTTP and rights, as in hostile_rows.py; and all tables together."""

import time
from collections.abc import Mapping
from functools import partial
from urllib.parse import quote

import trio

from support.client import RawClient, masked
from support.hostile_http import API_KEY, ATTACKS, BREAKS, DOTS, PUBLISH, SLOW
from support.hostile_rows import FATAL, FRAMES, HEADS, MESSAGES, asked, never_reads
from support.hostile_site import Row
from support.tasks import Peers, converse
from support.tokens import BAD_TOKENS, forged
from support.web import WebClient, request
from tidings.protocol.frames import Opcode

# --- tokens --------------------------------------------------------------------------------------------

MORE_TOKENS = {
    "sub an integer": forged(sub=42),
    "crit a word of its own": forged(header={"crit": ["x"], "x": 1}),
    "kid null": forged(header={"kid": None}),
    "kid a list": forged(header={"kid": ["a"]}),
}


async def bad_token(token: str, peers: Peers) -> None:
    """401 in the query, in Authorization and at the API; in band an error, `disconnect` and close 3500."""
    for query, headers in (
        ({"token": quote(token, safe="")}, None),
        ({"token": None}, {"Authorization": f"Bearer {token}"}),
    ):
        client = await peers.open()
        status, fields, body = await client.handshake(headers=headers, **query)
        assert (status, body["error"]["code"]) == (401, "unauthorized")
        assert fields["content-type"] == "application/json"
        assert token not in body["error"]["message"]
    await _stranger(peers, "/api/v1/stats", f"Authorization: Bearer {token}")
    client = await peers.open()
    assert (await client.handshake())[0] == 101
    error = await client.command("authenticate", {"token": token}, id="a1")
    assert (error["type"], error["data"]["code"], error["id"]) == ("error", "unauthorized", "a1")
    said = await client.receive_json()
    assert (said["type"], said["data"]["code"], said["data"]["reconnect"]) == ("disconnect", 3500, False)
    assert (await client.closed()).code == 3500
    await client.send_close(3500)
    assert await client.at_end()


async def _stranger(
    peers: Peers, target: str, *fields: str, method: str = "GET", status: int = 401
) -> None:
    """Asked with these fields, the API refuses in JSON."""
    api = WebClient(await peers.open())
    try:
        for _ in range(2):  # and the connection can be used on
            answer = await api.get(target, *fields, method=method)
            assert answer.status == status, (target, answer.body)
            assert answer.code == {401: "unauthorized", 403: "forbidden"}[status]
            assert ("www-authenticate" in answer.fields) is (status == 401)
    finally:
        await api.raw.aclose()


async def bad_api_key(field: str, peers: Peers) -> None:
    """401 with a JSON body for any bytes."""
    await _stranger(peers, "/api/v1/stats", field)


async def no_token_at_all(sent: bytes, code: str, peers: Peers) -> None:
    """An `authenticate` that cannot be read is answered, and another try may follow."""
    client = await peers.open()
    await client.handshake()
    await client.send(masked(Opcode.TEXT, sent))
    error = await client.receive_json()
    assert (error["type"], error["data"]["code"]) == ("error", code)
    assert (await client.command("authenticate", {"token": peers.site.token()}))["type"] == "connected"
    await converse(client)


NO_TOKENS = {
    "a lone surrogate": (rb'{"type":"authenticate","data":{"token":"\ud800"},"id":"a"}', "bad_request"),
    "a lone surrogate within": (
        rb'{"type":"authenticate","data":{"token":"a.b\udfff.c"},"id":"a"}',
        "bad_request",
    ),
    "8,193 characters": (
        b'{"type":"authenticate","data":{"token":"%s"},"id":"a"}' % (b"a" * 8193),
        "invalid_data",
    ),
    "empty": (b'{"type":"authenticate","data":{"token":""},"id":"a"}', "invalid_data"),
    "a number": (b'{"type":"authenticate","data":{"token":7},"id":"a"}', "invalid_data"),
    "missing": (b'{"type":"authenticate","data":{},"id":"a"}', "invalid_data"),
    "without data": (b'{"type":"authenticate","id":"a"}', "invalid_data"),
}

BAD_KEYS = {
    "e-acute": "X-API-Key: \xe9",
    "e-acute in UTF-8": "X-API-Key: \xc3\xa9",
    "no UTF-8": "X-API-Key: \xff\xfe",
    "a surrogate": "X-API-Key: \xed\xa0\x80",
    "empty": "X-API-Key: ",
    "shorter": f"X-API-Key: {API_KEY[:-1]}",
    "as a token": f"Authorization: Bearer {API_KEY}",
    "no credentials": "X: y",
}


async def ends_while_connected(peers: Peers) -> None:
    """A connection whose newest token is at its end is told, and closed with 3005."""
    login = forged(exp=int(time.time()) + 600, sid="login-of-alice")
    client = await peers.connect("alice", token=login)
    await converse(client)
    # Within the leeway: good enough to be taken, and over all the same.
    answer = await client.command(
        "refresh", {"token": forged(exp=int(time.time()) - 2, sid="login-of-alice")}
    )
    assert answer["type"] == "refreshed"
    messages, closed = await client.until_closed()
    assert messages[-1]["data"]["code"] == closed.code == 3005


async def revoked_while_connected(peers: Peers) -> None:
    """A user who is disconnected by an operator is told not to come back by itself, on every connection."""
    clients = [await peers.connect("revoked") for _ in range(3)]
    api = WebClient(await peers.open())
    ended = await asked(api, "POST", "/api/v1/users/revoked/disconnect", b'{"code":3503}')
    assert ended == {"disconnected": 3}
    for client in clients:
        said = await client.receive_json()
        assert (said["type"], said["data"]["code"], said["data"]["reconnect"]) == (
            "disconnect",
            3503,
            False,
        )
        assert (await client.closed()).code == 3503
        await client.send_close(3503)
        assert await client.at_end()


TOKENS: dict[str, Row] = {
    **{name: partial(bad_token, token) for name, token in (BAD_TOKENS | MORE_TOKENS).items()},
    **{f"no token: {name}": partial(no_token_at_all, *row) for name, row in NO_TOKENS.items()},
    **{f"API key: {name}": partial(bad_api_key, field) for name, field in BAD_KEYS.items()},
    "ends while connected": ends_while_connected,
    "revoked while connected": revoked_while_connected,
}

# --- HTTP ----------------------------------------------------------------------------------------------


async def attack(sent: bytes, status: int, peers: Peers, *, later: bool = False) -> None:
    """Its status and a JSON body, as first request or behind a good one, and the connection ends."""
    client = WebClient(await peers.open())
    if later:
        assert (await client.get("/healthz")).status == 200
    await client.send(sent)
    answer = await client.answer()
    assert (answer.status, answer.fields["connection"]) == (status, "close"), answer.body
    assert answer.json["error"]["message"]
    assert await client.rest() == b""


async def dots(target: str, peers: Peers) -> None:
    """It finds nothing outside of what is published."""
    client = WebClient(await peers.open())
    answer = await client.get(target)
    assert answer.status in (400, 404)
    assert b"root:" not in answer.body
    assert (await client.get("/healthz")).status == 200


async def breaks(target: str, peers: Peers) -> None:
    """What the answer repeats of the path, if anything, breaks out of neither head nor body."""
    client = WebClient(await peers.open())
    for prefix in ("", "/api/v1/users", "/lab"):
        answer = await client.get(prefix + target, f"X-API-Key: {API_KEY}")
        assert answer.status in (400, 404)
        assert "set-cookie" not in answer.fields
        assert answer.json["error"]["message"].isprintable(), answer.body
    assert (await client.get("/healthz")).status == 200


HTTP: dict[str, Row] = {
    **{name: partial(attack, *row) for name, row in ATTACKS.items()},
    **{f"{name}, later": partial(attack, *row, later=True) for name, row in ATTACKS.items()},
    **{f"dots: {target}": partial(dots, target) for target in DOTS},
    **{f"breaks: {target}": partial(breaks, target) for target in BREAKS},
}


async def dribbles(peers: Peers) -> None:
    """One byte at a time keeps no connection beyond the time for a head."""
    client = WebClient(await peers.open())
    async with trio.open_nursery() as nursery:

        async def dribble() -> None:
            for byte in request("/", "X: " + "x" * 16_000):
                try:
                    await client.send(bytes((byte,)))
                except trio.BrokenResourceError:
                    return
                await trio.sleep(0.005)

        nursery.start_soon(dribble)
        assert (await client.answer()).status == 408
        nursery.cancel_scope.cancel()


SLOWLY: dict[str, Row] = {
    **{name: partial(attack, *row) for name, row in SLOW.items()},
    **{f"{name}, later": partial(attack, *SLOW[name], later=True) for name in SLOW if name != "silence"},
    "a head that dribbles": dribbles,
}
"""What takes `handshake_timeout` or `body_timeout`: to be tried at the same time."""

# --- isolation -----------------------------------------------------------------------------------------

ADMIN_ROUTES = (
    ("GET", "/api/v1/stats"),
    ("GET", "/api/v1/channels"),
    ("GET", "/api/v1/monitor"),
    ("GET", "/api/v1/users/bob/connections"),
    ("POST", "/api/v1/users/bob/disconnect"),
    ("POST", "/api/v1/users/bob/unsubscribe"),
    ("POST", PUBLISH),
    ("POST", "/api/v1/publish/batch"),
    ("POST", "/api/v1/broadcast"),
    ("GET", "/metrics"),
)

OTHERS = (
    "user:bob",
    "user:alice:1",
    "user:Alice",
    "user:ALICE",
    "group:blue",
    "role:admin",
    "role:editor:1",
)
"""Channels that are not alice's, who is of the group red and an editor."""

NO_CHANNELS = (
    "user:*", "room:*", "*", "user:", "user:a b", "all:x", "room", "users:a", "ALL", "user:\u0430lice",
    "room:\u0430", "room:a\u200b", "room:\uff41", "group:r\u0435d", "user:alice\n", "user:alice\0",
)  # fmt: skip
"""Patterns, half names and look-alikes."""


async def admin_route(method: str, path: str, peers: Peers) -> None:
    """401 for a stranger, 403 for any user, the one that the path names included; nothing is done."""
    bob = await peers.connect("bob")
    await _stranger(peers, path, method=method)
    for user in ("alice", "bob"):
        token = peers.site.token(user, roles=["editor", "administrator", "Admin"])
        await _stranger(peers, path, f"Authorization: Bearer {token}", method=method, status=403)
    await converse(bob)


async def not_ones_own(channel: str, peers: Peers) -> None:
    """Neither subscribing nor publishing, and nothing of it comes."""
    admin = await peers.connect("admin", roles=["admin"])
    alice = await peers.connect("alice", group_id="red", roles=["editor"])
    published = {"channel": channel, "event": "e", "payload": {}}
    for kind, data in (("subscribe", {"channel": channel}), ("publish", published)):
        assert (await alice.command(kind, data))["data"]["code"] == "forbidden"
    assert (await admin.command("publish", published))["type"] == "published"
    assert await heard(alice) == []


async def no_channel(channel: str, peers: Peers) -> None:
    """No channel at all, for an admin neither."""
    admin = await peers.connect("admin", roles=["admin"])
    published = {"channel": channel, "event": "e", "payload": {}}
    for kind, data in (("subscribe", {"channel": channel}), ("publish", published)):
        assert (await admin.command(kind, data))["data"]["code"] == "invalid_data"


async def heard(client: RawClient) -> list[tuple[str, str]]:
    """Channel and event of all publications until now: the answer to a ping is behind every one of them."""
    await client.send_json({"type": "ping", "id": "fence"})
    found = []
    while (message := await client.receive_json()).get("id") != "fence":
        if "channel" in message:
            found.append((message["channel"], message["type"]))
    return found


ISOLATION: dict[str, Row] = {
    **{f"{method} {path}": partial(admin_route, method, path) for method, path in ADMIN_ROUTES},
    **{f"channel {channel}": partial(not_ones_own, channel) for channel in OTHERS},
    **{f"no channel {channel!a}": partial(no_channel, channel) for channel in NO_CHANNELS},
}

TABLES: Mapping[str, Mapping[str, Row]] = {
    "HEADS": HEADS,
    "FATAL": FATAL,
    "FRAMES": FRAMES,
    "MESSAGES": MESSAGES,
    "TOKENS": TOKENS,
    "HTTP": HTTP,
    "ISOLATION": ISOLATION,
}
"""All rows but the slow ones."""

SLOW_ROWS: Mapping[str, Row] = SLOWLY | {"never reads": never_reads}
"""Those that wait for a timeout."""
