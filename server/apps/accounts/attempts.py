"""How often somebody may try to log in: per account, against guessing one; per address, against trying them all.

Whoever goes on guessing at an account keeps its owner from logging in anew while it lasts, since nobody can tell
them apart before the password is judged; logins that live are refreshed all the same. An address is a /64 of IPv6,
which is what one customer has at least; who owns more of them has as many addresses.
"""

import heapq
import time
from collections.abc import Callable
from typing import Final, Literal

import msgspec

from tidings.server.limits import network_of

# Rounding must not take the last attempt of a burst away.
_SLACK: Final = 1e-6

# Names are made up by whoever asks: no key is longer than this, so that a table has a bound in bytes, too. Longer
# ones share a bucket if they begin alike; no name that a user may have is so long.
_MOST_KEY_CHARS: Final = 256

# Buckets looked at for one that begins: to forget full ones, two, since one is added at most; to make room, as many
# as cost 0.2 ms.
_FORGOTTEN: Final = 2
_LOOKED_AT: Final = 32


class Wait(msgspec.Struct, frozen=True):
    """No attempt is left."""

    seconds: float
    """Until there is one, if nobody else takes it."""
    what: Literal["account", "address"]
    """What has none."""


class Attempts:
    """Token buckets of accounts and of addresses. An attempt is taken before the password is judged.

    So as many as run at once count as well. Worst-case memory is `most_entries` of each: 250 bytes, and 1 KiB where
    the names are made as long as they can be.
    """

    def __init__(
        self,
        *,
        account_burst: int,
        account_seconds: float,
        address_burst: int,
        address_seconds: float,
        most_entries: int = 50_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take how many attempts there are at once and the seconds for one to come back, and a monotonic clock."""
        self._accounts = _Buckets(account_burst, account_seconds, most_entries)
        self._addresses = _Buckets(address_burst, address_seconds, most_entries)
        self._clock = clock

    @property
    def entries(self) -> int:
        """Accounts and addresses that are remembered."""
        return len(self._accounts) + len(self._addresses)

    def begin(self, account: str, address: str) -> Wait | None:
        """Take one attempt of the account, known or not, and one of the address; a Wait where either has none.

        Nothing is taken then: whoever keeps on trying does not lock anybody out for longer. It fails unless
        `succeeded` or `withdrawn` says otherwise, also where its task is cancelled.
        """
        now = self._clock()
        account, network = account[:_MOST_KEY_CHARS], network_of(address)
        for_account, for_address = self._accounts.wait(account, now), self._addresses.wait(network, now)
        if for_account or for_address:
            if for_account >= for_address:
                return Wait(for_account, "account")
            return Wait(for_address, "address")
        self._accounts.draw(account, now)
        self._addresses.draw(network, now)
        return None

    def succeeded(self, account: str, address: str) -> None:
        """The password was right: all attempts of the account are back, and this one of the address.

        So an office behind one address is held up only by passwords that are wrong, or judged at this moment;
        and nobody's own account gives back what was spent on others'.
        """
        self._accounts.fill(account[:_MOST_KEY_CHARS], self._clock())
        self._addresses.give_back(network_of(address))

    def withdrawn(self, account: str, address: str) -> None:
        """No password was judged, as where the hasher is busy: the attempt was none."""
        self._accounts.give_back(account[:_MOST_KEY_CHARS])
        self._addresses.give_back(network_of(address))


class Pace:
    """How often each of many may do something: as the buckets of `Attempts`, and nothing is given back."""

    def __init__(
        self,
        *,
        burst: int,
        seconds: float,
        most_entries: int = 50_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take how often at once, the seconds for one more, and a monotonic clock."""
        self._buckets = _Buckets(burst, seconds, most_entries)
        self._clock = clock

    def begin(self, who: str) -> float:
        """Take one, and return 0; or the seconds until there is one, and take nothing."""
        now = self._clock()
        wait = self._buckets.wait(who, now)
        if not wait:
            self._buckets.draw(who, now)
        return wait


class _Buckets:
    """Buckets by key, each as the time at which it is full again: what was taken of it is what that lies ahead.

    A bucket that is full is as good as none. Where there is no room for another, the one goes that would be full
    first: a name that was made up and tried once before an account under attack, whatever came last.
    """

    def __init__(self, burst: int, seconds: float, most_entries: int) -> None:
        self._seconds = seconds
        self._window = burst * seconds
        self._most_entries = most_entries
        self._full_at: dict[str, float] = {}
        # One pair for each key, with a time that may be out of date: put right when it comes to the front, so
        # that an attempt costs nothing here.
        self._by_time: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._full_at)

    def wait(self, key: str, now: float) -> float:
        """Seconds until an attempt is there; 0 where one is."""
        short = self._full_at.get(key, now) + self._seconds - self._window - now
        return short if short > _SLACK else 0.0

    def draw(self, key: str, now: float) -> None:
        """Take an attempt, which must be there."""
        self._forget(now)
        full_at = self._full_at.get(key)
        if full_at is None:
            while len(self._full_at) >= self._most_entries:
                self._make_room()
            heapq.heappush(self._by_time, (now + self._seconds, key))
            full_at = now
        self._full_at[key] = max(full_at, now) + self._seconds

    def give_back(self, key: str) -> None:
        """Put one attempt back, of a bucket that is neither forgotten nor full: past full it holds no more."""
        if key in self._full_at:
            self._full_at[key] -= self._seconds

    def fill(self, key: str, now: float) -> None:
        """Put all attempts back. The entry goes with its turn."""
        if key in self._full_at:
            self._full_at[key] = now

    def _forget(self, now: float) -> None:
        for _ in range(_FORGOTTEN):
            if not self._by_time or self._by_time[0][0] > now:
                return
            key = self._by_time[0][1]
            full_at = self._full_at[key]
            if full_at <= now:
                heapq.heappop(self._by_time)
                del self._full_at[key]
            else:
                heapq.heapreplace(self._by_time, (full_at, key))

    def _make_room(self) -> None:
        looked_at: list[tuple[float, str]] = []
        while self._by_time and len(looked_at) < _LOOKED_AT:
            time_kept, key = heapq.heappop(self._by_time)
            looked_at.append((self._full_at[key], key))
            if looked_at[-1][0] <= time_kept:
                break  # none behind it can be full earlier, but for those that were given something back
        first = min(looked_at)
        del self._full_at[first[1]]
        for pair in looked_at:
            if pair is not first:
                heapq.heappush(self._by_time, pair)
