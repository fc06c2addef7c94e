"""A network made for one run, with a way that can swallow everything: what a real black hole is.

    server's machine ── way (a router) ── far (the clients)

`way` and `far` are network namespaces, the lines between them pairs of virtual Ethernets. As long as the router
forwards, clients in `far` are ordinary remote clients. With `swallow` it gets blackhole routes for both ends: it
stays there, its link up and its address answered for, and drops every packet without a word, so that
neither side's TCP is told anything. Needs root and `ip` (iproute2).
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

# No command of these waits for anything but the kernel; a busy machine may let them wait for a core.
COMMAND_SECONDS = 30.0

# A SYN within one cable's length that is not answered after this is being dropped by somebody.
REACH_SECONDS = 3.0

# The range for benchmarks of networks (RFC 2544, RFC 6890): nobody's addresses. A run takes one of its 512 blocks
# of 256; the first half is the line from the machine to the router, the second the clients'.
_BLOCKS = [f"198.{18 + block // 256}.{block % 256}" for block in range(512)]
_FIRST_CLIENT, _LAST_CLIENT = 130, 254

_is_ours = re.compile(r"(?P<owner>tidings-(?P<pid>\d+)-\d+)-(?:way|far)").fullmatch

# Before it has interfaces, which take the defaults. With reverse path filtering, which many machines hand on to new
# namespaces, the holes would swallow the host's ARP requests too, and it would learn that its router is gone.
_SETTINGS = "/proc/sys/net/ipv4"
_ROUTER = (
    f"cd {_SETTINGS} && echo 1 >ip_forward && for of in all default; do echo 0 >conf/$of/rp_filter; done"
)

_IP_AND_ICMP = "/proc/net/snmp"

# Where iproute2 keeps the names.
_NAMESPACES = Path("/var/run/netns")
_LINKS = Path("/sys/class/net")

_CONNECT = (
    "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), float(sys.argv[3]))"
)


class NoNetwork(OSError):
    """The network cannot be made here, or was left behind, and why."""


class Traffic(NamedTuple):
    """What the router has done with packets."""

    received: int
    forwarded: int
    told: int
    """ICMP messages it has sent, as that a host is unreachable."""


class Network:
    """One network; made and removed by `network`."""

    def __init__(self, owner: str, link: str, block: str) -> None:
        self._way, self._far = _names(owner)
        self._link = link
        self._block = block
        self._clients = f"{block}.128/25"
        self.host = f"{block}.1"
        """The address under which clients reach the server's machine."""
        self.sources = [f"{block}.{last}" for last in range(_FIRST_CLIENT, _LAST_CLIENT + 1)]
        """The addresses that they may come from."""
        self.inside: Sequence[str] = (_program(), "netns", "exec", self._far)
        """What to put before a command to run it among the clients."""

    def swallow(self) -> None:
        """Drop all packets from now on, both ways."""
        _ip("-n", self._way, "-batch", "-", lines=[f"route add {route}" for route in self._holes()])

    def mend(self) -> None:
        """Let packets through again."""
        _ip("-n", self._way, "-batch", "-", lines=[f"route del {route}" for route in self._holes()])

    def traffic(self) -> Traffic:
        """What the router has done so far."""
        lines = _ip("netns", "exec", self._way, "cat", _IP_AND_ICMP).splitlines()
        counts: dict[str, int] = {}
        for names, values in zip(lines[::2], lines[1::2], strict=True):
            kind, *fields = names.split()
            counts |= {
                kind + name: int(value) for name, value in zip(fields, values.split()[1:], strict=True)
            }
        return Traffic(counts["Ip:InReceives"], counts["Ip:ForwDatagrams"], counts["Icmp:OutMsgs"])

    def check_reaches(self, port: int) -> None:
        """Connect once from among the clients. Raises NoNetwork, as where a firewall drops what comes in."""
        program = [*self.inside, sys.executable, "-c", _CONNECT, self.host, str(port), str(REACH_SECONDS)]
        try:
            _run(program)
        except NoNetwork as error:
            # The last line of what Python says is its reason.
            why = str(error).rsplit("\n", 1)[-1]
            raise NoNetwork(
                f"{self.host} does not answer from inside the namespace ({why}); does a firewall drop it?"
            ) from None

    # --- its making and its end ----------------------------------------------------------------------

    def make(self) -> None:
        """Make it. Raises NoNetwork; what is made by then is for `remove`."""
        router, gateway = f"{self._block}.2", f"{self._block}.129"
        _ip("netns", "add", self._way)
        _ip("netns", "add", self._far)
        _ip("netns", "exec", self._way, "sh", "-c", _ROUTER)
        _ip("link", "add", self._link, "type", "veth", "peer", "name", "near", "netns", self._way)
        _ip(
            "-n",
            self._way,
            "link",
            "add",
            "beyond",
            "type",
            "veth",
            "peer",
            "name",
            "line",
            "netns",
            self._far,
        )
        _ip(
            "-n", self._way, "-batch", "-",
            lines=[
                f"address add {router}/30 dev near",
                "link set near up",
                f"address add {gateway}/25 dev beyond",
                "link set beyond up",
            ],
        )  # fmt: skip
        _ip(
            "-n", self._far, "-batch", "-",
            lines=[
                *(f"address add {source}/25 dev line" for source in self.sources),
                "link set lo up",
                "link set line up",
                f"route add default via {gateway}",
            ],
        )  # fmt: skip
        _ip(
            "-batch", "-",
            lines=[
                f"address add {self.host}/30 dev {self._link}",
                f"link set {self._link} up",
                f"route add {self._clients} via {router}",
            ],
        )  # fmt: skip

    def remove(self) -> None:
        """Take away whatever of it is there. Raises NoNetwork when something stays."""
        with _undisturbed():
            _remove([self._way, self._far], self._link)

    def _holes(self) -> list[str]:
        # More specific than the routes by which the router knows its two cables.
        return [
            f"blackhole {self._clients[:-2]}26",
            f"blackhole {self._block}.192/26",
            f"blackhole {self.host}/32",
        ]


