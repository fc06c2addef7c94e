"""The HTTP routes of users and their logins, at the paths that the documents give them."""

from collections.abc import Sequence
from typing import Any, Final

from litestar import HttpMethod, get, post, put
from litestar.connection import Request
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody

from tidings.server.answers import options
from tidings.server.apps.accounts.bodies import (
    ChangePassword,
    LoggedOut,
    Login,
    PasswordChanged,
    Session,
    UpdateMe,
    UserEntry,
    Valid,
)
from tidings.server.apps.accounts.entries import entry
from tidings.server.apps.accounts.service import Accounts, Entered
from tidings.server.extension import SECURITY, Caller, answers, users_only

_TAG: Final = ["accounts"]

_ME: Final = "/api/users/me"

_LIMITED: Final = (
    "Too many failed logins, of this account or from this address; `Retry-After` says when to come again."
)
_NO_ACCOUNT: Final = "Who calls has no account here, as with a key, or a token of another issuer's user."
_NAME_TAKEN: Final = "Another user has this name, or one that looks the same."

#: What somebody may meet who gives a password.
HASHED: Final = (
    "Not now: too many passwords wait to be checked, the database does not answer, or the server is shutting down; "
    "`Retry-After` says when to come again."
)
#: What somebody may meet who chooses a name, an address or a password.
CHOSEN: Final = "Malformed, or what was chosen is not accepted: the message says which field, and why."


def routes(accounts: Accounts) -> Sequence[HTTPRouteHandler]:
    """The routes."""

    @post(
        "/api/auth/login",
        operation_id="logIn",
        summary="Log in",
        description='Where a user may be logged in once only (`accounts.logins = "single"`), this ends the user\'s '
        "other logins: their connections are told `force_logout`, and closed with 3508.",
        status_code=200,
        security=[],
        tags=_TAG,
        responses=answers(
            body=True,
            guarded=False,
            words={
                401: "Username or password is wrong, it is not said which; or a temporary password has ended.",
                429: _LIMITED,
                503: HASHED,
            },
        ),
    )
    async def log_in(data: JSONBody[Login], request: Request[Any, Any, Any]) -> Session:
        return _session(await accounts.log_in(data, _address(request)))

    @post(
        "/api/auth/logout",
        operation_id="logOut",
        summary="Log out",
        description="Ends the login of the token: no token of it is accepted any more; its connections are closed.",
        status_code=200,
        guards=[users_only],
        security=SECURITY,
        tags=_TAG,
        responses=answers(
            admins=False, words={403: "The token names no login, nor itself: its issuer has to end it."}
        ),
    )
    async def log_out(caller: Caller) -> LoggedOut:
        return LoggedOut(await accounts.log_out(caller))

    @post(
        "/api/auth/refresh",
        operation_id="refreshLogin",
        summary="Get the next token of a login",
        description="The login stays the same (`sid`); the one presented stays good until it ends. On an open "
        "WebSocket the command `refresh` takes the new one.",
        status_code=200,
        guards=[users_only],
        security=SECURITY,
        tags=_TAG,
        responses=answers(
            admins=False,
            words={
                401: "No credentials, wrong ones, or a login that is too old: log in again.",
                403: "The token is of no login that was made here: its issuer renews it.",
                404: _NO_ACCOUNT,
            },
        ),
    )
    async def refresh(caller: Caller) -> Session:
        return _session(await accounts.refresh(caller))

    @get(
        "/api/auth/check",
        operation_id="checkLogin",
        summary="Whether the token is good",
        description="For clients without a WebSocket: 401 once the login has ended, as by another one.",
        guards=[users_only],
        security=SECURITY,
        tags=_TAG,
        responses=answers(admins=False),
    )
    async def check(caller: Caller) -> Valid:
        return Valid(True, caller.user_id, caller.username, caller.expires_at)

    @get(
        _ME,
        operation_id="me",
        summary="The caller's account",
        guards=[users_only],
        security=SECURITY,
        tags=_TAG,
        responses=answers(admins=False, words={404: _NO_ACCOUNT}),
    )
    async def me(caller: Caller) -> UserEntry:
        return entry(await accounts.me(caller))

    @put(
        _ME,
        operation_id="updateMe",
        summary="Change the caller's account",
        description="What is left out stays. `user:updated` reaches all of the user's connections, and "
        "administrators.",
        guards=[users_only],
        security=SECURITY,
        tags=_TAG,
        responses=answers(body=True, admins=False, words={400: CHOSEN, 404: _NO_ACCOUNT, 409: _NAME_TAKEN}),
    )
    async def update_me(data: JSONBody[UpdateMe], caller: Caller) -> UserEntry:
        return entry(await accounts.update_me(caller, data))

    @put(
        "/api/users/password",
        operation_id="changePassword",
        summary="Change the caller's password",
        description="The login that asks goes on. The user's other logins are told `user:password-changed`, and "
        "end: their connections are closed with 3500.",
        guards=[users_only],
        security=SECURITY,
        tags=_TAG,
        responses=answers(
            body=True,
            admins=False,
            words={
                400: CHOSEN,
                403: "That is not the old password.",
                404: _NO_ACCOUNT,
                429: _LIMITED,
                503: HASHED,
            },
        ),
    )
    async def change_password(
        data: JSONBody[ChangePassword], caller: Caller, request: Request[Any, Any, Any]
    ) -> PasswordChanged:
        await accounts.change_password(caller, data, _address(request))
        return PasswordChanged(True)

    return [
        log_in,
        log_out,
        refresh,
        check,
        options(_ME, HttpMethod.GET, HttpMethod.PUT),
        me,
        update_me,
        change_password,
    ]


def _session(entered: Entered) -> Session:
    return Session(entered.token.token, entered.token.expires_at, entry(entered.user))


def _address(request: Request[Any, Any, Any]) -> str:
    client = request.client
    return "" if client is None else client.host
