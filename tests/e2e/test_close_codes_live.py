"""How every engine closes, over real sockets: a close frame with the one right code, then the end of TCP.

Autobahn is content when a server that met a violation drops TCP without a word; a client is not.
"""

import zlib
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import pairwise
from typing import Any

import msgspec
import pytest
import trio
import trio.testing
from support.client import Closed, RawClient, masked
from support.site import Site, configured, listening_site
from support.tasks import quiet

from tidings.protocol.frames import Opcode
from tidings.server.app import ENGINES, Listening, echo_server
from tidings.server.config import Compression, Limits
from tidings.server.edge.echo import ECHO_MESSAGE_BYTES

MESSAGE_BYTES = 4096
FRAGMENTS = 8

TEXT, BINARY, CONTINUATION = Opcode.TEXT, Opcode.BINARY, Opcode.CONTINUATION


def _raw(first: int, payload: bytes = b"", *, masked_with: bytes = b"\0\0\0\0") -> bytes:
    return bytes((first, (0x80 if masked_with else 0) | len(payload))) + masked_with + payload


def _close(code: int, reason: bytes = b"") -> bytes:
    return masked(Opcode.CLOSE, code.to_bytes(2) + reason)


def _deflated(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


_BEGUN = masked(TEXT, b"begun", fin=False)

VIOLATIONS: dict[str, tuple[bytes, int]] = {
    **{
        f"reserved bits {bits:#x} of opcode {opcode:#x}": (_raw(0x80 | bits | opcode), 1002)
        for opcode in (TEXT, BINARY, Opcode.PING, Opcode.CLOSE)
        for bits in (0x10, 0x20, 0x40, 0x70)
    },
    "a reserved bit of a continuation": (_BEGUN + _raw(0xC0), 1002),
    **{f"opcode {opcode:#x}": (masked(opcode), 1002) for opcode in (*range(3, 8), *range(0xB, 0x10))},
    **{
        f"opcode {opcode:#x} unmasked": (_raw(0x80 | opcode, b"\x03\xe8", masked_with=b""), 1002)
        for opcode in Opcode
        if opcode != CONTINUATION
    },
    **{
        f"opcode {opcode:#x} {name}": (frame, 1002)
        for opcode in (Opcode.CLOSE, Opcode.PING, Opcode.PONG)
        for name, frame in {
            "fragmented": masked(opcode, fin=False),
            "of 126 bytes": masked(opcode, b"\x03\xe8" + 124 * b"x"),
            "of 65,536 bytes": masked(opcode, length=65_536),
        }.items()
    },
    "lone continuation": (masked(CONTINUATION, b"x"), 1002),
    "lone continuation, more to come": (masked(CONTINUATION, b"x", fin=False), 1002),
    "continuation of a whole message": (masked(TEXT, b"{}") + masked(CONTINUATION), 1002),
    "text in a fragmented message": (_BEGUN + masked(TEXT), 1002),
    "binary in a fragmented text": (_BEGUN + masked(BINARY), 1002),
    "fragmented text in a fragmented message": (_BEGUN + _BEGUN, 1002),
    "length of 125 in 2 bytes": (bytes((0x81, 0xFE, 0, 125, 0, 0, 0, 0)), 1002),
    "length of 65,535 in 8 bytes": (bytes((0x81, 0xFF, *(65_535).to_bytes(8), 0, 0, 0, 0)), 1002),
    "length of 2^63": (masked(TEXT, length=2**63), 1002),
    "close of 1 byte": (masked(Opcode.CLOSE, b"\x03"), 1002),
    **{
        f"close with {code}": (_close(code), 1002)
        for code in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 1999, 2000, 2999, 5000, 65_535)
    },
    "close with a reserved code and bad UTF-8": (_close(1005, b"\xff"), 1002),
    "close with bad UTF-8": (_close(1000, b"well\xff"), 1007),
    "close with a cut character": (_close(1000, "…".encode()[:2]), 1007),
    "close with a surrogate": (_close(3000, b"\xed\xa0\x80"), 1007),
    "length of 2^63-1": (masked(TEXT, length=2**63 - 1), 1009),
}
"""Bytes after which any server closes, and the code."""

