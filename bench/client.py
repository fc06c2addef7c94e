"""One light client: a raw socket and a few fields."""

import os
import socket
import ssl
import struct
import sys
from collections.abc import Callable
from enum import IntEnum
from time import monotonic
from typing import Protocol

from tidings.bench.eventloop import READABLE, WRITABLE, EventLoop
from tidings.bench.ledger import NOT_EASY, Batch, Delivery, Event, Ledger
from tidings.bench.profiles import Message, Profile
from tidings.bench.rooms import Room
from tidings.bench.wire import CLOSE, PING, PONG, Frame, Malformed, client_frame, close_frame, handshake

_RECEIVE_BYTES = 65536
_HEAD_BYTES = 16384

# What one client may have to send that the kernel has not taken; a server that reads leaves next to nothing.
_UNSENT_BYTES = 4_194_304

# An Ethernet's segment. On loopback segments are 64 KiB, for which the kernel grants the sender a buffer of
# 2.6 MB per connection: a client that stops would seem to read on for that long.
_ETHERNET_SEGMENT = 1448
_SMALL_WINDOW = 65536

_IP_BIND_ADDRESS_NO_PORT = 24

# Where `struct tcp_info` has `tcpi_total_retrans`, and where that ends.
_TOTAL_RETRANS = 100
_TCP_INFO_BYTES = 104

# `struct linger`: on, and no time for it.
_NO_LINGER = struct.pack("ii", 1, 0)

_UNMEASURED: list[float] = []


class State(IntEnum):
    """How far a client has come."""

    CONNECTING = 0
    JOINING = 1
    JOINED = 2
    GONE = 3


class Owner(Protocol):
    """What holds the clients of a process."""

    loop: EventLoop
    notes: Ledger
    rooms: list[Room]
    tls: ssl.SSLContext | None

    def delivered(self, room: Room, count: int, sents: list[float]) -> None:
        """Take note of publications that a client got, and of when those that count were due."""

    def turned(self, room: Room, batch: Batch) -> None:
        """Make a batch the room's present one."""

    def changed(self, client: "Client") -> None:
        """Take note of a client that joined or is gone."""

    def acknowledged(self, offset: int) -> None:
        """Take note of an accepted publication."""


