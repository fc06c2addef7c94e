"""What every WebSocket engine promises to the connection above it: over memory streams and over sockets."""

import base64
import hashlib
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Protocol

import pytest
import trio
import trio.testing
from support.client import KEY, Closed, RawClient, masked
from support.hostile import BAD_FRAMES
from support.tasks import living_tasks
from trio.testing import MockClock

from tidings.protocol.frames import Opcode, build_frame
from tidings.protocol.headers import ANY_DATA
from tidings.server.app import ENGINES
from tidings.server.config import Compression
from tidings.server.delivery.outbox import Outbox
from tidings.server.edge.engines.seam import MESSAGE_SECONDS, Ended, EngineLimits, Upgrade, WebSocket
from tidings.server.edge.transport import SocketTransport, StreamTransport, Transport

LIMITS = EngineLimits(message_bytes=65_536, fragments_per_message=1_024)
TEXT = frozenset({Opcode.TEXT})


@dataclass
class Seam:
    """One WebSocket of an engine, and its peer."""

    websocket: WebSocket
    peer: RawClient
    outbox: Outbox
    head: bytes
    control: list[int] = field(default_factory=list)
    """What `on_control` was told."""

    async def ended(self) -> Ended:
        """Receive, past all messages, until the end."""
        while True:
            try:
                await self.websocket.receive()
            except Ended as ended:
                return ended


class Open(Protocol):
    """Opens a WebSocket of the engine under test, on the transport under test."""

    def __call__(
        self, upgrade: Upgrade = ..., limits: EngineLimits = LIMITS
    ) -> AbstractAsyncContextManager[Seam]: ...


UPGRADE = Upgrade(KEY.encode())


async def _pair(kind: str) -> tuple[Transport, RawClient]:
    if kind == "memory":
        ours, theirs = trio.testing.memory_stream_pair()
        return StreamTransport(ours), RawClient(theirs)
    left, right = socket.socketpair()
    if kind == "tcp":
        left.close()
        right.close()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            right = socket.create_connection(listener.getsockname())
            left, _ = listener.accept()
    left.setblocking(False)
    return SocketTransport(left), RawClient(trio.SocketStream(trio.socket.from_stdlib_socket(right)))


@pytest.fixture(params=sorted(ENGINES))
def engine(request: pytest.FixtureRequest) -> str:
    """The engine under test."""
    name: str = request.param
    return name


