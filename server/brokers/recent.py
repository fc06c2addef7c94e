"""Idempotency keys seen lately, in memory."""

from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b

from tidings.server.brokers.base import IDEMPOTENCY_SECONDS, IdempotencyConflict, Receipt

# Past this many the oldest is forgotten before its time, and counted. About 400 bytes each: 120 MiB at
# worst. At 2,000 keyed publications a second a key still lives for 150 s, which is longer than a publisher
# goes on trying; refusing new ones instead would stop a busy back end for minutes.
MOST_KEYS = 300_000


class RecentKeys:
    """Which publication each key of each channel stands for.

    Every key lives equally long, so the order in which they came is the order in which they end.
    """

    def __init__(self, clock: Callable[[], float], *, most: int = MOST_KEYS) -> None:
        """Take a monotonic clock in seconds."""
        self._clock = clock
        self._most = most
        self.forgotten = 0
        """Keys that made room for newer ones before their time."""
        self._known: OrderedDict[tuple[str, str], tuple[bytes, Receipt, float]] = OrderedDict()

    def find(self, channel: str, key: str, event: str, payload: bytes) -> Receipt | None:
        """The receipt of the publication under this key; None when there was none.

        Raises IdempotencyConflict where it was another publication.
        """
        self._forget_old()
        known = self._known.get((channel, key))
        if known is None:
            return None
        digest, receipt, _ = known
        if digest != body_digest(event, payload):
            raise IdempotencyConflict(f"{channel}: the idempotency key was used for another publication")
        return receipt

    def add(self, channel: str, key: str, event: str, payload: bytes, receipt: Receipt) -> None:
        """Remember a new key's publication."""
        self._known[channel, key] = (body_digest(event, payload), receipt, self._clock())
        if len(self._known) > self._most:
            self._known.popitem(last=False)
            self.forgotten += 1

    def __len__(self) -> int:
        """How many keys are remembered."""
        return len(self._known)

    def _forget_old(self) -> None:
        oldest = self._clock() - IDEMPOTENCY_SECONDS
        while self._known:
            first = next(iter(self._known))
            if self._known[first][2] > oldest:
                return
            del self._known[first]


def body_digest(event: str, payload: bytes) -> bytes:
    """What two publications under one key are compared by."""
    # An event name has no NUL, so that no two pairs read the same.
    return blake2b(event.encode() + b"\0" + payload, digest_size=16).digest()
