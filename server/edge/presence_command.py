"""The command `presence`: who is present in a channel."""

from typing import cast

from tidings.protocol.dialects.base import Command
from tidings.protocol.errors import ErrorCode, Refusal
from tidings.protocol.messages import answers, commands
from tidings.server.brokers.base import BrokerUnavailable
from tidings.server.delivery.presence import Crowd
from tidings.server.edge.context import Context
from tidings.server.edge.session import Answer, Outcome, Session


async def presence(context: Context, session: Session, command: Command) -> Outcome:
    """Answer who is present in a channel that one may subscribe to. Cancelling changes nothing."""
    channel = cast(commands.Presence, command.data).channel
    forbidden = Refusal(ErrorCode.FORBIDDEN, f"{channel}: this token may not ask who is there")
    if not context.permissions.may_subscribe(session.identity, channel):
        return forbidden
    members = await members_of(context, channel)
    if isinstance(members, Refusal):
        return members
    if not context.permissions.may_subscribe(session.identity, channel):
        return forbidden  # removed from the room meanwhile
    return Answer("presence", answers.PresenceList(channel, members))


async def members_of(context: Context, channel: str) -> list[answers.PresentMember] | Refusal:
    """Who is present in a channel, or why that cannot be told in an answer. Whether one may ask is not asked here.

    A list may take a quarter of an outbox, as a publication may: a longer one could make whoever asks a slow
    consumer by itself. Cancelling changes nothing.
    """
    if not context.presence.keeps(channel):
        return Refusal(ErrorCode.FORBIDDEN, context.presence.how_to_keep(channel))
    try:
        members = await context.presence.members_within(channel, context.piece_bytes)
    except BrokerUnavailable as error:
        return Refusal(ErrorCode.UNAVAILABLE, str(error))
    if isinstance(members, Crowd):
        return Refusal(
            ErrorCode.TOO_LARGE,
            f"{channel}: {members.count} are present, more than one answer can hold: ask over HTTP",
        )
    return members
