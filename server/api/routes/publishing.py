"""Publishing: one event, several, or one for several channels."""

from collections.abc import Iterable, Sequence

import trio
from litestar import post
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody

from tidings.protocol.errors import ErrorCode, Refusal
from tidings.server.access import admins_only
from tidings.server.api.describe import SECURITY, answers
from tidings.server.api.errors import ErrorBody, Refused, detail_of, refused
from tidings.server.api.messages import Broadcast, Publish, PublishBatch, Published, Results
from tidings.server.push import Push

# A batch is some 20 µs for each publication: after 2 ms everybody else has a turn.
PUBLICATIONS_PER_TURN = 100


def publishing(most: int) -> Sequence[HTTPRouteHandler]:
    """The routes; `most` is how many publications one request may hold."""

    def check_size(count: int, what: str) -> None:
        if count > most:
            raise Refused(ErrorCode.TOO_LARGE, f"{what}: {count} of them; at most {most} at once")

    @post(
        "/publish",
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
        result = await _submit(push, data)
        if isinstance(result, Refusal):
            raise refused(result)
        return result

    @post(
        "/publish/batch",
        operation_id="publishBatch",
        summary="Publish several events",
        description="In this order. An ill-formed one refuses them all before any is published; what is "
        "refused later (a key used twice, a name that only the server may say) is told in its place, and "
        "the others are published.",
        status_code=200,
        guards=[admins_only],
        security=SECURITY,
        tags=["publishing"],
        responses=answers(body=True),
    )
    async def publish_batch(data: JSONBody[PublishBatch], push: NamedDependency[Push]) -> Results:
        check_size(len(data.publications), "publications")
        return await _submit_all(push, data.publications)

    @post(
        "/broadcast",
        operation_id="broadcast",
        summary="Publish one event to several channels",
        description="To everybody, unless channels are named.",
        status_code=200,
        guards=[admins_only],
        security=SECURITY,
        tags=["publishing"],
        responses=answers(body=True),
    )
    async def broadcast(data: JSONBody[Broadcast], push: NamedDependency[Push]) -> Results:
        check_size(len(data.channels), "channels")
        return await _submit_all(
            push,
            (Publish(channel, data.event, data.payload, data.idempotency_key) for channel in data.channels),
        )

    return [publish, publish_batch, broadcast]


async def _submit(push: Push, publication: Publish) -> Published | Refusal:
    outcome = await push.submit(
        publication.channel,
        publication.event,
        publication.payload,
        idempotency_key=publication.idempotency_key,
    )
    if isinstance(outcome, Refusal):
        return outcome
    return Published(publication.channel, outcome.epoch, outcome.offset)


async def _submit_all(push: Push, publications: Iterable[Publish]) -> Results:
    """Publish one after the other. Cancelled, some are published: who tries again gives keys."""
    results: list[Published | ErrorBody] = []
    for publication in publications:
        result = await _submit(push, publication)
        results.append(detail_of(result) if isinstance(result, Refusal) else result)
        if len(results) % PUBLICATIONS_PER_TURN == 0:
            await trio.lowlevel.checkpoint()
    return Results(results)
