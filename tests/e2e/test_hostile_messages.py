"""Messages and frames that have broken servers, over real sockets: a typed error or a code, and nothing left."""

from collections.abc import AsyncIterator

import msgspec
import pytest
import trio
import trio.testing
from support.client import masked
from support.hostile import BAD_FRAMES, BAD_HEADS, TOKEN, head
from support.site import Site, configured, listening_site
from support.tasks import converse, quiet, reset, unharmed
from support.tokens import BAD_TOKENS

from tidings.protocol.close_codes import CloseCode
from tidings.protocol.frames import Opcode, build_frame
from tidings.server.config import Heartbeat, Limits

DEEP = b"[" * 100_000 + b"]" * 100_000
DIGITS = b"9" * 5_000

BAD_MESSAGES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "bad_request"),
    "not JSON": (b"hello", "bad_request"),
    "half an object": (b'{"type":"ping"', "bad_request"),
    "an array": (b"[]", "bad_request"),
    "a number": (b"7", "bad_request"),
    "null": (b"null", "bad_request"),
    "no type": (b"{}", "bad_request"),
    "type not a string": (b'{"type":["ping"]}', "bad_request"),
    "unknown type": (b'{"type":"pingg","id":"x"}', "unknown_type"),
    "type of an answer": (b'{"type":"connected","data":{},"id":"x"}', "unknown_type"),
    "type with NUL": (rb'{"type":"ping\u0000","id":"x"}', "unknown_type"),
    "id too long": (b'{"type":"ping","id":"%s"}' % (b"i" * 65), "bad_request"),
    "id a number": (b'{"type":"ping","id":7}', "bad_request"),
    "data missing": (b'{"type":"subscribe","id":"x"}', "invalid_data"),
    "data of another shape": (b'{"type":"subscribe","data":[],"id":"x"}', "invalid_data"),
    "field missing": (b'{"type":"subscribe","data":{},"id":"x"}', "invalid_data"),
    "field of another type": (b'{"type":"subscribe","data":{"channel":7},"id":"x"}', "invalid_data"),
    "NaN": (b'{"type":"ping","data":NaN}', "bad_request"),
    "1e999": (
        b'{"type":"publish","data":{"channel":"all","event":"e","payload":{"x":1e999}},"id":"x"}',
        "invalid_data",
    ),
    "lone surrogate": (rb'{"type":"join_room","data":{"room":"\ud800"}}', "bad_request"),
    "lone surrogate in a field that is skipped": (
        rb'{"type":"\ud800","id":"x","y":"\udfff"}',
        "bad_request",
    ),
    "byte order mark": (b'\xef\xbb\xbf{"type":"ping"}', "bad_request"),
    "trailing bytes": (b'{"type":"ping"}x', "bad_request"),
    "two objects": (b'{"type":"ping"}{"type":"ping"}', "bad_request"),
    "5,000 digits": (
        b'{"type":"publish","data":{"channel":"all","event":"e","payload":{"x":' + DIGITS + b'}},"id":"x"}',
        "invalid_data",
    ),
    "5,000 digits in a field that is skipped": (
        b'{"type":"nope","x":' + DIGITS + b',"id":"x"}',
        "unknown_type",
    ),
    "100,000 deep": (DEEP, "bad_request"),
    "100,000 deep in a payload": (
        b'{"type":"publish","data":{"channel":"all","event":"e","payload":{"x":' + DEEP + b"}}}",
        "bad_request",
    ),
    "100,000 deep in a field that is skipped": (b'{"type":"nope","x":' + DEEP + b"}", "bad_request"),
    **{
        f"room {name}": (b'{"type":"join_room","data":{"room":"%s"},"id":"x"}' % room, "invalid_data")
        for name, room in {
            "empty": b"",
            "NUL": rb"a\u0000",
            "line break": rb"a\n",
            "e-acute": "é".encode(),
            "homoglyph": "аdmin".encode(),
            "wildcard": b"*",
            "slash": b"../x",
            "blank": b"a b",
            "129 characters": b"a" * 129,
        }.items()
    },
    "channel of no kind": (b'{"type":"subscribe","data":{"channel":"lobby"},"id":"x"}', "invalid_data"),
    "channel with a wildcard": (
        b'{"type":"subscribe","data":{"channel":"user:*"},"id":"x"}',
        "invalid_data",
    ),
    "text empty": (b'{"type":"room_message","data":{"room":"r","text":""},"id":"x"}', "invalid_data"),
    "binary": (b"\x81\xa4type\xa4ping", "bad_request"),
}
"""A message, and the code of the error that it gets."""


