"""Ending tokens before their time."""

from collections.abc import Sequence
from typing import Literal

from litestar import post
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody
from msgspec import UNSET

from tidings.protocol.errors import ErrorCode, Refusal
from tidings.server.access import admins_only
from tidings.server.answers import SECURITY, Refused, answers, refused
from tidings.server.api.messages import RevokedTokens, RevokeTokens
from tidings.server.revoker import Revoker


def tokens(revoker: Revoker) -> Sequence[HTTPRouteHandler]:
    """The routes."""

    @post(
        "/tokens/revoke",
        operation_id="revokeTokens",
        summary="Revoke tokens",
        description="By the token, by the login, or by the user. Connections that live by one of them are closed "
        "with 3500, on every server; nobody comes in with one again, also after a restart. A token without `iat` "
        "has to end within `auth.max_ttl` for that, or `expires_at` has to say when it ends. Keys of "
        "`auth.service_keys` are not revoked here. Where no answer comes, or 503, the request can be repeated "
        "without harm.",
        status_code=200,
        guards=[admins_only],
        security=SECURITY,
        tags=["tokens"],
        responses=answers(409, body=True),
    )
    async def revoke(data: JSONBody[RevokeTokens]) -> RevokedTokens:
        kind, value = _whose(data)
        outcome = await revoker.revoke(
            kind,
            value,
            issued_before=None if data.issued_before is UNSET else data.issued_before,
            expires_at=None if data.expires_at is UNSET else data.expires_at,
        )
        if isinstance(outcome, Refusal):
            raise refused(outcome)
        return RevokedTokens(outcome.closed, outcome.accepted_from)

    return [revoke]


def _whose(data: RevokeTokens) -> tuple[Literal["token", "session", "user"], str]:
    given: list[tuple[Literal["token", "session", "user"], str]] = []
    if data.token_id is not UNSET:
        given.append(("token", data.token_id))
    if data.session_id is not UNSET:
        given.append(("session", data.session_id))
    if data.user_id is not UNSET:
        given.append(("user", data.user_id))
    if len(given) != 1:
        named = " and ".join(f"{kind}_id" for kind, _ in given) or "none"
        raise Refused(
            ErrorCode.INVALID_DATA,
            f"expected exactly one of token_id, session_id, user_id; got {named}: one request for each - at `$`",
        )
    return given[0]
