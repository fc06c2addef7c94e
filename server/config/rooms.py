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
            description="Who may create kept rooms: anyone, or admins. anyone: a chat needs no operator. A "
            "name that is in use is for admins alone. Where auth.open_rooms is off, users need a grant to "
            "subscribe and publish under the name as well, and make rooms by invitation only."
        ),
    ] = "anyone"
    owned: Annotated[
        Count,
        Meta(
            description="Kept rooms that one user may own, beside those that admins give. 100: more than "
            "anybody looks after."
        ),
    ] = 100
    members: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000_000,
            description="Members that a kept room may have; as many again may be remembered as removed. All of "
            "them are in memory, some 110 bytes each with ids of 16 characters. 10,000 is a large company's.",
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
    direct_waiting: Annotated[
        Count,
        Meta(
            description="Messages and invitations that one user may leave at once for another who is not "
            "connected; then one a minute. 50 are a long monologue, and a small part of what an inbox keeps, "
            "which a stranger could push out otherwise. Admins are not counted."
        ),
    ] = 50
