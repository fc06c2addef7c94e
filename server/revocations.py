"""What was revoked, until no token that it concerns can be alive any more.

The rule is "in doubt, revoked": a token passes a revocation only if it proves that it was made later. Its proof is
the younger of its `iat` and its login (`auth_time`), which are lower bounds of when it was issued:

- An issuer that writes whole seconds makes two tokens of one second look alike. Issued at 100.2, the user revoked
  at 100.5, issued again at 100.8: both say 100, and both are refused. From second 101 on new ones pass.
- With a fraction in `auth_time`, as in tokens of our own, the third is told from the first, and passes at once.
- A token without either proves nothing: it is refused for as long as the revocation is remembered.
- An issuer's clock may be ahead by the leeway. Where all that a user has now is revoked, a token that says so much
  more than now may exist already, and is refused. Who gives `issued_before` reads the issuer's clock, and
  `Authenticator.issue` knows the revocation: what they make right after it passes.

It is remembered until every token that it concerns has ended, since a token lives for `max_ttl` from its `iat` at
the most. When one without `iat` was made nobody can tell. That it lives no longer is up to its issuer; else whoever
revokes says how long to remember it, by `expires_at`.
"""

import heapq
import math
import time
from collections.abc import Callable, Collection, Sequence
from typing import Final, Literal, Protocol

import msgspec

from tidings.server.identity import NO_END, Identity
from tidings.server.login_cuts import LoginCuts

Kind = Literal["token", "session", "user"]
"""What is revoked: one token (its `jti`), the tokens of one login (`sid`), or those of a user."""

# About 400 bytes each. Past it the next revocation is refused, and none forgotten: a stolen token must not come
# back to life because somebody logs out 100,000 users.
MOST_REVOCATIONS: Final = 100_000

# Of these, for what administrators revoke: whoever logs in and out without end must not take it from them.
RESERVED: Final = 10_000

# Remembered for so much longer than needed: when the wall clock is put back, tokens that had ended live again.
MARGIN_MS: Final = 86_400_000

#: `before_ms` of what is revoked whenever it was issued: ids are not given twice.
WHENEVER_MS: Final = (NO_END + 1) * 1000

# Ends are looked at in pieces, so that a hundred thousand in one moment keep nobody waiting.
_SWEEP: Final = 1_000


class Revocation(msgspec.Struct, frozen=True):
    """Tokens that are accepted no longer."""

    kind: Kind
    value: str
    """The token's id, the login's, or the user's."""
    before_ms: int
    """Unix milliseconds: tokens that cannot prove to have been made then or later are revoked."""
    until_ms: int
    """Unix milliseconds until which this has to be remembered."""
    doubt_ms: int = 0
    """How much of `before_ms` is there for issuers whose clocks are ahead: at most the leeway. Not stored."""


class NotStored(Exception):
    """A revocation could not be stored, or what is stored not be read; the message says why."""


class RevocationStore(Protocol):
    """Keeps revocations over a restart."""

    async def add(self, revocation: Revocation) -> None:
        """Store one; when this returns, it is as durable as the store. Idempotent. Raises NotStored.

        Of several with the same kind and value what reaches further counts, field by field. Cancelled, it may or
        may not have been stored.
        """

    async def load(self) -> Sequence[Revocation]:
        """All whose `until_ms` has not passed, in any order. Raises NotStored."""


class MemoryRevocations:
    """The store of a server that keeps nothing on disk: what `Revocations` holds ends with the process."""

    async def add(self, revocation: Revocation) -> None:
        """Nothing is left to do."""

    async def load(self) -> Sequence[Revocation]:
        """Nothing was kept."""
        return ()


