"""What a server has, counted without standing in everybody's way."""

from time import perf_counter
from typing import Final

import trio

from tidings.server.apps.notifications.bodies import ConnectionCounts
from tidings.server.extension import Push, room_channel

# How long this may keep the loop from everybody else, in seconds.
_TURN_SECONDS: Final = 0.002

_ROOM: Final = room_channel("")


async def counts_of(push: Push) -> ConnectionCounts:
    """Connections, users and rooms. Those who come and go meanwhile may be counted or not."""
    connections, rooms = 0, set[str]()
    users = push.online_users()
    began = perf_counter()
    for user_id in users:
        found = push.connections_of(user_id)
        connections += len(found)
        for each in found:
            rooms.update(channel for channel in each.channels if channel.startswith(_ROOM))
        if perf_counter() - began >= _TURN_SECONDS:
            await trio.lowlevel.checkpoint()
            began = perf_counter()
    return ConnectionCounts(connections, len(users), len(rooms))
