"""Publishing over HTTP without the HTTP: what to send, what an answer means, whether to try again.

Both publishers, with threads and with async, are loops of a few lines around these.
"""

import random
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar
from urllib.parse import quote

import msgspec

from tidings.client.backoff import Uniform, full_jitter, retry_after_seconds
from tidings.client.credentials import check_credential
from tidings.client.errors import PublishFailed, PublishRefused
from tidings.client.results import Published, ServerStats, UserConnections
from tidings.protocol.channels import ALL, group_channel, role_channel, room_channel, user_channel

T = TypeVar("T")

# Refusals that pass by themselves. Not 500: the same request would fail the same way again.
RETRIED_STATUSES: Final = frozenset({429, 502, 503, 504})

# The bounds of full jitter: a hiccup is over in 0.2 s, a restart in a few seconds.
BASE_SECONDS: Final = 0.2
CAP_SECONDS: Final = 10.0

# A server that asks for a longer pause than this is not waited for: the caller is told at once.
PATIENCE_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Wait:
    """Try again after so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ToPublish:
    """One publication of a batch."""

    channel: str
    event: str
    payload: Any = None
    idempotency_key: str | None = None
    """Made when it is left out. Give one of your own, and keep it, so that your program, started again, does not
    publish twice either. The server remembers keys for 5 minutes, and over its own restart those of channels that
    it keeps on disk."""
    excluded_session: str | None = None
    """Only for `user:<id>`: the login (`sid`) that it is not for, as the one that has caused it."""


class Exchange(Generic[T]):
    """One request, however many attempts it takes. It is the same request each time, keys and all."""

    def __init__(
        self,
        method: str,
        path: str,
        decode: Callable[[bytes], T],
        body: object = None,
        *,
        retries: int,
        uniform: Uniform = random.uniform,
    ) -> None:
        self.method = method
        self.path = path
        self.content = None if body is None else msgspec.json.encode(body)
        self._decode = decode
        self._retries = retries
        self._uniform = uniform
        self._failures = 0

    def answered(
        self, status: int, retry_after: str | None, content: bytes, location: str | None = None
    ) -> T | Wait:
        """What an answer means: the result, or when to try again. Raises PublishRefused.

        `retry_after` and `location` are its headers.
        """
        if 200 <= status < 300:
            try:
                return self._decode(content)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                raise PublishRefused(status, "unreadable", f"not an answer of Tidings: {error}") from None
        pause = retry_after_seconds(retry_after, time.time())
        refused = _refused(status, content, pause, location)
        if status not in RETRIED_STATUSES or (pause is not None and pause > PATIENCE_SECONDS):
            raise refused
        self._failures += 1
        if self._failures > self._retries:
            raise refused
        return self._wait(pause or 0.0)

    def failed(self, why: str) -> Wait:
        """No answer came: when to try again. Raises PublishFailed."""
        self._failures += 1
        if self._failures > self._retries:
            raise PublishFailed(self._failures, why)
        return self._wait(0.0)

    def _wait(self, at_least: float) -> Wait:
        return Wait(at_least + full_jitter(self._failures, BASE_SECONDS, CAP_SECONDS, self._uniform))


class Requests:
    """Builds the exchange of each call."""

    def __init__(self, *, retries: int, uniform: Uniform = random.uniform) -> None:
        if retries < 0:
            raise ValueError("retries: 0 or more")
        self._retries = retries
        self._uniform = uniform

    def publish(self, item: ToPublish) -> Exchange[Published]:
        """Publish one event."""
        return self._post("/api/v1/publish", _decode_published, _as_json(item))

    def batch(self, items: Iterable[ToPublish]) -> Exchange[list[Published | PublishRefused]]:
        """Publish several events in one request."""
        body = {"publications": [_as_json(item) for item in items]}
        return self._post("/api/v1/publish/batch", _decode_results, body)

    def broadcast(
        self,
        event: str,
        payload: Any,
        channels: Iterable[str],
        idempotency_key: str | None,
        excluded_session: str | None = None,
    ) -> Exchange[list[Published | PublishRefused]]:
        """Publish one event to several channels."""
        body = _excluding(excluded_session) | {
            "event": event,
            "payload": {} if payload is None else payload,
            "channels": list(channels),
            "idempotency_key": idempotency_key or new_key(),
        }
        return self._post("/api/v1/broadcast", _decode_results, body)

    def stats(self) -> Exchange[ServerStats]:
        """Ask for the server's figures."""
        return self._exchange("GET", "/api/v1/stats", _decode_stats)

    def connections(self, user_id: str) -> Exchange[UserConnections]:
        """Ask for a user's connections."""
        return self._exchange("GET", _user_path(user_id, "connections"), _decode_connections)

    def disconnect(self, user_id: str, code: int | None, reason: str | None) -> Exchange[int]:
        """End a user's connections."""
        body = {name: value for name, value in (("code", code), ("reason", reason)) if value is not None}
        return self._post(_user_path(user_id, "disconnect"), _decode_disconnected, body)

    def _post(self, path: str, decode: Callable[[bytes], T], body: Mapping[str, Any]) -> Exchange[T]:
        return self._exchange("POST", path, decode, body)

    def _exchange(
        self, method: str, path: str, decode: Callable[[bytes], T], body: object = None
    ) -> Exchange[T]:
        return Exchange(method, path, decode, body, retries=self._retries, uniform=self._uniform)


