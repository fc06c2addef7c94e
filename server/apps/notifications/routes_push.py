"""The document's HTTP routes: who is connected, and pushing something to one user or to all."""

from collections.abc import Sequence
from typing import Annotated, Any, Final

from litestar import get, post
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.spec import OpenAPIType, Schema
from litestar.params import Body, JSONBody, Parameter
from msgspec import UNSET

from tidings.protocol.channels import USER_ID, is_user_id
from tidings.protocol.errors import ErrorCode
from tidings.server.apps.notifications.bodies import (
    ConnectionCounts,
    ConnectionDetail,
    ConnectionsOfUser,
    NewNotification,
    NotificationEntry,
    NotificationToSend,
    SentMessage,
    SystemBroadcast,
)
from tidings.server.apps.notifications.broadcaster import Broadcaster
from tidings.server.apps.notifications.figures import counts_of
from tidings.server.apps.notifications.refusals import answering
from tidings.server.apps.notifications.routes import (
    COMMON,
    NO_USER,
    NOTIFICATIONS,
    TOO_OFTEN,
    entry,
    own_id,
)
from tidings.server.apps.notifications.service import notifications_of
from tidings.server.brokers.base import Receipt
from tidings.server.extension import (
    Caller,
    ConnectionInfo,
    Identity,
    Push,
    Refused,
    admins_only,
    answers,
    user_channel,
    users_only,
)

_WS: Final = "/api/v1/ws"

_UserId = Annotated[
    str,
    Parameter(
        description="1 to 128 characters A-Z a-z 0-9 _ . : @ + -",
        schema_extra={"pattern": f"^{USER_ID}$", "example": "alice"},
    ),
]

_FOR_ADMINS: Final[dict[str, Any]] = {"guards": [admins_only], **COMMON}
_FOR_OWNERS: Final[dict[str, Any]] = {"guards": [users_only], **COMMON}

_SyncUpdate = Annotated[
    dict[str, Any],
    Body(
        schema_extra={
            # What the event has names for; whatever else stands there is carried along.
            "properties": {
                "device": Schema(type=[OpenAPIType.STRING, OpenAPIType.NULL]),
                "changes": Schema(
                    type=[OpenAPIType.INTEGER, OpenAPIType.NULL], minimum=-(2**63), maximum=2**64 - 1
                ),
            },
            "examples": [{"device": "iPhone", "changes": 5}],
        }
    ),
]

_UNKNOWN: Final = "This server keeps its users (accounts), and none of them has this id."
_NOT_YOURS: Final = "Somebody else's, and the caller is no administrator."

_DEMO: Final = NewNotification(
    title="Demo", message="This is how a notification arrives: stored first, pushed second.", type="info"
)


def push_routes() -> Sequence[HTTPRouteHandler]:
    """The routes."""
    return [stats, broadcast, notify, sync_update, connections, demo]


@post(
    f"{NOTIFICATIONS}/demo",
    operation_id="demoNotification",
    summary="Send oneself a notification",
    description="To see that it arrives: it is kept, and pushed, as any other.",
    status_code=201,
    responses=answers(admins=False, words={403: NO_USER, 429: TOO_OFTEN}),
    **_FOR_OWNERS,
)
async def demo(push: NamedDependency[Push], caller: Caller) -> NotificationEntry:
    """Made for the caller."""
    user_id = own_id(caller)
    notifications_of(push).pace.send(user_id)
    with answering():
        # Who calls is known by the token, also where another issuer keeps the users.
        return entry(await notifications_of(push).create(user_id, _DEMO, is_known=True))


@post(
    f"{_WS}/sync-update/{{user_id:str}}",
    operation_id="syncUpdate",
    summary="Tell a user's devices that one of them has changed something",
    description="A JSON object: `device`, the name of the one that has done it, `changes`, how many, and what "
    "else helps. All connections of the user get it as `sync_update`, also that device's; an absent one on "
    "return. For administrators, and users of themselves.",
    status_code=200,
    responses=answers(body=True, admins=False, words={403: _NOT_YOURS, 404: _UNKNOWN, 429: TOO_OFTEN}),
    **_FOR_OWNERS,
)
async def sync_update(
    user_id: _UserId, data: _SyncUpdate, push: NamedDependency[Push], caller: Caller
) -> SentMessage:
    """To the user's inbox."""
    _check_owner(caller, user_id)
    if not caller.is_admin:
        notifications_of(push).pace.send(user_id)
    with answering():
        # A key is no user, whatever it is called.
        is_self = caller.kind != "service" and caller.user_id == user_id
        receipt = await Broadcaster(push).send_sync_update(user_id, data, is_known=is_self)
    return _sent(user_channel(user_id), receipt)


