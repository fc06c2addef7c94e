"""Lists of who is present in channels with many, kept for a moment: asking in turn makes them once.

To list 10,000 takes some 20 ms, which everybody else waits for. A kept list follows who comes and goes on this
node; what other nodes say may be as old as the list.
"""

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterable
from operator import attrgetter
from typing import Final

import msgspec
import trio

from tidings.protocol.messages.answers import PresentMember
from tidings.server.brokers.base import Member

#: For so many seconds a list is kept.
KEPT_SECONDS: Final = 1.0

#: Fewer are listed within a fraction of a millisecond, whenever somebody asks.
MANY: Final = 100

# Members of all kept lists together: about 80 bytes each, 8 MB. The oldest list goes first.
MOST_KEPT: Final = 100_000

#: What a member takes in JSON at least, with its comma: two names of one character.
LEAST_BYTES: Final = len(msgspec.json.encode(PresentMember("a", "a"))) + 1

#: And at most: an id of 128 characters, a name of 256 of at most 6 bytes each.
MOST_BYTES: Final = len(msgspec.json.encode(PresentMember("a" * 128, "\x00" * 256, "service"))) + 1

_encode = msgspec.json.Encoder().encode
_user_id = attrgetter("user_id")


class Listing:
    """Who is present in one channel, by user id."""

    __slots__ = ("_bytes", "_lent", "_members", "_unsaid", "kept_until")

    def __init__(self, members: Iterable[Member], unsaid: set[str]) -> None:
        """Take them by user id, and those among them whom the broker did not name."""
        self._members = [PresentMember(each.user_id, each.username, each.kind) for each in members]
        self._unsaid = unsaid
        self._lent = False
        self._bytes: int | None = None
        self.kept_until = 0.0

    @property
    def members(self) -> list[PresentMember]:
        """They, as of now: not to be changed, and never changed here."""
        self._lent = True
        return self._members

    def __len__(self) -> int:
        return len(self._members)

    @property
    def bytes(self) -> int:
        """What the list takes in JSON."""
        if self._bytes is None:
            self._bytes = len(_encode(self._members))
        return self._bytes

    def came(self, member: Member) -> None:
        """Somebody came, or has another name."""
        entry = PresentMember(member.user_id, member.username, member.kind)
        at, found = self._find(member.user_id)
        if found is None:
            self._unsaid.add(member.user_id)
            self._change(at, at, [entry])
        elif found != entry:
            self._change(at, at + 1, [entry])

    def said(self, member: Member) -> None:
        """The broker knows somebody, who is present from now on also where nobody is connected."""
        self.came(member)
        self._unsaid.discard(member.user_id)

    def left(self, user_id: str) -> None:
        """Somebody is present on no node any more."""
        self._unsaid.discard(user_id)
        at, found = self._find(user_id)
        if found is not None:
            self._change(at, at + 1, [])

    def unsaid(self, user_id: str) -> None:
        """Somebody came and went before the broker knew: is present only where the broker says so of others."""
        if user_id in self._unsaid:
            self.left(user_id)

    def _find(self, user_id: str) -> tuple[int, PresentMember | None]:
        at = bisect_left(self._members, user_id, key=_user_id)
        found = self._members[at] if at < len(self._members) else None
        return at, found if found is not None and found.user_id == user_id else None

    def _change(self, begin: int, end: int, entries: list[PresentMember]) -> None:
        """Put others in a place of the list: of a copy, where somebody may be reading it."""
        if self._lent:
            self._members, self._lent = self._members.copy(), False
        if self._bytes is not None:
            self._bytes += _size(entries) - _size(self._members[begin:end])
        self._members[begin:end] = entries


def _size(entries: list[PresentMember]) -> int:
    return sum(len(_encode(entry)) + 1 for entry in entries)


class Lists:
    """The lists that are kept, the oldest first. Synchronous, and nothing here raises."""

    def __init__(self) -> None:
        self._lists: OrderedDict[str, Listing] = OrderedDict()

    def get(self, channel: str) -> Listing | None:
        """The list of a channel, if it is kept."""
        self._forget()
        return self._lists.get(channel)

    def keep(self, channel: str, listing: Listing) -> None:
        """Keep a list that has just been made, if it is long."""
        self._forget()
        if MANY <= len(listing) <= MOST_KEPT:
            listing.kept_until = trio.current_time() + KEPT_SECONDS
            self._lists[channel] = listing
            self._lists.move_to_end(channel)
            while sum(map(len, self._lists.values())) > MOST_KEPT:
                self._lists.popitem(last=False)

    def came(self, channel: str, member: Member) -> None:
        """Somebody came to a channel on this node, or has another name."""
        if self._lists and (listing := self.get(channel)) is not None:
            listing.came(member)

    def said(self, channel: str, member: Member) -> None:
        """The broker has been told of somebody on this node."""
        if self._lists and (listing := self.get(channel)) is not None:
            listing.said(member)

    def left(self, channel: str, user_id: str) -> None:
        """Somebody is present in a channel on no node any more."""
        if self._lists and (listing := self.get(channel)) is not None:
            listing.left(user_id)

    def unsaid(self, channel: str, user_id: str) -> None:
        """Somebody came and went on this node before the broker knew."""
        if self._lists and (listing := self.get(channel)) is not None:
            listing.unsaid(user_id)

    def _forget(self) -> None:
        now = trio.current_time()
        while self._lists:
            channel, listing = next(iter(self._lists.items()))
            if listing.kept_until > now:
                return
            del self._lists[channel]