@pytest.fixture
async def roomy_site() -> AsyncIterator[Site]:
    """A server that takes messages of 1 MiB, so that the limit is not what refuses a deep one."""
    limits = Limits(message_bytes=2**20, outbox_bytes=2**22)
    with trio.fail_after(30):
        async with listening_site(configured(limits=limits)) as site:
            yield site


@pytest.mark.parametrize("name", BAD_MESSAGES)
async def test_a_bad_message_gets_a_typed_error(roomy_site: Site, name: str) -> None:
    """A wrong message costs nothing but an error, which bears the id where one could be read."""
    sent, code = BAD_MESSAGES[name]
    opcode = Opcode.BINARY if name == "binary" else Opcode.TEXT
    async with unharmed(roomy_site) as peers:
        client = await peers.connect()
        await client.send(masked(opcode, sent))
        error = await client.receive_json()
        assert (error["type"], error["data"]["code"]) == ("error", code), error
        assert error.get("id") == ("x" if code != "bad_request" else None)
        assert len(error["data"]["message"]) < 500
        await converse(client)


@pytest.mark.parametrize(
    "sent",
    [
        b'{"type":"ping","type":"ping","id":"no","id":"x"}',
        b'{"type":"ping","id":"x","unknown":{"deep":[1,2,{"x":null}]},"data":{"unknown":1}}',
        rb'{"type":"ping","id":"\u0078"}',
        b' \t\n{"id":"x","type":"ping"}\r\n ',
    ],
)
async def test_what_may_be_ignored_is_ignored(live_site: Site, sent: bytes) -> None:
    """Unknown fields are skipped and the last of duplicate keys wins."""
    async with unharmed(live_site) as peers:
        client = await peers.connect()
        await client.send(masked(Opcode.TEXT, sent))
        answer = await client.receive_json()
        assert (answer["type"], answer["id"]) == ("pong", "x")


async def test_bad_utf8_in_a_skipped_messagepack_field_does_no_harm(live_site: Site) -> None:
    """A MessagePack string of bad UTF-8 in a field that nobody reads: an answer, and the connection lives."""
    async with unharmed(live_site) as peers:
        client = await peers.open()
        offered = {"Sec-WebSocket-Protocol": "tidings.v1.msgpack"}
        assert (await client.handshake(token=live_site.token(), headers=offered))[0] == 101
        assert (await client.receive_json())["type"] == "connected"
        await client.send(masked(Opcode.BINARY, b"\x82\xa4type\xa4ping\xa1x\xa1\xff"))
        assert (await client.receive_json())["type"] in ("pong", "error")
        ping = msgspec.msgpack.encode({"type": "ping", "id": "x"})
        await client.send(masked(Opcode.BINARY, ping))
        assert (await client.receive_json())["type"] == "pong"


@pytest.mark.parametrize("name", BAD_FRAMES)
async def test_bad_frames_close_with_their_code(live_site: Site, name: str) -> None:
    """A broken frame, or too much, closes with the one code that says what was wrong, and TCP ends."""
    sent, code = BAD_FRAMES[name]
    async with unharmed(live_site) as peers:
        client = await peers.connect()
        await client.send(sent)
        assert (await client.closed()).code == code
        await client.send_close(code)
        assert await client.at_end()
    assert live_site.server.context.hub.statistics().closes[code] == 1


