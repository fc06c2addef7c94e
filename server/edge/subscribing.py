"""Subscribing a connection because it asked: permission, the limit, and the answer that tells the position."""

from tidings.protocol.errors import ErrorCode, Refusal
from tidings.protocol.messages import answers
from tidings.server.edge.context import Context
from tidings.server.edge.session import Answer, Session


async def subscribe(
    context: Context, session: Session, channel: str, *, permitted: bool = False
) -> Answer | Refusal:
    """Subscribe, and return the answer, to be sent without an await in between.

    The position it tells is the one after which publications follow. With `permitted` somebody else has
    decided that the connection may. Cancelled, it has not subscribed.
    """
    if not permitted and not context.permissions.may_subscribe(session.identity, channel):
        return Refusal(ErrorCode.FORBIDDEN, f"{channel}: this token may not subscribe")
    limit = context.config.limits.channels_per_connection
    subscribed = context.hub.channels_of(session)
    if channel not in subscribed and len(subscribed) >= limit:
        return Refusal(ErrorCode.LIMIT_REACHED, f"a connection may have {limit} channels")
    with context.hub.holding([channel]):
        position = await context.broker.open(channel)
        # No await from here on, until the caller has sent the answer.
        position = context.hub.subscribe(session, channel, position)
    return Answer("subscribed", answers.Subscribed(channel, position.epoch, position.offset), at_once=True)


def unsubscribe(context: Context, session: Session, channel: str) -> Answer | Refusal:
    """Unsubscribe, and return the answer: nothing of the channel follows it."""
    if not context.hub.unsubscribe(session, channel):
        return Refusal(ErrorCode.NOT_FOUND, f"{channel}: not subscribed")
    return Answer("unsubscribed", answers.Unsubscribed(channel), at_once=True)
