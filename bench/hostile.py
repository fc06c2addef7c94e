"""Bytes that no client sends: each on a connection of its own, which the server must refuse, and go on.

`python -m tidings.bench.hostile`, asked over standard input; the secret is in `TIDINGS_AUTH_SECRET`. Blocking
sockets, one after another: a few a second, beside what else the server does.
"""

import os
import random
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from tidings.bench import certificate
from tidings.bench.answering import answer_all
from tidings.bench.ledger import TOLD
from tidings.bench.profiles import Arrival
from tidings.bench.replies import Attacked
from tidings.bench.wire import CLOSE, PING, TEXT, Malformed, client_frame, handshake, split_frames

# Far more than any time-out of the server's that one of them waits for, for a machine that is busy otherwise.
_SECONDS = 20.0
_RECEIVE_BYTES = 65536

_MASKED_EMPTY = bytes((0x80, 0, 0, 0, 0))

# The code of one that vanishes in the middle of a frame; nobody is there to be told.
_VANISHED = 1006


class Attack(NamedTuple):
    """What is sent, and what must come of it."""

    make: Callable[[random.Random], bytes]
    code: int
    """The HTTP status, or behind a good handshake the close code."""
    upgraded: bool = True
    """Whether a good handshake comes first."""


def _head(*lines: bytes) -> bytes:
    return b"\r\n".join((*lines, b"", b""))


def _upgrade(*lines: bytes, request: bytes = b"GET /ws HTTP/1.1") -> bytes:
    return _head(request, b"Host: 127.0.0.1", b"Upgrade: websocket", b"Connection: Upgrade", *lines)


def _declared(length: int) -> bytes:
    return b"\x81\xff" + length.to_bytes(8) + bytes(4)


_VERSION = b"Sec-WebSocket-Version: 13"
_KEY = b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="

ATTACKS: dict[str, Attack] = {
    "garbage for a head": Attack(lambda chance: chance.randbytes(200) + b"\r\n\r\n", 400, upgraded=False),
    "head of 20,000 bytes": Attack(
        lambda chance: _upgrade(_VERSION, _KEY, b"X: " + chance.randbytes(10_000).hex().encode()),
        431,
        False,
    ),
    "300 header lines": Attack(lambda _: _upgrade(_VERSION, _KEY, *[b"X: y"] * 300), 431, False),
    "no version": Attack(lambda _: _upgrade(_KEY), 426, False),
    "key of two bytes": Attack(lambda _: _upgrade(_VERSION, b"Sec-WebSocket-Key: abc="), 400, False),
    "forged token": Attack(
        lambda chance: _upgrade(
            _VERSION,
            _KEY,
            request=b"GET /ws?token=e30.e30.%s HTTP/1.1" % chance.randbytes(32).hex().encode(),
        ),
        401,
        False,
    ),
    "no Host": Attack(lambda _: _head(b"GET /healthz HTTP/1.1"), 400, False),
    # Reserved bits in the first byte: whatever follows, this is no frame.
    "garbage for a frame": Attack(lambda chance: b"\xf1" + chance.randbytes(200), 1002),
    "no mask": Attack(lambda _: b'\x81\x0f{"type":"ping"}', 1002),
    "unknown opcode": Attack(lambda chance: bytes((0x80 | chance.randrange(3, 8),)) + _MASKED_EMPTY, 1002),
    "continuation of nothing": Attack(lambda _: client_frame(0, b"x"), 1002),
    "ping of 126 bytes": Attack(lambda chance: client_frame(PING, chance.randbytes(126)), 1002),
    "length beyond the limit": Attack(lambda chance: _declared(chance.randrange(2**20, 2**62)), 1009),
    "length beyond 63 bits": Attack(lambda _: _declared(2**63), 1002),
    "text that is no UTF-8": Attack(lambda _: client_frame(TEXT, b'{"type":"\xff\xfe"}'), 1007),
    "close code that must not be sent": Attack(lambda _: client_frame(CLOSE, (1005).to_bytes(2)), 1002),
    # No flood of pings: a busy server reads one at no more than the rate it allows, and then refuses nobody.
    "half a frame, and gone": Attack(lambda _: client_frame(TEXT, b" " * 100)[:50], _VANISHED),
}


