"""Subscribing a connection because it asked: permission, the limit, what it missed, and the answer."""

from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from tidings.protocol.close_codes import CloseCode
from tidings.protocol.errors import ErrorCode, Refusal
from tidings.protocol.messages import answers
from tidings.protocol.positions import Position
from tidings.protocol.recovery import judge
from tidings.server.brokers.base import BrokerUnavailable
from tidings.server.delivery.hold import Hold
from tidings.server.delivery.inbox import skips
from tidings.server.delivery.recent import Entry
from tidings.server.delivery.replay import Replay
from tidings.server.edge.context import Context
from tidings.server.edge.presence_command import members_of
from tidings.server.edge.session import Answer, Session


async def subscribe(
    context: Context,
    session: Session,
    channel: str,
    *,
    permitted: bool = False,
    since: Position | None = None,
    presence: bool = False,
) -> Answer | Refusal:
    """Subscribe, and return the answer: to be sent in the same step, before any later publication.

    With `since`, what was missed follows the answer if all of it is kept, else nothing of it. A channel that is
    subscribed already begins anew from there. `permitted` skips the policy, never the limit. Whether one may is
    asked again in the step that subscribes: the answer may have changed while the broker was asked. Cancelled, the
    connection is not subscribed, unless it was.
    """
    may_stay = _yes if permitted else partial(_may_subscribe, context, session, channel)
    if not may_stay():
        return _forbidden(channel)
    if presence and not context.presence.keeps(channel):  # before anything has begun anew
        return Refusal(ErrorCode.FORBIDDEN, context.presence.how_to_keep(channel))
    limit = context.config.limits.channels_per_connection
    subscribed = context.hub.channels_of(session)
    if channel not in subscribed and len(subscribed) >= limit:
        return Refusal(ErrorCode.LIMIT_REACHED, f"a connection may have {limit} channels")
    try:
        with context.hub.holding([channel]):
            position = await context.broker.open(channel)
            if not may_stay():
                # Removed from the room meanwhile: who was taken out then must not come back by this.
                return _forbidden(channel)
            if since is not None or presence:
                returning = _Return(context, session, channel, position, since, may_stay)
                return await returning.answer(presence=presence)
            # No await from here on, until the caller has sent the answer.
            position = context.hub.subscribe(session, channel, position)
    except BrokerUnavailable as error:
        return Refusal(ErrorCode.UNAVAILABLE, str(error))
    return Answer("subscribed", answers.Subscribed(channel, position.epoch, position.offset), at_once=True)


class _Return:
    """Subscribing with something to find out first, held back meanwhile: what was missed, who is there."""

    def __init__(
        self,
        context: Context,
        session: Session,
        channel: str,
        position: Position,
        since: Position | None,
        may_stay: Callable[[], bool],
    ) -> None:
        """Hold the connection back. Without `since` it goes on from where it is.

        `may_stay` says whether it still may be subscribed: it was so when this is made.
        """
        hub = context.hub
        self._context = context
        self._session = session
        self._channel = channel
        self._since = since
        self._may_stay = may_stay
        self._was_live = hub.is_subscribed(session, channel)
        self._was_held = hub.is_held(session, channel)
        self._replay: Replay | None = None
        self._hold: Hold | None = None
        if since is None and self._was_live:
            self._stands = hub.subscribe(session, channel, position)
            return
        self._hold = hold = hub.hold_back(
            session, channel, position, limit=context.config.limits.outbox_bytes
        )
        self._stands = position if hold is None else hold.head
        if hold is not None:
            self._replay = Replay(
                hub,
                context.histories,
                session,
                hold,
                hold.head.offset if since is None else since.offset,
                piece_bytes=context.piece_bytes,
                skips=skips(context.registry, session.identity),
            )

    async def answer(self, *, presence: bool) -> Answer | Refusal:
        """Find out what has to be, and return the answer. Raises BrokerUnavailable."""
        members: list[answers.PresentMember] | msgspec.UnsetType = msgspec.UNSET
        page: Sequence[Entry] | None = None
        try:
            if presence:
                # Who comes and goes from here on is told behind the answer.
                found = await members_of(self._context, self._channel)
                if isinstance(found, Refusal):
                    self._undo()
                    return found
                members = found
            if not self._may_stay():
                return self._taken_out()
            if self._hold is None and self._was_live:
                # As of now: what came meanwhile was sent.
                hub = self._context.hub
                self._stands = hub.subscribe(self._session, self._channel, self._stands)
            # Whether the oldest kept comes right after it, the reading itself tells.
            since, replay = self._since, self._replay
            if since is not None and replay is not None:
                if judge(since, self._stands, since.offset + 1) == "recoverable":
                    page = await replay.first_page()
                    if not self._may_stay():
                        return self._taken_out()
                self._context.recoveries["unrecoverable" if page is None else "recovered"] += 1
        except BaseException:
            self._undo()
            raise
        hold = self._hold
        if hold is None and not self._was_live:
            return Refusal(ErrorCode.UNAVAILABLE, "the connection is closing")
        if hold is not None and (hold.is_over or hold.is_lost):
            return Refusal(
                ErrorCode.UNAVAILABLE, f"{self._channel}: the subscription ended while it was prepared"
            )
        # No await from here on, until the caller has sent the answer.
        return Answer(
            "subscribed",
            answers.Subscribed(
                self._channel, self._stands.epoch, self._stands.offset, page is not None, members
            ),
            at_once=True,
            then=lambda: self._go_on(page),
        )

    def _go_on(self, page: Sequence[Entry] | None) -> None:
        """Send what was missed, or nothing of it, and go live: at once where that can be."""
        replay = self._replay
        if replay is not None and not (replay.skip() if page is None else replay.begin(page)):
            self._session.replay(replay)

    def _taken_out(self) -> Refusal:
        """Whoever decided that it may not stay has taken it out, mostly; be sure of it, and say so."""
        self._context.hub.unsubscribe(self._session, self._channel)
        return _forbidden(self._channel)

    def _undo(self) -> None:
        """Do not stay half-way: what was live goes on as it was; of what was half replayed, the rest is lost."""
        if self._hold is None or self._hold.is_over:
            return
        if self._was_held:
            self._session.close(CloseCode.INSUFFICIENT_STATE)
        elif self._was_live:
            self._go_on(None)
        else:
            self._context.hub.unsubscribe(self._session, self._channel)


def _yes() -> bool:
    return True


def _may_subscribe(context: Context, session: Session, channel: str) -> bool:
    return context.permissions.may_subscribe(session.identity, channel)


def _forbidden(channel: str) -> Refusal:
    return Refusal(ErrorCode.FORBIDDEN, f"{channel}: this token may not subscribe")


def unsubscribe(context: Context, session: Session, channel: str) -> Answer | Refusal:
    """Unsubscribe, and return the answer: nothing of the channel follows it."""
    if not context.hub.unsubscribe(session, channel):
        return Refusal(ErrorCode.NOT_FOUND, f"{channel}: not subscribed")
    return Answer("unsubscribed", answers.Unsubscribed(channel), at_once=True)