@pytest.fixture(params=["memory", "tcp"])
def opened(request: pytest.FixtureRequest, engine: str) -> Open:
    """Opens WebSockets; at the end of each, its engine has left no task behind."""

    @asynccontextmanager
    async def open_websocket(
        upgrade: Upgrade = UPGRADE, limits: EngineLimits = LIMITS
    ) -> AsyncIterator[Seam]:
        transport, peer = await _pair(request.param)
        outbox = Outbox(
            1_000_000, send=transport.send_nowait, on_overflow=lambda: None, on_broken=lambda: None
        )
        control: list[int] = []
        accept = ENGINES[engine](Compression()).accept
        # Real time needs a bound, and under virtual time a hang fails at once.
        with trio.fail_after(10_000 if request.param == "memory" else 20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(transport.pump, outbox)
                with living_tasks() as tasks:
                    async with accept(upgrade, transport, outbox, limits, control.append) as websocket:
                        head = await _read_head(peer)
                        yield Seam(websocket, peer, outbox, head, control)
                    assert not tasks.names, tasks.names.values()
                nursery.cancel_scope.cancel()
            await transport.close()
            await trio.aclose_forcefully(peer.stream)

    return open_websocket


async def _read_head(peer: RawClient) -> bytes:
    head = bytearray()
    while not head.endswith(b"\r\n\r\n"):
        # One byte at a time: what follows belongs to the frames.
        head += await peer.stream.receive_some(1)
    return bytes(head)


# --- the handshake -----------------------------------------------------------------------------------


async def test_the_answer_proves_that_the_key_was_read(opened: Open) -> None:
    """101 with the digest of RFC 6455 section 4.2.2, and no subprotocol or extension that was not chosen."""
    async with opened() as seam:
        lines = seam.head.decode().lower().split("\r\n")
        assert lines[0].startswith("http/1.1 101 ")
        digest = hashlib.sha1(f"{KEY}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
        assert f"sec-websocket-accept: {base64.b64encode(digest).decode()}".lower() in lines
        assert {"upgrade: websocket", "connection: upgrade"} <= set(lines)
        assert not any(line.startswith(("sec-websocket-p", "sec-websocket-ext")) for line in lines)


async def test_the_chosen_subprotocol_is_named(opened: Open) -> None:
    """The answer names the subprotocol that the handshake chose."""
    async with opened(Upgrade(KEY.encode(), "tidings.v1.json")) as seam:
        assert b"\r\nsec-websocket-protocol: tidings.v1.json\r\n" in seam.head.lower()


async def test_bytes_behind_the_head_are_the_first_message(opened: Open) -> None:
    """What came in one piece with the request is not lost, whole or half."""
    half = masked(Opcode.TEXT, b"half")
    early = masked(Opcode.TEXT, b"early") + half[:7]
    async with opened(Upgrade(KEY.encode(), leftover=early)) as seam:
        assert await seam.websocket.receive() == "early"
        await seam.peer.send(half[7:])
        assert await seam.websocket.receive() == "half"


# --- messages ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 7, 10_000])
async def test_messages_come_whole_and_in_order_however_they_are_chopped(opened: Open, size: int) -> None:
    """Text is `str`, binary `bytes`; fragments are joined; control frames may stand between them."""
    sent = b"".join([
        masked(Opcode.TEXT, "grüß dich".encode()),
        masked(Opcode.BINARY, bytes(range(256))),
        masked(Opcode.TEXT),
        masked(Opcode.BINARY),
        masked(Opcode.TEXT, b"f", fin=False),
        masked(Opcode.PING, b"between"),
        masked(Opcode.CONTINUATION, "ü".encode()[:1], fin=False),
        masked(Opcode.CONTINUATION, "ü".encode()[1:] + b"r"),
        masked(Opcode.BINARY, b"\xff", fin=False),
        masked(Opcode.CONTINUATION, b"\xfe"),
    ])  # fmt: skip
    expected = ["grüß dich", bytes(range(256)), "", b"", "für", b"\xff\xfe"]
    async with opened() as seam, trio.open_nursery() as nursery:

        async def send() -> None:
            for at in range(0, len(sent), size):
                await seam.peer.send(sent[at : at + size])

        nursery.start_soon(send)
        assert [await seam.websocket.receive() for _ in expected] == expected
        assert await seam.peer.receive_frame() == (Opcode.PONG, b"between")
        assert sum(seam.control) == 1


async def test_a_hundred_messages_of_one_read_are_all_there(opened: Open) -> None:
    """A burst in one piece loses nothing, and its reader lets others have their turn in between."""
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with opened() as seam, trio.open_nursery() as nursery:
        await seam.peer.send(b"".join(masked(Opcode.TEXT, b"%d" % number) for number in range(100)))
        nursery.start_soon(count_turns)
        assert [await seam.websocket.receive() for _ in range(100)] == [
            str(number) for number in range(100)
        ]
        assert turns >= 2
        nursery.cancel_scope.cancel()


async def test_fragments_are_counted(opened: Open) -> None:
    """Sixteen fragments beyond the first cost as much of the peer's rate as a message does."""
    message = masked(Opcode.TEXT, b"a", fin=False) + 40 * masked(Opcode.CONTINUATION, b"b", fin=False)
    async with opened() as seam:
        for round_ in range(1, 5):
            await seam.peer.send(message + masked(Opcode.CONTINUATION))
            assert await seam.websocket.receive() == "a" + 40 * "b"
            assert sum(seam.control) == round_ * 41 // 16


async def test_cancelling_a_receive_loses_no_message(opened: Open) -> None:
    """Whoever gives up waiting, with half a message there, gets the whole of it the next time."""
    frames = b"".join(masked(Opcode.TEXT, b"%d" % number) for number in range(40))
    async with opened() as seam:
        got: list[str | bytes] = []
        for at in range(0, len(frames), 5):
            await seam.peer.send(frames[at : at + 5])
            for _ in range(3):
                with trio.CancelScope() as scope:
                    # Cancelled before it begins: a message that is there may come all the same.
                    scope.cancel()
                    got.append(await seam.websocket.receive())
        while len(got) < 40:
            got.append(await seam.websocket.receive())
        assert got == [str(number) for number in range(40)]


@pytest.mark.parametrize("compressible", [b"a", b"\x00"])
async def test_the_largest_message_is_accepted(opened: Open, compressible: bytes) -> None:
    """A message of exactly the limit, in one frame or in as many as may be, is accepted."""
    async with opened() as seam, trio.open_nursery() as nursery:
        whole = 65_536 * compressible
        pieces = [64 * compressible] * 1_024
        sent = masked(Opcode.TEXT, whole) + masked(Opcode.TEXT, pieces[0], fin=False)
        sent += b"".join(masked(Opcode.CONTINUATION, piece, fin=False) for piece in pieces[1:-1])
        nursery.start_soon(seam.peer.send, sent + masked(Opcode.CONTINUATION, pieces[-1]))
        assert await seam.websocket.receive() == whole.decode()
        assert await seam.websocket.receive() == whole.decode()


async def test_longer_messages_may_be_allowed(opened: Open) -> None:
    """From `allow` on, to the byte and in fragments too; before it the first limit holds."""
    limits = EngineLimits(message_bytes=1_000, fragments_per_message=8, later_bytes=9_000)
    async with opened(limits=limits) as seam:
        await seam.peer.send(masked(Opcode.BINARY, bytes(1_000)))
        assert await seam.websocket.receive() == bytes(1_000)
        seam.websocket.allow(9_000)
        await seam.peer.send(masked(Opcode.BINARY, bytes(9_000)))
        assert await seam.websocket.receive() == bytes(9_000)
        await seam.peer.send(
            masked(Opcode.TEXT, b"a" * 8_999, fin=False) + masked(Opcode.CONTINUATION, b"a")
        )
        assert await seam.websocket.receive() == "a" * 9_000
        await seam.peer.send(masked(Opcode.BINARY, bytes(9_001)))
        ended = await seam.ended()
        assert (ended.code, ended.by_peer) == (1009, False)
    async with opened(limits=limits) as seam:
        await seam.peer.send(masked(Opcode.BINARY, bytes(1_001)))
        ended = await seam.ended()
        assert (ended.code, ended.by_peer) == (1009, False)


# --- out ---------------------------------------------------------------------------------------------


async def test_frames_pings_and_a_close_go_out_in_order(opened: Open) -> None:
    """`send_frame`, `ping` and `close` go through the one outbox; behind the close nothing does."""
    async with opened() as seam:
        seam.websocket.send_frame(seam.websocket.framing(Opcode.TEXT, b"one"))
        seam.websocket.ping()
        seam.websocket.send_frame(build_frame(Opcode.BINARY, b"two"))
        seam.websocket.close(3001, "that is all")
        seam.websocket.close(3002, "a second close")
        seam.websocket.send_frame(build_frame(Opcode.TEXT, b"too late"))
        assert await seam.peer.receive_frame() == (Opcode.TEXT, b"one")
        assert await seam.peer.receive_frame() == (Opcode.PING, b"")
        assert await seam.peer.receive_frame() == (Opcode.BINARY, b"two")
        assert await seam.peer.receive_frame() == (Opcode.CLOSE, (3001).to_bytes(2) + b"that is all")
        assert not await seam.outbox.wait_pending()


async def test_pings_are_answered_and_counted(opened: Open) -> None:
    """A pong bears its ping's payload; pings and pongs are counted, since they cost work as messages do."""
    async with opened() as seam:
        await seam.peer.send(masked(Opcode.PING, b"p" * 125) + masked(Opcode.PONG, b"unasked"))
        await seam.peer.send(masked(Opcode.PING) + masked(Opcode.TEXT, b"end"))
        assert await seam.websocket.receive() == "end"
        assert await seam.peer.receive_frame() == (Opcode.PONG, b"p" * 125)
        assert await seam.peer.receive_frame() == (Opcode.PONG, b"")
        assert sum(seam.control) == 3


# --- the end -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1011, 1013, 3000, 3999, 4000, 4999])
async def test_the_peers_close_is_echoed_and_told(opened: Open, code: int) -> None:
    """Messages before it are delivered; then its code goes back, and `Ended` says it, again and again."""
    async with opened() as seam:
        await seam.peer.send(masked(Opcode.TEXT, b"last"))
        await seam.peer.send_close(code, "bye")
        await seam.peer.send(masked(Opcode.TEXT, b"means nothing"))
        assert await seam.websocket.receive() == "last"
        for _ in range(3):
            ended = await seam.ended()
            assert (ended.code, ended.by_peer) == (code, True)
        opcode, payload = await seam.peer.receive_frame()
        assert (opcode, payload[:2]) == (Opcode.CLOSE, code.to_bytes(2))


async def test_a_close_without_a_code_is_echoed_without_one(opened: Open) -> None:
    """An empty close is 1005 to us, which never goes over the wire (section 7.4.1)."""
    async with opened() as seam:
        await seam.peer.send_close(None)
        assert (await seam.ended()).code == 1005
        assert await seam.peer.receive_frame() == (Opcode.CLOSE, b"")


async def test_the_end_of_tcp_is_told(opened: Open) -> None:
    """Without a close frame it is 1006, also in the middle of a frame."""
    for sent in (b"", masked(Opcode.TEXT, b"half")[:5]):
        async with opened() as seam:
            await seam.peer.send(sent)
            await seam.peer.stream.aclose()
            for _ in range(2):
                ended = await seam.ended()
                assert (ended.code, ended.by_peer) == (1006, True)


async def test_our_close_waits_for_the_peers(opened: Open) -> None:
    """After our close the peer's is still read: then both have said it, and TCP may end."""
    async with opened() as seam:
        seam.websocket.close(3001, "")
        assert (await seam.peer.receive_frame())[0] == Opcode.CLOSE
        await seam.peer.send(masked(Opcode.PING, b"under way"))
        await seam.peer.send_close(3001)
        ended = await seam.ended()
        assert (ended.code, ended.by_peer) == (3001, True)


_BAD = {name: row for name, row in BAD_FRAMES.items() if row[1] != 3013 and "unknown" not in name}


@pytest.mark.parametrize("name", _BAD)
async def test_a_violation_is_told_with_its_code(opened: Open, name: str) -> None:
    """Each broken rule ends the reading with its code; the close frame then bears it."""
    sent, code = _BAD[name]
    async with opened(limits=EngineLimits(65_536, 1_024, TEXT if code == 1003 else ANY_DATA)) as seam:
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    await seam.peer.send(sent)

            nursery.start_soon(send)
            ended = await seam.ended()
            nursery.cancel_scope.cancel()
        assert (ended.code, ended.by_peer) == (code, False)
        assert 0 < len(ended.reason.encode()) <= 123
        seam.websocket.close(ended.code, ended.reason)
        seen = await _closed(seam.peer)
        assert (seen.code, seen.reason) == (code, ended.reason)


async def _closed(peer: RawClient) -> Closed:
    while True:
        opcode, payload = await peer.receive_frame()
        if opcode == Opcode.CLOSE:
            return Closed(int.from_bytes(payload[:2]), payload[2:].decode())


@pytest.mark.parametrize("opcode", [Opcode.TEXT, Opcode.BINARY])
async def test_a_message_of_the_wrong_kind_is_unsupported(opened: Open, opcode: Opcode) -> None:
    """1003 from the header alone, before a payload is kept, for what the dialect does not speak."""
    accepts = ANY_DATA - {opcode}
    async with opened(limits=EngineLimits(65_536, 1_024, accepts)) as seam:
        await seam.peer.send(masked(opcode, length=50_000))
        ended = await seam.ended()
        assert (ended.code, ended.by_peer) == (1003, False)


async def test_a_message_that_does_not_get_on_is_given_up(engine: str, autojump_clock: MockClock) -> None:
    """A message must be complete in time, however lively its fragments look; a control frame is none."""
    transport, peer = await _pair("memory")
    outbox = Outbox(100_000, send=None, on_overflow=lambda: None, on_broken=lambda: None)
    accept = ENGINES[engine](Compression()).accept
    async with trio.open_nursery() as nursery:
        nursery.start_soon(transport.pump, outbox)
        async with accept(UPGRADE, transport, outbox, LIMITS, lambda _count: None) as websocket:
            await _read_head(peer)
            pong = masked(Opcode.PONG, b"1234")

            async def dribble() -> None:
                for _ in range(10):
                    for half in (pong[:5], pong[5:]):
                        await peer.send(half)
                        await trio.sleep(MESSAGE_SECONDS / 2)
                await peer.send(masked(Opcode.TEXT, fin=False))
                while True:
                    await trio.sleep(7)
                    await peer.send(masked(Opcode.CONTINUATION, fin=False) + pong)

            nursery.start_soon(dribble)
            with pytest.raises(Ended) as ended:
                await websocket.receive()
            assert (ended.value.code, ended.value.by_peer) == (1008, False)
            assert trio.current_time() == pytest.approx(11 * MESSAGE_SECONDS)
        nursery.cancel_scope.cancel()
