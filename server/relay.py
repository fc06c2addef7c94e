"""Publishes the events that commits of records have left behind: each after its commit, and none lost.

Those of one channel go out in the order of their commits, one after another; channels do not wait for each other,
and share the disk's time. An operation on records that somebody has to hear of leaves an event with its rows
(`put_event`): both are there after a crash, or neither. What is found there at the start is published first. An
event may be published twice where the process dies between the publication and the word that it is done, and then
only where the broker's memory of idempotency keys is gone too, as after more than five minutes.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import msgspec
import structlog
import trio

from tidings.protocol.errors import ErrorCode, Refusal
from tidings.server.push import Push
from tidings.server.store.errors import StoreUnavailable
from tidings.server.store.records.outbox import OutboxEvent, delete_events, first_events, next_events
from tidings.server.store.records.records import Records

# Read at once: a page of some 100 KB, and 50 MB where each is as large as may be.
_PAGE: Final = 200

# Of one channel, before the others have their turn again: some milliseconds.
_IN_TURN: Final = 20

# Ids that are out while lower ones are not, 100 bytes each: as many as a busy channel is behind the others.
_MOST_OUT: Final = 10_000

# A disk that is full is looked at again; the events wait in order meanwhile.
_FIRST_DELAY: Final = 0.1
_LONGEST_DELAY: Final = 5.0

# Another node's events are its own to publish; those of one that died are found by looking.
_LOOK_SECONDS: Final = 30.0

# No user's id, so that nobody's keys are these.
_PUBLISHER: Final = "/records"

_log = structlog.get_logger("tidings.relay")


class Relay:
    """Belongs to one server; `run` is a task of it."""

    def __init__(self, records: Records, push: Push) -> None:
        """Take where the events lie, and who publishes."""
        self._records = records
        self._push = push
        self._wake = trio.Event()
        self._moved = trio.Event()
        self._passed = 0
        """The id up to which all are out, or refused."""
        self._out: dict[int, None] = {}
        """Those above it that are; the oldest first."""
        self._undeleted: set[int] = set()
        """Those that are out, and are still to be deleted: as many as are published in one go."""
        self._followed = 0
        """The id up to which has followed what must not wait for an event that cannot be published."""
        self.then: Callable[[OutboxEvent], None] = lambda _event: None
        """Told of each event with a `then`, on the loop: when it is out, or before, when it cannot be for now: what
        has to follow must not wait for ever. So perhaps twice. Set by the app whose events they are."""

    def wake(self) -> None:
        """Say that a commit has left events. To be called on the loop, after it: `on_done` is the place."""
        self._wake.set()

    def has_passed(self, event_id: int) -> bool:
        """Whether an event is out, and all before it of its channel."""
        return event_id <= self._passed or event_id in self._out

    async def wait_passed(self, event_id: int) -> None:
        """Wait until an event is out, and all before it of its channel."""
        while not self.has_passed(event_id):
            await self._moved.wait()

    async def run(self) -> None:
        """Publish, until cancelled. What is left then is published at the next start."""
        delay = _FIRST_DELAY
        failed: int | None = None
        while True:
            self._wake = trio.Event()
            is_all = True
            try:
                found = await self._records.read(partial(next_events, in_turn=_IN_TURN, limit=_PAGE))
                is_all = found.is_all
                self._pass(found.first_id)
                failed = await self._publish(found.events, warned=failed)
                is_well = failed is None
            except StoreUnavailable as error:
                _log.warning("events cannot be read, or not deleted; trying again", error=str(error))
                is_well = False
            except Exception:
                # As a table that this user of the database may not touch: the events wait, and the server lives.
                _log.exception("events cannot be read, or not deleted; trying again")
                is_well = False
            if not is_well:
                await trio.sleep(delay)
                delay = min(2 * delay, _LONGEST_DELAY)
                continue
            delay = _FIRST_DELAY
            if is_all:
                with trio.move_on_after(_LOOK_SECONDS):
                    await self._wake.wait()

    async def _publish(self, events: Sequence[OutboxEvent], *, warned: int | None) -> int | None:
        """Publish each channel's in order, up to its first that cannot be; returns the lowest id of those.

        `warned` is the one that could not be before. Raises StoreUnavailable.
        """
        channels: dict[str, list[OutboxEvent]] = {}
        for event in events:
            channels.setdefault(event.channel, []).append(event)
        failed: list[int] = []
        async with trio.open_nursery() as nursery:
            for each in channels.values():
                nursery.start_soon(self._publish_channel, each, failed, name="relay of a channel")
        if failed:
            first = min(failed)
            if warned != first:
                channel = next(event.channel for event in events if event.id == first)
                _log.warning("an event cannot be published; trying again", channel=channel)
            # Before the deletion, which the same full disk may refuse.
            await self._follow_from(first)
        done = [event.id for event in events if event.id in self._undeleted]
        if done:
            await self._records.write(partial(delete_events, ids=done))
            self._undeleted.difference_update(done)
        return min(failed, default=None)

    async def _publish_channel(self, events: Sequence[OutboxEvent], failed: list[int]) -> None:
        for event in events:
            # Out already, where it could not be deleted: for longer, perhaps, than its key is remembered.
            if event.id in self._undeleted:
                continue
            refusal = await self._publish_one(event)
            if refusal is not None and refusal.code is ErrorCode.UNAVAILABLE:
                failed.append(event.id)
                return
            if refusal is not None:
                # It never will be: whoever wrote it is wrong, and those behind it must not wait.
                _log.error(
                    "an event was refused",
                    event_type=event.event,
                    channel=event.channel,
                    error=refusal.message,
                )
            self._undeleted.add(event.id)
            self._out[event.id] = None
            self._follow(event)
            self._tell_moved()

    def _pass(self, first_id: int | None) -> None:
        """Take that nothing below an id waits any more; None: nothing at all."""
        # Ids may come in another order than they rise, those of another node: never back.
        self._passed = max(self._passed, max(self._out, default=0) if first_id is None else first_id - 1)
        for event_id in [each for each in self._out if each <= self._passed]:
            del self._out[event_id]
        # Whoever asks about one of these has read that it waited: it is long since.
        for event_id in list(self._out)[:-_MOST_OUT]:
            del self._out[event_id]
        self._tell_moved()

    def _tell_moved(self) -> None:
        self._moved.set()
        self._moved = trio.Event()

    async def _publish_one(self, event: OutboxEvent) -> Refusal | None:
        try:
            payload = msgspec.json.decode(event.payload)
        except (msgspec.MsgspecError, RecursionError) as error:
            return Refusal(ErrorCode.INVALID_DATA, f"not JSON: {error}")
        outcome = await self._push.submit(
            event.channel,
            event.event,
            payload,
            # Ids begin anew where a copy of the database is put in its place.
            idempotency_key=f"{event.id}.{event.created_ms}",
            publisher=_PUBLISHER,
            excluded_session=event.excluded_session,
        )
        return outcome if isinstance(outcome, Refusal) else None

    async def _follow_from(self, event_id: int) -> None:
        """Let follow what an event leads to, and each behind it: with it they all wait. Raises StoreUnavailable."""
        after = max(self._followed, event_id - 1)
        while True:
            events = await self._records.read(partial(first_events, after_id=after, limit=_PAGE))
            for event in events:
                self._follow(event)
                after = self._followed = event.id
            if len(events) < _PAGE:
                return

    def _follow(self, event: OutboxEvent) -> None:
        if event.then is None:
            return
        try:
            self.then(event)
        except Exception:
            _log.exception("what an event leads to failed", event_type=event.event)
