"""Rooms: join by name, leave, and say something to those who are in.

A room is the channel `room:<name>`. Who may enter is the server's and the token's to say
(`auth.open_rooms`, the claim `channels`); who is in may speak.
"""

import itertools
import secrets
from typing import Final

from tidings.protocol.messages import events
from tidings.protocol.messages.commands import JoinRoom, LeaveRoom, RoomMessage
from tidings.server.extension import App, Call, ErrorCode, Published, Refusal, room_channel

# Ids of messages are unique, also over restarts, without asking the system for randomness at each.
_run: Final = secrets.token_hex(6)
_numbers: Final = itertools.count(1)

app: Final = App("rooms")
app.event("room_message", events.RoomMessage)


@app.command("join_room", JoinRoom)
@app.command("room_subscribe", JoinRoom)
async def join(call: Call[JoinRoom]) -> Refusal | None:
    """Enter a room. Answer: `subscribed`."""
    asked = call.data
    return await call.subscribe(room_channel(asked.room), since=asked.since, presence=asked.presence)


@app.command("leave_room", LeaveRoom)
@app.command("room_unsubscribe", LeaveRoom)
async def leave(call: Call[LeaveRoom]) -> Refusal | None:
    """Leave a room. Answer: `unsubscribed`."""
    return call.unsubscribe(room_channel(call.data.room))


@app.command("room_message", RoomMessage, open_fields=True)
async def say(call: Call[RoomMessage]) -> Published | Refusal:
    """Say something to a room. Answer: `published`."""
    said, identity = call.data, call.identity
    channel = room_channel(said.room)
    if not call.is_subscribed(channel):
        return Refusal(ErrorCode.FORBIDDEN, f"{channel}: join the room before speaking in it")
    # What the server knows stands last, so that no field of the client's can take its place.
    payload = {
        **call.extra,
        "id": f"{_run}-{next(_numbers):x}",
        "room": said.room,
        "user_id": identity.user_id,
        "username": identity.username,
        "text": said.text,
    }
    return await call.publish(channel, "room_message", payload)