@get(
    f"{_WS}/stats",
    operation_id="connectionStats",
    summary="How many connections, users and rooms there are",
    responses=answers(),
    **_FOR_ADMINS,
)
async def stats(push: NamedDependency[Push]) -> ConnectionCounts:
    """Of this server, now."""
    return await counts_of(push)


@post(
    f"{_WS}/broadcast",
    operation_id="broadcastMessage",
    summary="Send a message to everybody who is connected",
    description="In the document's shape. The server dates it, and it goes to all: `timestamp` and `user_id` may "
    "stand beside `type` and `data`, and are not looked at.",
    status_code=200,
    responses=answers(body=True),
    **_FOR_ADMINS,
)
async def broadcast(data: JSONBody[SystemBroadcast], push: NamedDependency[Push]) -> SentMessage:
    """To the channel `all`, of whatever type."""
    with answering():
        return _sent("all", await Broadcaster(push).send_message(data.type, data.data))


@post(
    f"{_WS}/notify/{{user_id:str}}",
    operation_id="notifyUser",
    summary="Notify a user",
    description="Kept in the user's list, and pushed as `notification`: an absent user gets it on return. Where "
    "no app keeps users any id will do: whoever comes by it first gets what waits. Sent again with the same "
    "`idempotency_key`, as after a time-out, it makes nothing more, and is answered as the first time.",
    status_code=201,
    responses=answers(
        body=True,
        words={
            404: _UNKNOWN,
            409: "The user has another notification that was made with this idempotency key.",
        },
    ),
    **_FOR_ADMINS,
)
async def notify(
    user_id: _UserId, data: JSONBody[NotificationToSend], push: NamedDependency[Push]
) -> NotificationEntry:
    """Stored when this is answered, and pushed right after."""
    with answering():
        note = await Broadcaster(push).send_notification(
            user_id, data.shown, idempotency_key=data.idempotency_key
        )
    return entry(note)


@get(
    f"{_WS}/connections/{{user_id:str}}",
    operation_id="connectionsOfUser",
    summary="A user's connections",
    description="For administrators, and users of themselves. Without an address for the latter: a token that was "
    "stolen is not to tell where its owner is.",
    responses=answers(admins=False, words={403: _NOT_YOURS}),
    **_FOR_OWNERS,
)
async def connections(user_id: _UserId, push: NamedDependency[Push], caller: Caller) -> ConnectionsOfUser:
    """Who has none is offline, or unknown: that is no 404."""
    _check_owner(caller, user_id)
    details = [_detail(each, is_admin=caller.is_admin) for each in push.connections_of(user_id)]
    return ConnectionsOfUser(user_id, len(details), details)


def _check_owner(caller: Identity, user_id: str) -> None:
    if not is_user_id(user_id):
        raise Refused(
            ErrorCode.INVALID_DATA, "user_id: expected 1 to 128 characters A-Z a-z 0-9 _ . : @ + -"
        )
    if not caller.is_admin and caller.user_id != user_id:
        raise Refused(ErrorCode.FORBIDDEN, "you may ask this about yourself; of others the role admin may")


def _detail(info: ConnectionInfo, *, is_admin: bool) -> ConnectionDetail:
    return ConnectionDetail(
        connection_id=info.connection_id,
        username=info.username,
        dialect=info.dialect,
        connected_seconds=info.connected_seconds,
        channels=info.channels,
        peer=info.peer if is_admin else UNSET,
        outbox_bytes=info.outbox_bytes if is_admin else UNSET,
    )


def _sent(channel: str, receipt: Receipt) -> SentMessage:
    return SentMessage(channel, receipt.epoch, receipt.offset, receipt.durability, receipt.dropped)