LIMITED: dict[str, tuple[bytes, int]] = {
    "a byte too many declared": (masked(TEXT, length=MESSAGE_BYTES + 1), 1009),
    "a byte too many sent": (masked(TEXT, bytes(MESSAGE_BYTES + 1)), 1009),
    "too many in fragments": (
        masked(TEXT, bytes(MESSAGE_BYTES), fin=False) + masked(CONTINUATION, b"x"),
        1009,
    ),
    "too many fragments": (_BEGUN + FRAGMENTS * masked(CONTINUATION, fin=False), 1008),
    "binary where text is spoken": (masked(BINARY, b"\x81\xa4type\xa4ping"), 1003),
    "begun binary where text is spoken": (masked(BINARY, fin=False), 1003),
}
"""The same, for a server with limits that speaks JSON."""

COMPRESSED: dict[str, tuple[bytes, int]] = {
    "ping": (_raw(0xC0 | Opcode.PING), 1002),
    "close": (_raw(0xC0 | Opcode.CLOSE, b"\x03\xe8"), 1002),
    "continuation": (_raw(0x40 | TEXT) + _raw(0xC0), 1002),
    "another reserved bit": (_raw(0xE0 | TEXT), 1002),
    "not DEFLATE": (_raw(0xC0 | TEXT, b"\xff\xff\xff\xff"), 1007),
    "text that is not UTF-8": (_raw(0xC0 | TEXT, _deflated(b"caf\xe9")), 1007),
    "too big when inflated": (_raw(0xC0 | TEXT, _deflated(bytes(MESSAGE_BYTES + 1))), 1009),
    "too big as it is": (masked(0x40 | TEXT, length=MESSAGE_BYTES + 1), 1009),
}
"""The same, where compression was negotiated."""

NOT_UTF8 = {
    "stray byte": b"caf\xe9 au lait",
    "ff": b"\xff",
    "lone continuation byte": b"a\x80",
    "overlong slash": b"\xc0\xaf",
    "overlong in three": b"\xe0\x9f\xbf",
    "surrogate": "κόσμε".encode() + b"\xed\xa0\x80edited",
    "beyond U+10FFFF": b"\xf4\x90\x80\x80",
    "five bytes": b"\xf8\x88\x80\x80\x80",
    "cut off": "ab\N{GRINNING FACE}".encode()[:-1],
    "interrupted": b"\xe2\x82{}",
}

VALID = "κόσμε …\N{GRINNING FACE}\U0010ffff".encode()

# All that RFC 6455 and IANA let an endpoint send, with the bounds of the free ranges. The reference
# engine's library is older than 1014, "bad gateway".
CODES = (*range(1000, 1004), *range(1007, 1014), 3000, 3001, 3999, 4000, 4999)
BAD_GATEWAY = 1014


@asynccontextmanager
async def _limited(engine: str, **sections: Any) -> AsyncIterator[Site]:
    """A whole server with small limits."""
    limits = Limits(message_bytes=MESSAGE_BYTES, fragments_per_message=FRAGMENTS)
    config = configured(limits=limits, **sections)
    config = msgspec.structs.replace(config, server=msgspec.structs.replace(config.server, engine=engine))
    async with listening_site(config) as site:
        yield site


@asynccontextmanager
async def _echoing(engine: str) -> AsyncIterator[Site]:
    """What `tidings echo` runs, where compression may be negotiated, and is not."""
    server = echo_server("127.0.0.1", 0, engine)
    async with trio.open_nursery() as nursery:
        site = Site(server, nursery)

        async def run(*, task_status: trio.TaskStatus[list[Listening]]) -> None:
            await server.run(site.stop, task_status=task_status)

        site.listening = await nursery.start(run)
        yield site
        site.stop.abort.cancel()


