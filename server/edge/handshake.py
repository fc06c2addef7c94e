"""From a request's head to an accepted WebSocket handshake, or the HTTP answer that refuses it.

Everything here happens before the upgrade, so a refusal is plain HTTP with a status and a JSON body:
a client that is not welcome never has an open socket.
"""

import base64
import binascii
import ipaddress
import math
import re
from collections.abc import Sequence
from functools import cache
from typing import ClassVar

import msgspec

from tidings.protocol.channels import is_user_id
from tidings.protocol.dialects.base import Dialect
from tidings.protocol.errors import ErrorCode, Refusal
from tidings.protocol.extensions import ExtensionOffer, parse_extensions
from tidings.protocol.messages.fields import DEVICE, DEVICE_CHARS
from tidings.server.auth import TokenRefusal
from tidings.server.edge.context import Context
from tidings.server.edge.endpoints import Endpoints, served
from tidings.server.edge.guests import Entrance
from tidings.server.edge.origins import OriginPolicy
from tidings.server.http import Request, Response, refusal
from tidings.server.identity import Identity

_is_device = re.compile(DEVICE).fullmatch

# RFC 9110 section 5.6.2.
_is_token = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch

# Whoever is told to come back: soon, but not all in the same second as a load balancer's retry.
RETRY_AFTER: tuple[bytes, bytes] = (b"Retry-After", b"5")


class Accepted(msgspec.Struct, frozen=True):
    """A handshake that may be answered with 101."""

    key: bytes
    subprotocol: str | None
    dialect: Dialect
    identity: Identity | None
    """None: the first message must bear the token."""
    extensions: Sequence[ExtensionOffer] = ()
    device: str = ""
    """What the client calls its device; empty where it has not said."""


