"""The HTTP routes by which administrators see and change users."""

from collections.abc import Sequence
from typing import Annotated, Any, Final

from litestar import HttpMethod, delete, get, post, put
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody, Parameter

from tidings.protocol.channels import USER_ID, is_user_id
from tidings.protocol.errors import ErrorCode
from tidings.server.answers import options
from tidings.server.apps.accounts.bodies import (
    Created,
    CreateUser,
    Deleted,
    PasswordReset,
    UpdateUser,
    UserEntry,
    UserPage,
)
from tidings.server.apps.accounts.entries import entry
from tidings.server.apps.accounts.routes import CHOSEN, HASHED
from tidings.server.apps.accounts.service import Accounts
from tidings.server.extension import SECURITY, Caller, Refused, admins_only, answers

# As many as a screen shows.
_PER_PAGE: Final = 50

_SEARCH_CHARS: Final = 256

_UserId = Annotated[
    str,
    Parameter(
        description="The user's id, which is not the name.",
        schema_extra={"pattern": f"^{USER_ID}$", "example": "3f9c0d5e7a1b2c48"},
    ),
]

_COMMON: Final[dict[str, Any]] = {"guards": [admins_only], "security": SECURITY, "tags": ["accounts"]}

_USERS: Final = "/api/admin/users"
_USER: Final = "/api/admin/users/{user_id:str}"

_ADMINS: Final = "This needs the role admin, or a key."
_UNKNOWN: Final = "No user has this id."


def admin_routes(accounts: Accounts, *, most: int) -> Sequence[HTTPRouteHandler]:
    """The routes; `most` is the longest page."""

    @get(
        _USERS,
        operation_id="users",
        summary="Users, by name",
        responses=answers(words={403: _ADMINS}),
        **_COMMON,
    )
    async def page(
        search: Annotated[
            str,
            Parameter(
                max_length=_SEARCH_CHARS,
                description="A part of the name or of the e-mail address; upper and lower case are not told apart.",
            ),
        ] = "",
        after: Annotated[
            str | None, Parameter(max_length=_SEARCH_CHARS, description="`next` of the page before.")
        ] = None,
        limit: Annotated[int, Parameter(ge=1, le=most, description="Users on one page, at most.")] = min(
            _PER_PAGE, most
        ),
    ) -> UserPage:
        found = await accounts.page(search=search, after=after, limit=limit)
        return UserPage([entry(user) for user in found.users], found.next, found.total)

    @post(
        _USERS,
        operation_id="createUser",
        summary="Add a user",
        status_code=201,
        responses=answers(
            body=True,
            words={
                400: CHOSEN,
                403: _ADMINS,
                409: "Another user has this name, or one that looks the same.",
                503: HASHED,
            },
        ),
        **_COMMON,
    )
    async def create(data: JSONBody[CreateUser], caller: Caller) -> Created:
        user, temporary = await accounts.create(caller, data)
        return Created(entry(user), temporary)

    @put(
        _USER,
        operation_id="updateUser",
        summary="Change a user",
        description="What is left out stays. `user:updated` reaches all of the user's connections, and "
        "administrators; where a role or the group was taken away, the user's logins end then, and their "
        "connections are closed with 3500.",
        responses=answers(
            body=True,
            words={
                400: CHOSEN,
                403: _ADMINS,
                404: _UNKNOWN,
                409: "The name is taken; or the last administrator would be none any more.",
            },
        ),
        **_COMMON,
    )
    async def update(user_id: _UserId, data: JSONBody[UpdateUser], caller: Caller) -> UserEntry:
        return entry(await accounts.update(caller, _checked(user_id), data))

    @post(
        f"{_USER}/reset-password",
        operation_id="resetPassword",
        summary="Give a user a temporary password",
        description="`user:password-changed` reaches all of the user's connections, and administrators; then the "
        "user's logins end, and their connections are closed with 3500.",
        status_code=200,
        responses=answers(words={403: _ADMINS, 404: _UNKNOWN, 503: HASHED}),
        **_COMMON,
    )
    async def reset(user_id: _UserId, caller: Caller) -> PasswordReset:
        return PasswordReset(await accounts.reset_password(caller, _checked(user_id)))

    @delete(
        _USER,
        operation_id="deleteUser",
        summary="Delete a user",
        description="`user:deleted` reaches all of the user's connections, and administrators; then the user's "
        "connections are closed with 3510. The name is free again, the id never.",
        status_code=200,
        responses=answers(
            words={
                403: _ADMINS,
                404: _UNKNOWN,
                409: "The last administrator: make somebody else one first.",
            }
        ),
        **_COMMON,
    )
    async def remove(user_id: _UserId, caller: Caller) -> Deleted:
        user = await accounts.delete(caller, _checked(user_id))
        return Deleted(user.id, user.username)

    return [
        options(_USERS, HttpMethod.GET, HttpMethod.POST),
        page,
        create,
        options(_USER, HttpMethod.PUT, HttpMethod.DELETE),
        update,
        reset,
        remove,
    ]


def _checked(user_id: str) -> str:
    if not is_user_id(user_id):
        raise Refused(
            ErrorCode.INVALID_DATA, "user_id: expected 1 to 128 characters A-Z a-z 0-9 _ . : @ + -"
        )
    return user_id
