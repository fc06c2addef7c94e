"""Subscribing a connection because it asked: permission, the limit, what it missed, and the answer."""

import msgspec

from tidings.protocol.close_codes import CloseCode
from tidings.protocol.errors import ErrorCode, Refusal
from tidings.protocol.messages import answers
from tidings.protocol.positions import Position
from tidings.protocol.recovery import judge
from tidings.server.brokers.base import BrokerUnavailable
from tidings.server.delivery.inbox import skips
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
    subscribed already begins anew from there. `permitted` skips the policy, never the limit. Cancelled, the
    connection is not subscribed, unless it was.
    """
    if not permitted and not context.permissions.may_subscribe(session.identity, channel):
        return Refusal(ErrorCode.FORBIDDEN, f"{channel}: this token may not subscribe")
    limit = context.config.limits.channels_per_connection
    subscribed = context.hub.channels_of(session)
    if channel not in subscribed and len(subscribed) >= limit:
        return Refusal(ErrorCode.LIMIT_REACHED, f"a connection may have {limit} channels")
    members: list[answers.PresentMember] | msgspec.UnsetType = msgspec.UNSET
    try:
        if presence:
            found = await members_of(context, channel)
            if isinstance(found, Refusal):
                return found
            members = found
        with context.hub.holding([channel]):
            position = await context.broker.open(channel)
            if since is not None:
                return await _resume(context, session, channel, position, since, members)
            # No await from here on, until the caller has sent the answer.
            position = context.hub.subscribe(session, channel, position)
    except BrokerUnavailable as error:
        return Refusal(ErrorCode.UNAVAILABLE, str(error))
    return Answer(
        "subscribed",
        answers.Subscribed(channel, position.epoch, position.offset, members=members),
        at_once=True,
    )


async def _resume(
    context: Context,
    session: Session,
    channel: str,
    position: Position,
    since: Position,
    members: list[answers.PresentMember] | msgspec.UnsetType,
) -> Answer | Refusal:
    """Subscribe from an earlier position."""
    hub = context.hub
    was_live, was_held = hub.is_subscribed(session, channel), hub.is_held(session, channel)
    hold = hub.hold_back(session, channel, position, limit=context.config.limits.outbox_bytes)
    if hold is None:
        return Refusal(ErrorCode.UNAVAILABLE, "the connection is closing")
    head = hold.head
    replay = Replay(
        hub,
        context.histories,
        session,
        hold,
        since.offset,
        piece_bytes=context.piece_bytes,
        skips=skips(context.registry, session.identity),
    )

    def go_on(live: bool) -> None:
        if not live:
            session.replay(replay)

    page = None
    # Whether the oldest kept comes right after it, the reading itself tells.
    if judge(since, head, since.offset + 1) == "recoverable":
        try:
            page = await replay.first_page()
        except BaseException:
            # It must not stay half-way. What was live goes on as it was; of what was half replayed, the other
            # half is lost.
            if hold.is_over:
                pass
            elif was_held:
                session.close(CloseCode.INSUFFICIENT_STATE)
            elif was_live:
                go_on(replay.skip())
            else:
                hub.unsubscribe(session, channel)
            raise
    if hold.is_over or hold.overflowed:
        return Refusal(
            ErrorCode.UNAVAILABLE, f"{channel}: the subscription ended while its history was read"
        )
    recovered = page is not None
    context.recoveries["recovered" if recovered else "unrecoverable"] += 1

    # No await from here on, until the caller has sent the answer.
    return Answer(
        "subscribed",
        answers.Subscribed(channel, head.epoch, head.offset, recovered, members),
        at_once=True,
        then=lambda: go_on(replay.skip() if page is None else replay.begin(page)),
    )


def unsubscribe(context: Context, session: Session, channel: str) -> Answer | Refusal:
    """Unsubscribe, and return the answer: nothing of the channel follows it."""
    if not context.hub.unsubscribe(session, channel):
        return Refusal(ErrorCode.NOT_FOUND, f"{channel}: not subscribed")
    return Answer("unsubscribed", answers.Unsubscribed(channel), at_once=True)
