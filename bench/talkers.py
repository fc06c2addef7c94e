"""Messages to a server, so many in each write, as fast as it takes them.

`python -m tidings.bench.talkers`, asked over standard input; the secret is in `TIDINGS_AUTH_SECRET`. Blocking
sockets: each connection has one write under way, and a ping at its end, whose pong tells that all of it
was read. So a server that reads 16 KiB at a time reads exactly one write.
"""

import os
import socket
import time
from functools import partial

from tidings.bench.answering import answer_all
from tidings.bench.fleet import TAIL_SECONDS
from tidings.bench.observe import cpu_seconds
from tidings.bench.profiles import Arrival
from tidings.bench.replies import Inbound
from tidings.bench.wire import CLOSE, PING, PONG, TEXT, Malformed, client_frame, handshake, split_frames

_RECEIVE_BYTES = 262144
_SECONDS = 30.0


class Refusal(Exception):
    """The server did not do what a measurement needs."""


class Talker:
    """One connection."""

    def __init__(self, port: int, path: str, host: str = "127.0.0.1") -> None:
        """Connect. Raises Refusal, OSError."""
        self._socket = socket.create_connection((host, port), timeout=_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(handshake(path))
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._receive()
        head, _, self._rest = received.partition(b"\r\n\r\n")
        if b" 101 " not in head.split(b"\r\n", 1)[0] + b" ":
            raise Refusal(head.split(b"\r\n", 1)[0].decode("latin-1"))

    def send(self, data: bytes) -> None:
        """Send one write."""
        self._socket.sendall(data)

    def wait_pong(self) -> int:
        """Read until the pong; how many data frames came before it."""
        answers = 0
        while True:
            try:
                frames, self._rest = split_frames(self._rest)
            except Malformed as error:
                raise Refusal(f"malformed: {error}") from None
            for frame in frames:
                if frame.opcode == CLOSE:
                    raise Refusal(f"closed with {int.from_bytes(frame.payload[:2])}")
                answers += frame.opcode == TEXT
            if any(frame.opcode == PONG for frame in frames):
                return answers
            self._rest += self._receive()

    def close(self) -> None:
        """Close without a word."""
        self._socket.close()

    def _receive(self) -> bytes:
        data = self._socket.recv(_RECEIVE_BYTES)
        if not data:
            raise Refusal("end of TCP")
        return data


def talk(
    profile: Arrival, *, port: int, server: int, text: str, messages: int, batch: int, connections: int
) -> Inbound:
    """Send about `messages` messages, `batch` in a write, from some connections in turn.

    Raises Refusal, OSError.
    """
    write = b"".join(client_frame(TEXT, text.encode()) for _ in range(batch)) + client_frame(PING, b"")
    talkers = [Talker(port, profile.path(f"talker-{number}")) for number in range(connections)]
    rounds = max(1, messages // (batch * connections))
    answers = 0

    def go(rounds: int) -> None:
        nonlocal answers
        for _ in range(rounds):
            for talker in talkers:
                talker.send(write)
            for talker in talkers:
                answers += talker.wait_pong()

    def settle() -> None:
        """Answers may follow the pong that was asked for behind their commands."""
        nonlocal answers
        time.sleep(TAIL_SECONDS)
        for talker in talkers:
            talker.send(client_frame(PING, b""))
        for talker in talkers:
            answers += talker.wait_pong()

    go(max(1, rounds // 10))  # warm-up
    settle()
    answers = 0
    began, mine, theirs = time.monotonic(), time.process_time(), cpu_seconds(server)
    go(rounds)
    seconds, mine = time.monotonic() - began, time.process_time() - mine
    time.sleep(TAIL_SECONDS)
    spent = cpu_seconds(server) - theirs
    settle()
    for talker in talkers:
        talker.close()
    return Inbound(rounds * batch * connections, spent, seconds, mine / max(seconds, 1e-9), answers)


def main() -> None:
    """Answer requests until standard input ends."""
    answer_all(partial(talk, Arrival(os.environ["TIDINGS_AUTH_SECRET"])), Refusal)


if __name__ == "__main__":
    main()
