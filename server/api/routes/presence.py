"""Who is there: in a channel, on this server, and on which devices."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter

from tidings.protocol.channels import CHANNEL, is_channel
from tidings.protocol.errors import ErrorCode
from tidings.protocol.publications import iso_milliseconds
from tidings.server.access import admins_only
from tidings.server.answers import SECURITY, Refused, answers
from tidings.server.api.messages import (
    DeviceEntry,
    MemberEntry,
    OnlineEntry,
    OnlinePage,
    PresentMembers,
    UserPresence,
)
from tidings.server.api.routes.users import UserId, checked_user_id
from tidings.server.brokers.base import BrokerUnavailable
from tidings.server.delivery.presence import Kind, Presence

# As many as a person reads.
USERS_PER_PAGE = 100

# The pattern is for the description alone: what is refused, the route says in words.
_Channel = Annotated[
    str,
    Parameter(
        description="`all`, `user:<id>`, `group:<id>`, `role:<name>` or `room:<name>`.",
        schema_extra={"pattern": f"^(?:{CHANNEL})$", "example": "room:lobby"},
    ),
]


def presence_routes(presence: Presence, *, most_users: int) -> Sequence[HTTPRouteHandler]:
    """The routes under /api/v1; `most_users` is the longest page."""

    @get(
        "/presence/{channel:str}",
        operation_id="channelPresence",
        summary="Who is present in a channel",
        description="On any node: users with a connection that is subscribed to it, or who had one until "
        "`presence.grace` seconds ago. Where the channel's policy has no `presence`: 403.",
        guards=[admins_only],
        security=SECURITY,
        tags=["presence"],
        responses=answers(),
    )
    async def members(channel: _Channel) -> PresentMembers:
        if not is_channel(channel):
            raise Refused(
                ErrorCode.INVALID_DATA,
                "channel: expected all, user:<id>, group:<id>, role:<name> or room:<name>, "
                "names of 1 to 128 characters A-Z a-z 0-9 _ . : -",
            )
        if not presence.keeps(channel):
            raise Refused(ErrorCode.FORBIDDEN, presence.how_to_keep(channel))
        try:
            found = await presence.members(channel)
        except BrokerUnavailable as error:
            raise Refused(ErrorCode.UNAVAILABLE, str(error)) from error
        return PresentMembers(channel, [MemberEntry(one.user_id, one.username, one.kind) for one in found])

    @get(
        "/users/online",
        operation_id="onlineUsers",
        summary="Users who are online",
        description="On this node, sorted by user id, page by page: whoever has a connection, and services that "
        "made a request with their key (`auth.service_keys`) within `presence.service_seconds`.",
        guards=[admins_only],
        security=SECURITY,
        tags=["presence"],
        responses=answers(),
    )
    async def online(
        prefix: Annotated[
            str, Parameter(description="Only users whose ids begin so.", max_length=256)
        ] = "",
        after: Annotated[
            str, Parameter(description="Only users behind this id: the last page's `next`.", max_length=256)
        ] = "",
        kind: Annotated[Kind | None, Parameter(description="Only those of a kind.")] = None,
        limit: Annotated[int, Parameter(description="Users in a page.", ge=1, le=most_users)] = min(
            USERS_PER_PAGE, most_users
        ),
    ) -> OnlinePage:
        users, following = await presence.online(prefix=prefix, after=after, kind=kind, most=limit)
        return OnlinePage([OnlineEntry(*msgspec.structs.astuple(user)) for user in users], following)

    @get(
        "/users/{user_id:str}/presence",
        operation_id="userPresence",
        summary="Whether a user is online, and on which devices",
        description="When somebody who is not online was last here is known for a while, and for as long as the "
        "inbox knows a device of theirs.",
        guards=[admins_only],
        security=SECURITY,
        tags=["presence"],
        responses=answers(),
    )
    async def user(user_id: UserId) -> UserPresence:
        try:
            devices = await presence.known_devices(checked_user_id(user_id))
        except BrokerUnavailable as error:
            raise Refused(ErrorCode.UNAVAILABLE, str(error)) from error
        times = [device.last_seen_ms for device in devices]
        own = presence.last_seen_ms(user_id)
        last_seen = max(times if own is None else [own, *times], default=None)
        return UserPresence(
            user_id,
            presence.is_online(user_id),
            None if last_seen is None else iso_milliseconds(last_seen),
            [
                DeviceEntry(
                    device.device,
                    device.connected,
                    # Whoever is there is seen now, which is one moment in one answer.
                    iso_milliseconds(last_seen if device.connected and last_seen else device.last_seen_ms),
                    device.acknowledged,
                )
                for device in devices
            ],
        )

    return [members, online, user]
