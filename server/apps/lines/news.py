"""What dashboards are told as it happens: incoming lines and changes of status, each, in the order of the commits.

Of each group in order, piece by piece and group by group, so that ten thousand accounts that come online at once
neither fill the outbox of a healthy dashboard nor keep other groups waiting. Nothing is dropped: where publishing
fails, the same is tried again, and whoever writes waits while too much waits here.
"""

from collections import deque
from typing import Final

import structlog
import trio

from tidings.protocol.messages.lines import AccountStatusChange, IncomingLine
from tidings.server.apps.lines.board import GroupState
from tidings.server.extension import ErrorCode, PublishRefused, Push, group_channel

#: Of one group, before it is another's turn: some 40 KB for each of its dashboards.
PIECE: Final = 250
#: Between pieces, where there is more: 12,500 events a second of one group, some 2 MB.
PAUSE: Final = 0.02
#: Of one group, some 300 bytes each, past which whoever reports waits; each of those at work may add what it has.
MOST_WAITING: Final = 20_000

_FIRST_RETRY: Final = 0.1
_LAST_RETRY: Final = 5.0

News = IncomingLine | AccountStatusChange

_NAMES: Final = {IncomingLine: "incoming", AccountStatusChange: "account_status_change"}

_log = structlog.get_logger("tidings.lines")


class _Waiting:
    """What waits of one group."""

    __slots__ = ("events", "freed", "not_before", "retry")

    def __init__(self) -> None:
        self.events: deque[News] = deque()
        self.freed = trio.Event()
        """Set where there is room again."""
        self.not_before = 0.0
        """When it is worth another try, on trio's clock."""
        self.retry = _FIRST_RETRY


class Newsroom:
    """The news of all groups; `turn` is taken again and again by one task."""

    def __init__(self, push: Push) -> None:
        """Take who publishes."""
        self._push = push
        self._waiting: dict[GroupState, _Waiting] = {}
        """Of groups of which anything waits."""
        self._wanted = trio.Event()

    def first_waiting(self) -> int | None:
        """The first line that is still to be told, of all groups; None where none is."""
        lines = (
            next((each.id for each in waiting.events if isinstance(each, IncomingLine)), None)
            for waiting in self._waiting.values()
        )
        return min((line for line in lines if line is not None), default=None)

    def waiting(self, group: GroupState) -> int:
        """How many events of a group wait."""
        waiting = self._waiting.get(group)
        return 0 if waiting is None else len(waiting.events)

    def tell(self, group: GroupState, *events: News) -> None:
        """Have events told, behind all before them. On the loop, in the order of the commits; never waits."""
        if not events:
            return
        waiting = self._waiting.get(group)
        if waiting is None:
            waiting = self._waiting[group] = _Waiting()
        waiting.events.extend(events)
        self._wanted.set()

    async def wait_room(self, group: GroupState) -> None:
        """Wait until less waits of a group than may: before writing what is going to be told."""
        while (waiting := self._waiting.get(group)) is not None and len(waiting.events) >= MOST_WAITING:
            await waiting.freed.wait()

    async def turn(self) -> None:
        """Tell a piece of each group's."""
        await self._wanted.wait()
        more = False
        for group, waiting in list(self._waiting.items()):
            if trio.current_time() >= waiting.not_before:
                try:
                    await self._tell_piece(group, waiting)
                except Exception as error:
                    # One group's fault, whatever it is, does not hold up the others.
                    self._put_off(group, waiting, error)
            more = more or bool(waiting.events)
        if not self._waiting:
            self._wanted = trio.Event()
        # The memory broker's publishing is no checkpoint.
        await trio.sleep(PAUSE if more else 0)

    async def _tell_piece(self, group: GroupState, waiting: _Waiting) -> None:
        channel = group_channel(str(group.id))
        for _ in range(min(PIECE, len(waiting.events))):
            event = waiting.events[0]
            line = event if isinstance(event, IncomingLine) else None
            group.announcing = line
            try:
                await self._push.publish(channel, _NAMES[type(event)], event)
            except PublishRefused as refused:
                if refused.refusal.code is ErrorCode.UNAVAILABLE:
                    raise
                # A fault of ours: what can never be published must not hold up the rest.
                _log.error("news cannot be told", group=group.id, error=str(refused))
            finally:
                group.announcing = None
            # No await since it was published: who hears the group from now on hears nothing of it.
            if line is not None:
                group.published = line.id
                group.recent.append(line)
            waiting.retry = _FIRST_RETRY
            waiting.events.popleft()
        if len(waiting.events) < MOST_WAITING:
            waiting.freed.set()
            waiting.freed = trio.Event()
        if not waiting.events:
            del self._waiting[group]

    @staticmethod
    def _put_off(group: GroupState, waiting: _Waiting, error: Exception) -> None:
        waiting.not_before = trio.current_time() + waiting.retry
        waiting.retry = min(2 * waiting.retry, _LAST_RETRY)
        is_known = isinstance(error, PublishRefused)
        _log.warning(
            "news wait",
            group=group.id,
            waiting=len(waiting.events),
            error=str(error),
            exc_info=None if is_known else error,
        )
