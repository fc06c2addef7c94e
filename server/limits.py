"""Rates and counts that keep one peer's appetite from becoming everybody's problem."""

import ipaddress
import resource
import time
from collections import Counter
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from enum import Enum
from typing import Generic, TypeVar

import trio

K = TypeVar("K", bound=Hashable)

# Descriptors that are not connections: listeners, the event loop, files, SQLite, DNS, a broker's sockets.
RESERVED_DESCRIPTORS = 256

# Beyond `connections_total`, this many sockets are still read for as long as a handshake may take, so
# that a refused client gets an answer that it can read (and a load balancer its health check).
REFUSAL_SOCKETS = 64

# The same for one address beyond its cap: few, since silent sockets of one host must not add up.
REFUSAL_SOCKETS_PER_ADDRESS = 4


# Of a text that is none, as a proxy may say.
_MOST_ADDRESS_CHARS = 256


class Verdict(Enum):
    """What a rate says of one more unit."""

    OK = "ok"
    REFUSED = "refused"
    """Over the rate: refuse this one."""
    EXHAUSTED = "exhausted"
    """Refused so often in a row that the peer does not listen: close."""


_OK = Verdict.OK


class Rate:
    """A token bucket that also counts how stubbornly it is overdrawn.

    `burst` units are free at once and `rate` units a second flow back. Each refused unit draws the
    bucket further down; at a debt of another `burst` the peer is not slowing down at all.
    """

    __slots__ = ("_burst", "_clock", "_level", "_rate", "_updated")

    def __init__(self, rate: float, burst: int, clock: Callable[[], float]) -> None:
        """Take units a second, units at once, and a monotonic clock in seconds."""
        self._rate = rate
        self._burst = float(burst)
        self._clock = clock
        self._level = float(burst)
        self._updated = clock()

    def spend(self, units: int = 1) -> Verdict:
        """Draw units and judge them."""
        now = self._clock()
        level = self._level + (now - self._updated) * self._rate
        self._updated = now
        burst = self._burst
        level = (min(burst, level)) - units
        if level >= 0:
            self._level = level
            return _OK
        self._level = max(level, -burst)
        return Verdict.REFUSED if level > -burst else Verdict.EXHAUSTED

    def retry_after(self, units: int = 1) -> float:
        """Seconds after which so many units are to be had, none of them drawn before."""
        return max(0.0, (units - self._level) / self._rate)


class Rates(Generic[K]):
    """A bucket for each key. Who has not come for the longest time makes room, and begins with a full one again.

    Memory: some 450 bytes for each key that is remembered.
    """

    def __init__(
        self, rate: float, burst: int, *, most: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Take units a second, units at once, how many keys are remembered, and a monotonic clock in seconds."""
        self._rate = rate
        self._burst = burst
        self._most = most
        self._clock = clock
        self._rates: dict[K, Rate] = {}

    def wait(self, key: K) -> float:
        """Draw nothing; the seconds after which a unit is to be had, 0 where one is."""
        rate = self._rates.get(key)
        if rate is None:
            return 0.0
        rate.spend(0)
        return rate.retry_after()

    def spend(self, key: K) -> float:
        """Draw one unit, and return 0; or draw nothing, and return the seconds after which one is to be had."""
        rate = self._rates.pop(key, None)
        if rate is None:
            rate = Rate(self._rate, self._burst, self._clock)
            if len(self._rates) >= self._most:
                del self._rates[next(iter(self._rates))]
        self._rates[key] = rate  # the last now
        # So that the level is of this moment. Who comes too early is told when, and nothing is drawn for asking.
        rate.spend(0)
        seconds = rate.retry_after()
        if not seconds:
            rate.spend()
        return seconds


class Occupancy:
    """How many are inside, and when the last has left.

    Its own context manager, since nothing is to be remembered of who has entered.
    """

    def __init__(self) -> None:
        self.inside = 0
        self._emptied: trio.Event | None = None

    def enter(self) -> AbstractContextManager[None]:
        """Be inside for as long as the block."""
        return self

    def __enter__(self) -> None:
        self.inside += 1

    def __exit__(self, *_: object) -> None:
        self.inside -= 1
        if not self.inside and self._emptied is not None:
            self._emptied.set()

    async def wait_empty(self) -> None:
        """Wait until nobody is inside. Only one task may wait."""
        while self.inside:
            self._emptied = trio.Event()
            await self._emptied.wait()
        self._emptied = None


class _Counted:
    """Counts one of an address, which stands among the counts only while it has any."""

    __slots__ = ("_address", "_counts")

    def __init__(self, counts: Counter[str], address: str) -> None:
        self._counts = counts
        self._address = address

    def __enter__(self) -> None:
        self._counts[self._address] += 1

    def __exit__(self, *_: object) -> None:
        self._counts[self._address] -= 1
        if not self._counts[self._address]:
            del self._counts[self._address]


class Admission:
    """How many sockets are open, in all and per address."""

    def __init__(self, *, total: int, per_address: int) -> None:
        self.total = total
        self.per_address = per_address
        self._sockets = Occupancy()
        self._addresses: Counter[str] = Counter()

    @property
    def is_full(self) -> bool:
        """Whether one more socket would exceed the total."""
        return self.open >= self.total

    @property
    def open(self) -> int:
        """Sockets open now."""
        return self._sockets.inside

    @property
    def is_overflowing(self) -> bool:
        """Whether not even a refusal can be afforded."""
        return self.open >= self.total + REFUSAL_SOCKETS

    def is_crowded(self, address: str) -> bool:
        """Whether one more connection of an address would exceed its cap."""
        return self._addresses[address] >= self.per_address

    def is_overflowing_from(self, address: str) -> bool:
        """Whether an address has taken up its refusals, too."""
        return self._addresses[address] >= self.per_address + REFUSAL_SOCKETS_PER_ADDRESS

    def of_address(self, address: str) -> int:
        """Connections open from an address."""
        return self._addresses[address]

    @property
    def addresses(self) -> int:
        """Distinct addresses with an open connection."""
        return len(self._addresses)

    def socket(self) -> AbstractContextManager[None]:
        """Count an open socket."""
        return self._sockets.enter()

    async def wait_empty(self) -> None:
        """Wait until no socket is open. Only one task may wait."""
        await self._sockets.wait_empty()

    def address(self, address: str) -> AbstractContextManager[None]:
        """Count a connection of an address, which may be known only after the head is read."""
        return _Counted(self._addresses, address)


def connections_total(configured: int) -> int:
    """How many connections this process can hold: what is configured, within the descriptor limit.

    Raises the soft limit to the hard one first. `configured` 0 means as many as possible.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    possible = max(1, soft - RESERVED_DESCRIPTORS - REFUSAL_SOCKETS)
    return min(configured, possible) if configured else possible


class Occasionally:
    """Lets an event through a few times a second and counts the rest, so that a flood stays out of the log."""

    def __init__(self, per_second: int = 10, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._clock = clock
        self._second = 0
        self._passed = 0
        self._held = 0

    def passes(self) -> int | None:
        """None to hold this event; else how many were held since the last that passed."""
        second = int(self._clock())
        if second != self._second:
            self._second, self._passed = second, 0
        if self._passed >= self._per_second:
            self._held += 1
            return None
        self._passed += 1
        held, self._held = self._held, 0
        return held


def network_of(address: str) -> str:
    """What counts as one address: of IPv6 its /64, all of one host's; else itself, as a socket without any."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:_MOST_ADDRESS_CHARS]
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    mapped = parsed.ipv4_mapped
    return str(mapped) if mapped is not None else f"{int(parsed) >> 64:x}::/64"
