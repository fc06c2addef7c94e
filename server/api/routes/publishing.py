"""Publishing: one event, several, or one for several channels."""

from collections.abc import Sequence
from time import perf_counter
from typing import TypeAlias

from litestar import HttpMethod
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody
from trio import TaskStatus, open_nursery
from trio.lowlevel import checkpoint

from tidings.protocol.errors import ErrorCode, Refusal
from tidings.server.access import admins_only
from tidings.server.answers import SECURITY, ErrorBody, Refused, answers, detail_of, refused
from tidings.server.api.messages import Broadcast, Publish, PublishBatch, Published, Results
from tidings.server.api.routes.swift import SwiftRoute
from tidings.server.brokers.base import Receipt
from tidings.server.push import Checked, Push

# How long a request may keep the loop from everybody else, in seconds.
TURN_SECONDS = 0.002

_PERHAPS = (
    "Where no answer comes, or 503, some may have been published: with idempotency keys the request can be "
    "repeated without harm."
)


_Entry: TypeAlias = tuple[str, Checked, str | None, str | None]
"""Channel, what to publish, idempotency key, excluded login."""


class Turn:
    """Lets everybody else run when this request has had its time."""

    def __init__(self) -> None:
        self._began = perf_counter()

    async def give(self) -> None:
        """A checkpoint, if it is time for one. Cancelled there, what was published stays published."""
        if perf_counter() - self._began >= TURN_SECONDS:
            await checkpoint()
            self._began = perf_counter()


def publishing(most: int) -> Sequence[HTTPRouteHandler]:
    """The routes; `most` is how many publications one request may hold."""

    def check_size(count: int, what: str) -> None:
        if count > most:
            raise Refused(ErrorCode.TOO_LARGE, f"{what}: {count} of them; at most {most} at once")

    @SwiftRoute(
        "/publish",
        http_method=HttpMethod.POST,
        operation_id="publish",
        summary="Publish one event",
        description="Everybody who is subscribed to the channel gets it, and nobody has to be.",
        status_code=200,
        guards=[admins_only],
        security=SECURITY,
        tags=["publishing"],
        responses=answers(409, body=True),
    )
    async def publish(data: JSONBody[Publish], push: NamedDependency[Push]) -> Published:
        outcome = await push.submit(
            data.channel,
            data.event,
            data.payload,
            idempotency_key=data.idempotency_key,
            excluded_session=data.excluded_session,
            under=".payload",
        )
        if isinstance(outcome, Refusal):
            raise refused(outcome)
        return _published(data.channel, outcome)

    @SwiftRoute(
        "/publish/batch",
        http_method=HttpMethod.POST,
        operation_id="publishBatch",
        summary="Publish several events",
        description="In each channel in this order. One that cannot be published refuses them all, before any is "
        "published; a key used before for something else is told in its place, and the others are "
        f"published. {_PERHAPS}",
        status_code=200,
        guards=[admins_only],
        security=SECURITY,
        tags=["publishing"],
        responses=answers(body=True),
    )
    async def publish_batch(data: JSONBody[PublishBatch], push: NamedDependency[Push]) -> Results:
        check_size(len(data.publications), "publications")
        turn = Turn()
        checked: list[Checked] = []
        for number, publication in enumerate(data.publications):
            under = f".publications[{number}].payload"
            found = push.check(publication.event, publication.payload, under=under)
            if isinstance(found, Refusal):
                raise Refused(found.code, f"publications[{number}]: {found.message}")
            checked.append(found)
            await turn.give()
        return await _put_all(
            push,
            [
                (publication.channel, each, publication.idempotency_key, publication.excluded_session)
                for publication, each in zip(data.publications, checked, strict=True)
            ],
        )

    @SwiftRoute(
        "/broadcast",
        http_method=HttpMethod.POST,
        operation_id="broadcast",
        summary="Publish one event to several channels",
        description=f"To everybody, unless channels are named. {_PERHAPS}",
        status_code=200,
        guards=[admins_only],
        security=SECURITY,
        tags=["publishing"],
        responses=answers(body=True),
    )
    async def broadcast(data: JSONBody[Broadcast], push: NamedDependency[Push]) -> Results:
        check_size(len(data.channels), "channels")
        checked = push.check(data.event, data.payload, under=".payload")
        if isinstance(checked, Refusal):
            raise refused(checked)
        return await _put_all(
            push,
            [(channel, checked, data.idempotency_key, data.excluded_session) for channel in data.channels],
        )

    return [publish, publish_batch, broadcast]


def _published(channel: str, receipt: Receipt) -> Published:
    return Published(channel, receipt.epoch, receipt.offset, receipt.durability, receipt.dropped)


async def _put_all(push: Push, entries: Sequence[_Entry]) -> Results:
    """Publish all, in each channel in order. What has to wait for a disk waits for it together."""
    turn = Turn()
    outcomes: dict[int, Published | ErrorBody] = {}

    async def begin(number: int, *, task_status: TaskStatus[None]) -> None:
        # No await between the two: a broker accepts in the order in which it is asked.
        task_status.started()
        outcomes[number] = await _put(push, entries[number], turn)

    # As many tasks as one request may hold publications.
    async with open_nursery() as nursery:
        for number, entry in enumerate(entries):
            if push.durability(entry[0]) == "memory":
                outcomes[number] = await _put(push, entry, turn)
            else:
                await nursery.start(begin, number)
    return Results([outcomes[number] for number in range(len(entries))])


async def _put(push: Push, entry: _Entry, turn: Turn) -> Published | ErrorBody:
    channel, checked, idempotency_key, excluded_session = entry
    outcome = await push.put(
        channel, checked, idempotency_key=idempotency_key, excluded_session=excluded_session
    )
    await turn.give()
    if isinstance(outcome, Refusal):
        return detail_of(outcome)
    return _published(channel, outcome)
