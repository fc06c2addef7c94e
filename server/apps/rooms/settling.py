"""The rules in step with the tables: what is committed is put in force, and what was left half done is finished."""

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, Final

import structlog
import trio

from tidings.protocol.errors import Refusal
from tidings.server.apps.rooms import reading, records
from tidings.server.apps.rooms.entities import Done
from tidings.server.apps.rooms.news import News
from tidings.server.apps.rooms.rounds import Rounds
from tidings.server.apps.rooms.rules import Change, Rules
from tidings.server.brokers.base import BrokerUnavailable
from tidings.server.extension import Push, room_channel
from tidings.server.limits import Occasionally
from tidings.server.store.errors import StoreUnavailable

# A broker that does not answer about one room must not hold up the others.
_CLEAR_SECONDS: Final = 10.0

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
        self._news = News()
        self._ending: dict[str, int] = {}
        """Rooms that are to be deleted for good, as many as are in the tables; and how often that was tried."""
        self._in_doubt: set[str] = set()
        self._all_in_doubt = False
        # Beside each other: what nobody knows does not wait for what cannot be deleted.
        self._doubts = Rounds(self._find_out)
        self._endings = Rounds(self._finish)
        self._trouble = Occasionally()
        """A database that is away is trouble for a thousand rooms."""
        self._gone = trio.Event()
        """Set, and made anew, whenever a room is deleted for good."""

    async def begin(self, push: Push) -> None:
        """Put in force what is in the tables, before the first connection. Raises StoreUnavailable."""
        self.push = push
        self._all_in_force(await push.tables.read(reading.load))

    def doubt(self, name: str) -> None:
        """Find out what the tables say of a room, since nobody knows whether its last commit was done."""
        if name in self._in_doubt or self._all_in_doubt:
            # Tried again in a while: a database that is away is not to be asked at each request that it fails.
            return
        if len(self._in_doubt) < _MOST_IN_DOUBT:
            self._in_doubt.add(name)
        else:
            self._all_in_doubt = True
        self._doubts.wake()

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
        was_kept = name in rules.rooms
        rules.apply(change)
        if change.is_ended or (change.is_whole and not change.is_ending):
            # The latter where nobody knew that it was gone, and somebody keeps it anew.
            if was_kept and (change.is_ended or name in self._ending):
                # Administrators, who may enter while it is being deleted.
                self._take_all_out(channel)
            self._ending.pop(name, None)
            self._gone.set()
            self._gone = trio.Event()
        if change.is_ending:
            # Administrators too: what they hear from now on is of another room.
            self._take_all_out(channel)
            self._news.forget(name)
            self._ending.setdefault(name, 0)
            self._endings.wake()
        elif not change.is_ended and (change.policy is not None or change.is_whole):
            self.push.expel(channel, lambda identity: rules.may_stay(identity, name))
        for user_id, role in change.roles.items():
            if role is None or role == "removed":
                self.push.unsubscribe(user_id, channel)
        if done.news is not None:
            self._news.note(done.news)

    def _take_all_out(self, channel: str) -> None:
        self.push.expel(channel, lambda _identity: False)

    def _all_in_force(self, changes: Iterable[Change]) -> None:
        found = {change.room: change for change in changes}
        for name in self._rules.rooms.keys() - found.keys():
            self.in_force(Done(None, Change(name, is_ended=True)))
        for change in found.values():
            self.in_force(Done(None, change))

    # --- what is left to do ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Tell news, finish deletions, find out what was committed where a database was lost; until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._doubts.run)
            nursery.start_soon(self._endings.run)
            nursery.start_soon(self._news.run, self.push)

    async def _find_out(self) -> bool:
        # Written, so that the answer comes in the order of the commits, behind that which nobody knows of.
        write = self.push.tables.write
        if self._all_in_doubt:
            # What comes to be in doubt meanwhile is found out in the next round.
            self._all_in_doubt = False
            if not await self._tried("all", partial(write, reading.load, self._all_in_force)):
                self._all_in_doubt = True
        for name in sorted(self._in_doubt):
            self._in_doubt.discard(name)
            operation = partial(reading.load_one, name=name)
            if not await self._tried(name, partial(write, operation, self.in_force)):
                self._in_doubt.add(name)
        return not (self._in_doubt or self._all_in_doubt)

    async def _finish(self) -> bool:
        # The least tried first: one that takes as long as it may keeps nobody waiting who comes after it.
        for name in sorted(self._ending, key=self._ending.__getitem__):
            if name in self._ending:
                self._ending[name] += 1
                await self._tried(name, partial(self._finish_one, name))
        return not self._ending

    async def _finish_one(self, name: str) -> None:
        tables = self.push.tables
        left = await tables.read(partial(reading.what_is_left, name=name))
        # What the relay has not published yet would be in the history of whoever has the name next.
        if left.is_ending and left.has_events:
            return
        # Where the answer to `forget` was lost, it is somebody else's history by now.
        if left.is_ending:
            with trio.fail_after(_CLEAR_SECONDS):
                cleared = await self.push.clear_history(room_channel(name))
            if isinstance(cleared, Refusal):
                raise BrokerUnavailable(cleared.message)
        await tables.write(partial(records.forget, name=name), self.in_force)

    async def _tried(self, room: str, step: Callable[[], Awaitable[object]]) -> bool:
        """Whether it was done; what keeps it from that is logged, and keeps nothing else."""
        try:
            await step()
        except (StoreUnavailable, BrokerUnavailable, trio.TooSlowError) as error:
            held = self._trouble.passes()
            if held is not None:
                why = str(error) or "too slow"
                _log.warning("a room is not settled; trying again", room=room, error=why, held=held)
        except Exception:
            _log.exception("a room is not settled; trying again", room=room)
        else:
            return True
        return False
