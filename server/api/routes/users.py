"""A user's connections: which there are, and ending or changing them."""

from collections.abc import Sequence
from typing import Annotated

from litestar import get, post
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody, Parameter

from tidings.protocol.channels import USER_ID, is_user_id
from tidings.protocol.close_codes import is_sendable
from tidings.protocol.errors import ErrorCode
from tidings.server.access import admins_only
from tidings.server.answers import SECURITY, Refused, answers
from tidings.server.api.messages import (
    REASON_BYTES,
    Disconnected,
    DisconnectUser,
    Unsubscribed,
    UnsubscribeUser,
    UserConnections,
)
from tidings.server.push import Push

# The pattern is for the description alone: what is refused, `checked_user_id` says in words.
UserId = Annotated[
    str,
    Parameter(
        description="1 to 128 characters A-Z a-z 0-9 _ . : @ + -",
        schema_extra={"pattern": f"^{USER_ID}$", "example": "alice"},
    ),
]

_AS_USUAL = DisconnectUser()


def users() -> Sequence[HTTPRouteHandler]:
    """The routes."""
    return [connections, disconnect, unsubscribe]


@get(
    "/users/{user_id:str}/connections",
    operation_id="userConnections",
    summary="A user's connections",
    guards=[admins_only],
    security=SECURITY,
    tags=["users"],
    responses=answers(),
)
async def connections(user_id: UserId, push: NamedDependency[Push]) -> UserConnections:
    """Nobody is known by name here: a user without a connection is offline, and no 404."""
    found = push.connections_of(checked_user_id(user_id))
    return UserConnections(user_id, bool(found), found)


@post(
    "/users/{user_id:str}/disconnect",
    operation_id="disconnectUser",
    summary="Close a user's connections",
    description="What was published before reaches them first. The body may be left out.",
    status_code=200,
    guards=[admins_only],
    security=SECURITY,
    tags=["users"],
    responses=answers(body=True),
)
async def disconnect(
    user_id: UserId, push: NamedDependency[Push], data: JSONBody[DisconnectUser] = _AS_USUAL
) -> Disconnected:
    """Close them; what the close frame may not say is refused."""
    checked_user_id(user_id)
    if not is_sendable(data.code):
        raise Refused(
            ErrorCode.INVALID_DATA, f"code: {data.code} must not stand in a close frame - at `$.code`"
        )
    if data.reason is not None and len(data.reason.encode()) > REASON_BYTES:
        raise Refused(ErrorCode.INVALID_DATA, f"at most {REASON_BYTES} bytes - at `$.reason`")
    return Disconnected(push.disconnect(user_id, data.code, data.reason))


@post(
    "/users/{user_id:str}/unsubscribe",
    operation_id="unsubscribeUser",
    summary="Take a user out of a channel",
    description="All their connections, each of which is told.",
    status_code=200,
    guards=[admins_only],
    security=SECURITY,
    tags=["users"],
    responses=answers(body=True),
)
async def unsubscribe(
    user_id: UserId, data: JSONBody[UnsubscribeUser], push: NamedDependency[Push]
) -> Unsubscribed:
    """Take them out; a user who is not in it, or not there, is no error."""
    return Unsubscribed(push.unsubscribe(checked_user_id(user_id), data.channel))


def checked_user_id(user_id: str) -> str:
    """The same, where it is a user id. Raises Refused, which names the parameter."""
    if not is_user_id(user_id):
        raise Refused(
            ErrorCode.INVALID_DATA, "user_id: expected 1 to 128 characters A-Z a-z 0-9 _ . : @ + -"
        )
    return user_id
