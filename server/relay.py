"""Publishes the events that commits of records have left behind: each after its commit, in order, and none lost.

An operation on records that somebody has to hear of leaves an event with its rows (`put_event`): both are there
after a crash, or neither. What is found there at the start is published first. An event may be published twice
where the process dies between the publication and the word that it is done, and then only where the broker's memory
of idempotency keys is gone too, as after more than five minutes.
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
from tidings.server.store.records.outbox import OutboxEvent, delete_events, first_events
from tidings.server.store.records.records import Records

# Read at once: a page of some 50 KB.
_PAGE: Final = 100

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
        """The highest id that is out, or refused."""
        self._out: set[int] = set()
        """Those that are, and are still to be deleted: a page of them, since nobody goes on before that."""
        self._followed = 0
        """The id up to which has followed what must not wait for an event that cannot be published."""
        self.then: Callable[[OutboxEvent], None] = lambda _event: None
        """Told of each event with a `then`, on the loop: when it is out, or before, when it cannot be for now: what
        has to follow must not wait for ever. So perhaps twice. Set by the app whose events they are."""

    def wake(self) -> None:
        """Say that a commit has left events. To be called on the loop, after it: `on_done` is the place."""
        self._wake.set()

    def has_passed(self, event_id: int) -> bool:
        """Whether an event is out, and all before it."""
        return self._passed >= event_id

    async def wait_passed(self, event_id: int) -> None:
        """Wait until an event is out, and all before it."""
        while not self.has_passed(event_id):
            await self._moved.wait()

    async def run(self) -> None:
        """Publish, until cancelled. What is left then is published at the next start."""
        delay = _FIRST_DELAY
        failed: int | None = None
        while True:
            self._wake = trio.Event()
            events: Sequence[OutboxEvent] = ()
            try:
                events = await self._records.read(partial(first_events, after_id=0, limit=_PAGE))
                failed = await self._publish(events, warned=failed)
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
            if len(events) < _PAGE:
                with trio.move_on_after(_LOOK_SECONDS):
                    await self._wake.wait()

    async def _publish(self, events: Sequence[OutboxEvent], *, warned: int | None) -> int | None:
        """Publish in order up to the first that cannot be; returns its id. Raises StoreUnavailable.

        `warned` is the one that could not be before.
        """
        done: list[int] = []
        failed: int | None = None
        for event in events:
            # Out already, where it could not be deleted: for longer, perhaps, than its key is remembered.
            if event.id not in self._out:
                refusal = await self._publish_one(event)
                if refusal is not None and refusal.code is ErrorCode.UNAVAILABLE:
                    failed = event.id
                    if warned != failed:
                        _log.warning("an event cannot be published; trying again", event_type=event.event)
                    # Before the deletion, which the same full disk may refuse.
                    await self._follow_from(failed)
                    break
                if refusal is not None:
                    # It never will be: whoever wrote it is wrong, and those behind it must not wait.
                    _log.error("an event was refused", event_type=event.event, error=refusal.message)
                self._out.add(event.id)
                self._follow(event)
                # Ids may come in another order than they rise: those of another node.
                self._passed = max(self._passed, event.id)
                self._moved.set()
                self._moved = trio.Event()
            done.append(event.id)
        if done:
            await self._records.write(partial(delete_events, ids=done))
            self._out.difference_update(done)
        return failed

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
