"""Which logins of a user have ended because of something that happened to the user: one line for each.

A user who logs in where only one login may live, changes the password or is deleted cuts off the logins of before,
but perhaps for one. The record of the user says so (its owner's table), and this is what of all records has to be
known at every token, without asking a database.
"""

import heapq
import time
from collections.abc import Callable
from typing import Final

import msgspec

from tidings.server.identity import NO_END, Identity

# Ends are looked at in pieces, as those of revocations.
_SWEEP: Final = 1_000


class LoginCut(msgspec.Struct, frozen=True):
    """A user's logins that are not good any more: all before it, but for one."""

    user_id: str
    number: int
    """Logins with a lower one have ended. Whoever keeps the user's record numbers logins and cuts together, in the
    order of their commits, so that no clock decides which was first."""
    before_ms: int
    """Unix milliseconds, for logins without a number, as those of other issuers: one that cannot prove to be of
    then or later has ended."""
    spared: str | None
    """The login (`sid`) that goes on, whenever it was made."""
    until_ms: int
    """Unix milliseconds until which this has to be remembered: then all tokens of before have ended."""


class LoginCuts:
    """The latest cut of each user, some 400 bytes each. Synchronous: asked at every token, in constant time.

    Not bounded by a number as revocations are: there are no more than users, and who has none cannot add any.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        """Take the wall clock (Unix seconds)."""
        self._clock = clock
        self._cuts: dict[str, LoginCut] = {}
        self._ends: list[tuple[int, str]] = []
        """A heap with one entry of each user."""

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._cuts)

    def apply(self, cut: LoginCut) -> None:
        """Put a cut in force, in place of the user's earlier one; an earlier one than that changes nothing.

        In place of it, and not beside it: whoever made this one has seen that the spared login was good.
        """
        self._sweep()
        known = self._cuts.get(cut.user_id)
        if known is not None and known.number >= cut.number:
            return
        self._cuts[cut.user_id] = cut
        if known is None:
            heapq.heappush(self._ends, (cut.until_ms, cut.user_id))

    def ends(self, identity: Identity) -> bool:
        """Whether the login behind an identity is cut off. Keys are no logins, and never are."""
        if not self._cuts or identity.expires_at == NO_END:
            return False
        cut = self._cuts.get(identity.user_id)
        return cut is not None and is_cut_off(identity, cut.number, cut.before_ms, cut.spared)

    def _sweep(self) -> None:
        """Forget what has ended, a piece at a time."""
        now_ms = self._clock() * 1000
        for _ in range(_SWEEP):
            if not self._ends or self._ends[0][0] > now_ms:
                return
            user_id = self._ends[0][1]
            until_ms = self._cuts[user_id].until_ms
            if until_ms > now_ms:  # there was a later one
                heapq.heapreplace(self._ends, (until_ms, user_id))
            else:
                heapq.heappop(self._ends)
                del self._cuts[user_id]


def is_cut_off(identity: Identity, number: int, before_ms: int, spared: str | None) -> bool:
    """Whether a cut concerns a login. One that tells neither number nor time proves nothing: only `spared` helps.

    Without a number the login's time decides, which a refresh keeps, not the token's (`iat`).
    """
    if spared is not None and identity.session_id == spared:
        return False
    if identity.login_number is not None:
        return identity.login_number < number
    return identity.logged_in_ms < before_ms
