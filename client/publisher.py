"""Publishing over HTTP from threads."""

import ipaddress
import ssl
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import httpx

from tidings.client.endings import tls_told, told
from tidings.client.errors import PublishRefused
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

# For one attempt, each of connecting, sending and waiting for the answer: the server's own handlers have 10 s.
TIMEOUT_SECONDS = 15.0

# What one call tries again, at the longest some 20 s beside what the server itself asks for.
RETRIES = 4

JSON = {"Content-Type": "application/json"}


def on_this_machine(url: str) -> bool:
    """Whether a URL names a loopback address. No proxy can reach what that means here."""
    host = urlsplit(url.strip()).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def why(error: httpx.RequestError) -> str:
    """Why there is no answer, in words."""
    if isinstance(error, httpx.DecodingError):
        return f"the answer cannot be decoded: {error}"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return tls_told(cause)
        cause = cause.__cause__ or cause.__context__
    return told(error)


def answered(exchange: Exchange[T], response: httpx.Response) -> T | Wait:
    """What a response means. Raises PublishRefused."""
    headers = response.headers
    return exchange.answered(
        response.status_code, headers.get("Retry-After"), response.content, headers.get("Location")
    )


class Publisher:
    """Publishes to a server; may be used from any number of threads.

    `url` is http, https, ws or wss. Authenticated by an API key or by an administrator's token. A call
    that meets a lost connection, a time-out, 429, 502, 503 or 504 is tried again up to `retries` times,
    after a random time that grows, and after what Retry-After asks. A publication bears a key made once
    for the call, so that a retry does not publish twice: the server remembers keys for 5 minutes, those of
    channels that it keeps on disk over its own restart, too. In other channels a publication whose answer was
    lost when the server was started again may be there twice.

    HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY count, except for a server on this machine (localhost,
    127.0.0.0/8, ::1).

    Raised by every call: PublishRefused for a refusal, PublishFailed when no answer came that can be read.
    Close it, or use it as a context manager.
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
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Prepare; nothing is sent yet. `timeout` is in seconds. Raises ValueError."""
        self._requests = Requests(retries=retries)
        self._sleep = sleep
        self._http = httpx.Client(
            base_url=http_base(url),
            headers=credentials(api_key, token),
            timeout=timeout,
            verify=ssl_context or httpx.create_ssl_context(),
            trust_env=not on_this_machine(url),
        )

    def publish(
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
        return self._do(self._requests.publish(item))

    def to_user(
        self,
        user_id: str,
        event: str,
        payload: Any = None,
        *,
        idempotency_key: str | None = None,
        excluded_session: str | None = None,
    ) -> Published:
        """Publish to every connection of a user, but for those of the login `excluded_session`."""
        return self.publish(
            CHANNEL_OF["user"](user_id),
            event,
            payload,
            idempotency_key=idempotency_key,
            excluded_session=excluded_session,
        )

    def to_room(
        self, room: str, event: str, payload: Any = None, *, idempotency_key: str | None = None
    ) -> Published:
        """Publish to everybody in a room."""
        return self.publish(CHANNEL_OF["room"](room), event, payload, idempotency_key=idempotency_key)

    def to_group(
        self, group_id: str, event: str, payload: Any = None, *, idempotency_key: str | None = None
    ) -> Published:
        """Publish to every member of a group."""
        return self.publish(CHANNEL_OF["group"](group_id), event, payload, idempotency_key=idempotency_key)

    def to_role(
        self, role: str, event: str, payload: Any = None, *, idempotency_key: str | None = None
    ) -> Published:
        """Publish to everybody who has a role."""
        return self.publish(CHANNEL_OF["role"](role), event, payload, idempotency_key=idempotency_key)

    def broadcast(
        self,
        event: str,
        payload: Any = None,
        *,
        channels: Iterable[str] = EVERYBODY,
        idempotency_key: str | None = None,
        excluded_session: str | None = None,
    ) -> list[Published | PublishRefused]:
        """Publish one event to several channels, by default to everybody; a result for each, in their order."""
        return self._do(
            self._requests.broadcast(event, payload, channels, idempotency_key, excluded_session)
        )

    def batch(self, publications: Iterable[ToPublish]) -> list[Published | PublishRefused]:
        """Publish many events in one request (the server's limit is 1,000); a result for each, in order.

        A refusal of one is a value in the list. One that is ill-formed, or that only the server may publish,
        has the whole batch refused, and nothing of it is published.
        """
        return self._do(self._requests.batch(publications))

    def stats(self) -> ServerStats:
        """The server's figures."""
        return self._do(self._requests.stats())

    def connections(self, user_id: str) -> UserConnections:
        """Whether a user is there, and by which connections."""
        return self._do(self._requests.connections(user_id))

    def disconnect(self, user_id: str, *, code: int | None = None, reason: str | None = None) -> int:
        """End a user's connections, by default with 3503, after which clients stay away; how many there were."""
        return self._do(self._requests.disconnect(user_id, code, reason))

    def close(self) -> None:
        """Close the connections. Idempotent."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _do(self, exchange: Exchange[T]) -> T:
        while True:
            try:
                response = self._http.request(
                    exchange.method, exchange.path, content=exchange.content, headers=JSON
                )
            except httpx.RequestError as error:
                outcome: T | Wait = exchange.failed(why(error))
            else:
                outcome = answered(exchange, response)
            if not isinstance(outcome, Wait):
                return outcome
            self._sleep(outcome.seconds)
