"""Clients that read a long backlog slowly: whether it comes whole, and nobody is closed for the pace."""

import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import trio

from tidings.bench.processes import ChildFailed
from tidings.bench.profiles import Tidings
from tidings.bench.progress import progress
from tidings.bench.resume_crowd import Returning
from tidings.bench.resume_ledger import id_of
from tidings.bench.resume_publisher import EVENT
from tidings.bench.resume_server import Mortal
from tidings.bench.resume_storm import SLOW_CONSUMER
from tidings.bench.wire import (
    CLOSE,
    PING,
    PONG,
    TEXT,
    Frame,
    Malformed,
    client_frame,
    handshake,
    split_frames,
)
from tidings.bench.workbench import poll
from tidings.client import AsyncPublisher, Published, ToPublish
from tidings.protocol.positions import Position

ROOM = "backlog"

# Publications of one request: below the server's http.body_bytes.
BATCH = 20

# One read; a slow line brings little at a time.
READ_BYTES = 16384

# As for light clients that stop reading (`client.py`): the kernel shall keep little, so that the server feels it.
SEGMENT = 1448
WINDOW = 65536

# Beside what the pace alone takes.
SLACK_SECONDS = 30.0

# For what came meanwhile, once everybody has the backlog.
END_SECONDS = 10.0

# Text of what is published meanwhile: it waits for the slow ones, within the bound of what may (outbox_bytes).
LIVE_BYTES = 200


@dataclass
class Reader:
    """One slow client, and what it got."""

    rate: float
    """Bytes a second that it reads."""
    ids: list[str] = field(default_factory=list)
    last: int = 0
    seconds: float = 0.0
    """Until it had the backlog; 0: it never had."""
    received: int = 0
    """Bytes."""
    is_reading: bool = True
    recovered: bool | None = None
    """What the server said; None: nothing."""
    close_code: int | None = None
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class SlowOutcome:
    """What came of all of them."""

    readers: list[Reader]
    backlog: int
    payload: int
    ids: list[str]
    """What was acknowledged, in order."""
    slow: float
    """Closes with 3008 that the server counted."""
    outbox: float
    """Bytes that were seen to wait for all of them together, at most."""

    def is_whole(self, reader: Reader) -> bool:
        """Whether a reader has everything, in order."""
        return reader.ids == self.ids and not reader.problems and reader.recovered is True


class _Data(msgspec.Struct):
    recovered: bool = False


class _Event(msgspec.Struct):
    type: str
    data: msgspec.Raw
    channel: str = ""
    offset: int = 0


_decode_event = msgspec.json.Decoder(_Event).decode


async def slow(
    server: Mortal, *, backlog: int, payload: int, rates: Sequence[float], live: float
) -> SlowOutcome:
    """Publish a backlog and have it read from its beginning, at each of some rates in bytes/s.

    `live`: small publications a second that come meanwhile. Raises ChildFailed.
    """
    async with AsyncPublisher(
        server.url("http"), api_key=server.api_key, ssl_context=server.trust()
    ) as publisher:
        backer = _Backer(publisher)
        progress(f"a backlog of {backlog:,} publications of {payload:,} B")
        for already in range(0, backlog, BATCH):
            await backer.publish(min(BATCH, backlog - already), payload)
        progress("read at " + ", ".join(f"{rate / 1024:,.0f}" for rate in rates) + " KiB/s")
        before = (await server.figures()).get(SLOW_CONSUMER, 0.0)
        since = Position(backer.position.epoch, 0)
        readers = [Reader(rate) for rate in rates]
        most = 0.0
        async with trio.open_nursery() as nursery:
            for number, reader in enumerate(readers):
                nursery.start_soon(_read, server, reader, number, since, backlog)
            with trio.move_on_after(backlog * payload * 1.2 / min(rates) + SLACK_SECONDS):
                while any(reader.is_reading and reader.last < backlog for reader in readers):
                    most = max(most, (await server.figures())["tidings_outbox_bytes"])
                    await backer.publish(1, LIVE_BYTES)
                    await trio.sleep(1 / live)

            async def all_there() -> bool:
                return all(reader.last >= len(backer.ids) or not reader.is_reading for reader in readers)

            await poll(all_there, bool, END_SECONDS)
            nursery.cancel_scope.cancel()
        after = (await server.figures()).get(SLOW_CONSUMER, 0.0)
    return SlowOutcome(readers, backlog, payload, backer.ids, after - before, most)


