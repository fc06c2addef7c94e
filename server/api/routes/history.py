"""What channels keep: reading it, and having it forgotten."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from litestar import HttpMethod, delete, get
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter

from tidings.protocol.channels import CHANNEL, is_channel
from tidings.protocol.errors import ErrorCode, Refusal
from tidings.protocol.messages.answers import HistoryPage
from tidings.protocol.positions import Position
from tidings.server.access import admins_only
from tidings.server.answers import SECURITY, Refused, answers, options, refused
from tidings.server.api.messages import ChannelHistory, ClearedHistory, KeptPublication
from tidings.server.paging import PUBLICATIONS_PER_PAGE, Epoch, Since
from tidings.server.push import Push

_PATH = "/history/{channel:str}"

# The pattern is for the description alone: what is refused, `_checked` says in words.
_Channel = Annotated[
    str,
    Parameter(
        description="`all`, `user:<id>`, `group:<id>`, `role:<name>` or `room:<name>`.",
        schema_extra={"pattern": f"^({CHANNEL})$", "example": "room:lobby"},
    ),
]


def history(most: int) -> Sequence[HTTPRouteHandler]:
    """The routes; `most` is how many publications one page may hold."""

    @get(
        _PATH,
        operation_id="channelHistory",
        summary="What a channel keeps",
        description="Oldest first. A page ends after `limit` publications or 4 MiB of payload; the next one "
        "begins after the last of it: give its `epoch`, and that publication's `offset` as `since`.",
        guards=[admins_only],
        security=SECURITY,
        tags=["history"],
        responses=answers(),
    )
    async def page(
        channel: _Channel,
        push: NamedDependency[Push],
        epoch: Epoch = None,
        since: Since = None,
        limit: Annotated[int, Parameter(description="Publications in a page.", ge=1, le=most)] = min(
            PUBLICATIONS_PER_PAGE, most
        ),
    ) -> ChannelHistory:
        _check(channel)
        position = None
        if epoch is not None:
            position = Position(epoch, since or 0)
        elif since is not None:
            position = Position((await _read(push, channel, None, 1)).epoch, since)
        found = await _read(push, channel, position, limit)
        return ChannelHistory(
            found.channel,
            [KeptPublication(*msgspec.structs.astuple(each)) for each in found.publications],
            found.epoch,
            found.offset,
            found.complete,
        )

    @delete(
        _PATH,
        operation_id="clearHistory",
        summary="Forget what a channel keeps",
        description="Who is connected notices nothing; who comes back later is told that something was missed. "
        "Of a user's own channel, what their devices have not received yet is lost. The channel's offsets go on.",
        status_code=200,
        guards=[admins_only],
        security=SECURITY,
        tags=["history"],
        responses=answers(),
    )
    async def clear(channel: _Channel, push: NamedDependency[Push]) -> ClearedHistory:
        _check(channel)
        position = await push.clear_history(channel)
        if isinstance(position, Refusal):
            raise refused(position)
        return ClearedHistory(channel, position.epoch, position.offset)

    return [options(_PATH, HttpMethod.GET, HttpMethod.DELETE), page, clear]


async def _read(push: Push, channel: str, since: Position | None, limit: int) -> HistoryPage:
    found = await push.history(channel, since, limit=limit)
    if isinstance(found, Refusal):
        raise refused(found)
    return found


def _check(channel: str) -> None:
    if not is_channel(channel):
        raise Refused(
            ErrorCode.INVALID_DATA,
            "channel: expected all, user:<id>, group:<id>, role:<name> or room:<name>, names of 1 to 128 "
            "characters A-Z a-z 0-9 _ . : -",
        )