class Gate:
    """Judges handshakes."""

    UPGRADE_HEADERS: ClassVar[list[tuple[bytes, bytes]]] = [
        (b"Upgrade", b"websocket"),
        (b"Sec-WebSocket-Version", b"13"),
    ]

    def __init__(self, context: Context) -> None:
        """Prepare what does not change from handshake to handshake."""
        self._context = context
        self._origins = OriginPolicy(context.config.auth.origins)
        self._endpoints = Endpoints(served(context.config.endpoints, context.dialects, context.doors))
        self._by_subprotocol = {
            dialect.subprotocol: dialect for dialect in context.dialects.values() if dialect.subprotocol
        }

    def is_endpoint(self, request: Request) -> bool:
        """Whether the path speaks WebSocket and nothing else. That of a template may belong to HTTP, too."""
        return self._endpoints.is_exact(request.path)

    @staticmethod
    def wants_upgrade(request: Request) -> bool:
        """Whether the client asks for a WebSocket (RFC 6455 section 4.2.1)."""
        upgrade, connection = request.text(b"upgrade"), request.text(b"connection")
        if upgrade is None or connection is None:
            return False
        return "websocket" in _items(upgrade) and "upgrade" in _items(connection)

    def judge(self, request: Request) -> Accepted | Response:
        """Accept the handshake or say why not. Synchronous: no database is asked before the upgrade."""
        if self._context.draining:
            return refusal(503, "unavailable", "the server is shutting down", [RETRY_AFTER])
        endpoint = self._endpoints.find(request)
        if endpoint is None:
            return refusal(404, "not_found", "no WebSocket endpoint at this path")
        if not self.wants_upgrade(request):
            return refusal(
                426, "bad_request", "this path speaks WebSocket: send an Upgrade", self.UPGRADE_HEADERS
            )
        malformed = self._malformed(request)
        if malformed is not None:
            return malformed
        extensions = _extensions(request)
        if isinstance(extensions, Response):
            return extensions
        if not self._origins.allows(request.text(b"origin"), request.text(b"host")):
            return refusal(403, "forbidden", "this Origin may not connect (see [auth] origins)")
        if endpoint.user is not None and not is_user_id(endpoint.user):
            return refusal(400, "bad_request", "the path's user: expected a user id, percent-encoded")
        chosen = self._choose_dialect(request, endpoint.dialect)
        if isinstance(chosen, Response):
            return chosen
        dialect, subprotocol = chosen
        device = request.query("device") or ""
        if device and not _is_device(device):
            return refusal(
                400, "bad_request", f"device: 1 to {DEVICE_CHARS} characters, no control characters"
            )
        identity = self._identify(request, dialect, endpoint.user)
        if isinstance(identity, Response):
            return identity
        denied = self._denied(dialect, identity)
        if denied is not None:
            return denied
        key = request.header(b"sec-websocket-key")
        assert key is not None
        return Accepted(key, subprotocol, dialect, identity, extensions, device)

    def _malformed(self, request: Request) -> Response | None:
        if request.method != "GET" or request.http_version != "1.1":
            return refusal(400, "bad_request", "a WebSocket handshake is a GET of HTTP/1.1")
        if request.header(b"sec-websocket-version") != b"13":
            return refusal(
                426, "bad_request", "Sec-WebSocket-Version: 13 is what we speak", self.UPGRADE_HEADERS
            )
        if not _is_key(request.header(b"sec-websocket-key")):
            return refusal(400, "bad_request", "Sec-WebSocket-Key: expected base64 of 16 bytes")
        if request.header(b"content-length") not in (None, b"0") or request.header(b"transfer-encoding"):
            return refusal(400, "bad_request", "a WebSocket handshake has no body")
        for name, value in request.headers:
            if name == b"sec-websocket-protocol" and not all(map(_is_token, _raw_items(value))):
                return refusal(400, "bad_request", "Sec-WebSocket-Protocol: expected a list of tokens")
        return None

    def _choose_dialect(self, request: Request, default: str) -> tuple[Dialect, str | None] | Response:
        """By subprotocol, then `?dialect=`, then the endpoint's own."""
        for offered in _raw_items(request.header(b"sec-websocket-protocol") or b""):
            dialect = self._by_subprotocol.get(offered.decode("ascii"))
            if dialect is not None:
                return dialect, dialect.subprotocol
        name = request.query("dialect") or default
        dialect = self._context.dialects.get(name)
        if dialect is None:
            known = ", ".join(self._context.dialects)
            return refusal(400, "bad_request", f"dialect: expected one of {known}")
        if dialect.by_door and name not in self._context.doors:
            told = f"dialect: {name} is spoken where its app runs (see [server] apps)"
            return refusal(400, "bad_request", told)
        return dialect, None

    def _identify(self, request: Request, dialect: Dialect, user: str | None) -> Identity | Response | None:
        """Who it is, by its token, or else by the key of a service; None: it will say so itself.

        It must be `user`, where the path names one.
        """
        entrance = self._context.doors.get(dialect.name) if not dialect.needs_token else None
        if entrance is not None:
            found = entrance.door.identify(request)
            if isinstance(found, Refusal):
                return _turned_away(dialect, found)
            if user is not None and (found is None or found.user_id != user):
                return refusal(403, "forbidden", "this path is another user's")
            return None if found is None else self._within_limit(found, _replaced(entrance, found, request))
        authorization, api_key = request.text(b"authorization"), request.text(b"x-api-key")
        scheme, _, token = (authorization or "").partition(" ")
        token = token.strip()
        if authorization is None:
            token = request.query("token") or ""
        elif scheme.lower() != "bearer" and api_key is not None:
            token = ""  # a proxy's own login, as over HTTP
        elif scheme.lower() != "bearer" or not token:
            return _unauthorized(dialect, "Authorization: expected Bearer and a token", given=False)
        identity: Identity | TokenRefusal | None
        if token:
            identity = self._context.authenticator.verify(token)
        else:
            identity = None if api_key is None else self._service(api_key)
        if isinstance(identity, TokenRefusal):
            return _unauthorized(dialect, identity.message, given=True)
        if identity is None:
            if dialect.needs_token or user is not None:
                told = "a token is needed: Authorization: Bearer, or ?token="
                return _unauthorized(dialect, told, given=False)
            return None
        if user is not None and identity.user_id != user:
            return refusal(403, "forbidden", "this path is another user's")
        return self._within_limit(identity)

    def _within_limit(self, identity: Identity, replaced: int = 0) -> Identity | Response:
        limit = self._context.config.limits.connections_per_user
        if len(self._context.hub.connections_of(identity.user_id)) - replaced >= limit:
            return refusal(429, "limit_reached", f"a user may have {limit} connections", [RETRY_AFTER])
        return identity

    def _denied(self, dialect: Dialect, identity: Identity | None) -> Response | None:
        """What the app is against whose door the connection would come in by."""
        entrance = self._context.doors.get(dialect.name)
        refused = None if entrance is None or identity is None else entrance.door.admit(identity)
        return None if refused is None else refusal(403, refused.code, refused.message)

    def _service(self, api_key: str) -> Identity | TokenRefusal | None:
        authenticator = self._context.authenticator
        service = authenticator.service_by_key(api_key)
        # A key without a name says of nobody who it is. It is no mistake either: a proxy may add its own to
        # every request, also to those of clients that say who they are in their first message.
        if service is not None or authenticator.api_key_matches(api_key):
            return service
        return TokenRefusal("unknown_key", "X-API-Key: not a key of a service (auth.service_keys)")


