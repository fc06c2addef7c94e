"""The connections of a server as its kernel sees them: which are established, and what nobody has acknowledged."""

import socket
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import trio

_TABLE = "/proc/net/tcp"

_ESTABLISHED = "01"

# Thousands of connections take the kernel tens of milliseconds to write down; with a pause every few hundred, those
# who share the core wait no longer than a moment.
_PIECE_BYTES = 65536
_PAUSE_SECONDS = 0.002


class Resets(NamedTuple):
    """Resets that this machine's sockets have sent since it started."""

    unread: int
    """On a close with data that nobody had read (RFC 2525, section 2.17)."""
    asked: int
    """On a close that asked for it, with SO_LINGER of 0 s."""


class Unacknowledged(NamedTuple):
    """The established connections of one group of clients, at the server's end."""

    established: int
    waiting: int
    """How many of them have bytes that were sent and not acknowledged."""
    most: int
    """Bytes of that on one connection."""


async def unacknowledged(port: int, groups: Mapping[str, str]) -> dict[str, Unacknowledged]:
    """The connections to a port of this machine, by group: name, and what its addresses begin with, as `127.3.`."""
    text, piece = b"", b""
    with open(_TABLE, "rb", buffering=0) as table:  # noqa: ASYNC230, PTH123  the kernel's own memory
        while data := table.read(_PIECE_BYTES):
            piece += data
            if len(piece) >= _PIECE_BYTES:
                text, piece = text + piece, b""
                await trio.sleep(_PAUSE_SECONDS)
    return count_unacknowledged((text + piece).decode("ascii").splitlines()[1:], port, groups)


def count_unacknowledged(
    lines: Iterable[str], port: int, groups: Mapping[str, str]
) -> dict[str, Unacknowledged]:
    """The same from the lines of the table, its head left out."""
    here = f":{port:04X}"
    # By peer: while it changes, the table may tell of a connection twice.
    found: dict[str, dict[str, int]] = {name: {} for name in groups}
    for line in lines:
        if here not in line:
            continue  # most are others', and taking them apart would cost the load's core more than reading them
        _, local, remote, state, queues, *_ = line.split()
        if state == _ESTABLISHED and local.endswith(here):
            # Printed as one number in this machine's own order.
            address = socket.inet_ntoa(int(remote[:8], 16).to_bytes(4, sys.byteorder))
            for name, beginning in groups.items():
                if address.startswith(beginning):
                    found[name][remote] = int(queues.partition(":")[0], 16)
    return {
        name: Unacknowledged(len(each), sum(map(bool, each.values())), max(each.values(), default=0))
        for name, each in found.items()
    }


def resets(netstat: str | None = None) -> Resets:
    """The resets so far; `netstat`: the text of `/proc/net/netstat`, where another one is to be read."""
    lines = (netstat or Path("/proc/net/netstat").read_text(encoding="ascii")).splitlines()
    counts: dict[str, str] = {}
    for names, values in zip(lines[::2], lines[1::2], strict=True):
        counts |= dict(zip(names.split(), values.split(), strict=True))
    return Resets(int(counts["TCPAbortOnClose"]), int(counts["TCPAbortOnData"]))
