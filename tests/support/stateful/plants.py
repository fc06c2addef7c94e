"""Bugs on purpose, one at a time: what the model must catch, or it proves nothing."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import pytest

from tidings.protocol.positions import Position
from tidings.protocol.recovery import judge
from tidings.server.brokers.durable import DurableBroker
from tidings.server.delivery.hold import Hold
from tidings.server.delivery.hub import Hub
from tidings.server.delivery.inbox import Inboxes
from tidings.server.delivery.recent import Entry
from tidings.server.delivery.replay import Replay
from tidings.server.edge import subscribing
from tidings.server.edge.commands import Commands
from tidings.server.store.log import MessageLog
from tidings.server.store.states import States

Plant = Callable[[pytest.MonkeyPatch], None]


def cut_too_low(patch: pytest.MonkeyPatch) -> None:
    """The history is read up to one before the cut: the last one missed comes by neither way."""
    _read_until(patch, -1)


def cut_too_high(patch: pytest.MonkeyPatch) -> None:
    """The history is read up to one behind the cut, which comes live, too."""
    _read_until(patch, 1)


def _read_until(patch: pytest.MonkeyPatch, by: int) -> None:
    given = Replay.__init__

    def init(
        self: Replay, hub: Hub, histories: Any, subscriber: Any, hold: Hold, *more: Any, **rest: Any
    ) -> None:
        given(self, hub, histories, subscriber, hold, *more, **rest)
        # Only now: what the client is told of the cut is right, and what it is sent is not.
        hold.head = Position(hold.head.epoch, max(0, hold.head.offset + by))

    patch.setattr(Replay, "__init__", init)


def hold_dropped(patch: pytest.MonkeyPatch) -> None:
    """What came while the history was read is forgotten."""
    given = Hub.join

    def join(self: Hub, subscriber: Any, hold: Hold) -> bool:
        hold.frames.clear()
        return given(self, subscriber, hold)

    patch.setattr(Hub, "join", join)


def live_at_once(patch: pytest.MonkeyPatch) -> None:
    """Nobody is held back: live ones come before what was missed."""
    given = Hub.hold_back

    def hold_back(self: Hub, subscriber: Any, name: str, position: Position, *, limit: int) -> Hold | None:
        hold = given(self, subscriber, name, position, limit=limit)
        if hold is not None:
            self._channels[name].add(subscriber)
        return hold

    patch.setattr(Hub, "hold_back", hold_back)


def pending_before_the_cut(patch: pytest.MonkeyPatch) -> None:
    """What is pending at the cut is not flushed before it."""
    given = Hub.hold_back

    def hold_back(self: Hub, subscriber: Any, name: str, position: Position, *, limit: int) -> Hold | None:
        settle, self._settle = self._settle, lambda channel: None  # type: ignore[method-assign]  # noqa: ARG005
        try:
            return given(self, subscriber, name, position, limit=limit)
        finally:
            self._settle = settle  # type: ignore[method-assign]

    patch.setattr(Hub, "hold_back", hold_back)


def queue_before_the_last_page(patch: pytest.MonkeyPatch) -> None:
    """What waits is sent as soon as there is room, whatever is still to be read."""
    given = Replay.begin

    def begin(self: Replay, page: Sequence[Entry]) -> bool:
        self._offer_held()
        return given(self, page)

    patch.setattr(Replay, "begin", begin)


def trimmed_is_recovered(patch: pytest.MonkeyPatch) -> None:
    """Who has missed what is no longer kept is told that nothing is missing."""
    given = Replay.first_page

    async def first_page(self: Replay) -> Sequence[Entry] | None:
        return await given(self) or ()

    def skipping(self: Replay, page: Sequence[Entry]) -> bool:
        if not page:
            self._hold.sent = self._hold.head.offset
        return begin(self, page)

    begin = Replay.begin
    patch.setattr(Replay, "first_page", first_page)
    patch.setattr(Replay, "begin", skipping)


def other_epoch_accepted(patch: pytest.MonkeyPatch) -> None:
    """Offsets of another life of the channel count."""
    patch.setattr(
        subscribing,
        "judge",
        lambda since, head, first: judge(Position(head.epoch, since.offset), head, first),
    )


def anything_acknowledged(patch: pytest.MonkeyPatch) -> None:
    """What was never sent may be acknowledged."""
    given = Commands._ack

    async def ack(self: Commands, session: Any, command: Any) -> Any:
        sent, hub = Hub.sent_to, self._context.hub
        hub.sent_to = lambda subscriber, name: 10**9  # type: ignore[method-assign]  # noqa: ARG005
        try:
            return await given(self, session, command)
        finally:
            hub.sent_to = sent.__get__(hub)  # type: ignore[method-assign]

    patch.setattr(Commands, "_ack", ack)


def excluded_replayed(patch: pytest.MonkeyPatch) -> None:
    """A login is sent from its inbox what was not for it."""
    given = Inboxes.take_seat

    def take_seat(self: Inboxes, connection: Any, opened: Any) -> Any:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr("tidings.server.delivery.inbox.skips", lambda *_: lambda _publication: False)
            return given(self, connection, opened)

    patch.setattr(Inboxes, "take_seat", take_seat)


def delivered_before_the_commit(patch: pytest.MonkeyPatch) -> None:
    """Subscribers of the log's channels get what may still fail to be stored."""
    given = MessageLog._append
    brokers: list[DurableBroker] = []
    made, appended = DurableBroker.__init__, DurableBroker._appended

    def init(self: DurableBroker, *parts: Any, **more: Any) -> None:
        made(self, *parts, **more)
        brokers[:] = [self]

    def append(self: MessageLog, operation: Any) -> Any:
        result = given(self, operation)
        appended(brokers[0], result)
        return result

    patch.setattr(DurableBroker, "__init__", init)
    patch.setattr(DurableBroker, "_appended", lambda _self, _result: None)
    patch.setattr(MessageLog, "_append", append)