def to_publish(
    channel: str,
    event: str,
    payload: Any = None,
    idempotency_key: str | None = None,
    excluded_session: str | None = None,
) -> ToPublish:
    """One publication. Its key is made here, once, so that every attempt bears the same one."""
    return ToPublish(
        channel=channel,
        event=event,
        payload=payload,
        idempotency_key=idempotency_key or new_key(),
        excluded_session=excluded_session,
    )


def new_key() -> str:
    """An idempotency key that no other publication has."""
    return secrets.token_urlsafe(16)


def credentials(api_key: str | None, token: str | None) -> dict[str, str]:
    """The header that says who publishes.

    Raises ValueError unless there is exactly one of the two, and for one that cannot be sent, without showing it.
    """
    if (api_key is None) == (token is None):
        raise ValueError("give api_key or token")
    if api_key is not None:
        return {"X-API-Key": check_credential(api_key, "api_key")}
    return {"Authorization": f"Bearer {check_credential(token, 'token')}"}


#: The channels of those whom the publishers' shorthands name.
CHANNEL_OF: Final[Mapping[str, Callable[[str], str]]] = {
    "user": user_channel,
    "room": room_channel,
    "group": group_channel,
    "role": role_channel,
}
EVERYBODY: Final = (ALL,)


def _as_json(item: ToPublish) -> dict[str, Any]:
    return _excluding(item.excluded_session) | {
        "channel": item.channel,
        "event": item.event,
        "payload": {} if item.payload is None else item.payload,
        "idempotency_key": item.idempotency_key or new_key(),
    }


def _excluding(session: str | None) -> dict[str, Any]:
    """Said only where there is something to say: a server of before would refuse a field that it does not know."""
    return {} if session is None else {"excluded_session": session}


def _user_path(user_id: str, what: str) -> str:
    return f"/api/v1/users/{quote(user_id, safe='')}/{what}"


class _Error(msgspec.Struct):
    code: str = "unknown"
    message: str = ""


class _ErrorBody(msgspec.Struct):
    error: _Error


class _Result(msgspec.Struct):
    """A position, or why there is none."""

    channel: str = ""
    offset: int = 0
    epoch: str | None = None
    durability: str | None = None
    dropped: int = 0
    error: _Error | None = None


class _Results(msgspec.Struct):
    results: list[_Result]


class _Disconnected(msgspec.Struct):
    disconnected: int


_decode_published = msgspec.json.Decoder(Published).decode
_decode_stats = msgspec.json.Decoder(ServerStats).decode
_decode_connections = msgspec.json.Decoder(UserConnections).decode
_decode_error = msgspec.json.Decoder(_ErrorBody).decode
_decode_result_list = msgspec.json.Decoder(_Results).decode
_decode_disconnected_body = msgspec.json.Decoder(_Disconnected).decode


def _decode_disconnected(content: bytes) -> int:
    return _decode_disconnected_body(content).disconnected


def _decode_results(content: bytes) -> list[Published | PublishRefused]:
    return [
        Published(result.channel, result.offset, result.epoch, result.durability, result.dropped)
        if result.error is None
        else PublishRefused(None, result.error.code, result.error.message)
        for result in _decode_result_list(content).results
    ]


def _refused(status: int, content: bytes, pause: float | None, location: str | None) -> PublishRefused:
    try:
        error = _decode_error(content).error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        # A proxy's own page, or a server that is another one.
        error = _Error(
            "unknown",
            f"redirected to {location}"
            if location is not None and 300 <= status < 400
            else f"the answer was no error of Tidings ({len(content)} bytes)",
        )
    return PublishRefused(status, error.code, error.message, pause)