def client_address(
    peer: str, request_headers: Sequence[tuple[bytes, bytes]], trusted: Sequence[str]
) -> str:
    """The client's address: the socket's peer, or what trusted proxies say in `X-Forwarded-For`.

    The list is read from its end, since only what trusted proxies appended is to be believed: the first
    address that is no trusted proxy's is the client. A malformed entry ends the belief.
    """
    address = peer
    forwarded = b",".join(value for name, value in request_headers if name == b"x-forwarded-for")
    entries = [entry.strip() for entry in forwarded.decode("latin-1").split(",") if entry.strip()]
    while entries and is_within(address, trusted):
        try:
            address = str(ipaddress.ip_address(_without_port(entries.pop())))
        except ValueError:
            break
    return address


def _without_port(entry: str) -> str:
    """Some proxies append the port: `192.0.2.1:5678`, `[2001:db8::1]:5678`."""
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    return entry.partition(":")[0] if entry.count(":") == 1 else entry


def is_within(address: str, networks: Sequence[str]) -> bool:
    """Whether an address belongs to one of the networks, as `10.0.0.0/8`."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(parsed in _network(network) for network in networks)


# They come from the configuration, so they are few; each connection asks three times, at some 3 µs a network.
_network = cache(ipaddress.ip_network)


def _extensions(request: Request) -> list[ExtensionOffer] | Response:
    value = request.text(b"sec-websocket-extensions")
    try:
        return parse_extensions(value) if value else []
    except ValueError as error:
        return refusal(400, "bad_request", f"Sec-WebSocket-Extensions: {error}")


def _replaced(entrance: Entrance, identity: Identity, request: Request) -> int:
    """How many connections would make room for this one."""
    return entrance.door.replaces(identity, request.query("device") or "")


def _turned_away(dialect: Dialect, refused: Refusal) -> Response:
    """The answer to a credential that is none of a token."""
    if refused.code is ErrorCode.RATE_LIMITED:
        seconds = b"%d" % math.ceil(refused.retry_after or 1)
        return refusal(429, refused.code, refused.message, [(b"Retry-After", seconds)])
    # RFC 9110 section 11.6.1 asks for a challenge; no scheme is registered for what an app's door takes.
    usual = refusal(401, "unauthorized", refused.message, [(b"WWW-Authenticate", b"Tidings")])
    body = dialect.encode_unauthorized(given=True)
    return usual if body is None else msgspec.structs.replace(usual, body=body)


def _unauthorized(dialect: Dialect, message: str, *, given: bool) -> Response:
    """In the dialect's own words, if it has any. `given`: whether a token came."""
    usual = refusal(401, "unauthorized", message, [(b"WWW-Authenticate", b"Bearer")])
    body = dialect.encode_unauthorized(given=given)
    return usual if body is None else msgspec.structs.replace(usual, body=body)


def _items(value: str) -> list[str]:
    return [item.strip().lower() for item in value.split(",")]


def _raw_items(value: bytes) -> list[bytes]:
    return [item.strip() for item in value.split(b",")] if value.strip() else []


def _is_key(key: bytes | None) -> bool:
    try:
        return key is not None and len(base64.b64decode(key, validate=True)) == 16
    except binascii.Error:
        return False
