"""Compressed messages (RFC 7692) that break servers, for an engine that has `permessage-deflate`."""

import tracemalloc
import zlib
from collections.abc import Callable, Mapping
from functools import cache, partial

import trio

from support.client import RawClient, masked
from support.frames import client_frame
from support.hostile import MESSAGE_BYTES
from support.hostile_site import Row
from support.tasks import Peers
from tidings.protocol.frames import Opcode

OFFER = {"Sec-WebSocket-Extensions": "permessage-deflate"}

BOMB_BYTES = 100_000_000

# What a server may need to find out that there is too much: the message, its copy, and buffers.
ROOM_BYTES = 8 * MESSAGE_BYTES

_RSV1 = 0x40
_TAIL = b"\0\0\xff\xff"


class DeflatedClient(RawClient):
    """A client that has negotiated `permessage-deflate`, and reads compressed frames, too."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        super().__init__(stream)
        self._inflater = zlib.decompressobj(wbits=-15)

    async def receive_frame(self) -> tuple[int, bytes]:
        """The next frame, inflated where it is compressed."""
        head = await self._exactly(2)
        self._buffer[:0] = bytes((head[0] & ~_RSV1, head[1]))
        opcode, payload = await super().receive_frame()
        if head[0] & _RSV1:
            # Good for both kinds: a server without context takeover looks at nothing before the message.
            payload = self._inflater.decompress(payload + _TAIL)
        return opcode, payload


async def deflated(peers: Peers) -> DeflatedClient:
    """A client whose offer of compression was accepted, and who has read `connected`."""
    opened = await peers.open()
    client = DeflatedClient(opened.stream)
    status, fields, body = await client.handshake(token=peers.site.token(), headers=OFFER)
    assert status == 101, body
    assert fields["sec-websocket-extensions"].startswith("permessage-deflate"), fields
    assert (await client.receive_json())["type"] == "connected"
    return client


def compressed(data: bytes) -> bytes:
    """The payload of a compressed message."""
    squeeze = zlib.compressobj(9, wbits=-15)
    return (squeeze.compress(data) + squeeze.flush(zlib.Z_SYNC_FLUSH)).removesuffix(_TAIL)


@cache
def bomb() -> bytes:
    """100 MB in 100 KB."""
    squeeze = zlib.compressobj(9, wbits=-15)
    piece = bytes(1_000_000)
    payload = b"".join(squeeze.compress(piece) for _ in range(BOMB_BYTES // len(piece)))
    payload = (payload + squeeze.flush(zlib.Z_SYNC_FLUSH)).removesuffix(_TAIL)
    assert 90_000 < len(payload) < 110_000
    return payload


def frame(payload: bytes, *, opcode: int = Opcode.TEXT, fin: bool = True) -> bytes:
    """A frame with RSV1 set: the first of a compressed message (RFC 7692 section 6)."""
    return client_frame(opcode, payload, fin=fin, reserved=_RSV1)


def _in_pieces(payload: bytes, size: int) -> bytes:
    pieces = [payload[at : at + size] for at in range(0, len(payload), size)]
    return frame(pieces[0], fin=False) + b"".join(
        masked(Opcode.CONTINUATION, piece, fin=piece is pieces[-1]) for piece in pieces[1:]
    )


BAD_DEFLATE: Mapping[str, tuple[Callable[[], bytes], frozenset[int]]] = {
    "bomb": (lambda: frame(bomb()), frozenset({1009})),
    "bomb in fragments": (lambda: _in_pieces(bomb(), 1000), frozenset({1009})),
    "bomb twice": (lambda: 2 * frame(bomb()), frozenset({1009})),
    "one byte over": (lambda: frame(compressed(b"a" * (MESSAGE_BYTES + 1))), frozenset({1009})),
    "bad UTF-8": (lambda: frame(compressed(b'{"type":"\xff"}')), frozenset({1007})),
    # RFC 7692 names no code for data that cannot be inflated.
    "no deflate": (lambda: frame(b"\xff\xff\xff\xff"), frozenset({1002, 1007})),
    "too far back": (lambda: frame(b"\x03\x02\xff" * 20), frozenset({1002, 1007})),
    "compressed ping": (lambda: frame(b"", opcode=Opcode.PING), frozenset({1002})),
    "compressed continuation": (
        lambda: frame(compressed(b"{}"), fin=False) + frame(b"", opcode=Opcode.CONTINUATION),
        frozenset({1002}),
    ),
    "lone compressed continuation": (lambda: frame(b"", opcode=Opcode.CONTINUATION), frozenset({1002})),
    "another reserved bit": (lambda: bytes((0xA1, 0x80, 0, 0, 0, 0)), frozenset({1002})),
}
"""What is sent, and the codes with which the server may close."""


async def bad_deflate(sent: Callable[[], bytes], codes: frozenset[int], peers: Peers) -> None:
    """Closed with its code."""
    client = await deflated(peers)
    await client.send(sent())
    code = (await client.closed()).code
    assert code in codes
    await client.send_close(code)
    assert await client.at_end()


async def good_deflate(peers: Peers) -> None:
    """A compressed command, whole or in fragments, is answered: it is not compression that is refused."""
    client = await deflated(peers)
    ping = compressed(b'{"type":"ping","id":"x"}')
    for sent in (
        frame(ping),
        _in_pieces(ping, 5),
        frame(compressed(b'{"type":"ping"}'.ljust(MESSAGE_BYTES))),
    ):
        await client.send(sent)
        assert (await client.receive_json())["type"] == "pong"


async def bomb_in_little_memory(peers: Peers) -> None:
    """A bomb is refused while it is inflated: at no time is there more of it than a message may be long."""
    client = await deflated(peers)
    sent = frame(bomb())
    tracemalloc.start()
    try:
        await client.send(sent)
        assert (await client.closed()).code == 1009
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < ROOM_BYTES


DEFLATE: Mapping[str, Row] = {
    "good": good_deflate,
    **{name: partial(bad_deflate, *row) for name, row in BAD_DEFLATE.items()},
}