class _Backer:
    """Publishes to the room of the backlog."""

    def __init__(self, publisher: AsyncPublisher) -> None:
        self._publisher = publisher
        self.ids: list[str] = []
        self.position = Position("", 0)

    async def publish(self, number: int, payload: int) -> None:
        """Publish so many. Raises ChildFailed."""
        ids = [f"slow-{len(self.ids) + at}" for at in range(number)]
        items = [
            ToPublish(channel=f"room:{ROOM}", event=EVENT, payload={"id": each, "text": "x" * payload})
            for each in ids
        ]
        for each, result in zip(ids, await self._publisher.batch(items), strict=True):
            if not isinstance(result, Published) or result.epoch is None:
                raise ChildFailed(f"publishing to room:{ROOM}: {result}")
            self.ids.append(each)
            self.position = Position(result.epoch, result.offset)


async def _read(server: Mortal, reader: Reader, number: int, since: Position, backlog: int) -> None:
    """Come back to `since`, and read at the reader's pace until cancelled, or until the connection ends."""
    profile = Returning(server.secret)
    profile.since = since
    try:
        stream = await _open(server, f"127.62.0.{1 + number}")
        try:
            await stream.send_all(handshake(profile.path(f"slow-{number}")))
            begun, unread, is_open = time.monotonic(), b"", False
            while data := await stream.receive_some(READ_BYTES):
                reader.received += len(data)
                unread += data
                if not is_open:
                    head, is_open, rest = _opened(unread)
                    if not is_open:
                        continue
                    if b" 101 " not in head.split(b"\r\n", 1)[0]:
                        reader.problems.append(head.split(b"\r\n", 1)[0].decode("latin-1"))
                        return
                    unread = rest
                    await stream.send_all(profile.greeting(ROOM))
                frames, unread = split_frames(unread)
                for frame in frames:
                    await _take(stream, reader, frame)
                if not reader.seconds and reader.last >= backlog:
                    reader.seconds = time.monotonic() - begun
                await trio.sleep(max(0.0, begun + reader.received / reader.rate - time.monotonic()))
        finally:
            await trio.aclose_forcefully(stream)
    except (OSError, trio.BrokenResourceError, Malformed, msgspec.MsgspecError) as error:
        reader.problems.append(f"{type(error).__name__}: {error}")
    finally:
        reader.is_reading = False


def _opened(data: bytes) -> tuple[bytes, bool, bytes]:
    head, end, rest = data.partition(b"\r\n\r\n")
    return head, bool(end), rest


async def _open(server: Mortal, source: str) -> trio.abc.Stream:
    sock = trio.socket.socket()
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW)
        await sock.bind((source, 0))
        await sock.connect(("127.0.0.1", server.port))
    except BaseException:
        sock.close()
        raise
    stream = trio.SocketStream(sock)
    context = server.trust()
    if context is None:
        return stream
    return trio.SSLStream(stream, context, server_hostname="127.0.0.1", https_compatible=True)


async def _take(stream: trio.abc.Stream, reader: Reader, frame: Frame) -> None:
    """One frame."""
    if frame.opcode == PING:
        await stream.send_all(client_frame(PONG, frame.payload))
    elif frame.opcode == CLOSE:
        reader.close_code = int.from_bytes(frame.payload[:2])
        reader.problems.append(f"closed with {reader.close_code} at offset {reader.last}")
    elif frame.opcode == TEXT:
        event = _decode_event(frame.payload)
        if event.offset and event.channel == f"room:{ROOM}":
            if event.offset != reader.last + 1:
                reader.problems.append(f"offset {event.offset} behind {reader.last}")
            reader.last = event.offset
            reader.ids.append(id_of(bytes(event.data)))
        elif event.type == Tidings.joined_by:
            reader.recovered = msgspec.json.decode(event.data, type=_Data).recovered
        elif event.type == "error":
            reader.problems.append(bytes(event.data).decode())
