"""What the kernel tells of TCP on the whole machine, and what it grants to a process."""

import resource
from pathlib import Path

from tidings.bench.processes import ChildFailed
from tidings.server.limits import REFUSAL_SOCKETS, RESERVED_DESCRIPTORS

# What tells that a queue of connections overflowed, and that somebody had to ask twice.
COUNTERS = ("ListenOverflows", "ListenDrops", "SyncookiesSent", "TCPSynRetrans", "TCPTimeouts")


def tcp_counters(netstat: str | None = None) -> dict[str, int]:
    """The COUNTERS of the whole machine since it started; those that this kernel does not have are left out.

    `netstat`: the text of `/proc/net/netstat`, where another one is to be read.
    """
    lines = (netstat or Path("/proc/net/netstat").read_text(encoding="ascii")).splitlines()
    found: dict[str, int] = {}
    for names, values in zip(lines[::2], lines[1::2], strict=True):
        found |= {
            name: int(value)
            for name, value in zip(names.split()[1:], values.split()[1:], strict=True)
            if name in COUNTERS
        }
    return found


def tcp_buffer_bytes(sockstat: str | None = None) -> int | None:
    """What the buffers of all TCP sockets of the machine hold, in whole pages; None where it is not told.

    `sockstat`: the text of `/proc/net/sockstat`, where another one is to be read.
    """
    try:
        text = sockstat or Path("/proc/net/sockstat").read_text(encoding="ascii")
    except OSError:
        return None
    for line in text.splitlines():
        name, *words = line.split()
        if name == "TCP:" and "mem" in words:
            return int(words[words.index("mem") + 1]) * resource.getpagesize()
    return None


def check_descriptors(connections: int, hard: int | None = None) -> None:
    """Raise ChildFailed where one process may not have so many connections at once.

    `hard`: its limit of descriptors, where that is not this process's own.
    """
    if hard is None:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    need = connections + RESERVED_DESCRIPTORS + REFUSAL_SOCKETS
    if hard != resource.RLIM_INFINITY and hard < need:
        raise ChildFailed(
            f"{connections:,} connections need {need:,} descriptors in the server and as many in the load, "
            f"and the hard limit is {hard:,}: raise it (`ulimit -Hn`, or LimitNOFILE=), or take fewer --clients"
        )
