"""Who is present in which channel: counted here, told to the broker, announced where the policy says so.

The hub's word is synchronous, the broker's is not: so each user in each channel has an entry that says what
is so, and one task that makes the broker know it, entry by entry.
"""

from collections import OrderedDict, deque
from typing import Literal

import msgspec
import structlog
import trio

from tidings.protocol.messages import answers
from tidings.server.brokers.base import Broker, BrokerUnavailable, Member
from tidings.server.delivery.presence_lists import Listing, Lists
from tidings.server.identity import Identity
from tidings.server.policies import Policies

# How long the broker may take over one user in one channel, in seconds: beyond that it is taken for mute.
PATIENCE = 10.0

# After how many seconds what the broker refused is tried again, at first and at last.
RETRY_FIRST = 0.5
RETRY_LAST = 15.0

# Entries between two checkpoints: a broker in memory never yields, and 10,000 may come at once. Some 2 ms.
ENTRIES_PER_TURN = 64

_log = structlog.get_logger("tidings.presence")


class _Entry:
    """One user in one channel. About 200 bytes with the member, and 300 more where it is alone in a channel."""

    __slots__ = ("channel", "connections", "doubtful", "is_present", "is_waiting", "member", "owed", "told")

    def __init__(self, channel: str, member: Member) -> None:
        self.channel = channel
        self.member = member
        """As the newest connection says."""
        self.connections = 0
        self.told: Member | None = None
        """As the broker is sure to know it."""
        self.doubtful = False
        """Whether the broker may know it or not: it was asked, and has not answered."""
        self.is_present = False
        """Whether it has joined and not left, as far as anybody was told."""
        self.owed: Literal["joined", "left"] | None = None
        """What is still to be announced, before anything else."""
        self.is_waiting = False
        """Whether it is in the work list, so that it is there once."""


