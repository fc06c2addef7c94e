"""Publishing over HTTP from async code, on Trio or asyncio."""

import ssl
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self, TypeVar

import anyio
import httpx

from tidings.client.errors import PublishRefused
from tidings.client.publisher import JSON, RETRIES, TIMEOUT_SECONDS, answered, on_this_machine, why
from tidings.client.publishing import (
    CHANNEL_OF,
    EVERYBODY,
    Exchange,
    Requests,
    ToPublish,
    Wait,
    credentials,
    to_publish,
)
from tidings.client.results import Published, ServerStats, UserConnections
from tidings.client.urls import http_base

T = TypeVar("T")


class AsyncPublisher:
    """`Publisher` with the same methods, async: they may be called from any task of one event loop.

    What that says of retries and of proxies holds here too.

    Cancelling a call is safe; it may still have been carried out. Close it, or use it as an async context
    manager.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        token: str | None = None,
        retries: int = RETRIES,
        timeout: float = TIMEOUT_SECONDS,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """Prepare; nothing is sent yet. `timeout` is in seconds. Raises ValueError."""
        self._requests = Requests(retries=retries)
        self._http = httpx.AsyncClient(
            base_url=http_base(url),
            headers=credentials(api_key, token),
            timeout=timeout,
            verify=ssl_context or httpx.create_ssl_context(),
            trust_env=not on_this_machine(url),
        )

    async def publish(
        self,
        channel: str,
        event: str,
        payload: Any = None,
        *,
        idempotency_key: str | None = None,
        excluded_session: str | None = None,
    ) -> Published:
        """Publish an event to a channel; `payload` is a dict or a Struct that encodes as an object.

        `excluded_session`, only for `user:<id>`, is the login (`sid`) that it is not for.
        """
        item = to_publish(channel, event, payload, idempotency_key, excluded_session)
        return await self._do(self._requests.publish(item))

    async def to_user(
        self,
        user_id: str,
        event: str,
        payload: Any = None,
        *,
        idempotency_key: str | None = None,
        excluded_session: str | None = None,
    ) -> Published:
        """Publish to every connection of a user, but for those of the login `excluded_session`."""
        return await self.publish(
            CHANNEL_OF["user"](user_id),
            event,
            payload,
            idempotency_key=idempotency_key,
            excluded_session=excluded_session,
        )

    async def to_room(
        self, room: str, event: str, payload: Any = None, *, idempotency_key: str | None = None
    ) -> Published:
        """Publish to everybody in a room."""
        return await self.publish(CHANNEL_OF["room"](room), event, payload, idempotency_key=idempotency_key)

    async def to_group(
        self, group_id: str, event: str, payload: Any = None, *, idempotency_key: str | None = None
    ) -> Published:
        """Publish to every member of a group."""
        return await self.publish(
            CHANNEL_OF["group"](group_id), event, payload, idempotency_key=idempotency_key
        )

    async def to_role(
        self, role: str, event: str, payload: Any = None, *, idempotency_key: str | None = None
    ) -> Published:
        """Publish to everybody who has a role."""
        return await self.publish(CHANNEL_OF["role"](role), event, payload, idempotency_key=idempotency_key)

    async def broadcast(
        self,
        event: str,
        payload: Any = None,
        *,
        channels: Iterable[str] = EVERYBODY,
        idempotency_key: str | None = None,
        excluded_session: str | None = None,
    ) -> list[Published | PublishRefused]:
        """Publish one event to several channels, by default to everybody; a result for each, in their order."""
        return await self._do(
            self._requests.broadcast(event, payload, channels, idempotency_key, excluded_session)
        )

    async def batch(self, publications: Iterable[ToPublish]) -> list[Published | PublishRefused]:
        """Publish many events in one request (the server's limit is 1,000); a result for each, in order.

        A refusal of one is a value in the list. One that is ill-formed, or that only the server may publish,
        has the whole batch refused, and nothing of it is published.
        """
        return await self._do(self._requests.batch(publications))

    async def stats(self) -> ServerStats:
        """The server's figures."""
        return await self._do(self._requests.stats())

    async def connections(self, user_id: str) -> UserConnections:
        """Whether a user is there, and by which connections."""
        return await self._do(self._requests.connections(user_id))

    async def disconnect(self, user_id: str, *, code: int | None = None, reason: str | None = None) -> int:
        """End a user's connections, by default with 3503, after which clients stay away; how many there were."""
        return await self._do(self._requests.disconnect(user_id, code, reason))

    async def aclose(self) -> None:
        """Close the connections. Idempotent."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _do(self, exchange: Exchange[T]) -> T:
        while True:
            try:
                response = await self._answer(exchange)
            except httpx.RequestError as error:
                outcome: T | Wait = exchange.failed(why(error))
            else:
                outcome = answered(exchange, response)
            if not isinstance(outcome, Wait):
                return outcome
            await anyio.sleep(outcome.seconds)

    async def _answer(self, exchange: Exchange[T]) -> httpx.Response:
        """One attempt.

        The body is decoded when it is here: httpx, decoding as it comes, leaves its stream half read where
        that fails, for the garbage collector to find.
        """
        async with self._http.stream(
            exchange.method, exchange.path, content=exchange.content, headers=JSON
        ) as response:
            raw = b"".join([part async for part in response.aiter_raw()])
        return httpx.Response(response.status_code, headers=response.headers, content=raw)