class Revocations:
    """The revocations in force. Synchronous: asked at every token, in constant time."""

    def __init__(self, *, clock: Callable[[], float] = time.time, most: int = MOST_REVOCATIONS) -> None:
        """Take the wall clock (Unix seconds), by which tokens and revocations end."""
        self._clock = clock
        self._most = most
        self._tokens: dict[str, Revocation] = {}
        self._sessions: dict[str, Revocation] = {}
        self._users: dict[str, Revocation] = {}
        self._of = {"token": self._tokens, "session": self._sessions, "user": self._users}
        self.keys: Collection[str] = ()
        """The user ids of services with keys of `auth.service_keys`, which no revocation ends."""
        self.cuts = LoginCuts(clock=clock)
        """Logins that ended with something that happened to their users, beside what was revoked."""
        self._ends: list[tuple[int, Kind, str]] = []
        """A heap with one entry of each revocation: when to look whether it has ended."""

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._ends)

    def is_revoked(self, identity: Identity) -> bool:
        """Whether the token that made an identity is revoked. API keys are no tokens, and never are."""
        if self.cuts.ends(identity):
            return True
        if not self._ends or identity.expires_at == NO_END:
            return False
        proof = max(identity.issued_at * 1000, identity.logged_in_ms)
        for known, value in (
            (self._users, identity.user_id),
            (self._sessions, identity.session_id),
            (self._tokens, identity.token_id),
        ):
            # None is the id of nothing, so that it is never found.
            found = known.get(value)  # type: ignore[arg-type]
            if found is not None and proof < found.before_ms:
                return True
        return False

    def has_room(self, kind: Kind, value: str, *, reserve: int = 0) -> bool:
        """Whether another revocation may be added: there is room (beside `reserve`), or it extends a known one."""
        self._sweep()
        return len(self._ends) < self._most - reserve or value in self._of[kind]

    def provable_ms(self, user_id: str, now_ms: int) -> int:
        """What a login that is made here and now may say as its time, so that it passes; Unix milliseconds.

        Later than `now_ms` where a revocation of the user is older than that beyond doubt, and refuses what says
        so only because another issuer's clock may be ahead.
        """
        found = self._users.get(user_id)
        if found is None or found.before_ms - found.doubt_ms > now_ms:
            return now_ms
        return max(found.before_ms, now_ms)

    def apply(self, revocation: Revocation) -> Revocation:
        """Put one in force, and return what holds now. Idempotent.

        Joined with one of the same kind and value, what reaches further counts. It is taken also where there is
        no room: whoever accepted it has looked, here or on another node.
        """
        self._sweep()
        known = self._of[revocation.kind]
        found = known.get(revocation.value)
        if found is None:
            heapq.heappush(self._ends, (revocation.until_ms, revocation.kind, revocation.value))
            known[revocation.value] = revocation
            return revocation
        before_ms = max(found.before_ms, revocation.before_ms)
        surely_ms = max(found.before_ms - found.doubt_ms, revocation.before_ms - revocation.doubt_ms)
        known[revocation.value] = joined = Revocation(
            revocation.kind,
            revocation.value,
            before_ms,
            max(found.until_ms, revocation.until_ms),
            before_ms - surely_ms,
        )
        return joined

    def _sweep(self) -> None:
        """Forget what has ended, a piece at a time."""
        now_ms = self._clock() * 1000
        for _ in range(_SWEEP):
            if not self._ends or self._ends[0][0] > now_ms:
                return
            _, kind, value = self._ends[0]
            until_ms = self._of[kind][value].until_ms
            if until_ms > now_ms:  # it was extended meanwhile
                heapq.heapreplace(self._ends, (until_ms, kind, value))
            else:
                heapq.heappop(self._ends)
                del self._of[kind][value]


def revocation(
    kind: Kind,
    value: str,
    *,
    now: float,
    issued_before: float | None,
    expires_at: int | None,
    longest: int,
    leeway: int,
) -> Revocation:
    """What is to be remembered, from what was asked at `now`. All times are in seconds, Unix or spans.

    Without `issued_before`, one token or login is revoked whenever it was issued, and of a user what exists now.
    It is remembered until every token that it concerns has ended: `expires_at` where the caller knows, else
    `longest`, the longest life that is accepted, from the time before which they were issued.
    """
    doubt_ms = 0
    if issued_before is not None:
        before_ms = math.ceil(issued_before * 1000)
    elif kind == "user":
        doubt_ms = leeway * 1000
        # The next millisecond, so that what was issued earlier in this one is revoked too.
        before_ms = math.floor(now * 1000) + 1 + doubt_ms
    else:
        before_ms = WHENEVER_MS
    if expires_at is None:
        # By an issuer whose clock is ahead, and then once more, as such a token is accepted.
        expires_at = math.ceil(max(now, issued_before or 0.0)) + longest + 2 * leeway
    # The leeway, since a token is accepted for so long after its end.
    return Revocation(kind, value, before_ms, (expires_at + leeway) * 1000 + MARGIN_MS, doubt_ms)
