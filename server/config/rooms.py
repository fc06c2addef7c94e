"""The section about rooms, and about messages between users."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from tidings.server.config.values import MOST, Count


class Rooms(msgspec.Struct, frozen=True, kw_only=True):
    """Rooms, and messages between users, for the app `rooms` (`server.apps`)."""

    kept: Annotated[
        bool,
        Meta(
            description="Whether rooms can be created over HTTP, with members and a policy, in the server's "
            "database. Off by default, since it opens that database: any name is a room without it."
        ),
    ] = False
    create: Annotated[
        Literal["anyone", "admins"],
        Meta(
            description="Who may create kept rooms: anyone, or admins. anyone: a chat needs no operator. Where "
            "auth.open_rooms is off, users need a grant for the name as well."
        ),
    ] = "anyone"
    owned: Annotated[
        Count,
        Meta(description="Kept rooms that one user may own. 100: more than anybody looks after."),
    ] = 100
    members: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000_000,
            description="Members that a kept room may have; as many again may be remembered as removed. All of "
            "them are in memory, at most some 60 bytes each. 10,000 is a large company's.",
        ),
    ] = 10_000
    text_chars: Annotated[
        int,
        Meta(
            ge=1,
            le=MOST,
            description="Characters in the text of a message to a room or a user. 16,000 are five pages; "
            "limits.message_bytes bounds the whole message.",
        ),
    ] = 16_000
    direct: Annotated[
        Literal["anyone", "nobody"],
        Meta(
            description="Who may send messages to users (user_message), beside admins: anyone, who is expected "
            "to in a chat, or nobody."
        ),
    ] = "anyone"