@contextmanager
def network() -> Iterator[Network]:
    """A network for as long as the block lasts; it is gone after it, also when interrupted.

    What a killed run has left is taken away first. One at a time in a process. Raises NoNetwork.
    """
    if os.geteuid():
        raise NoNetwork("needs root")
    tidy()
    made = Network(_owner(os.getpid()), _link(os.getpid()), _free_block())
    try:
        made.make()
        yield made
    finally:
        made.remove()


def tidy() -> None:
    """Take away the networks of runs that have ended without doing so."""
    with _undisturbed():
        owners = {found["owner"]: int(found["pid"]) for found in map(_is_ours, _namespaces()) if found}
        for owner, pid in owners.items():
            if owner != _owner(pid):
                _remove(_names(owner), _link(pid))


def _names(owner: str) -> list[str]:
    return [f"{owner}-way", f"{owner}-far"]


def _link(pid: int) -> str:
    return f"tidings{pid}"  # at most 14 of the 15 characters of an interface's name


def _owner(pid: int) -> str:
    """A name for a process that no later one with its number has; another one when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    # After the command's name, which may hold anything: field 22 is when it started.
    return f"tidings-{pid}-{stat.rpartition(')')[2].split()[19]}"


def _free_block() -> str:
    taken = _ip("-4", "-o", "address") + _ip("-4", "route", "show", "table", "all")
    for step in range(len(_BLOCKS)):
        block = _BLOCKS[(os.getpid() + step) % len(_BLOCKS)]
        if f" {block}." not in taken:
            return block
    raise NoNetwork("all of 198.18.0.0/15 is in use")


def _namespaces() -> list[str]:
    return [path.name for path in _NAMESPACES.iterdir()] if _NAMESPACES.exists() else []


def _remove(names: Sequence[str], link: str) -> None:
    # The link first: with a namespace it would go only when the kernel gets round to that.
    _delete("link", link, (_LINKS / link).exists)
    for name in names:
        _delete("netns", name, (_NAMESPACES / name).exists)


def _delete(kind: str, name: str, is_there: Callable[[], bool]) -> None:
    """Delete what is there. Two runs may tidy up at once, and then it is gone under the hands of one of them."""
    if is_there():
        try:
            _ip(kind, "delete", name)
        except NoNetwork:
            if is_there():
                raise


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ctrl-C waits: clearing up that is itself interrupted leaves what it was to clear up."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _program() -> str:
    found = shutil.which("ip")
    if found is None:
        raise NoNetwork("needs the command `ip` (iproute2)")
    return found


def _ip(*arguments: str, lines: Sequence[str] = ()) -> str:
    return _run([_program(), *arguments], lines)


def _run(command: Sequence[str], lines: Sequence[str] = ()) -> str:
    try:
        done = subprocess.run(
            command,
            input="".join(f"{line}\n" for line in lines),
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=True,
            process_group=0,  # Ctrl-C is for us
        )
    except subprocess.CalledProcessError as error:
        raise NoNetwork(f"{' '.join(command[1:])}: {error.stderr.strip()}") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoNetwork(str(error)) from None
    return done.stdout
