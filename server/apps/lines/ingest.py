"""Incoming lines on their way to the tables: what waits together goes in one operation.

A commit takes milliseconds, and a statement for each line would take as long: so lines are gathered while the
operation before is under way, from however many devices. Under load that is hundreds at a time, alone it is one.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import structlog
import trio

from tidings.server.apps.lines.board import AccountState, Board
from tidings.server.apps.lines.incoming import Added, AddedLine, NewLine, add_lines
from tidings.server.extension import Push
from tidings.server.extension.tables import StoreUnavailable

#: Of one operation: some 30 ms of the one thread that writes.
MOST_TOGETHER: Final = 500
#: Some 700 bytes each, beside the details.
MOST_WAITING: Final = 20_000

_log = structlog.get_logger("tidings.lines")


class Reported:
    """A line as a device has reported it."""

    __slots__ = ("account", "client_time", "details", "error", "extra", "message_id", "name", "result")

    def __init__(
        self,
        account: AccountState,
        name: str,
        *,
        message_id: str | None,
        client_time: str | None,
        details: str | None,
        extra: Mapping[str, Any] = {},
    ) -> None:
        """Take the account, the customer's own line, and the further fields: as JSON, and as they are."""
        self.account = account
        self.name = name
        self.message_id = message_id
        self.client_time = client_time
        self.details = details
        self.extra = extra
        self.result: AddedLine | None = None
        self.error: Exception | None = None


class _Order:
    """Lines that were handed in together."""

    __slots__ = ("done", "left")

    def __init__(self, left: int) -> None:
        self.left = left
        self.done = trio.Event()

    def take(self, line: Reported, result: AddedLine | Exception) -> None:
        """Note what became of one of them."""
        if isinstance(result, Exception):
            line.error = result
        else:
            line.result = result
        self.left -= 1
        if not self.left:
            self.done.set()


_Entry = tuple[Reported, _Order]
OnAdded = Callable[[Sequence[tuple[Reported, AddedLine]], Added, int], None]
"""Told what was committed, and when it was received (Unix milliseconds); on the loop, in order of the commits."""


class Ingest:
    """The lines of one server; `turn` is taken again and again by one task."""

    def __init__(
        self,
        push: Push,
        board: Board,
        now_ms: Callable[[], int],
        *,
        on_added: OnAdded,
        on_turned: Callable[[AccountState], None],
    ) -> None:
        """Take whose tables they are, the board, and a clock. `on_turned` as `Board.today` tells of accounts."""
        self._push = push
        self._board = board
        self._now_ms = now_ms
        self._on_added = on_added
        self._on_turned = on_turned
        self._waiting: deque[_Entry] = deque()
        self._wanted = trio.Event()
        self.quiet = trio.Lock()
        """Held while lines are being written: by whoever changes what their day is, too."""

    async def add(self, lines: Sequence[Reported]) -> None:
        """Have lines kept; each has its result, or the error, when this returns: on disk.

        Raises StoreUnavailable, and nothing was done, where too many wait. Cancelled, it ends at once, and they are
        kept all the same.
        """
        if not lines:
            return
        if len(self._waiting) + len(lines) > MOST_WAITING:
            raise StoreUnavailable("too many incoming lines wait to be written")
        order = _Order(len(lines))
        self._waiting.extend((line, order) for line in lines)
        self._wanted.set()
        await order.done.wait()

    async def turn(self) -> None:
        """Write what waits, once something does."""
        await self._wanted.wait()
        async with self.quiet:
            entries = [self._waiting.popleft() for _ in range(min(MOST_TOGETHER, len(self._waiting)))]
            if not self._waiting:
                self._wanted = trio.Event()
            try:
                await self._write(entries)
            except StoreUnavailable as error:
                _fail(entries, error)
            except Exception as error:
                # Of one, perhaps, for which the others of all devices must not pay.
                _log.exception("lines could not be written together", lines=len(entries))
                await self._write_each(entries, error)
            except BaseException:
                # Nobody waits on for ever.
                _fail(entries, StoreUnavailable("the server is shutting down"))
                raise

    async def _write_each(self, entries: Sequence[_Entry], first: Exception) -> None:
        for entry in entries:
            error = first
            if len(entries) > 1:
                try:
                    await self._write([entry])
                    continue
                except Exception as own:
                    error = own
            _fail([entry], error)

    async def _write(self, entries: Sequence[_Entry]) -> None:
        now_ms = self._now_ms()
        lines = [self._row(line, now_ms) for line, _ in entries]

        def done(added: Added) -> None:
            pairs = [(line, result) for (line, _), result in zip(entries, added.lines, strict=True)]
            self._on_added(pairs, added, now_ms)
            for (line, order), result in zip(entries, added.lines, strict=True):
                order.take(line, result)

        await self._push.tables.write(partial(add_lines, lines=lines), done)

    def _row(self, line: Reported, now_ms: int) -> NewLine:
        group = line.account.group
        day, turned = self._board.today(group, now_ms)
        for account in turned:
            self._on_turned(account)
        return NewLine(
            account_id=line.account.id,
            group_id=group.id,
            incoming_line_id=line.name,
            message_id=line.message_id,
            received_ms=now_ms,
            client_time=line.client_time,
            details=line.details,
            day=day.number,
            day_begins_ms=day.begins_ms,
            day_ends_ms=day.ends_ms,
        )


def _fail(entries: Sequence[_Entry], error: Exception) -> None:
    for line, order in entries:
        if line.result is None and line.error is None:
            order.take(line, error)