async def test_messages_before_the_violation_are_answered(live_site: Site) -> None:
    """What was right stands: commands in the same burst as an oversized message get their answers first."""
    async with unharmed(live_site) as peers:
        client = await peers.connect()
        ping = masked(Opcode.TEXT, b'{"type":"ping","id":"p"}')
        await client.send(5 * ping + masked(Opcode.TEXT, b"a" * 65_537))
        assert [(await client.receive_json())["type"] for _ in range(5)] == ["pong"] * 5
        assert (await client.closed()).code == 1009


async def test_commands_before_a_close_are_done(live_site: Site) -> None:
    """Whoever publishes and closes at once has published: every command before the close frame is carried out."""
    async with unharmed(live_site) as peers:
        listener, speaker = await peers.connect("listener"), await peers.connect("speaker")
        await listener.command("join_room", {"room": "r"})
        say = b'{"type":"room_message","data":{"room":"r","text":"%d"}}'
        join = masked(Opcode.TEXT, b'{"type":"join_room","data":{"room":"r"}}')
        said = b"".join(masked(Opcode.TEXT, say % number) for number in range(20))
        await speaker.send(join + said + masked(Opcode.CLOSE, b"\x03\xe8"))
        assert [(await listener.receive_json())["data"]["text"] for _ in range(20)] == [
            str(n) for n in range(20)
        ]
        assert (await speaker.closed()).code == 1000


async def test_the_server_closes_while_a_ping_is_under_way(live_site: Site) -> None:
    """A client's ping and the server's close cross each other: the chosen code arrives, and nothing else breaks."""
    async with unharmed(live_site) as peers:
        for _ in range(20):
            client = await peers.connect("alice")
            await client.send(masked(Opcode.PING, b"under way"))
            (connection,) = live_site.server.context.hub.connections_of("alice")
            connection.close(CloseCode.DISCONNECTED)
            await client.send(masked(Opcode.PING, b"after it"))
            assert (await client.closed()).code == 3503
            await client.send_close(3503)
            assert await client.at_end()
            await trio.testing.wait_all_tasks_blocked()


async def test_a_peer_that_never_reads_is_gone_within_the_close_timeout() -> None:
    """Closing a peer whose window is shut takes `close_timeout`, not TCP's patience."""
    with trio.fail_after(10):  # a stock server takes 60 s
        async with listening_site(configured(heartbeat=Heartbeat(close_timeout=0.2))) as site:
            client = await site.connect("alice")
            (connection,) = site.server.context.hub.connections_of("alice")
            while not connection.pending_bytes:  # until the kernel takes no more
                connection.offer(build_frame(Opcode.BINARY, bytes(65_536)))
            connection.close(CloseCode.DISCONNECTED)
            await quiet(site)
            assert site.server.context.hub.statistics().closes == {3503: 1}
            await client.aclose()


async def test_everything_at_once_leaves_nothing(live_site: Site) -> None:
    """All hostile inputs in one sequence against one server: it lives, and tasks and descriptors are as before."""
    token = live_site.token().encode()
    async with unharmed(live_site) as peers:
        for sent, _ in BAD_HEADS.values():
            client = await peers.open()
            await client.send(sent.replace(TOKEN, token))
        for number, (sent, code) in enumerate(BAD_FRAMES.values()):
            client = await peers.connect()
            await client.send(sent)
            if number % 2:  # every other one stays and watches how it is closed
                assert (await client.closed()).code == code
        for bad in BAD_TOKENS.values():
            client = await peers.open()
            await client.handshake()
            await client.send_json({"type": "authenticate", "data": {"token": bad}})
        for sent in (head(), head()[:-2]):
            client = await peers.open()
            await client.send(sent.replace(TOKEN, token))
            reset(client)
        for number, (sent, _) in enumerate(BAD_MESSAGES.values()):
            client = await peers.connect(f"user-{number}")
            await client.send(masked(Opcode.TEXT, sent[:60_000]))
