"""Rooms: join by name, leave, and say something to those who are in; and messages from user to user.

A room is the channel `room:<name>`, and any name is a room. Who may enter is the server's and the token's to say
(`auth.open_rooms`, the claim `channels`); who is in may speak. With `rooms.kept` users create rooms that have a
title, members and a policy, in tables: for those the app itself says who may enter and speak.
"""

from typing import Final

from tidings.protocol.messages import events
from tidings.protocol.messages.rooms import OWNER, RoomChanged, RoomInvitation
from tidings.server.apps.rooms.pace import Pace
from tidings.server.apps.rooms.rules import Rules
from tidings.server.apps.rooms.talk import declare_direct, declare_rooms
from tidings.server.config.channels import History
from tidings.server.config.rooms import Rooms
from tidings.server.extension import App

NAME: Final = OWNER


def rooms_app(settings: Rooms, *, open_rooms: bool = True, history_page: int = History().page_limit) -> App:
    """The app of one server. `open_rooms` is `auth.open_rooms`: whether users may enter rooms without a grant.

    `history_page` is `history.page_limit`: publications in one page of a room's history.
    """
    app = App(NAME)
    app.event("room_message", events.RoomMessage)
    app.event("room_changed", RoomChanged)
    app.event("room_invitation", RoomInvitation)
    rules, pace = Rules(), Pace(settings.direct_waiting)
    declare_rooms(app, rules, text_chars=settings.text_chars)
    declare_direct(app, pace, text_chars=settings.text_chars, anyone=settings.direct == "anyone")
    if settings.kept:
        from tidings.server.apps.rooms.kept import declare_kept  # noqa: PLC0415  SQLAlchemy is heavy

        declare_kept(app, settings, rules, pace, open_rooms=open_rooms, history_page=history_page)
    return app