class Members:
    """Users in channels that keep presence. Nothing here raises, but where it says so."""

    def __init__(self, broker: Broker, policies: Policies, *, grace: float) -> None:
        """`grace` is how many seconds a user who is gone still counts as present."""
        self._broker = broker
        self._policies = policies
        self._grace = grace
        self._entries: dict[str, dict[str, _Entry]] = {}
        """By channel and user id: those with a connection there, or told to the broker."""
        self._departing: OrderedDict[_Entry, float] = OrderedDict()
        """Gone, but not yet for `grace` seconds; and when it will be so long. The earliest first."""
        self._lists = Lists()
        self._left = 0
        """How many users have left a channel for good: what was read meanwhile may still show them."""
        self._work: deque[_Entry] = deque()
        """Entries to look at, each once: never more than there are."""
        self._failing: dict[_Entry, None] = {}
        """The broker refused these, the last time."""
        self._retry_at = float("inf")
        self._retry_after = RETRY_FIRST
        self._wake = trio.Event()

    # --- what is so: synchronous ---------------------------------------------------------------------

    def came(self, channel: str, identity: Identity) -> None:
        """A connection of a user entered a channel."""
        if not self._policies.of(channel).presence:
            return
        user_id = identity.user_id
        entries = self._entries.get(channel)
        if entries is None:
            entries = self._entries[channel] = {}
        entry = entries.get(user_id)
        if entry is None:
            entry = entries[user_id] = _Entry(channel, _member(identity))
        entry.connections += 1
        self._departing.pop(entry, None)
        self._rename(entry, identity)

    def went(self, channel: str, user_id: str) -> None:
        """A connection of a user left a channel."""
        entry = self._entries.get(channel, {}).get(user_id)
        if entry is None:
            return
        entry.connections -= 1
        if not entry.connections and entry.told is None and not entry.doubtful:
            self._lists.unsaid(channel, user_id)
        # Whom the broker was never told of is forgotten without a word, by the task.
        if not entry.connections and (entry.told is not None or entry.doubtful):
            if not self._departing:
                self._wake.set()
            self._departing[entry] = trio.current_time() + self._grace

    def renamed(self, channel: str, identity: Identity) -> None:
        """A user who is in a channel has another name or kind: it stays the same member."""
        entry = self._entries.get(channel, {}).get(identity.user_id)
        if entry is not None:
            self._rename(entry, identity)

    def _rename(self, entry: _Entry, identity: Identity) -> None:
        member = entry.member
        if (member.username, member.kind) != (identity.username, identity.kind):
            entry.member = _member(identity)
        self._lists.came(entry.channel, entry.member)
        if entry.told != entry.member:
            self._push(entry)

    # --- asking --------------------------------------------------------------------------------------

    def at_least(self, channel: str) -> int:
        """How many are present, as far as this node knows by itself; for a moment also who has just left."""
        return len(self._entries.get(channel, ()))

    async def of(self, channel: str) -> Listing:
        """Who is present. Raises BrokerUnavailable.

        Who has just come to this node is among them, whether the broker knows it yet or not. Of many, what other
        nodes say may be a second old.
        """
        kept = self._lists.get(channel)
        if kept is not None:
            return kept
        left = self._left
        found = {member.user_id: member for member in await self._broker.presence(channel)}
        # No await from here on: whoever comes or goes from now on changes the list that is kept.
        unsaid: set[str] = set()
        for user_id, entry in self._entries.get(channel, {}).items():
            if entry.connections:
                if user_id not in found:
                    unsaid.add(user_id)
                found[user_id] = entry.member
        listing = Listing((found[user_id] for user_id in sorted(found)), unsaid)
        if left == self._left:
            self._lists.keep(channel, listing)
        return listing

    def __len__(self) -> int:
        """How many entries there are, of all channels."""
        return sum(map(len, self._entries.values()))

    # --- making the broker know ----------------------------------------------------------------------

    async def run(self) -> None:
        """Tell the broker, until cancelled. The one task that does.

        What the broker refuses is tried again and again, and logged once until all is well.
        """
        looked_at = 0
        while True:
            self._fall_due()
            if not self._work:
                await self._wait()
                continue
            entry = self._work.popleft()
            entry.is_waiting = False
            try:
                with trio.fail_after(PATIENCE):
                    await self._settle(entry)
            except Exception as error:
                self._failed(entry, error)
            else:
                self._succeeded(entry)
            looked_at += 1
            if looked_at % ENTRIES_PER_TURN == 0:
                await trio.lowlevel.checkpoint()

    async def _wait(self) -> None:
        """Wait for work, or until something falls due."""
        due = min(next(iter(self._departing.values()), float("inf")), self._retry_at)
        with trio.CancelScope(deadline=due):
            await self._wake.wait()
        if self._wake.is_set():
            self._wake = trio.Event()

    def _fall_due(self) -> None:
        now = trio.current_time()
        while self._departing:
            entry, due = next(iter(self._departing.items()))
            if due > now:
                break
            del self._departing[entry]
            self._push(entry)
        if self._retry_at <= now:
            self._retry_at = float("inf")
            for entry in self._failing:
                self._push(entry)

    def _push(self, entry: _Entry) -> None:
        if not entry.is_waiting:
            entry.is_waiting = True
            self._work.append(entry)
            self._wake.set()

    async def _settle(self, entry: _Entry) -> None:
        """Take steps until the broker knows what is so. It may change during any of them.

        One after the other: so a channel hears `joined` before `left`, and `left` before `joined` again.
        """
        while True:
            if entry.owed is not None:
                await self._announce(entry, entry.owed)
            elif entry.connections or entry in self._departing:
                if entry.told == entry.member:
                    return
                await self._enter(entry)
            elif entry.told is not None or entry.doubtful:
                await self._leave(entry)
            else:
                self._forget(entry)
                return

    async def _enter(self, entry: _Entry) -> None:
        member, doubted = entry.member, entry.doubtful
        # Before the broker is asked: from now on it has to be told of the end, too.
        entry.doubtful = True
        first = await self._broker.enter(entry.channel, member)
        entry.doubtful, entry.told = False, member
        self._lists.said(entry.channel, entry.member if entry.connections else member)
        if not entry.is_present:
            entry.is_present = True
            # Where it was asked before and never answered, that may be what made this not the first. Then it
            # is better told twice than not at all: lists that are kept by these events stay right.
            if (first or doubted) and self._policies.of(entry.channel).join_leave:
                entry.owed = "joined"

    async def _leave(self, entry: _Entry) -> None:
        # Before the broker is asked: who comes back while it does not answer must enter again.
        entry.doubtful, entry.told = True, None
        last = await self._broker.leave(entry.channel, entry.member.user_id)
        entry.doubtful = False
        self._left += 1
        if last and not entry.connections:
            self._lists.left(entry.channel, entry.member.user_id)
        if entry.is_present:
            entry.is_present = False
            if last and self._policies.of(entry.channel).join_leave:
                entry.owed = "left"

    async def _announce(self, entry: _Entry, event: Literal["joined", "left"]) -> None:
        kind = answers.Joined if event == "joined" else answers.Left
        member = entry.member
        payload = msgspec.json.encode(kind(entry.channel, member.user_id, member.username, member.kind))
        await self._broker.announce(entry.channel, event, payload, user_id=member.user_id)
        entry.owed = None

    def _forget(self, entry: _Entry) -> None:
        # It may have been put into the work list once more, forgotten, and be somebody else's place by now.
        entries = self._entries.get(entry.channel, {})
        if entries.get(entry.member.user_id) is entry:
            del entries[entry.member.user_id]
            if not entries:
                del self._entries[entry.channel]

    def _failed(self, entry: _Entry, error: Exception) -> None:
        if not self._failing:
            # Anything but these is a fault of the broker: a trace of it, and no end of everybody's presence.
            expected = isinstance(error, BrokerUnavailable | trio.TooSlowError)
            _log.error(
                "presence cannot be told to the broker, trying on",
                error=str(error) or type(error).__name__,
                exc_info=None if expected else error,
            )
        self._failing[entry] = None
        if self._retry_at == float("inf"):
            self._retry_at = trio.current_time() + self._retry_after
            self._retry_after = min(2 * self._retry_after, RETRY_LAST)

    def _succeeded(self, entry: _Entry) -> None:
        if entry in self._failing:
            del self._failing[entry]
            if not self._failing:
                self._retry_at, self._retry_after = float("inf"), RETRY_FIRST
                _log.info("presence is told to the broker again")


def _member(identity: Identity) -> Member:
    return Member(identity.user_id, identity.username, identity.kind)
