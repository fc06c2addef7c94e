"""HTTP publishers on kept-alive connections: each sends its next request when it has its answer.

`python -m tidings.bench.http_load`, asked over standard input as the light clients are. Raw sockets on one
epoll loop: some 20 µs a request, so the server is the slower side by far.
"""

import json
import os
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable

import msgspec

from tidings.bench import certificate
from tidings.bench.answering import answer
from tidings.bench.eventloop import EventLoop
from tidings.bench.quantiles import quantiles
from tidings.bench.replies import HttpRun, Ready, Refused

_RECEIVE_BYTES = 65536

CHANNEL = "room:http-load"


class Publisher:
    """One connection."""

    def __init__(self, load: "HttpLoad", sock: socket.socket) -> None:
        self._load = load
        self._socket = sock
        self._received = b""
        self._sent = 0.0
        load.loop.add(sock.fileno(), self._read)
        self._ask()

    def _ask(self) -> None:
        self._sent = time.monotonic()
        if self._socket.send(self._load.request) < len(self._load.request):
            self._load.failures["request not sent at once"] += 1

    def _read(self) -> None:
        try:
            data = self._socket.recv(_RECEIVE_BYTES)
        except ssl.SSLWantReadError:
            return
        except OSError as error:
            self._end(f"reset: {error.strerror}")
            return
        if not data:
            self._end("end of TCP")
            return
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        length = _content_length(head)
        if length is None:
            self._end("an answer without Content-Length")
            return
        if len(body) < length:
            return
        self._received = body[length:]
        self._load.answered(head[9:12].decode("latin-1"), time.monotonic() - self._sent)
        if self._load.pause and self._load.running:
            self._load.loop.call_at(time.monotonic() + self._load.pause, self._go_on)
        else:
            self._go_on()

    def _go_on(self) -> None:
        if self._load.running:
            self._ask()
        else:
            self._end(None)

    def _end(self, failure: str | None) -> None:
        if failure is not None:
            self._load.failures[failure] += 1
        self._load.loop.remove(self._socket.fileno())
        self._socket.close()
        self._load.ended()


class HttpLoad:
    """The load of one run."""

    def __init__(
        self,
        loop: EventLoop,
        port: int,
        connections: int,
        seconds: float,
        body: bytes,
        key: str,
        *,
        pause: float = 0.0,
        tls: bool = False,
    ) -> None:
        """Connect, and send until `seconds` are over; `pause`: seconds from an answer to the next request."""
        self.loop = loop
        self.pause = pause
        self.running = True
        self.failures: Counter[str] = Counter()
        self.request = (
            b"POST /api/v1/publish HTTP/1.1\r\nHost: 127.0.0.1\r\nX-API-Key: " + key.encode() + b"\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        ) + body
        self._statuses: Counter[str] = Counter()
        self._latencies: list[float] = []
        self._living = connections
        self._began = time.monotonic()
        self._lasted = 0.0
        self.on_end: Callable[[HttpRun], None] = lambda _run: None
        for _ in range(connections):
            sock = socket.create_connection(("127.0.0.1", port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls:
                sock = certificate.trust().wrap_socket(sock, server_hostname="127.0.0.1")
            sock.setblocking(False)
            Publisher(self, sock)
        loop.call_at(self._began + seconds, self._stop)

    def answered(self, status: str, seconds: float) -> None:
        """Take note of an answer."""
        self._statuses[status] += 1
        if self.running:
            self._latencies.append(seconds)

    def ended(self) -> None:
        """One connection less; the last one tells the outcome."""
        self._living -= 1
        if not self._living:
            self._stop()
            self.on_end(
                HttpRun(
                    requests=len(self._latencies),
                    seconds=self._lasted,
                    statuses=dict(self._statuses),
                    failures=dict(self.failures),
                    latency=quantiles(self._latencies),
                )
            )

    def _stop(self) -> None:
        if self.running:
            self.running = False
            self._lasted = time.monotonic() - self._began


def _content_length(head: bytes) -> int | None:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return None


def main() -> None:
    """Answer requests for runs, one after another, until standard input ends."""
    loop = EventLoop()
    received = b""

    def readable() -> None:
        nonlocal received
        data = os.read(0, 65536)
        if not data:
            loop.stop()
            return
        *lines, received = (received + data).split(b"\n")
        for line in lines:
            asked = msgspec.json.decode(line)
            payload = {"text": "x" * asked["payload"]}
            body = json.dumps({"channel": CHANNEL, "event": "load", "payload": payload}).encode()
            try:
                run = HttpLoad(
                    loop,
                    asked["port"],
                    asked["connections"],
                    asked["seconds"],
                    body,
                    asked["key"],
                    pause=asked.get("pause", 0.0),
                    tls=asked.get("tls", False),
                )
            except OSError as error:
                answer(Refused(f"{error}"))
            else:
                run.on_end = answer

    loop.add(0, readable)
    answer(Ready(ready=True))
    loop.run()
    loop.close()


if __name__ == "__main__":
    main()