class Client:
    """Connects, joins the room, checks every offset, answers pings and closes."""

    __slots__ = (
        "_at",
        "_ending",
        "_fd",
        "_last",
        "_owner",
        "_profile",
        "_receive",
        "_rest",
        "_skipped",
        "_socket",
        "_unsent",
        "close_code",
        "is_regular",
        "number",
        "reset",
        "room",
        "stalled",
        "state",
        "told",
        "why",
    )

    def __init__(
        self, owner: Owner, profile: Profile, number: int, last: int, room: Room | None = None
    ) -> None:
        """Be number `number`; `last` is the offset behind which a server without positions goes on."""
        self._owner = owner
        self._profile = profile
        self._rest = b""
        self._unsent = b""
        self._ending = False
        """Whether the server has said that nothing follows."""
        self._at = NOT_EASY
        """The offset of the last publication, while nothing speaks against taking the next batch whole."""
        self._last = last
        """The same while something does."""
        self._skipped = last
        """By how much the offset is above the number of publications received."""
        self.is_regular = True
        """Whether it has read all the time: of one that has not latencies do not count, nor does it publish."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._fd = self._socket.fileno()
        self._receive = self._socket.recv
        self.number = number
        self.room = room or owner.rooms[0]
        self.state = State.CONNECTING
        self.stalled = False
        self.told: Message | None = None
        """The server's `disconnect`."""
        self.close_code: int | None = None
        """Of the server's close frame; 1005 when it bore none."""
        self.reset = False
        self.why = ""
        """Why it never joined."""

    @property
    def last(self) -> int:
        """The offset of its last publication, or where it joined."""
        return self._last if self._at == NOT_EASY else self._at

    @property
    def received(self) -> int:
        """How many publications it got."""
        return self.last - self._skipped

    def connect(
        self, port: int, source: str, user: str, *, ethernet: bool, host: str = "127.0.0.1"
    ) -> None:
        """Begin to connect from an address of this machine; `ethernet` keeps the kernel's buffers small."""
        self._socket.setblocking(False)
        if ethernet:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _ETHERNET_SEGMENT)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_WINDOW)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The port is chosen at connect(2) by the whole pair of addresses: thousands of sockets in
        # TIME_WAIT would otherwise make each bind search long.
        self._socket.setsockopt(socket.SOL_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        self._socket.bind((source, 0))
        self._socket.connect_ex((host, port))

        def connected() -> None:
            error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                self._gone(f"connect: {os.strerror(error)}")
            elif self._owner.tls is None:
                greet()
            else:
                # The wrapped socket takes the descriptor over: same number, still in the loop.
                self._socket = self._owner.tls.wrap_socket(
                    self._socket, do_handshake_on_connect=False, server_hostname="127.0.0.1"
                )
                self._receive = self._socket.recv
                encrypt()

        def encrypt() -> None:
            assert isinstance(self._socket, ssl.SSLSocket)
            try:
                self._socket.do_handshake()
            except ssl.SSLWantReadError:
                self._owner.loop.change(self._fd, encrypt, READABLE)
            except ssl.SSLWantWriteError:
                self._owner.loop.change(self._fd, encrypt, WRITABLE)
            except OSError as error:
                self._gone(f"TLS: {error.strerror or error}")
            else:
                greet()

        def greet() -> None:
            self._owner.loop.change(self._fd, self._read_head)
            self.send(handshake(self._profile.path(user, self.room.name)))

        self._owner.loop.add(self._fd, connected, WRITABLE)

    def send(self, data: bytes) -> None:
        """Send as much as the kernel takes, and the rest as soon as it does."""
        if self._unsent:
            self._unsent += data
        else:
            self._unsent = self._sent(data)
            if self._unsent and not self.stalled:
                self._owner.loop.change(self._fd, self._read_or_send, READABLE | WRITABLE)
        if len(self._unsent) > _UNSENT_BYTES:
            self._owner.notes.problem(f"client {self.number}: {len(self._unsent)} bytes could not be sent")
            self._unsent = self._unsent[:_UNSENT_BYTES]  # bounded; the stream is broken and that is noted

    def stall(self) -> None:
        """Read nothing any more, though the process lives."""
        self.stalled = True
        self.is_regular = False
        self._be_careful()
        self._owner.loop.remove(self._fd)

    def resume(self) -> None:
        """Read on."""
        self.stalled = False
        if self._unsent:
            self._owner.loop.add(self._fd, self._read_or_send, READABLE | WRITABLE)
        else:
            self._owner.loop.add(self._fd, self._reader())

    def leave(self) -> None:
        """Begin a closing handshake."""
        self.send(close_frame(1000))

    def drop(self, *, reset: bool = False) -> None:
        """Close the socket, without a word; `reset`: with RST in place of FIN."""
        if reset and self.state is not State.GONE:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._gone("dropped")

    def give_up(self, why: str) -> None:
        """Close the socket: it has not come to join."""
        self._gone(why)

    def retransmissions(self) -> int:
        """How many segments of its own the kernel has had to send again, that of the connect included."""
        info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
        return int.from_bytes(info[_TOTAL_RETRANS:_TCP_INFO_BYTES], sys.byteorder)

    # --- reading -------------------------------------------------------------------------------------

    def _read(self) -> None:
        """The hot path: the batch that others of the room took is here too, whole, and next in order."""
        try:
            data = self._receive(_RECEIVE_BYTES)
        except OSError as error:
            self._failed(error)
            return
        batch = self.room.batch
        if self._at == batch.before and data == batch.data:
            self._at = batch.last
            batch.stamp(monotonic())
        elif data:
            self._process(data)
        else:
            self._ended()

    def _read_encrypted(self) -> None:
        assert isinstance(self._socket, ssl.SSLSocket)
        self._read()
        # What the TLS library has read but not handed out no epoll tells of.
        while self.state is not State.GONE and self._socket.pending():
            self._read()

    def _read_or_send(self) -> None:
        """While something waits to be sent."""
        self._unsent = self._sent(self._unsent)
        reader = self._reader()
        if not self._unsent:
            self._owner.loop.change(self._fd, reader, READABLE)
        reader()

    def _read_head(self) -> None:
        try:
            data = self._receive(_HEAD_BYTES)
        except OSError as error:
            self._failed(error)
            return
        if not data:
            self._ended()
            return
        head, end, rest = (self._rest + data).partition(b"\r\n\r\n")
        if not end:
            self._rest = head
            return
        status = head.split(b"\r\n", 1)[0].decode("latin-1")
        if " 101 " not in status + " ":
            self._gone(status)
            return
        self._rest = b""
        self.state = State.JOINING
        self._owner.loop.change(self._fd, self._reader())
        greeting = self._profile.greeting(self.room.name)
        if greeting:
            self.send(greeting)
        if not self._profile.joined_by:
            self._join(self._last)
        if rest:
            self._process(rest)
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            self._read_encrypted()

    def _reader(self) -> Callable[[], None]:
        if self.state is State.CONNECTING:
            return self._read_head
        return self._read_encrypted if isinstance(self._socket, ssl.SSLSocket) else self._read

    def _process(self, data: bytes) -> None:
        """Whatever is not the common case."""
        owner = self._owner
        room = self.room
        if self._rest:
            data = self._rest + data
        batch = room.batch
        if batch.data != data:
            try:
                batch = room.batch_of(data)
            except Malformed as error:
                owner.notes.problem(f"client {self.number}: {error}")
                self._gone("malformed")
                return
            if batch.is_plain and batch.count:
                owner.turned(room, batch)
        self._be_careful()
        self._rest = batch.rest
        if batch.is_plain and batch.first == self._last + 1 and not self._ending:
            self._last = batch.last
            if self.is_regular:
                batch.stamp(monotonic())
            else:
                owner.delivered(room, batch.count, _UNMEASURED)
        else:
            for event in batch.events:
                self._handle(event)
        if not self._rest and not self._ending and self.is_regular and self.state is State.JOINED:
            self._at = self._last

    def _handle(self, event: Event) -> None:
        notes = self._owner.notes
        if self.close_code is not None:
            notes.problem(f"client {self.number}: a frame behind the close frame")
        elif isinstance(event, Delivery):
            if self.told is not None:
                notes.problem(f"client {self.number}: a publication behind `disconnect`")
            expected = self._last + 1
            if event.offset != expected:
                notes.out_of_order(self.number, expected, event.offset)
                self._skipped += event.offset - expected
            self._last = event.offset
            self._owner.delivered(self.room, 1, [event.sent] if self.is_regular else _UNMEASURED)
        elif isinstance(event, Frame):
            self._control(event)
        else:
            self._message(event)

    def _control(self, frame: Frame) -> None:
        if frame.opcode == PING:
            self._owner.notes.pings += 1
            self.send(client_frame(PONG, frame.payload))
        elif frame.opcode == CLOSE:
            self._ending = True
            self.close_code = int.from_bytes(frame.payload[:2]) if frame.payload else 1005
            self.send(client_frame(CLOSE, frame.payload[:2]))

    def _message(self, message: Message) -> None:
        match message.type:
            case self._profile.joined_by:
                self._join(message.data.offset)
            case "published":
                self._owner.acknowledged(message.data.offset)
            case "disconnect":
                self._ending = True
                self.told = message
            case "error":
                self._owner.notes.problem(f"client {self.number}: error {message.data.code}")

    # --- the socket ----------------------------------------------------------------------------------

    def _sent(self, data: bytes) -> bytes:
        """Send now; returns what the kernel did not take."""
        try:
            return data[self._socket.send(data) :]
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return data
        except OSError:
            return b""  # the next read tells

    def _join(self, last: int) -> None:
        self._last = self._skipped = last
        self.state = State.JOINED
        self._owner.changed(self)

    def _be_careful(self) -> None:
        """Take no batch whole until `_process` has looked again."""
        self._last = self.last
        self._at = NOT_EASY

    def _failed(self, error: OSError) -> None:
        if not isinstance(error, BlockingIOError | ssl.SSLWantReadError | ssl.SSLWantWriteError):
            self.reset = True
            self._gone(f"reset: {error.strerror}")

    def _ended(self) -> None:
        if self._rest:
            self._owner.notes.problem(f"client {self.number}: ended inside a frame")
        self._gone("end of TCP")

    def _gone(self, why: str) -> None:
        if self.state is State.GONE:
            return
        if self.state is not State.JOINED:
            self.why = why
        self.state = State.GONE
        self._be_careful()
        self._owner.loop.remove(self._fd)
        self._socket.close()
        self._owner.changed(self)
