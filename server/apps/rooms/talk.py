"""The commands: to enter a room, to leave it, to say something there, and to say something to one user."""

import itertools
import secrets
from typing import Final

from tidings.protocol.messages.commands import JoinRoom, LeaveRoom, RoomMessage, UserMessage
from tidings.server.apps.rooms.pace import Pace, TooOften
from tidings.server.apps.rooms.rules import Rules
from tidings.server.brokers.base import BrokerUnavailable
from tidings.server.extension import (
    App,
    Call,
    ErrorCode,
    Published,
    Push,
    Refusal,
    room_channel,
    user_channel,
)
from tidings.server.permissions import NOTICES

# Ids of messages are unique, also over restarts, without asking the system for randomness at each.
_run: Final = secrets.token_hex(6)
_numbers: Final = itertools.count(1)


def declare_rooms(app: App, rules: Rules, *, text_chars: int) -> None:
    """Declare what is done with rooms, kept or not."""

    @app.command("join_room", JoinRoom)
    @app.command("room_subscribe", JoinRoom)
    async def join(call: Call[JoinRoom]) -> Refusal | None:
        """Enter a room. Answer: `subscribed`."""
        asked, identity = call.data, call.identity
        # The permissions would refuse it as well; this says why.
        if rules.may_enter(identity, asked.room) is False and not identity.is_admin:
            return Refusal(ErrorCode.FORBIDDEN, rules.why_not(identity, asked.room))
        return await call.subscribe(room_channel(asked.room), since=asked.since, presence=asked.presence)

    @app.command("leave_room", LeaveRoom)
    @app.command("room_unsubscribe", LeaveRoom)
    async def leave(call: Call[LeaveRoom]) -> Refusal | None:
        """Leave a room; a member stays a member. Answer: `unsubscribed`."""
        return call.unsubscribe(room_channel(call.data.room))

    @app.command("room_message", RoomMessage, open_fields=True)
    async def say(call: Call[RoomMessage]) -> Published | Refusal:
        """Say something to a room. Answer: `published`."""
        said, identity = call.data, call.identity
        channel = room_channel(said.room)
        wrong = _judge_text(said.text, text_chars)
        if wrong is not None:
            return wrong
        if not call.is_subscribed(channel):
            return Refusal(ErrorCode.FORBIDDEN, f"{channel}: join the room before speaking in it")
        if not identity.is_admin:
            if channel == NOTICES:
                return Refusal(ErrorCode.FORBIDDEN, f"{channel}: only administrators speak here")
            if rules.may_speak(identity, said.room) is False:
                return Refusal(ErrorCode.FORBIDDEN, f"{channel}: only its owner and admins speak here")
        # No await between that question and this. What the server knows stands last, so that no field of the
        # client's can take its place.
        payload = {
            **call.extra,
            "id": f"{_run}-{next(_numbers):x}",
            "room": said.room,
            "user_id": identity.user_id,
            "username": identity.username,
            "text": said.text,
        }
        return await call.publish(channel, "room_message", payload)


def declare_direct(app: App, pace: Pace, *, text_chars: int, anyone: bool) -> None:
    """Declare messages from user to user; where not `anyone` sends them, administrators do."""

    @app.command("user_message", UserMessage, open_fields=True)
    async def tell(call: Call[UserMessage]) -> Published | Refusal:
        """Say something to a user, also to oneself, on all devices. Answer: `published`."""
        said, identity = call.data, call.identity
        if not anyone and not identity.is_admin:
            return Refusal(ErrorCode.FORBIDDEN, "user_message: on this server only administrators send any")
        wrong = _judge_text(said.text, text_chars)
        if wrong is not None:
            return wrong
        try:
            if not await is_known(call.push, said.to):
                return Refusal(ErrorCode.NOT_FOUND, f"{said.to}: there is no such user - at `$.data.to`")
            pace.leave(call.push, identity, said.to)
        except BrokerUnavailable as error:
            return Refusal(ErrorCode.UNAVAILABLE, str(error))
        except TooOften as error:
            return error.refusal
        payload = {
            **call.extra,
            "from": identity.user_id,
            "to": said.to,
            "text": said.text,
            "username": identity.username,
        }
        return await call.publish(user_channel(said.to), "user_message", payload)


async def is_known(push: Push, user_id: str) -> bool:
    """Whether there is a user of this id. Raises StoreUnavailable, BrokerUnavailable.

    Where nobody keeps users, those who are online or have been here with a device: nobody is to fill the inboxes of
    names that never were anybody's.
    """
    if push.users is not None:
        return await push.users.has_user(user_id)
    return push.is_online(user_id) or await push.has_inbox(user_id)


def _judge_text(text: str, most: int) -> Refusal | None:
    if len(text) > most:
        return Refusal(
            ErrorCode.TOO_LARGE, f"{len(text)} characters, where {most} may be - at `$.data.text`"
        )
    if text.isspace():
        return Refusal(ErrorCode.INVALID_DATA, "Expected a text that is not blank - at `$.data.text`")
    return None
