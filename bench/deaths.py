"""The ways in which clients die without a word, and what of each can be seen from outside."""

import signal
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence

from tidings.bench.netns import Network
from tidings.bench.quantiles import quantile
from tidings.bench.replies import Left
from tidings.bench.tcp_table import Unacknowledged, resets
from tidings.bench.workbench import Clients
from tidings.protocol.close_codes import CloseCode

# Until the kernel has closed thousands of sockets of a killed process.
END_SECONDS = 10.0


class Death(ABC):
    """A group of clients that dies in one way; its users are NAME-0 and on."""

    title = ""
    code = CloseCode.ABNORMAL
    """How the server is to record it."""

    def __init__(self, clients: Clients, count: int) -> None:
        self.clients = clients
        self.name = clients.name
        self.count = count
        self.died = 0.0
        """`time.monotonic()`"""
        self.seconds: list[float] = []
        """From the death to each one's leaving the hub, rising."""
        self.codes: Counter[int] = Counter()
        self.found = Unacknowledged(0, 0, 0)
        """Their connections, seen when the heartbeat could not have spoken yet."""
        self._looked = 0.0
        self.recent = 0
        """Bytes that may have been sent to each within the time that TCP takes to acknowledge."""

    @abstractmethod
    async def strike(self) -> None:
        """Let them die. Raises ChildFailed, NoNetwork."""

    def is_as_meant(self, found: Unacknowledged) -> bool:
        """Whether TCP has them as it must while none is detected."""
        return not found.established

    async def observe(self, found: Unacknowledged) -> None:
        """Take note of what can be seen soon after. Raises ChildFailed."""
        self.found = found
        self._looked = time.monotonic()

    @abstractmethod
    def judged(self) -> tuple[str, bool]:
        """What it was on the wire, in words, and whether it was what it is to be. Raises NoNetwork."""

    def bury(self) -> None:
        """End what is left of their process."""
        self.clients.child.signal(signal.SIGKILL)

    def departed(self, code: int, at: float) -> None:
        """Take note of one that the hub has let go."""
        self.seconds.append(at - self.died)
        self.codes[code] += 1

    @property
    def remaining(self) -> int:
        """How many the hub still has."""
        return self.count - len(self.seconds)

    @property
    def expected(self) -> int:
        """How many connections TCP must have kept up when looked at: those then undetected, and one at least."""
        later = sum(self.died + seconds > self._looked for seconds in self.seconds)
        return max(1, later + self.remaining)

    @property
    def told_codes(self) -> str:
        """The close codes, with a number where there are several."""
        if len(self.codes) < 2:
            return ", ".join(map(str, self.codes))
        return ", ".join(f"{code}: {count:,}" for code, count in sorted(self.codes.items()))

    def row(self, bound: float, seen: str) -> Sequence[str]:
        """A row of the table of deaths."""
        times = [*(quantile(self.seconds, share) for share in (0.0, 0.5, 0.99, 1.0)), bound]
        return [
            self.title, f"{self.count:,}", *(f"{seconds:.2f}" for seconds in times), self.told_codes, seen
        ]  # fmt: skip


class Reset(Death):
    """Sockets closed with SO_LINGER of 0 s."""

    title = "reset"

    async def strike(self) -> None:
        """Close them all so."""
        before = resets()
        self.died = time.monotonic()
        await self.clients.ask(Left, "drop", reset=True)
        self._sent = sum(resets()) - sum(before)

    def judged(self) -> tuple[str, bool]:
        """A reset each: the kernel counts them, one way or the other."""
        return (
            f"RST {min(self._sent, self.count):,}",
            self._sent >= self.count and self.is_as_meant(self.found),
        )


class Killed(Death):
    """A process that gets SIGKILL: the kernel closes its sockets. To be struck after those that reset."""

    title = "killed"

    async def strike(self) -> None:
        """Kill it; its sockets go one by one, while others die."""
        self._before = resets()
        self.died = time.monotonic()
        self.clients.child.signal(signal.SIGKILL)

    async def observe(self, found: Unacknowledged) -> None:
        """How many sockets had unread data, now that all are closed."""
        await super().observe(found)
        self._status = await self.clients.child.wait(END_SECONDS)
        self._unread = min(resets().unread - self._before.unread, self.count)

    def judged(self) -> tuple[str, bool]:
        """FIN from most, RST from those with data that the process had not read."""
        seen = f"FIN {self.count - self._unread:,}, RST {self._unread:,} (unread data)"
        return seen, self._status == -signal.SIGKILL and self.is_as_meant(self.found)


class Stopped(Death):
    """A process that gets SIGSTOP: half-open; its kernel goes on acknowledging, the window is open."""

    title = "stopped"
    code = CloseCode.NO_PONG

    async def strike(self) -> None:
        """Stop it."""
        self.died = time.monotonic()
        self.clients.child.signal(signal.SIGSTOP)

    def is_as_meant(self, found: Unacknowledged) -> bool:
        """All stand, and are acknowledged."""
        return found.established == self.count and found.most <= self.recent

    def judged(self) -> tuple[str, bool]:
        """Nothing waits for an acknowledgement longer than TCP may delay one."""
        found = self.found
        seen = f"established {found.established:,}, at most {found.most:,} B not acknowledged"
        return seen, found.established >= self.expected and found.most <= self.recent


class Swallowed(Death):
    """Clients behind a router that drops all packets, both ways, and says nothing."""

    title = "black hole"
    code = CloseCode.NO_PONG

    def __init__(self, clients: Clients, count: int, network: Network) -> None:
        super().__init__(clients, count)
        self._network = network

    async def strike(self) -> None:
        """Close the way."""
        self.died = time.monotonic()
        self._network.swallow()
        # What was let through until just now is no failure, so this look comes second.
        self._before = self._network.traffic()

    def is_as_meant(self, found: Unacknowledged) -> bool:
        """All stand, and none is acknowledged."""
        return found.waiting == self.count

    def judged(self) -> tuple[str, bool]:
        """Every connection stood and had unacknowledged bytes; the router forwards nothing and tells nobody."""
        after, before, found = self._network.traffic(), self._before, self.found
        packets = [now - then for now, then in zip(after, before, strict=True)]
        seen = (
            f"established {found.established:,}, up to {found.most:,} B not acknowledged on {found.waiting:,}; "
            f"{packets[0]:,} packets swallowed, {packets[1]:,} forwarded, {packets[2]:,} answered"
        )
        is_hole = packets[0] > 0 and not any(packets[1:])
        return seen, is_hole and found.waiting >= self.expected

    def bury(self) -> None:
        """End it when packets pass again: its sockets are then reset, and do not stay with the kernel."""
        self._network.mend()
        super().bury()
