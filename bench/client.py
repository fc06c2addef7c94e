"""One light client: a raw socket and a few fields."""

import os
import socket
from enum import IntEnum
from typing import Protocol

from tidings.bench.eventloop import READABLE, WRITABLE, EventLoop
from tidings.bench.ledger import Batch, Delivery, Event, Ledger
from tidings.bench.profiles import Message, Profile
from tidings.bench.wire import CLOSE, PING, PONG, Frame, Malformed, client_frame, close_frame, handshake

_RECEIVE_BYTES = 65536
_HEAD_BYTES = 16384

# An Ethernet's segment. On loopback segments are 64 KiB, for which the kernel grants the sender a buffer of
# 2.6 MB per connection: a client that stops would seem to read on for that long.
_ETHERNET_SEGMENT = 1448
_SMALL_WINDOW = 65536

_IP_BIND_ADDRESS_NO_PORT = 24

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
    ledger: Ledger
    batch: Batch

    def delivered(self, count: int, sents: list[float]) -> None:
        """Take note of publications that a client got, and of when those that count were due."""

    def changed(self, client: "Client") -> None:
        """Take note of a client that joined or is gone."""

    def acknowledged(self, offset: int) -> None:
        """Take note of an accepted publication."""


class Client:
    """Connects, joins the room, checks every offset, answers pings and closes."""

    __slots__ = (
        "_ending",
        "_fd",
        "_owner",
        "_profile",
        "_receive",
        "_rest",
        "_socket",
        "close_code",
        "is_regular",
        "last",
        "number",
        "received",
        "reset",
        "stalled",
        "state",
        "told",
        "why",
    )

    def __init__(self, owner: Owner, profile: Profile, number: int, last: int) -> None:
        """Be number `number`; `last` is the offset behind which a server without positions goes on."""
        self._owner = owner
        self._profile = profile
        self._rest = b""
        self._ending = False
        """Whether the server has said that nothing follows."""
        self.is_regular = True
        """Whether it has read all the time: of one that has not latencies do not count, nor does it publish."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._fd = self._socket.fileno()
        self._receive = self._socket.recv
        self.number = number
        self.state = State.CONNECTING
        self.last = last
        self.received = 0
        self.stalled = False
        self.told: Message | None = None
        """The server's `disconnect`."""
        self.close_code: int | None = None
        """Of the server's close frame; 1005 when it bore none."""
        self.reset = False
        self.why = ""
        """Why it never joined."""

    def connect(self, port: int, source: str, user: str, *, ethernet: bool) -> None:
        """Begin to connect from an address of 127/8; `ethernet` keeps the kernel's buffers small."""
        self._socket.setblocking(False)
        if ethernet:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _ETHERNET_SEGMENT)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_WINDOW)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The port is chosen at connect(2) by the whole pair of addresses: thousands of sockets in
        # TIME_WAIT would otherwise make each bind search long.
        self._socket.setsockopt(socket.SOL_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        self._socket.bind((source, 0))
        self._socket.connect_ex(("127.0.0.1", port))

        def connected() -> None:
            error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                self._gone(f"connect: {os.strerror(error)}")
                return
            self._owner.loop.change(self._fd, self._read_head)
            self.send(handshake(self._profile.path(user)))

        self._owner.loop.add(self._fd, connected, WRITABLE)

    def send(self, data: bytes) -> None:
        """Send now; what the kernel does not take at once is a problem of the measurement, and noted."""
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return  # the next read tells
        if sent < len(data):
            self._owner.ledger.problem(f"client {self.number}: {len(data) - sent} bytes not sent")

    def stall(self) -> None:
        """Read nothing any more, though the process lives."""
        self.stalled = True
        self.is_regular = False
        self._owner.loop.remove(self._fd)

    def resume(self) -> None:
        """Read on."""
        self.stalled = False
        self._owner.loop.add(self._fd, self._read, READABLE)

    def leave(self) -> None:
        """Begin a closing handshake."""
        self.send(close_frame(1000))

    def drop(self) -> None:
        """Close the socket, without a word."""
        self._gone("dropped")

    # --- reading -------------------------------------------------------------------------------------

    def _read_head(self) -> None:
        data = self._take(_HEAD_BYTES)
        if data is None:
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
        self._owner.loop.change(self._fd, self._read)
        greeting = self._profile.greeting()
        if greeting:
            self.send(greeting)
        if not self._profile.joined_by:
            self._join(self.last)
        if rest:
            self._process(rest)

    def _read(self) -> None:
        data = self._take(_RECEIVE_BYTES)
        if data is not None:
            self._process(data)

    def _take(self, most: int) -> bytes | None:
        try:
            data = self._receive(most)
        except BlockingIOError:
            return None
        except OSError as error:
            self.reset = True
            self._gone(f"reset: {error.strerror}")
            return None
        if not data:
            if self._rest:
                self._owner.ledger.problem(f"client {self.number}: ended inside a frame")
            self._gone("end of TCP")
            return None
        return data

    def _process(self, data: bytes) -> None:
        owner = self._owner
        if self._rest:
            data = self._rest + data
        batch = owner.batch
        if batch.data != data:
            try:
                batch = owner.batch = Batch(data)
            except Malformed as error:
                owner.ledger.problem(f"client {self.number}: {error}")
                self._gone("malformed")
                return
        self._rest = batch.rest
        if batch.is_plain and batch.first == self.last + 1 and not self._ending:
            self.last = batch.last
            self.received += batch.count
            owner.delivered(batch.count, batch.sents if self.is_regular else _UNMEASURED)
        else:
            for event in batch.events:
                self._handle(event)

    def _handle(self, event: Event) -> None:
        if self.close_code is not None:
            self._owner.ledger.problem(f"client {self.number}: a frame behind the close frame")
        elif isinstance(event, Delivery):
            if self.told is not None:
                self._owner.ledger.problem(f"client {self.number}: a publication behind `disconnect`")
            if event.offset != self.last + 1:
                self._owner.ledger.out_of_order(self.number, self.last + 1, event.offset)
            self.last = event.offset
            self.received += 1
            self._owner.delivered(1, [event.sent] if self.is_regular else _UNMEASURED)
        elif isinstance(event, Frame):
            self._control(event)
        else:
            self._message(event)

    def _control(self, frame: Frame) -> None:
        if frame.opcode == PING:
            self._owner.ledger.pings += 1
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
                self._owner.ledger.problem(f"client {self.number}: error {message.data.code}")

    def _join(self, last: int) -> None:
        self.last = last
        self.state = State.JOINED
        self._owner.changed(self)

    def _gone(self, why: str) -> None:
        if self.state is State.GONE:
            return
        if self.state is not State.JOINED:
            self.why = why
        self.state = State.GONE
        self._owner.loop.remove(self._fd)
        self._socket.close()
        self._owner.changed(self)
