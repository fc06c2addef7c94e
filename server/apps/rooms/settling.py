"""The rules in step with the tables: what is committed is put in force, and what was left half done is finished."""

from collections.abc import Iterable
from functools import partial
from typing import Any, Final

import structlog
import trio

from tidings.protocol.errors import Refusal
from tidings.server.apps.rooms import records
from tidings.server.apps.rooms.records import Done
from tidings.server.apps.rooms.rules import Change, Rules
from tidings.server.brokers.base import BrokerUnavailable
from tidings.server.extension import Push, room_channel
from tidings.server.store.errors import StoreUnavailable

# Mostly a few events are still to be published; a disk that is full takes longer, and meanwhile nobody enters.
_FIRST_DELAY: Final = 0.02
_LONGEST_DELAY: Final = 5.0

# Names of rooms of which nobody knows what was committed: beyond it, of none. While a database is away, anybody may
# ask for any name.
_MOST_IN_DOUBT: Final = 1_000

_log = structlog.get_logger("tidings.rooms")


class Settling:
    """Belongs to one server. The commits of rooms come by `in_force`; `run` is a task."""

    push: Push
    """The server's, from `begin` on."""

    def __init__(self, rules: Rules) -> None:
        """Take the rules to keep in step."""
        self._rules = rules
        self._ending: set[str] = set()
        """Rooms that are to be deleted for good: as many as there are in the tables."""
        self._in_doubt: set[str] = set()
        self._all_in_doubt = False
        self._came = trio.Event()
        self._gone = trio.Event()
        """Set, and made anew, whenever a room is deleted for good."""

    async def begin(self, push: Push) -> None:
        """Put in force what is in the tables, before the first connection. Raises StoreUnavailable."""
        self.push = push
        self._all_in_force(await push.tables.read(records.load))

    def doubt(self, name: str) -> None:
        """Find out what the tables say of a room, since nobody knows whether its last commit was done."""
        if len(self._in_doubt) < _MOST_IN_DOUBT:
            self._in_doubt.add(name)
        else:
            self._all_in_doubt = True
        self._came.set()

    async def wait_gone(self, name: str) -> None:
        """Wait until a room that is being deleted is, with all that was said there."""
        while name in self._ending:
            await self._gone.wait()

    # --- in one step with a commit: no await here, or in what this calls -------------------------------

    def in_force(self, done: Done[Any]) -> None:
        """Put a commit in force. To be called in the order of the commits."""
        change = done.change
        if change is None:
            return
        name, channel, rules = change.room, room_channel(change.room), self._rules
        rules.apply(change)
        if change.is_ended or (change.is_whole and not change.is_ending):
            # The latter where nobody knew that it was gone, and somebody keeps it anew.
            self._ending.discard(name)
            self._gone.set()
            self._gone = trio.Event()
        if change.is_ending:
            # Administrators too: what they hear from now on is of another room.
            self.push.expel(channel, lambda _identity: False)
            self._ending.add(name)
            self._came.set()
        elif not change.is_ended and (change.policy is not None or change.is_whole):
            self.push.expel(channel, lambda identity: rules.may_stay(identity, name))
        for user_id, role in change.roles.items():
            if role is None or role == "removed":
                self.push.unsubscribe(user_id, channel)

    def _all_in_force(self, changes: Iterable[Change]) -> None:
        found = {change.room: change for change in changes}
        for name in self._rules.rooms.keys() - found.keys():
            self.in_force(Done(None, Change(name, is_ended=True)))
        for change in found.values():
            self.in_force(Done(None, change))

    # --- what is left to do ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Finish deletions, and find out what was committed where a database was lost; until cancelled."""
        delay = _FIRST_DELAY
        while True:
            if not (self._ending or self._in_doubt or self._all_in_doubt):
                delay = _FIRST_DELAY
                self._came = trio.Event()
                await self._came.wait()
            try:
                await self._find_out()
                for name in sorted(self._ending):
                    await self._finish(name)
            except (StoreUnavailable, BrokerUnavailable) as error:
                _log.warning("rooms are not settled; trying again", error=str(error))
            except Exception:
                _log.exception("rooms are not settled; trying again")
            if self._ending or self._in_doubt or self._all_in_doubt:
                await trio.sleep(delay)
                delay = min(2 * delay, _LONGEST_DELAY)

    async def _find_out(self) -> None:
        # Written, so that the answer comes in the order of the commits, behind that which nobody knows of.
        write = self.push.tables.write
        if self._all_in_doubt:
            # What comes to be in doubt meanwhile is found out in the next round.
            self._all_in_doubt = False
            try:
                await write(records.load, self._all_in_force)
            except BaseException:
                self._all_in_doubt = True
                raise
        for name in sorted(self._in_doubt):
            self._in_doubt.discard(name)
            try:
                await write(partial(records.load_one, name=name), self.in_force)
            except BaseException:
                self._in_doubt.add(name)
                raise

    async def _finish(self, name: str) -> None:
        tables = self.push.tables
        # What the relay has not published yet would be in the history of whoever has the name next.
        if await tables.read(partial(records.has_events, name=name)):
            return
        cleared = await self.push.clear_history(room_channel(name))
        if isinstance(cleared, Refusal):
            raise BrokerUnavailable(cleared.message)
        await tables.write(partial(records.forget, name=name), self.in_force)