def offset_lost_with_a_commit(patch: pytest.MonkeyPatch) -> None:
    """A commit fails, and what it had numbered stays numbered: the next one leaves a hole."""
    patch.setattr(States, "drop", lambda _self, _names: None)


def epoch_minted_on_restart(patch: pytest.MonkeyPatch) -> None:
    """A channel in the log begins a new epoch with the process."""
    given = MessageLog.__init__

    def init(self: MessageLog, connection: Any, *parts: Any, **more: Any) -> None:
        connection.execute("UPDATE channels SET epoch = epoch || '.'")
        given(self, connection, *parts, **more)

    patch.setattr(MessageLog, "__init__", init)


def inbox_begins_at_the_end(patch: pytest.MonkeyPatch) -> None:
    """Whoever comes to an inbox is told that nothing waits in it."""
    given = Inboxes.take_seat

    def take_seat(self: Inboxes, connection: Any, opened: Any) -> Any:
        channel, attachment = opened
        attachment = msgspec.structs.replace(attachment, acknowledged=attachment.position.offset)
        return given(self, connection, (channel, attachment))

    patch.setattr(Inboxes, "take_seat", take_seat)


def sent_after_the_end(patch: pytest.MonkeyPatch) -> None:
    """A replay goes on when it has room, though the subscription has ended meanwhile."""
    patch.setattr(Replay, "_is_over", lambda self: self._hold.is_lost)


CUT: Mapping[str, Plant] = {each.__name__: each for each in (cut_too_low, cut_too_high)}
"""The cut at H, off by one both ways."""

OTHERS: Mapping[str, Plant] = {
    each.__name__: each
    for each in (
        hold_dropped,
        live_at_once,
        pending_before_the_cut,
        queue_before_the_last_page,
        trimmed_is_recovered,
        other_epoch_accepted,
        anything_acknowledged,
        excluded_replayed,
        delivered_before_the_commit,
        offset_lost_with_a_commit,
        epoch_minted_on_restart,
        inbox_begins_at_the_end,
        sent_after_the_end,
    )
}