class Attacker:
    """Sends them, and looks at what comes of it."""

    def __init__(self, profile: Arrival) -> None:
        self._profile = profile

    def attack(self, *, port: int, count: int, seed: int, tls: bool = False) -> Attacked:
        """So many of them, drawn by lot; with a count of 0 each once. Raises OSError."""
        trust = certificate.trust() if tls else None
        chance = random.Random(seed)
        names = chance.choices(list(ATTACKS), k=count) if count else list(ATTACKS)
        done: Counter[str] = Counter()
        closes: Counter[str] = Counter()
        wrong: list[str] = []
        for name in names:
            attack = ATTACKS[name]
            try:
                found = self._try(port, attack, attack.make(chance), trust)
            except OSError as error:
                found = f"{type(error).__name__}: {error}"
            done[name] += 1
            if attack.upgraded:
                closes[str(attack.code)] += 1
            if found != attack.code:
                wrong.append(f"{name}: {found or 'no answer'} instead of {attack.code}")
        return Attacked(dict(done), dict(closes), len(wrong), wrong[:TOLD])

    def _try(self, port: int, attack: Attack, data: bytes, trust: ssl.SSLContext | None) -> int | str:
        """The status or close code that came, or what came instead."""
        with socket.create_connection(("127.0.0.1", port), timeout=_SECONDS) as plain:
            sock = plain if trust is None else trust.wrap_socket(plain, server_hostname="127.0.0.1")
            with sock:
                if not attack.upgraded:
                    sock.sendall(data)
                    return _status(_read(sock, _never))
                sock.sendall(handshake(self._profile.path("hostile")))
                head, _, rest = _read(sock, lambda data: b"\r\n\r\n" in data).partition(b"\r\n\r\n")
                if _status(head) != 101:
                    return f"handshake answered {_status(head)}"
                with suppress(ConnectionError):  # it may have seen enough before it has seen all
                    sock.sendall(data)
                if attack.code == _VANISHED:
                    return _VANISHED
                # It does not answer the close: gone at once, it does not make the server wait for that.
                found = _read(sock, lambda data: _close_code(rest + data) is not None)
                return _close_code(rest + found) or "no close frame"


def _read(sock: socket.socket, is_over: Callable[[bytes], bool]) -> bytes:
    """What comes until it is over, or TCP has ended. Raises TimeoutError, also where a server sends on and on."""
    received = b""
    until = time.monotonic() + _SECONDS
    with suppress(ConnectionError):  # a reset: what came before it counts
        while not is_over(received):
            sock.settimeout(max(until - time.monotonic(), 0.001))
            piece = sock.recv(_RECEIVE_BYTES)
            if not piece:
                break
            received += piece
    return received


def _never(_data: bytes) -> bool:
    return False


def _status(head: bytes) -> int | str:
    words = head.split(b"\r\n", 1)[0].split(b" ")
    if len(words) < 2 or not words[1].isdigit():
        return head[:40].decode("latin-1")
    return int(words[1])


def _close_code(data: bytes) -> int | str | None:
    """The code of the close frame, what is wrong with the bytes, or None while there is neither."""
    try:
        frames, _ = split_frames(data)
    except Malformed as error:
        return f"malformed: {error}"
    for frame in frames:
        if frame.opcode == CLOSE:
            return int.from_bytes(frame.payload[:2])
    return None


def main() -> None:
    """Answer requests until standard input ends."""
    answer_all(Attacker(Arrival(os.environ["TIDINGS_AUTH_SECRET"])).attack, TypeError)


if __name__ == "__main__":
    main()