@pytest.fixture(params=sorted(ENGINES))
async def limited(request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    """A whole server with small limits, on each engine; at the end it holds nothing."""
    async with _bounded(_limited(request.param)) as site:
        yield site


@pytest.fixture(params=sorted(ENGINES))
async def echoing(request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    """An echo server, on each engine; at the end it holds nothing."""
    async with _bounded(_echoing(request.param)) as site:
        yield site


@asynccontextmanager
async def _bounded(server: AbstractAsyncContextManager[Site]) -> AsyncIterator[Site]:
    with trio.fail_after(60):
        async with server as site:
            yield site
            await quiet(site)


@asynccontextmanager
async def _peer(site: Site, *, headers: Mapping[str, str] | None = None) -> AsyncIterator[RawClient]:
    """A client that has read all that comes at the beginning."""
    client = await site.open()
    try:
        echoes = site.server.context.config.endpoints.get("/") is not None
        path, token = ("/", None) if echoes else ("/ws", site.token())
        status, _, body = await client.handshake(path, token=token, headers=dict(headers or {}))
        assert status == 101, body
        if not echoes:
            opcode, _ = await client.receive_frame()
            assert opcode in (TEXT, BINARY)
        yield client
    finally:
        await trio.aclose_forcefully(client.stream)


async def _end(client: RawClient) -> bytes | str:
    """The payload of the close frame with which all ends; what is wrong where it ends otherwise.

    The client does not answer the close: the server ends TCP by itself.
    """
    try:
        with trio.fail_after(30):
            while (frame := await client.receive_frame())[0] != Opcode.CLOSE:
                pass
            return frame[1] if await client.at_end() else "bytes behind the close frame"
    except Closed as closed:
        return closed.reason  # TCP ended without a close frame
    except trio.TooSlowError:
        return "nothing"


async def _code(client: RawClient) -> int | str:
    """The code with which all ends."""
    end = await _end(client)
    return end if isinstance(end, str) else int.from_bytes(end[:2])


async def _after(site: Site, pieces: Iterable[bytes]) -> int | str:
    """The code with which a server closes after bytes that arrive one piece after the other."""
    async with _peer(site) as client:
        for piece in pieces:
            await client.send(piece)
            await trio.testing.wait_all_tasks_blocked()
        return await _code(client)


async def test_a_server_closes_with_the_code_of_the_violation(limited: Site) -> None:
    """Each kind of violation gets a close frame with its own code, and the end of TCP without being asked."""
    table = VIOLATIONS | LIMITED
    found = {name: await _after(limited, [sent]) for name, (sent, _) in table.items()}
    assert found == {name: code for name, (_, code) in table.items()}


async def test_an_echo_server_closes_with_the_code_of_the_violation(echoing: Site) -> None:
    """The same where nobody is authenticated, and nothing is limited but a message's length."""
    table = VIOLATIONS | {"a byte too many": (masked(BINARY, length=ECHO_MESSAGE_BYTES + 1), 1009)}
    found = {name: await _after(echoing, [sent]) for name, (sent, _) in table.items()}
    assert found == {name: code for name, (_, code) in table.items()}


async def test_a_violation_is_found_however_it_arrives(echoing: Site) -> None:
    """The code is the same where the bytes come one at a time."""
    table = {name: row for name, row in VIOLATIONS.items() if len(row[0]) < 40}
    found = {
        name: await _after(echoing, (bytes((byte,)) for byte in sent)) for name, (sent, _) in table.items()
    }
    assert found == {name: code for name, (_, code) in table.items()}


async def test_compression_that_breaks_the_rules_closes_with_their_code() -> None:
    """Reserved bits, data and sizes that `permessage-deflate` does not allow have codes of their own."""
    offer = {"Sec-WebSocket-Extensions": "permessage-deflate"}
    found: dict[str, int | str] = {}
    async with _bounded(_limited("native", compression=Compression(enabled=True))) as site:
        for name, (sent, _) in COMPRESSED.items():
            async with _peer(site, headers=offer) as client:
                # A good one first, to see that compression is on.
                await client.send(_raw(0xC0 | TEXT, _deflated(b'{"type":"ping","id":"x"}')))
                assert (await client.receive_json())["type"] == "pong"
                await client.send(sent)
                found[name] = await _code(client)
    assert found == {name: code for name, (_, code) in COMPRESSED.items()}


async def test_text_where_messagepack_is_spoken_is_not_understood(limited: Site) -> None:
    """A text message to a dialect of binary ones closes with 1003."""
    async with _peer(limited, headers={"Sec-WebSocket-Protocol": "tidings.v1.msgpack"}) as client:
        await client.send(masked(TEXT, b'{"type":"ping"}'))
        assert await _code(client) == 1003


@pytest.mark.parametrize("name", NOT_UTF8)
async def test_text_that_is_not_utf8_is_found_at_every_split(echoing: Site, name: str) -> None:
    """1007, whether bad text comes in one frame, in two with the cut anywhere, or in one for each byte."""
    text = NOT_UTF8[name]
    expected = dict.fromkeys(range(-1, len(text) + 1), 1007)
    found = {at: await _after(echoing, _fragments(text, at)) for at in range(len(text) + 1)}
    found[-1] = await _after(echoing, [masked(TEXT, text)])
    assert found == expected
    assert await _after(echoing, _fragments(text, *range(1, len(text)))) == 1007


async def test_text_that_is_utf8_is_taken_at_every_split(echoing: Site) -> None:
    """The counterpart: good text cut anywhere comes back, also with a ping in between."""
    async with _peer(echoing) as client:
        for at in range(len(VALID) + 1):
            first, last = _fragments(VALID, at)
            await client.send(first + masked(Opcode.PING, b"between"))
            assert await client.receive_frame() == (Opcode.PONG, b"between")
            await client.send(last)
            assert await client.receive_frame() == (TEXT, VALID)
        await client.send_close(1000)
        assert await _code(client) == 1000


async def test_bytes_that_are_not_utf8_are_taken_as_binary(echoing: Site) -> None:
    """Only text is looked at: the same bytes in a binary message come back."""
    async with _peer(echoing) as client:
        for data in NOT_UTF8.values():
            await client.send(masked(BINARY, data))
            assert await client.receive_frame() == (BINARY, data)


async def _answers(site: Site, closes: Mapping[str, bytes]) -> dict[str, bytes | str]:
    """What close frames are answered with."""
    found = {}
    for name, sent in closes.items():
        async with _peer(site) as client:
            await client.send(sent)
            found[name] = await _end(client)
    return found


async def test_a_close_is_answered_with_its_code(limited: Site) -> None:
    """Every code that may be sent comes back in the answer, then TCP ends."""
    found = await _answers(limited, {str(code): _close(code, b"bye") for code in CODES})
    assert {name: end[:2] for name, end in found.items()} == {str(code): code.to_bytes(2) for code in CODES}
    assert limited.server.context.hub.statistics().closes == dict.fromkeys(CODES, 1)


async def test_an_echo_server_answers_a_close_with_its_code(echoing: Site) -> None:
    """The same of an echo server, without a reason and with one of 123 bytes."""
    closes = {str(code): _close(code) for code in CODES}
    found = await _answers(echoing, closes)
    assert found == {str(code): code.to_bytes(2) for code in CODES}
    longest = await _answers(echoing, {"longest": _close(1000, "é".encode() * 61 + b"x")})
    assert longest["longest"][:2] == b"\x03\xe8"


async def test_bad_gateway_is_a_code_like_the_others(echoing: Site) -> None:
    """1014 comes back, too; from the reference engine's library, which does not know it, 1002."""
    known = echoing.server.context.engine.name != "reference"
    async with _peer(echoing) as client:
        await client.send(_close(BAD_GATEWAY))
        assert await _code(client) == (BAD_GATEWAY if known else 1002)


async def test_an_empty_close_is_answered_with_an_empty_one(limited: Site, echoing: Site) -> None:
    """A close frame that bears no code is answered with one that bears none (section 5.5.1)."""
    for site in (limited, echoing):
        assert await _answers(site, {"empty": masked(Opcode.CLOSE)}) == {"empty": b""}


async def test_what_follows_a_close_is_not_read(echoing: Site) -> None:
    """A violation behind a good close frame changes nothing: the answer bears the good one's code."""
    behind = {name: _close(3000) + sent for name, (sent, _) in VIOLATIONS.items()}
    assert await _answers(echoing, behind) == dict.fromkeys(behind, (3000).to_bytes(2))


def _fragments(text: bytes, *cuts: int) -> list[bytes]:
    """A text message in fragments, cut at these places."""
    ends = [0, *cuts, len(text)]
    pieces = [text[begin:end] for begin, end in pairwise(ends)]
    return [
        masked(CONTINUATION if number else TEXT, piece, fin=number == len(pieces) - 1)
        for number, piece in enumerate(pieces)
    ]
