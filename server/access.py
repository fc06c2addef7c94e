"""Who calls: the credentials of an HTTP request, and the guards and the dependency that routes are given.

Routes of apps use these too:

    @post("/polls", guards=[users_only])
    async def open_poll(caller: Caller, push: NamedDependency[Push]) -> None: ...
"""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from litestar.connection import ASGIConnection, Request
from litestar.di import NamedDependency
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException
from litestar.handlers import BaseRouteHandler

from tidings.server.auth import Authenticator, TokenRefusal
from tidings.server.identity import NO_END, Identity

#: Whoever holds one of `auth.api_keys`: nobody in particular. Services that have names are in `auth.service_keys`.
SERVICE = Identity(
    user_id="service",
    username="service",
    expires_at=NO_END,
    roles=frozenset({"admin"}),
    kind="service",
)

#: What goes with every 401 (RFC 9110 section 15.5.2).
CHALLENGE = {"WWW-Authenticate": "Bearer"}

_NONE_GIVEN = "a token or an API key is needed: Authorization: Bearer, or X-API-Key"


class Unidentified(msgspec.Struct, frozen=True):
    """It is not known who calls."""

    message: str


class Access:
    """Reads credentials. Belongs to one server."""

    def __init__(
        self, authenticator: Authenticator, *, called: Callable[[Identity], None] = lambda _service: None
    ) -> None:
        """`called` is told of each request that a service makes with its key: it counts as online. Synchronous."""
        self._authenticator = authenticator
        self._called = called

    def identify(self, headers: Iterable[tuple[bytes, bytes]]) -> Identity | Unidentified:
        """Who sent these headers (names in lower case). Nothing in them makes this raise.

        Where both are given the token decides, and a wrong one is not mended by a good key: it names a
        person, so it is the narrower of the two, and a proxy that adds its own key to every request must
        not lend it to whoever comes through. `Authorization` of another scheme, as a proxy's Basic, is
        not a token of ours.
        """
        authorization = api_key = None
        for name, value in headers:
            # A header given twice is joined: then it is neither one's credential.
            if name == b"authorization":
                authorization = value if authorization is None else authorization + b", " + value
            elif name == b"x-api-key":
                api_key = value if api_key is None else api_key + b", " + value
        scheme, _, token = (authorization or b"").partition(b" ")
        if scheme.lower() == b"bearer" or (authorization is not None and api_key is None):
            if scheme.lower() != b"bearer" or not token.strip():
                return Unidentified("Authorization: expected Bearer and a token")
            return self._by_token(token.strip())
        if api_key is not None:
            return self._by_key(api_key)
        return Unidentified(_NONE_GIVEN)

    def _by_token(self, token: bytes) -> Identity | Unidentified:
        # latin-1 has a character for every byte; one that is not ASCII is in no token.
        identity = self._authenticator.verify(token.decode("latin-1"))
        return Unidentified(identity.message) if isinstance(identity, TokenRefusal) else identity

    def _by_key(self, api_key: bytes) -> Identity | Unidentified:
        try:
            presented = api_key.decode()
        except UnicodeDecodeError:
            presented = ""
        if self._authenticator.api_key_matches(presented):
            return SERVICE
        service = self._authenticator.service_by_key(presented)
        if service is not None:
            self._called(service)
            return service
        return Unidentified("X-API-Key: not a key of this server")


def _identified(connection: ASGIConnection[Any, Any, Any, Any]) -> Identity:
    """Who calls, found out once for each request. Raises NotAuthorizedException (401)."""
    known = connection.scope.get("user")
    if isinstance(known, Identity):
        return known
    access: Access = connection.app.state.access
    identity = access.identify(connection.scope["headers"])
    if isinstance(identity, Unidentified):
        raise NotAuthorizedException(detail=identity.message, headers=CHALLENGE)
    connection.scope["user"] = identity
    return identity


async def users_only(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Guard: whoever has a good token or an API key. Else 401."""
    _identified(connection)


async def admins_only(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Guard: tokens with the role `admin`, and API keys. Without credentials 401, without the role 403."""
    if not _identified(connection).is_admin:
        raise PermissionDeniedException(detail="this needs the role admin")


#: The annotation of a route's parameter `caller`.
Caller = NamedDependency[Identity]


async def caller(request: Request[Any, Any, Any]) -> Identity:
    """Dependency: who calls. Raises NotAuthorizedException (401), also in a route without a guard."""
    return _identified(request)
